"""Photos to begin with, and what they look like when they are painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import resources
from pathlib import Path

from PIL import Image, ImageDraw

from impasto.app.job_queue import Tile, Tiles
from impasto.app.request import Upload, stylizer
from impasto.app.server import picture_url

TOKEN = "examples"
"""What the addresses of the examples have in place of a session's token."""
_SIDE = 480
_UNCOVERED = 0.38
"""How much of a painted example shows the photo."""


@dataclass(frozen=True)
class Example:
    """A photo that a style suits."""

    photo: str
    """Name of its file."""
    style: str
    title: str

    @cached_property
    def upload(self) -> Upload:
        """The photo."""
        data = resources.files("impasto") / "data" / "photos" / self.photo
        return Upload(self.photo, data.read_bytes())

    @property
    def url(self) -> str:
        """Address of the painted example."""
        return picture_url(TOKEN, self.style)


EXAMPLES = {
    one.style: one
    for one in (
        Example("chelsea.jpg", "starry-night", "Chelsea the cat, as The Starry Night"),
        Example("coffee.jpg", "great-wave", "Coffee, as The Great Wave off Kanagawa"),
        Example("astronaut.jpg", "udnie", "Eileen Collins, as Udnie"),
        Example("chelsea.jpg", "composition-vii", "Chelsea the cat, as Composition VII"),
    )
}
"""The examples by their style."""


_tiles = Tiles(len(EXAMPLES), len(EXAMPLES))


class Examples:
    """The painted examples, as the server asks for them."""

    def tile(self, name: str) -> Callable[[], Tile] | None:
        """Returns what asks for an example by its style, half photo and half painting; None if
        there is none.
        """
        return partial(_ask, EXAMPLES[name]) if name in EXAMPLES else None

    def picture(self, name: str) -> Image.Image | None:  # noqa: ARG002
        """There are no others."""
        return None

    def film(self, name: str) -> Path | None:  # noqa: ARG002
        """There are none."""
        return None


def _ask(example: Example) -> Tile:
    before = example.upload.shown
    side = min(before.size)
    left, top = (before.width - side) // 2, (before.height - side) // 2
    before = before.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))
    return _tiles.get(example.style, lambda: _paint(before, example.style))


def _paint(before: Image.Image, style: str) -> Image.Image:
    image = stylizer("auto").stylize(before, style)
    edge = round(_UNCOVERED * _SIDE)
    image.paste(before.crop((0, 0, edge, _SIDE)), (0, 0))
    ImageDraw.Draw(image).line((edge, 0, edge, _SIDE), "white", 3)
    return image
