"""Trained styles: those that come along by name, and those in weights files.

A trained style is written as the name of one of `paintings` (``starry-night``), as a weights file
that `train fast` wrote (``mine.safetensors``), or as one look of a file that holds several
(``mine.safetensors#wave``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from impasto.errors import ControlError

_FILE = re.compile(r"(.+?\.safetensors)(?:#(.+))?")


@dataclass(frozen=True)
class Painting:
    """A painting that a network was trained for."""

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


@cache
def paintings() -> dict[str, Painting]:
    """The styles that come along, by name."""
    text = (resources.files("impasto") / "data" / "gallery.yaml").read_text(encoding="utf-8")
    return {name: Painting(name=name, **fields) for name, fields in yaml.safe_load(text).items()}


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
        return True
    if not Path(name).suffix and len(Path(name).parts) == 1:
        near = get_close_matches(name, paintings(), n=3)
        hint = f"did you mean {', '.join(near)}" if near else "`impasto styles` lists them"
        raise ControlError(f"style '{name}': no such file, and no trained style; {hint}")
    return False


def locate(source: str) -> tuple[str, str | None]:
    """Weights, by name or path, and the look in them that a trained style is; None for the only
    one.
    """
    if source in paintings():
        return paintings()[source].weights, None
    file = _FILE.fullmatch(source)
    return (file[1], file[2]) if file else (source, None)
