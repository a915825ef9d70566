"""Unfinished work, in a folder beside its output: nobody else's now, and of the same task later."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from impasto import files
from impasto.errors import ImpastoError

if sys.platform != "win32":
    import fcntl

_HEAD = 2**20
"""Bytes of a file by which it is known again, beside its length."""
_LONG = 80
"""Letters of values that nobody wants to read, such as hashes."""


def folder_of(output: Path) -> Path:
    """Where the unfinished parts of an output are."""
    return output.with_name(f"{output.name}.parts")


@contextmanager
def locked(folder: Path, error: type[ImpastoError]) -> Iterator[None]:
    """Returns a context in which no other run has got a folder. Systems forget the lock of a run
    that is killed. Windows cannot lock folders, and some network drives cannot: there it is up to
    the user.

    Args:
        folder: the folder, which is there.
        error: what is raised if another run has it.
    """
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as taken:
                raise error(
                    f"{folder}: another run is painting into it; wait until that has ended, or "
                    "choose another output"
                ) from taken
        yield
    finally:
        os.close(handle)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes down all that decides the work, as JSON can hold it."""
    files.replace(path, json.dumps(record, indent=2).encode())


def check_record(
    path: Path, record: Mapping[str, Any], always: set[str], error: type[ImpastoError]
) -> None:
    """Finds out whether unfinished work is of the same task.

    Args:
        path: what `write_record` wrote.
        record: all that decides the work now.
        always: what any record of its kind holds.
        error: what is raised if it is of another task, or damaged.
    """
    now = json.loads(json.dumps(record))  # tuples become lists
    try:
        then = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise damaged(path.parent, error) from cause
    if not isinstance(then, dict) or not then.keys() >= always:
        raise damaged(path.parent, error)
    other = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    if other:
        was, is_now = (json.dumps(values.get(other[0])) for values in (then, now))
        values = f" ({was} then, {is_now} now)" if len(was + is_now) < _LONG else ""
        raise error(
            f"{path.parent}: was painted with another {other[0]}{values}; leave it as it was, "
            "or choose another output"
        )


def damaged(folder: Path, error: type[ImpastoError]) -> ImpastoError:
    """The error that unfinished work cannot be gone on with."""
    return error(f"{folder}: is damaged; delete this folder to begin anew")


def fingerprint(path: Path) -> str:
    """What a file, or a folder of files, is known by again: length and beginning of each."""
    digest = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as opened:
            digest.update(f"{file.stat().st_size} ".encode() + opened.read(_HEAD))
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    yield from (p for p in sorted(path.iterdir()) if p.is_file()) if path.is_dir() else [path]
