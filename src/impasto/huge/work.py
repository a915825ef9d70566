"""`Work`: what is painted of a large picture so far, in a folder beside the output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from impasto import files
from impasto.errors import OutputError
from impasto.huge.resampling import Size
from impasto.huge.store import DamagedWorkError, Store
from impasto.resuming import check_record, damaged, folder_of, locked, write_record

_RECORD, _JOURNAL = "picture.json", "journal.txt"


@dataclass
class Work:
    """Pictures on disk, what was measured of them, and a journal of the tiles that are painted.

    A tile is in the journal when its pixels are on the disk. Whatever ends the work, even a power
    cut, it can go on from there.
    """

    folder: Path
    finished: set[str] = field(default_factory=set)
    """Names of the tiles that are painted."""

    @classmethod
    @contextmanager
    def of(cls, output: Path, record: Mapping[str, Any], *, resume: bool) -> Iterator[Work]:
        """Returns a context with the work on an output. Nobody else can open it in the meantime.

        Args:
            output: the picture to be written; the work is in ``NAME.parts`` beside it.
            record: all that decides the picture, as JSON can hold it.
            resume: whether to go on with what is there.

        Raises:
            OutputError: there is something and nobody asked to go on with it, or it was painted of
                another photo or with other settings, or another run is painting into it now; or the
                folder cannot be made.
        """
        work = cls(folder_of(output))
        files.make_folder(work.folder)
        with locked(work.folder, OutputError):
            work._open(record, resume=resume)
            yield work

    def _open(self, record: Mapping[str, Any], *, resume: bool) -> None:
        with suppress(FileNotFoundError):
            text = (self.folder / _JOURNAL).read_text(encoding="utf-8", errors="replace")
            # A line without its end was being written when the work ended.
            self.finished = {line[:-1] for line in text.splitlines(True) if line.endswith("\n")}
        if not self.finished:
            self._check_own()
            self._clear()
            write_record(self.folder / _RECORD, record)
            return
        if not resume:
            raise OutputError(
                f"{self.folder}: holds {self.told} of an earlier run; add --resume to go on with "
                "them, or delete this folder to begin anew"
            )
        check_record(self.folder / _RECORD, record, set(record), OutputError)

    def _check_own(self) -> None:
        """Raises `OutputError` if a folder without a record holds what somebody else put there."""
        others = (p for p in self.folder.iterdir() if not p.name.startswith(files.TEMPORARY))
        if not (self.folder / _RECORD).exists() and any(others):
            raise OutputError(
                f"{self.folder}: is not of an earlier run, and is needed for what is painted so "
                "far; move it away, or choose another output"
            )

    @property
    def told(self) -> str:
        """How many tiles are painted, in words."""
        return f"{len(self.finished)} painted tile{'s' * (len(self.finished) > 1)}"

    def store(self, name: str, size: Size, bands: int = 3) -> Store:
        """Returns a picture on disk, which may not be there yet."""
        return Store(self.folder / f"{name}.raw", size, bands)

    def finish(self, tile: str, store: Store) -> None:
        """Writes down that a tile is painted into a picture on disk."""
        _flush(store.path)
        journal = self.folder / _JOURNAL
        with journal.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{tile}\n")
        _flush(journal)
        self.finished.add(tile)

    def keep(self, name: str, **tensors: Tensor) -> None:
        """Keeps what was measured; it is there whole or not at all."""
        kept = {key: value.contiguous() for key, value in tensors.items()}
        files.replace(self._kept(name), save(kept))

    def kept(self, name: str) -> dict[str, Tensor] | None:
        """Returns what `keep` kept under a name; None if nothing."""
        path = self._kept(name)
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise damaged(self.folder, DamagedWorkError) from error

    def _kept(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def remove(self) -> None:
        """Removes all of it."""
        self._clear()
        (self.folder / _RECORD).unlink(missing_ok=True)
        with suppress(OSError):  # somebody has put something else there
            self.folder.rmdir()

    def _clear(self) -> None:
        self.finished = set()
        for pattern in (_JOURNAL, "*.raw", "*.safetensors", f"{files.TEMPORARY}*"):
            for path in self.folder.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Waits until what was written into a file is on the disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
