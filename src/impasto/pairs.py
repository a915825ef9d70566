"""Which photo and which painting a painted picture was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from impasto import images
from impasto.errors import ImageError


@dataclass(frozen=True)
class Pair:
    """A painted picture with what it was made from."""

    painted: Path
    photo: Path
    painting: Path


def find_pairs(painted: Path, content: Path, style: Path) -> tuple[list[Pair], list[Path]]:
    """Finds photo and painting of painted pictures.

    A picture's name begins with that of its photo and ends with that of its painting, with anything
    between (``cat_renoir.png``); of several, the longest match wins, then the longest photo. Else
    the recipe inside the picture names the painting, and the photo has the picture's own name.

    Args:
        painted: a folder of pictures, or one.
        content: a folder of photos; or one, and all pictures belong to it.
        style: likewise for paintings.

    Returns:
        The pairs, and the pictures that belong to none.

    Raises:
        ImageError: something is missing, a folder holds no pictures, or no picture belongs to any.
    """
    contents, styles = images.find(content), images.find(style)
    pairs, left = [], []
    for path in images.find(painted):
        found = _by_name(
            path.stem,
            [(photo, "" if content.is_file() else photo.stem) for photo in contents],
            [(painting, "" if style.is_file() else painting.stem) for painting in styles],
        )
        if found is None:
            source = _source(path)
            photos = [photo for photo in contents if content.is_file() or photo.stem == path.stem]
            paintings = [painting for painting in styles if painting.name == source]
            found = (photos[0], paintings[0]) if photos and paintings else None
        if found is None:
            left.append(path)
        else:
            pairs.append(Pair(path, *found))
    if not pairs:
        raise ImageError(
            f"{painted}: no picture in it belongs to a photo of {content} and a painting of "
            f"{style}; name them PHOTO_PAINTING.png"
        )
    return pairs, left


def _by_name(
    stem: str, contents: Sequence[tuple[Path, str]], styles: Sequence[tuple[Path, str]]
) -> tuple[Path, Path] | None:
    """The best match of (file, what the stem must begin or end with), or None."""
    matches = [
        (len(begin) + len(end), len(begin), photo, painting)
        for photo, begin in contents
        if stem.startswith(begin)
        for painting, end in styles
        if stem.endswith(end) and len(begin) + len(end) <= len(stem)
    ]
    return max(matches, key=lambda match: match[:2])[2:] if matches else None


def _source(painted: Path) -> str | None:
    """The file name of the painting, if the picture's recipe tells."""
    try:
        styles = images.read_recipe(painted).get("styles")
        return str(styles[0]["source"]) if styles else None
    except (ImageError, TypeError, KeyError, IndexError):
        return None
