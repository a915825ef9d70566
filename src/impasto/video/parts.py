"""`Parts`: what is painted of a film so far, in a folder beside the output, to go on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from impasto import files
from impasto.errors import FilmError, OutputError

_RECORD = "film.json"
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
    done: int = 0
    """How many frames are painted."""
    last: Fraction = Fraction(0)
    """When the last of them is shown."""
    memory: Mapping[str, Tensor] | None = None
    """What the painter needs to know of them to go on; None at the beginning."""

    @classmethod
    def of(cls, output: Path, record: Mapping[str, Any], *, resume: bool) -> Parts:
        """Opens the parts of an output, or begins anew if there are none.

        Args:
            output: the film to be written; its parts are in ``NAME.parts`` beside it.
            record: all that decides the painted film, as JSON can hold it.
            resume: whether to go on with what is there.

        Raises:
            FilmError: there is something and nobody asked to go on with it, or it was painted of
                another film or with other settings.
            OutputError: the folder cannot be made.
        """
        parts = cls(folder_of(output))
        record = json.loads(json.dumps(record))  # tuples are lists from now on
        if parts.segments():
            parts._load()
            if not resume:
                raise FilmError(
                    f"{parts.folder}: holds {parts.done} painted frames of an earlier run; add "
                    "--resume to go on with them, or delete this folder to begin anew"
                )
            parts._check(record)
            return parts
        try:
            parts.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{parts.folder}: cannot be created ({error.strerror}); choose another place"
            ) from error
        files.replace(parts.folder / _RECORD, json.dumps(record, indent=2).encode())
        return parts

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
        state = save(tensors, {"done": str(done), "last": str(last)})
        files.replace(_state(segment), state)

    def go_on(self, done: int, last: Fraction, memory: Mapping[str, Tensor]) -> None:
        """Takes note of a segment that is kept; what was needed to go on before it can go."""
        self.done, self.last, self.memory = done, last, memory
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
                self.done, self.last = int(known["done"]), Fraction(known["last"])
                self.memory = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise self._damaged() from error

    def _check(self, record: Mapping[str, Any]) -> None:
        """Raises `FilmError` if the parts were painted otherwise than it is asked for now."""
        try:
            then = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged() from error
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
