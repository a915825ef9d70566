"""`Parts`: what is painted of a film so far, in a folder beside the output, to go on from."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from impasto import files
from impasto.errors import FilmError
from impasto.video.segments import count_frames

if sys.platform != "win32":
    import fcntl

_RECORD = "film.json"
_ALWAYS = {"film", "codec", "crf"}
"""What is in the record of any film."""
_HEAD = 2**20
"""Bytes of a file by which it is known again, beside its length."""
_LONG = 80
"""Letters of values that nobody wants to read, such as hashes."""


@dataclass
class Parts:
    """Segments, each with what was known when its last frame was painted.

    A segment counts when it has got its name, which is the last thing that happens to it. Whatever
    ends the work, even a power cut, ``parts.done`` frames are in ``parts.segments()``.
    """

    folder: Path
    counts: Sequence[int] = ()
    """How many frames are in each segment."""
    last: Fraction = Fraction(0)
    """When the last of them is shown."""
    memory: Mapping[str, Tensor] | None = None
    """What the painter needs to know of them to go on; None at the beginning."""

    @property
    def done(self) -> int:
        """How many frames are painted."""
        return sum(self.counts)

    @property
    def told(self) -> str:
        """How many these are, in words."""
        return f"{self.done} frame{'s' * (self.done > 1)}"

    @classmethod
    @contextmanager
    def of(cls, output: Path, record: Mapping[str, Any], *, resume: bool) -> Iterator[Parts]:
        """Returns a context with the parts of an output, new ones if there are none. Nobody else
        can open them in the meantime.

        Args:
            output: the film to be written; its parts are in ``NAME.parts`` beside it.
            record: all that decides the painted film, as JSON can hold it.
            resume: whether to go on with what is there.

        Raises:
            FilmError: there is something and nobody asked to go on with it, or it was painted of
                another film or with other settings, or another run is painting into it now.
            OutputError: the folder cannot be made.
        """
        parts = cls(folder_of(output))
        files.make_folder(parts.folder)
        with _locked(parts.folder):
            parts._open(json.loads(json.dumps(record)), resume=resume)  # tuples become lists
            yield parts

    def _open(self, record: Mapping[str, Any], *, resume: bool) -> None:
        if not self.segments():
            files.replace(self.folder / _RECORD, json.dumps(record, indent=2).encode())
            return
        self._load()
        if not resume:
            raise FilmError(
                f"{self.folder}: holds {self.told} of an earlier run; add "
                "--resume to go on with them, or delete this folder to begin anew"
            )
        self._check(record)
        self._check_segments()

    def segments(self) -> list[Path]:
        """The files of the segments, in order."""
        return sorted(self.folder.glob("[0-9]*.nut"))

    def next_segment(self) -> Path:
        """The file of the segment to be painted now."""
        return self.folder / f"{len(self.segments()):06}.nut"

    def keep(self, segment: Path, done: int, last: Fraction, memory: Mapping[str, Tensor]) -> None:
        """Writes down what is needed to go on after a segment, before that gets its name.

        Args:
            segment: the segment's file.
            done: how many frames are painted with it.
            last: when its last frame is shown.
            memory: what the painter needs to know of them.

        Raises:
            OutputError: the disk is full.
        """
        tensors = {name: value.detach().cpu().contiguous() for name, value in memory.items()}
        counts = json.dumps([*self.counts, done - self.done])
        state = save(tensors, {"counts": counts, "last": str(last)})
        files.replace(_state(segment), state)

    def go_on(self, done: int, last: Fraction, memory: Mapping[str, Tensor]) -> None:
        """Takes note of a segment that is kept; what was needed to go on before it can go."""
        self.counts = [*self.counts, done - self.done]
        self.last, self.memory = last, memory
        for segment in self.segments()[:-1]:
            _state(segment).unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes all of it, and what a run that was killed has left."""
        for pattern in ("[0-9]*.nut", "[0-9]*.safetensors", _RECORD, ".impasto-*"):
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)
        with suppress(OSError):  # somebody has put something else there
            self.folder.rmdir()

    def _load(self) -> None:
        path = _state(self.segments()[-1])
        try:
            with safe_open(path, "pt") as file:
                known = file.metadata()
                self.counts, self.last = json.loads(known["counts"]), Fraction(known["last"])
                self.memory = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise self._damaged() from error

    def _check_segments(self) -> None:
        """Raises `FilmError` if a segment lacks frames, as after a power cut or a bad copy."""
        segments = self.segments()
        if len(segments) != len(self.counts):
            raise self._damaged()
        for segment, count in zip(segments, self.counts, strict=True):
            if count_frames(segment) != count:
                raise FilmError(
                    f"{segment}: is damaged; delete the folder {self.folder} to begin anew"
                )

    def _check(self, record: Mapping[str, Any]) -> None:
        """Raises `FilmError` if the parts were painted otherwise than it is asked for now."""
        try:
            then = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        if not isinstance(then, dict) or not then.keys() >= _ALWAYS:
            raise self._damaged()
        other = sorted(name for name in {*then, *record} if then.get(name) != record.get(name))
        if other:
            was, now = (json.dumps(values.get(other[0])) for values in (then, record))
            values = f" ({was} then, {now} now)" if len(was + now) < _LONG else ""
            raise FilmError(
                f"{self.folder}: was painted with another {other[0]}{values}; leave it as it was, "
                "or choose another output"
            )

    def _damaged(self) -> FilmError:
        return FilmError(f"{self.folder}: is damaged; delete this folder to begin anew")


def folder_of(output: Path) -> Path:
    """Where the parts of an output are."""
    return output.with_name(f"{output.name}.parts")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Returns a context in which no other run has got the folder. Systems forget the lock of a run
    that is killed. Windows cannot lock folders, and some network drives cannot: there it is up to
    the user.
    """
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FilmError(
                    f"{folder}: another run is painting into it; wait until that has ended, or "
                    "choose another output"
                ) from error
        yield
    finally:
        os.close(handle)


def _state(segment: Path) -> Path:
    return segment.with_suffix(".safetensors")


def fingerprint(path: Path) -> str:
    """What a file, or a folder of files, is known by again: length and beginning of each."""
    digest = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as opened:
            digest.update(f"{file.stat().st_size} ".encode() + opened.read(_HEAD))
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    yield from (p for p in sorted(path.iterdir()) if p.is_file()) if path.is_dir() else [path]
