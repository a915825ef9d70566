"""Gallery: styles by name, which are bundled pictures and trained looks.

A trained look is written as the name of a bundled one (``starry-night``), as a weights file that
`impasto train fast` wrote (``mine.safetensors``), or as one style of a file that holds several
(``mine.safetensors#wave``). A painting whose picture is bundled (``chrysanthemums``) is a style as
any other picture is.
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
    """A style that a network was trained for; there is no picture of it."""

    source: str
    """The style as the user wrote it."""
    weights: str
    """Name or file of the network's weights."""
    look: str | None = None
    """The style's name in the network; None if the network has only one."""
    recolouring: Recolouring | None = None
    """How the painting is recoloured to keep the photo's colours; None to leave it."""


@dataclass(frozen=True)
class Painting:
    """A bundled painting: a picture of it, or a network that was trained for it."""

    name: str
    """The name that it is called by as a style."""
    title: str
    """Title of the painting."""
    artist: str
    """Name of the painter."""
    year: int
    """Year in which it was painted."""
    licence: str
    """Licence of the painting."""

    @property
    def weights(self) -> str:
        """Name of the weights of its network, if it has one."""
        return f"fast.{self.name}"

    @property
    def picture(self) -> Path | None:
        """File of its picture; None if there is a network instead."""
        path = _DATA / "paintings" / f"{self.name}.jpg"
        return path if path.exists() else None


@cache
def paintings() -> dict[str, Painting]:
    """Returns the bundled paintings by name."""
    text = (_DATA / "gallery.yaml").read_text(encoding="utf-8")
    return {name: Painting(name=name, **fields) for name, fields in yaml.safe_load(text).items()}


def trained() -> list[str]:
    """Returns the names of the bundled paintings that a network was trained for."""
    return [name for name, painting in paintings().items() if painting.picture is None]


def resolve(source: ImageLike) -> ImageLike | TrainedLook:
    """Finds out whether a style is a picture or a trained look.

    Args:
        source: a picture, the name of a bundled painting, or a weights file, with ``#NAME`` if it
            holds several styles.

    Returns:
        A trained look; or the picture, which is not read yet.

    Raises:
        ControlError: the source is a word that is neither a file nor a bundled painting.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    name = os.fspath(source)
    if name.endswith(LOOK_SUFFIX):
        raise ControlError(f"{name}: is a whole look: use Look.load({name!r}).fit(photo)()")
    file = _FILE.fullmatch(name)
    if file:
        return TrainedLook(name, file[1], file[2])
    if Path(name).is_dir():
        raise ControlError(f"style '{name}': is a folder; name a picture in it")
    if Path(name).is_file():
        return source
    painting = paintings().get(name)
    if painting is not None:
        return painting.picture or TrainedLook(name, painting.weights)
    if not Path(name).suffix and len(Path(name).parts) == 1:
        near = get_close_matches(name, paintings(), n=3)
        hint = f"did you mean {', '.join(near)}" if near else "`impasto styles` lists them"
        raise ControlError(f"style '{name}': no such file, and no style of this name; {hint}")
    return source
