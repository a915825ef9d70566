"""Training pictures: any folders of them, cut into crops that seed and number alone decide."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler

from impasto import formats, images
from impasto.errors import ImageError, TooLargeError

_MAX_CACHED_PIXELS = 2**29
"""How many pixels a process keeps, in all: a few thousand small pictures are decoded only once."""


class Sample(NamedTuple):
    """One photo with its style."""

    content: Tensor
    """Crop of a photo, (3, crop, crop), sRGB in [0, 1]."""
    style: Tensor
    """Crop of a style, (3, crop, crop), sRGB in [0, 1]; or a style's index, (), int64."""
    skipped: list[str]
    """A message for each broken picture that was passed over."""


class Batch(NamedTuple):
    """Several samples."""

    content: Tensor
    """Crops of photos, (N, 3, crop, crop)."""
    style: Tensor
    """Crops of styles, (N, 3, crop, crop); or the styles' indices, (N,), int64."""
    skipped: list[str]
    """A message for each broken picture that was passed over."""


def find_pictures(source: Path, unreadable: list[str] | None = None) -> list[Path]:
    """Finds the picture files in a folder and in all folders below it, sorted by name.

    Links to folders are followed, and each folder is searched once. Files and folders whose names
    begin with a dot are hidden, and left out.

    Args:
        source: the folder; a single picture file is returned as it is.
        unreadable: gets a message for each folder that could not be searched.

    Raises:
        ImageError: there is no picture.
    """
    messages: list[str] = []
    found = sorted(_search(source, messages))
    if not found and messages:
        raise ImageError(messages[0])
    if not found:
        what = "holds no pictures" if source.is_dir() else "no such folder"
        kinds = ", ".join(formats.readable())
        raise ImageError(f"{source}: {what}; name a folder of {kinds}")
    if unreadable is not None:
        unreadable += messages
    return found


def _search(source: Path, unreadable: list[str]) -> Iterator[Path]:
    pending, searched, extensions = deque([source]), set(), formats.readable()
    while pending:
        path = pending.popleft()
        real = os.path.realpath(path)
        if real in searched:
            continue
        try:
            entries = list(os.scandir(path))
        except NotADirectoryError:
            if path.is_file() and (path == source or path.suffix.lower() in extensions):
                yield path
            continue
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = error.strerror or error
            unreadable.append(
                f"{path}: cannot be searched ({reason}); allow it to be read, or take it away"
            )
            continue
        searched.add(real)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():  # last, so that folders are found under their own names
                pending.append(path / entry.name)
            elif entry.is_dir():
                pending.appendleft(path / entry.name)
            elif entry.is_file() and Path(entry.name).suffix.lower() in extensions:
                yield path / entry.name


def check_readable(pictures: Sequence[Path]) -> None:
    """Checks that there is something to train on: that at least one picture can be read.

    Raises:
        ImageError: not one of the pictures can be read; the message says why of the first.
    """
    reasons = []
    for path in pictures:
        try:
            images.read(path)
        except (ImageError, TooLargeError) as error:
            reasons.append(str(error))
        else:
            return
    raise ImageError(f"not one of {len(pictures)} pictures can be read: {reasons[0]}")


def hold_out(pictures: Sequence[Path], count: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Splits pictures into those to train on and those to validate with.

    The choice depends on the order of the pictures and on the seed, not on where the folder is.

    Args:
        pictures: files, sorted by name.
        count: how many to hold out, at most a fifth of all.
        seed: decides which.

    Returns:
        The pictures to train on, and those that are held out.
    """
    shuffled = list(pictures)
    random.Random(seed).shuffle(shuffled)
    count = min(count, len(shuffled) // 5)
    return sorted(shuffled[count:]), sorted(shuffled[:count])


def cut_square(pixels: Tensor, side: int) -> Tensor:
    """The largest square in the middle of a picture (1, 3, H, W), as (1, 3, side, side)."""
    height, width = pixels.shape[-2:]
    cut = min(height, width)
    top, left = (height - cut) // 2, (width - cut) // 2
    return images.resize(pixels[..., top : top + cut, left : left + cut], side, side)


def read_squares(
    pictures: Sequence[Path], count: int, side: int, skipped: list[str] | None = None
) -> list[Tensor]:
    """Reads the middles of the first pictures that can be read.

    Args:
        pictures: files to choose from.
        count: how many to read at most.
        side: of the squares, in pixels.
        skipped: gets a message for each broken picture.

    Returns:
        Tensors (1, 3, side, side).
    """
    squares: list[Tensor] = []
    for path in pictures:
        if len(squares) == count:
            break
        try:
            squares.append(cut_square(images.read(path).pixels, side))
        except (ImageError, TooLargeError) as error:
            if skipped is not None:
                skipped.append(str(error))
    return squares


@dataclass
class Crops(Dataset[Sample]):
    """Pairs of random crops, one of a photo and one of a style.

    Sample n is always the same pair, whoever asks for it, and whenever: so resumed runs, and runs
    on several devices, see what a single uninterrupted run would. Each folder is gone through in a
    shuffled order, which is another one in each epoch.
    """

    contents: Sequence[Path]
    """Photos."""
    styles: Sequence[Path]
    """Style pictures."""
    crop: int
    """Side of the crops in pixels."""
    resize: tuple[int, int]
    """Shortest and longest length that a photo's shorter side is resized to before cropping."""
    style_resize: tuple[int, int]
    """Shortest and longest length that a style's shorter side is resized to before cropping."""
    seed: int
    """Seed of the order and of the crops."""
    _cache: dict[Path, Tensor] = field(default_factory=dict, init=False, repr=False)
    """Pictures that were read, (1, 3, H, W), as bytes."""

    def __getitem__(self, number: int) -> Sample:
        """The sample of this number, where broken pictures are replaced by the next ones."""
        rng = random.Random(f"{self.seed}/{number}")
        skipped: list[str] = []
        content = self._crop("content", number, rng, skipped)
        return Sample(content, self._style(number, rng, skipped), skipped)

    def _style(self, number: int, rng: random.Random, skipped: list[str]) -> Tensor:
        return self._crop("style", number, rng, skipped)

    def _crop(self, role: str, number: int, rng: random.Random, skipped: list[str]) -> Tensor:
        pictures, resize = self.contents, self.resize
        if role == "style":
            pictures, resize = self.styles, self.style_resize
        epoch, position = divmod(number, len(pictures))
        order = _shuffled(f"{self.seed}/{role}/{epoch}", len(pictures))
        for index in order[position:] + order[:position]:
            try:
                pixels = self._read(pictures[index])
            except (ImageError, TooLargeError) as error:
                skipped.append(str(error))
                continue
            return self._random_crop(pixels, resize, rng)
        raise ImageError(f"not one of {len(order)} {role} pictures can be read: {skipped[-1]}")

    def _read(self, path: Path) -> Tensor:
        """The pixels (1, 3, H, W) of a picture, which is kept as long as there is room."""
        if path in self._cache:
            return self._cache[path] / 255
        pixels = (images.read(path).pixels * 255).round().byte()
        if sum(cached.numel() for cached in self._cache.values()) < 3 * _MAX_CACHED_PIXELS:
            self._cache[path] = pixels
        return pixels / 255

    def _random_crop(self, pixels: Tensor, resize: tuple[int, int], rng: random.Random) -> Tensor:
        """(1, 3, H, W) -> (3, crop, crop), which is mirrored in half of the cases."""
        shorter_side = max(rng.randint(*resize), self.crop)
        height, width = pixels.shape[-2:]
        # To crop before resizing gives the same pixels in a fraction of the time.
        cut = max(round(self.crop * min(height, width) / shorter_side), 1)
        top, left = rng.randint(0, height - cut), rng.randint(0, width - cut)
        piece = pixels[..., top : top + cut, left : left + cut]  # (1, 3, cut, cut)
        piece = F.interpolate(piece, (self.crop, self.crop), mode="bilinear", antialias=True)
        return (piece.flip(-1) if rng.random() < 0.5 else piece)[0]


@dataclass
class LabelledCrops(Crops):
    """Random crops of photos, each with the index of a style in place of a crop of it."""

    def _style(self, number: int, rng: random.Random, skipped: list[str]) -> Tensor:  # noqa: ARG002
        epoch, position = divmod(number, len(self.styles))
        return torch.tensor(_shuffled(f"{self.seed}/look/{epoch}", len(self.styles))[position])


@lru_cache(maxsize=4)
def _shuffled(seed: str, count: int) -> list[int]:
    """The numbers 0 to ``count`` - 1 in an order that the seed decides."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


@dataclass(frozen=True)
class StepSampler(Sampler[int]):
    """The numbers of the samples that one of several processes takes, from a step on.

    In each step each process takes ``batch_size`` samples; those of all processes are consecutive.
    """

    first_step: int
    """Step to start at, which is that of the checkpoint when a run is resumed."""
    steps: int
    """Step to end before."""
    batch_size: int
    """Samples of one process in one step."""
    rank: int
    """Number of the process, from 0."""
    world_size: int
    """How many processes there are."""

    def __iter__(self) -> Iterator[int]:
        for step in range(self.first_step, self.steps):
            start = (step * self.world_size + self.rank) * self.batch_size
            yield from range(start, start + self.batch_size)

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.batch_size


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples into a batch; pictures are stored with their channels last."""
    contents, styles, skipped = zip(*samples, strict=True)
    content, style = torch.stack(contents), torch.stack(styles)
    if style.ndim == 4:  # crops, not indices
        style = style.contiguous(memory_format=torch.channels_last)
    content = content.contiguous(memory_format=torch.channels_last)
    return Batch(content, style, [message for messages in skipped for message in messages])
