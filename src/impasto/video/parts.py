"""`Parts`: what is painted of a film so far, in a folder beside the output, to go on from."""

from __future__ import annotations

import json
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
from impasto.resuming import check_record, damaged, folder_of, locked, write_record
from impasto.video.segments import count_frames

_RECORD = "film.json"
_ALWAYS = {"film", "codec", "crf"}
"""What is in the record of any film."""


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
        with locked(parts.folder, FilmError):
            parts._open(record, resume=resume)
            yield parts

    def _open(self, record: Mapping[str, Any], *, resume: bool) -> None:
        if not self.segments():
            write_record(self.folder / _RECORD, record)
            return
        self._load()
        if not resume:
            raise FilmError(
                f"{self.folder}: holds {self.told} of an earlier run; add "
                "--resume to go on with them, or delete this folder to begin anew"
            )
        check_record(self.folder / _RECORD, record, _ALWAYS, FilmError)
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
        for pattern in ("[0-9]*.nut", "[0-9]*.safetensors", _RECORD, f"{files.TEMPORARY}*"):
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
            raise damaged(self.folder, FilmError) from error

    def _check_segments(self) -> None:
        """Raises `FilmError` if a segment lacks frames, as after a power cut or a bad copy."""
        segments = self.segments()
        if len(segments) != len(self.counts):
            raise damaged(self.folder, FilmError)
        for segment, count in zip(segments, self.counts, strict=True):
            if count_frames(segment) != count:
                raise FilmError(
                    f"{segment}: is damaged; delete the folder {self.folder} to begin anew"
                )


def _state(segment: Path) -> Path:
    return segment.with_suffix(".safetensors")
