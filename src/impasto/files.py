"""Writing files so that nothing is ever half written."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from impasto.errors import OutputError

TEMPORARY = ".impasto-"
"""What the names of files begin with that are being written, and are left if the power fails."""


def check_writable(path: Path, size: float = 1) -> None:
    """Finds out whether a file can be written to ``path``, leaving no trace.

    Args:
        path: the file; a link stands for the file that it leads to.
        size: bytes that it will have at least.

    Raises:
        OutputError: ``path`` is a folder or write-protected, its folder is missing, its name is too
            long, or permission or space is lacking.
    """
    try:
        target = _target(path)
        if target.is_dir():
            raise OutputError(f"{path}: is a folder; give a file name")
        if not target.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {target.parent}; create it first")
        with suppress(FileNotFoundError):  # other errors say what is wrong with the name
            _check_replaceable(path, target.stat().st_mode)
        with tempfile.TemporaryFile(dir=target.parent) as file:
            file.write(b"\0")
        free = shutil.disk_usage(target.parent).free
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error
    if free < size:
        raise OutputError(
            f"{path}: needs at least {size / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; free "
            "space or choose another place"
        )


def check_apart(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raises `OutputError` if an output is also an input or another output."""
    taken = {os.path.realpath(path) for path in inputs}  # also of a loop of links
    for path in outputs:
        place = os.path.realpath(path)
        if place in taken:
            raise OutputError(f"{path}: is also an input or another output; choose another name")
        taken.add(place)


def make_folder(path: Path, *, parents: bool = False) -> None:
    """Makes a folder, unless it is there already.

    Args:
        path: the folder.
        parents: make the folders that it is in as well.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be created ({error.strerror}); choose another place"
        ) from error


def replace(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; see `replacing`.

    Raises:
        OutputError: permission or space is lacking, or the file is write-protected.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Makes an empty file beside a file's place, and renames it at the end of the context: what is
    written into it is there whole or not at all.

    A file that is replaced hands its permissions on; a link keeps being one, and the file that it
    leads to is replaced.

    Args:
        path: the file's place.
        folder: where the empty file is made instead, if the place is no link: a folder that is
            beside it, and that somebody tidies up after a sudden end.

    Raises:
        OutputError: permission or space is lacking, or the file is write-protected.
    """
    temporary: str | None = None
    try:
        target = _target(path)
        mode = _mode_of(target)
        _check_replaceable(path, mode)
        # The name of the file itself may be as long as names can be.
        beside = folder if folder is not None and target == path else target.parent
        handle, temporary = tempfile.mkstemp(dir=beside, prefix=TEMPORARY)
        os.close(handle)
        yield Path(temporary)
        os.chmod(temporary, stat.S_IMODE(mode))  # mkstemp makes private files
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # it has got its name, or its folder is gone
                Path(temporary).unlink()


def _target(path: Path) -> Path:
    """The file that a link leads to, or the path itself."""
    try:
        return path.resolve() if path.is_symlink() else path
    except RuntimeError as error:  # what Python before 3.13 raises for a loop of links
        raise OSError("a loop of links") from error


def _mode_of(path: Path) -> int:
    """The mode of a file; of one that does not exist, as any new file would have it."""
    if path.exists():
        return path.stat().st_mode
    mask = os.umask(0)
    os.umask(mask)
    return stat.S_IFREG | 0o666 & ~mask


def _check_replaceable(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OutputError(f"{path}: is no ordinary file; give another name")
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise OutputError(f"{path}: is write-protected; give another name or make it writable")


def cannot_write(path: Path, error: OSError | ValueError) -> OutputError:
    """Returns the error that a file cannot be written.

    Args:
        path: the file.
        error: what the system said; a `ValueError` if no file can have such a name.
    """
    reason = getattr(error, "strerror", None) or error
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    fix = "free space or choose another place" if full else "choose another place"
    return OutputError(f"{path}: cannot be written ({reason}); {fix}")
