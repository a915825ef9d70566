"""What is to be painted: each photo in each style, unless that is done; names, and strengths."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath

from impasto.naming import MAX_BYTES, distinct, fitted

_LONGEST_LABEL = 100
"""Bytes of a style's name in those of paintings."""


@dataclass(frozen=True)
class Task:
    """A photo, and what is to be painted of it."""

    photo: str
    """Its name in the folder of photos."""
    stem: str
    """What the names of its paintings begin with, folders included."""
    styles: tuple[int, ...]
    """The numbers of the styles to paint it in."""


@dataclass(frozen=True)
class Names:
    """How paintings are called: ``photo.png``, or ``photo_style.png`` if there are several styles.
    `impasto.pairs` finds photo and style by these names.
    """

    labels: tuple[str, ...]
    """The names of the styles."""
    suffix: str
    """The extension of all paintings."""

    @property
    def endings(self) -> tuple[str, ...]:
        """What the names of paintings in each style end in, before the extension."""
        return tuple(f"_{label}" for label in self.labels) if len(self.labels) > 1 else ("",)

    def of(self, stem: str, style: int) -> str:
        """The name of a photo's painting.

        Args:
            stem: of the task.
            style: number of the style.
        """
        ending = f"{self.endings[style]}{self.suffix}"
        folder, _, name = stem.rpartition("/")
        if len(os.fsencode(name + ending)) > MAX_BYTES:  # cut short, it must still be told apart
            ending = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}{ending}"
        return f"{folder}/{fitted(name, ending)}".lstrip("/")

    def stems(self, photos: Sequence[str]) -> Iterator[str]:
        """What the names of each photo's paintings begin with: its name without the extension,
        unless another photo's paintings could have the same names.
        """
        plain = [_without_extension(photo) for photo in photos]
        count = Counter(stem.casefold() for stem in plain)
        # The photo `a` in the style `b_c` would be called as is the photo `a_b` in the style `c`.
        tails = [
            one[: -len(other) - 1].casefold()
            for one in self.labels
            for other in self.labels
            if one.casefold().endswith(f"_{other}".casefold())
        ]
        whole = {photo.casefold() for photo in photos}  # such as `a.jpg` if there is `a.jpg.png`
        for photo, stem in zip(photos, plain, strict=True):
            low = stem.casefold()
            shared = count[low] > 1 or low in whole or any(f"{low}_{t}" in count for t in tails)
            yield photo if shared else stem


def labels_of(sources: Sequence[str]) -> tuple[str, ...]:
    """The names of styles in those of paintings, no two alike.

    Args:
        sources: the styles as pictures, names, looks and weights files (``mine.safetensors#wave``).
    """
    names = [PurePosixPath(source.replace("\\", "/")).name for source in sources]
    names = [name.rpartition("#")[2] if ".safetensors#" in name else name for name in names]
    count = Counter(_without_extension(name).casefold() for name in names)
    plain = [
        name if count[_without_extension(name).casefold()] > 1 else _without_extension(name)
        for name in names
    ]
    return tuple(distinct(fitted(name, "", _LONGEST_LABEL) for name in plain))


def tasks_of(photos: Sequence[str], names: Names, done: Set[str]) -> list[Task]:
    """What is left to do, photo by photo.

    Args:
        photos: all photos.
        names: how paintings are called.
        done: names of files that are there already.
    """
    every = tuple(range(len(names.labels)))
    tasks = []
    for photo, stem in zip(photos, names.stems(photos), strict=True):
        left = tuple(style for style in every if names.of(stem, style) not in done)
        if left:
            tasks.append(Task(photo, stem, every if left == every else left))
    return tasks


def drawn(strengths: tuple[float, float], seed: int, photo: str, style: str) -> float:
    """A strength from a range, which depends on nothing but the seed and the names.

    Args:
        strengths: the least and the greatest.
        seed: of the run.
        photo: name of the photo in its folder.
        style: name of the style.
    """
    low, high = strengths
    digest = hashlib.sha256(f"{seed}\n{photo}\n{style}".encode(errors="surrogateescape"))
    return low + (high - low) * int.from_bytes(digest.digest()[:8]) / 2**64


def _without_extension(name: str) -> str:
    """A name in a folder without the extension of a picture, a look or weights."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix else name
