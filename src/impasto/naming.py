"""Names for the files of painted pictures: no two alike, none too long for the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path

MAX_BYTES = 255
"""The longest file name that common file systems take, in bytes."""
_CLUTTER = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


def fitted(stem: str, ending: str, longest: int = MAX_BYTES) -> str:
    """``stem + ending``, with the stem cut short where the name would be too long for the disk.

    Args:
        stem: the beginning of the name.
        ending: the rest of it, which is shorter than ``longest``.
        longest: bytes that the name may have.
    """
    room = longest - len(os.fsencode(ending))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending


def distinct(names: Iterable[str]) -> Iterator[str]:
    """Tells file names apart: the second ``cat.png`` becomes ``cat-2.png``.

    Names that differ in upper and lower case alone count as the same, as they do on many disks.
    """
    taken: set[str] = set()
    for name in names:
        path = Path(name)
        numbered = (fitted(path.stem, f"-{n}{path.suffix}") for n in count(2))
        free = next(one for one in chain([name], numbered) if one.casefold() not in taken)
        taken.add(free.casefold())
        yield free


def is_clutter(path: Path) -> bool:
    """Whether a file is one that operating systems leave among pictures, such as ``._cat.jpg``, in
    which macOS keeps what other disks have no place for.
    """
    return path.name.startswith("._") or path.name.lower() in _CLUTTER
