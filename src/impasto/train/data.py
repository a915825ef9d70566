"""Training pictures: any folders of images, cut into crops that seed and place decide."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler

from impasto import images
from impasto.errors import ImageError

_SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_MOST_PIXELS = 2**29
"""How many, in all, a process keeps: a few thousand small pictures are decoded just once."""

Sample: TypeAlias = "tuple[Tensor, Tensor, list[str]]"
"""A crop of a photo and one of a style, (3, crop, crop) each, and what was broken on the way; or,
for `Looks`, the number of one as style."""


def find_pictures(source: Path) -> list[Path]:
    """All picture files in a folder and below, by name; or the one file that ``source`` is.

    Raises:
        ImageError: there is none.
    """
    if source.is_file():
        return [source]
    found = sorted(
        path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()
    )
    if not found:
        what = "holds no pictures" if source.is_dir() else "no such folder"
        raise ImageError(f"{source}: {what}; name a folder of {', '.join(sorted(_SUFFIXES))}")
    return found


def check_readable(pictures: Sequence[Path]) -> None:
    """Finds out whether there is something to train on; the others are skipped later.

    Raises:
        ImageError: not one of the pictures can be read; of the first it says why.
    """
    reasons = []
    for path in pictures:
        try:
            images.read(path)
        except ImageError as error:
            reasons.append(str(error))
        else:
            return
    raise ImageError(f"not one of {len(pictures)} pictures can be read: {reasons[0]}")


def hold_out(pictures: Sequence[Path], count: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Parts pictures into those to train on and ``count`` others, at most every fifth.

    The choice depends on the names and the seed, not on the folder's place.
    """
    order = list(pictures)
    random.Random(seed).shuffle(order)
    held = min(count, len(order) // 5)
    return sorted(order[held:]), sorted(order[:held])


def cut_square(pixels: Tensor, side: int) -> Tensor:
    """The middle of a picture (1, 3, H, W), as large a square as it has, scaled to (1, 3, side,
    side).
    """
    height, width = pixels.shape[-2:]
    cut = min(height, width)
    top, left = (height - cut) // 2, (width - cut) // 2
    return images.resize(pixels[..., top : top + cut, left : left + cut], side, side)


@dataclass(frozen=True)
class Crops(Dataset[Sample]):
    """Pairs of random crops. Number n is always the same pair, whoever asks for it, and whenever:
    that makes resumed and distributed runs see what a single uninterrupted one would.

    Each folder is gone through in an order of its own, anew in each round.
    """

    contents: Sequence[Path]
    styles: Sequence[Path]
    crop: int
    """Side of the crops."""
    resize: tuple[int, int]
    """The shorter side of a photo is first scaled to a length drawn from this range."""
    style_resize: tuple[int, int]
    """The same of a style."""
    seed: int
    kept: dict[Path, Tensor] = field(default_factory=dict, repr=False, compare=False)
    """Pictures that were read, (1, 3, H, W), as bytes."""

    def __getitem__(self, number: int) -> Sample:
        """The pair of that number; broken pictures are passed over."""
        chance = random.Random(f"{self.seed}/{number}")
        broken: list[str] = []
        content = self._crop("content", number, chance, broken)
        return content, self._style(number, chance, broken), broken

    def _style(self, number: int, chance: random.Random, broken: list[str]) -> Tensor:
        return self._crop("style", number, chance, broken)

    def _crop(self, role: str, number: int, chance: random.Random, broken: list[str]) -> Tensor:
        pictures, resize = self.contents, self.resize
        if role == "style":
            pictures, resize = self.styles, self.style_resize
        turn, place = divmod(number, len(pictures))
        order = _order(f"{self.seed}/{role}/{turn}", len(pictures))
        for offset in range(len(order)):
            index = order[(place + offset) % len(order)]
            try:
                pixels = self._read(pictures[index])
            except ImageError as error:
                broken.append(str(error))
                continue
            return self._cut(pixels, resize, chance)
        raise ImageError(f"not one of {len(order)} {role} pictures can be read: {broken[-1]}")

    def _read(self, path: Path) -> Tensor:
        """The pixels (1, 3, H, W) of a picture, remembered while there is room."""
        if path in self.kept:
            return self.kept[path] / 255
        pixels = (images.read(path).pixels * 255).round().byte()
        if sum(kept.numel() for kept in self.kept.values()) < 3 * _MOST_PIXELS:
            self.kept[path] = pixels
        return pixels / 255

    def _cut(self, pixels: Tensor, resize: tuple[int, int], chance: random.Random) -> Tensor:
        """A random crop (3, crop, crop), mirrored in half of the cases."""
        side = max(chance.randint(*resize), self.crop)
        height, width = pixels.shape[-2:]
        # Cut before scaling: the same pixels, for a fraction of the time.
        cut = max(round(self.crop * min(height, width) / side), 1)
        top, left = chance.randint(0, height - cut), chance.randint(0, width - cut)
        part = pixels[..., top : top + cut, left : left + cut]
        part = F.interpolate(part, (self.crop, self.crop), mode="bilinear", antialias=True)
        return (part.flip(-1) if chance.random() < 0.5 else part)[0]


@dataclass(frozen=True)
class Looks(Crops):
    """The same for styles that are few and known: instead of a crop, the number of one."""

    def _style(self, number: int, chance: random.Random, broken: list[str]) -> Tensor:  # noqa: ARG002
        turn, place = divmod(number, len(self.styles))
        return torch.tensor(_order(f"{self.seed}/look/{turn}", len(self.styles))[place])


@lru_cache(maxsize=4)
def _order(name: str, count: int) -> list[int]:
    """A shuffled order that depends on its name; the last ones are remembered."""
    order = list(range(count))
    random.Random(name).shuffle(order)
    return order


@dataclass(frozen=True)
class Places(Sampler[int]):
    """The numbers of the samples that one process of several takes, from a step on.

    A step takes ``batch`` samples in each process; together they are consecutive.
    """

    first_step: int
    steps: int
    batch: int
    rank: int
    world: int

    def __iter__(self) -> Iterator[int]:
        for step in range(self.first_step, self.steps):
            start = (step * self.world + self.rank) * self.batch
            yield from range(start, start + self.batch)

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.batch


def collate(samples: Sequence[Sample]) -> tuple[Tensor, Tensor, list[str]]:
    """Samples as a batch: photos (N, 3, crop, crop), styles, and all that was broken."""
    contents, styles, broken = zip(*samples, strict=True)
    pictures = [
        batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch
        for batch in (torch.stack(contents), torch.stack(styles))
    ]
    return pictures[0], pictures[1], [name for names in broken for name in names]
