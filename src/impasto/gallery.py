"""Styles by name: paintings that come along as pictures, and trained styles.

A trained style is written as the name of one of `paintings` (``starry-night``), as a weights file
that `train fast` wrote (``mine.safetensors``), or as one look of a file that holds several
(``mine.safetensors#wave``). A painting whose picture comes along (``chrysanthemums``) is a style
like any other picture.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from impasto.controls import LOOK_SUFFIX
from impasto.errors import ControlError

if TYPE_CHECKING:
    from impasto.color import Recolouring
    from impasto.images import ImageLike

_DATA = Path(__file__).parent / "data"
_FILE = re.compile(r"(.+?\.safetensors)(?:#(.+))?")


@dataclass(frozen=True)
class TrainedLook:
    """A style that a network was trained for."""

    source: str
    """As the user named it."""
    weights: str
    """Name or file of the network's weights."""
    look: str | None = None
    """Its name in the network; None for the only one."""
    recolouring: Recolouring | None = None
    """What is done to the colours of what is painted."""


@dataclass(frozen=True)
class Painting:
    """A painting that comes along: as a picture, or as a network that was trained for it."""

    name: str
    title: str
    artist: str
    year: int
    licence: str
    """Of the painting."""

    @property
    def weights(self) -> str:
        """Name of the network's weights."""
        return f"fast.{self.name}"

    @property
    def picture(self) -> Path | None:
        """Its picture; None if there is a network instead."""
        path = _DATA / "paintings" / f"{self.name}.jpg"
        return path if path.exists() else None


@cache
def paintings() -> dict[str, Painting]:
    """The paintings that come along, by name."""
    text = (_DATA / "gallery.yaml").read_text(encoding="utf-8")
    return {name: Painting(name=name, **fields) for name, fields in yaml.safe_load(text).items()}


def trained() -> list[str]:
    """Names of those that there is a network for."""
    return [name for name, known in paintings().items() if known.picture is None]


def resolve(source: ImageLike) -> ImageLike | TrainedLook:
    """What the source of a style stands for: a picture, or a trained look.

    Args:
        source: a picture; the name of a painting; a weights file, with ``#look`` if it has several.

    Raises:
        ControlError: it is a word, but neither a file nor a name.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    name = os.fspath(source)
    if name.endswith(LOOK_SUFFIX):
        raise ControlError(f"{name}: is a whole look: use Look.load({name!r}).fit(photo)()")
    file = _FILE.fullmatch(name)
    if file:
        return TrainedLook(name, file[1], file[2])
    if Path(name).is_file():
        return source
    known = paintings().get(name)
    if known is not None:
        return known.picture or TrainedLook(name, known.weights)
    if not Path(name).suffix and len(Path(name).parts) == 1:
        near = get_close_matches(name, paintings(), n=3)
        hint = f"did you mean {', '.join(near)}" if near else "`impasto styles` lists them"
        raise ControlError(f"style '{name}': no such file, and no style of this name; {hint}")
    return source
