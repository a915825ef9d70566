"""Styles by name: paintings that come along as pictures, and trained styles.

A trained style is written as the name of one of `paintings` (``starry-night``), as a weights file
that `train fast` wrote (``mine.safetensors``), or as one look of a file that holds several
(``mine.safetensors#wave``). A painting whose picture comes along (``chrysanthemums``) is a style
like any other picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from impasto.errors import ControlError

_DATA = Path(__file__).parent / "data"
_FILE = re.compile(r"(.+?\.safetensors)(?:#(.+))?")


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


def find(source: Any) -> Any:
    """The source of a style: the picture, if it is the name of one that comes along."""
    if not isinstance(source, str) or source not in paintings() or Path(source).is_file():
        return source
    return paintings()[source].picture or source


def is_trained(source: Any) -> bool:
    """Whether the source of a style is the name of a trained one, and not a picture.

    Raises:
        ControlError: it is a word, but neither a file nor a name.
    """
    if not isinstance(source, (str, Path)):
        return False
    name = str(source)
    if _FILE.fullmatch(name):
        return True
    if Path(name).is_file():
        return False
    if name in paintings():
        return name in trained()
    if not Path(name).suffix and len(Path(name).parts) == 1:
        near = get_close_matches(name, paintings(), n=3)
        hint = f"did you mean {', '.join(near)}" if near else "`impasto styles` lists them"
        raise ControlError(f"style '{name}': no such file, and no style of this name; {hint}")
    return False


def locate(source: str) -> tuple[str, str | None]:
    """Weights, by name or path, and the look in them that a trained style is; None for the only
    one.
    """
    if source in paintings():
        return paintings()[source].weights, None
    file = _FILE.fullmatch(source)
    return (file[1], file[2]) if file else (source, None)
