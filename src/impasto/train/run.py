"""Run: the folders and files of a training, and its checkpoint."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from impasto import files
from impasto.errors import ControlError, OutputError
from impasto.train.data import check_readable, find_pictures

_CHECKPOINT_FORMAT = 2
_MAY_CHANGE = {"steps", "validate_every", "workers"}
"""Settings that may have other values when a run is resumed."""


@dataclass(frozen=True)
class Run:
    """Where a training reads its pictures, and where it writes its results."""

    content: Path
    """Folder of photos, which is searched at all levels; or a single photo."""
    style: Path
    """Folder of styles, which is searched at all levels; or a single style."""
    out: Path
    """The weights file to write, which always holds the network with the best validation score."""
    unreadable: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    """A message for each folder that could not be searched for pictures."""

    @property
    def folder(self) -> Path:
        """The folder beside the weights file: checkpoint, losses, plots, samples, TensorBoard."""
        return self.out.with_name(f"{self.out.stem}-training")

    @property
    def checkpoint(self) -> Path:
        """The file that a run is resumed from."""
        return self.folder / "checkpoint.pt"

    @cached_property
    def photos(self) -> list[Path]:
        """All photos, sorted by name. The folder is searched once."""
        return find_pictures(self.content, self.unreadable)

    @cached_property
    def styles(self) -> list[Path]:
        """All style pictures, sorted by name. The folder is searched once."""
        return find_pictures(self.style, self.unreadable)

    def check(self, *, resume: bool = False) -> None:
        """Checks, before any network is loaded, that there are pictures and a place for the result.

        Args:
            resume: whether an earlier run is to be continued.

        Raises:
            ImageError: there are no pictures, or none of them can be read.
            OutputError: ``out`` cannot be written, there is no run to resume, or one is in the way.
        """
        if self.out.suffix != ".safetensors":
            raise OutputError(f"{self.out}: weights are kept in .safetensors files")
        try:
            str(self.out).encode()
        except UnicodeEncodeError as error:  # which TensorBoard cannot write to
            raise OutputError(f"{self.out}: its name is not UTF-8; choose another name") from error
        files.check_writable(self.out)
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: is in the way of the run's folder; move it")
        exists = self.checkpoint.exists()
        if resume and not exists:
            raise OutputError(f"{self.checkpoint}: no run to resume; leave out --resume")
        if exists and not resume:
            raise OutputError(
                f"{self.folder}: holds an earlier run; add --resume, or delete the folder"
            )
        for source, pictures in ((self.content, self.photos), (self.style, self.styles)):
            check_readable(pictures)
            if self.out.resolve().is_relative_to(source.resolve()):
                raise OutputError(
                    f"{self.out}: lies in {source}, a folder of training pictures; choose another "
                    "place, since samples are written beside it"
                )

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replaces the checkpoint, whole or not at all.

        Args:
            state: tensors, numbers, text, and lists and dictionaries of these.

        Raises:
            OutputError: it cannot be written.
        """
        stored = io.BytesIO()
        torch.save({"format": _CHECKPOINT_FORMAT, **state}, stored)
        files.replace(self.checkpoint, stored.getvalue())

    def read_checkpoint(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Reads the checkpoint of a run that was made with the same settings.

        Args:
            settings: what the checkpoint's own ``settings`` are compared with.

        Raises:
            OutputError: it is damaged, or was written by another version.
            ControlError: the run has other settings, or is longer already.
        """
        path = self.checkpoint
        try:
            with zipfile.ZipFile(path) as parts:  # torch itself ignores the checksums
                if parts.testzip() is not None:
                    raise zipfile.BadZipFile
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] != _CHECKPOINT_FORMAT:
                raise ValueError(state["format"])
            earlier, step = state["settings"], state["step"]
        except Exception as error:  # of many types, depending on what is damaged
            raise OutputError(
                f"{path}: damaged, or of another version; delete {self.folder}, and start "
                "again with --init-from and the weights so far"
            ) from error
        for name, value in settings.items():
            if earlier.get(name) != value and name not in _MAY_CHANGE:
                raise ControlError(
                    f"{path}: {name} was {earlier.get(name)} and is {value}; resume with what it "
                    "was, or start another run with --init-from"
                )
        if step > settings["steps"]:
            raise ControlError(f"{path}: is at step {step} already; use more than that as steps")
        return state
