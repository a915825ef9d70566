"""Pairs: which photo and which painting a painted picture was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from impasto import images
from impasto.errors import ImageError
from impasto.train.data import find_pictures

_Named: TypeAlias = Sequence[tuple[Path, str]]
"""Files, and what the names of painted pictures have in common with them: "" where any will do."""


@dataclass(frozen=True)
class Pair:
    """A painted picture with the photo and the painting that it was made from."""

    painted: Path
    """File of the painted picture."""
    photo: Path
    """File of the photo."""
    painting: Path
    """File of the style picture."""


def find_pairs(painted: Path, content: Path, style: Path) -> tuple[list[Pair], list[Path]]:
    """Finds the photo and the painting that each painted picture was made from.

    A picture's name begins with that of its photo and ends with that of its painting, with anything
    between (``cat_renoir.png``); names may have their extensions. If several photos and paintings
    fit, the longest names win. Pictures in a folder within the folder have photos in one of the
    same name.
    If none fits, the recipe inside the picture names the painting, and the photo has the picture's
    own name.

    Args:
        painted: a folder of painted pictures, or a single one.
        content: a folder of photos; or a single one, which all pictures belong to.
        style: a folder of paintings; or a single one, which all pictures belong to.

    Returns:
        The pairs, and the pictures that belong to none.

    Raises:
        ImageError: a file is missing, a folder holds no pictures, or no picture belongs to any.
    """
    contents = [(photo, name) for photo in _found(content) for name in _names(photo, content)]
    styles = [(one, Path(name).name) for one in _found(style) for name in _names(one, style)]
    pairs, left = [], []
    for path in _found(painted):
        stem = str((path.relative_to(painted) if painted.is_dir() else path).with_suffix(""))
        match = _by_name(stem, contents, styles) or _by_recipe(path, stem, contents, styles)
        if match is None:
            left.append(path)
        else:
            pairs.append(Pair(path, *match))
    if not pairs:
        raise ImageError(
            f"{painted}: no picture in it belongs to a photo of {content} and a painting of "
            f"{style}; name them PHOTO_PAINTING.png"
        )
    return pairs, left


def _found(place: Path) -> list[Path]:
    return find_pictures(place) if place.is_dir() else images.find(place)


def _names(file: Path, place: Path) -> tuple[str, ...]:
    """What names of painted pictures may have in common with a file, by where it was found."""
    if place.is_file():
        return ("",)
    name = file.relative_to(place)
    return str(name.with_suffix("")), str(name)


def _by_name(stem: str, contents: _Named, styles: _Named) -> tuple[Path, Path] | None:
    matches = [
        (len(begin) + len(end), len(begin), photo, painting)
        for photo, begin in contents
        if stem.startswith(begin)
        for painting, end in styles
        if stem.endswith(end) and len(begin) + len(end) <= len(stem)
    ]
    return max(matches, key=lambda match: match[:2])[2:] if matches else None


def _by_recipe(
    painted: Path, stem: str, contents: _Named, styles: _Named
) -> tuple[Path, Path] | None:
    try:
        source = images.read_recipe(painted)["styles"][0]["source"]
    except (ImageError, TypeError, KeyError, IndexError):
        return None
    photos = [photo for photo, name in contents if name in ("", stem)]
    paintings = [painting for painting, _ in styles if painting.name == source]
    return (photos[0], paintings[0]) if photos and paintings else None
