"""Paints the sample pictures of README and of the docs.

``python tools/make_samples.py`` paints all of them; names of files paint those alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import impasto
from impasto import Style
from impasto.images import to_pil
from impasto.stylizer import paint_sheet

ROOT = Path(__file__).parent.parent
EXAMPLES, IMAGES = ROOT / "examples", ROOT / "docs" / "images"
QUALITY = 80
SIZE = 960
"""Longer side that pictures are painted at before they are scaled down to be shown."""


def painted(photo: str, style: Any, size: int = SIZE, **options: Any) -> Image.Image:
    """One of the example photos, painted."""
    return impasto.stylize(str(EXAMPLES / f"{photo}.jpg"), style, size=size, **options)


def example(name: str) -> Image.Image:
    """An example picture as it is."""
    return Image.open(EXAMPLES / f"{name}.jpg").convert("RGB")


def scaled(picture: Image.Image, height: int) -> Image.Image:
    """A picture of that height."""
    width = round(picture.width * height / picture.height)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def rows(*pictures: list[Image.Image], height: int, gap: int = 6) -> Image.Image:
    """Pictures in rows, all of the same height."""
    lines = [[scaled(picture, height) for picture in row] for row in pictures]
    widths = [sum(one.width for one in line) + gap * (len(line) - 1) for line in lines]
    sheet = Image.new("RGB", (max(widths), len(lines) * (height + gap) - gap), "white")
    for number, line in enumerate(lines):
        left = 0
        for picture in line:
            sheet.paste(picture, (left, number * (height + gap)))
            left += picture.width + gap
    return sheet


def samples() -> Image.Image:
    """Each example photo, and what three paintings make of it."""
    wanted = {
        "chelsea": ("starry-night", "chrysanthemums", "udnie"),
        "coffee": ("wheat-field", "belle-ile", "woman-with-a-hat"),
    }
    lines = [
        [example(photo), *(painted(photo, style) for style in styles)]
        for photo, styles in wanted.items()
    ]
    return rows(*lines, height=220)


def masked() -> Image.Image:
    """Two styles, one on either side, with a soft change between them."""
    width, height = example("coffee").size
    across = np.linspace(-0.5, 1.5, width).clip(0, 1) * 255
    mask = Image.fromarray(across.astype(np.uint8)[None].repeat(height, 0))
    other = Image.fromarray((255 - across).astype(np.uint8)[None].repeat(height, 0))
    styles = [Style("starry-night", mask=other), Style("composition-vii", mask=mask)]
    return scaled(painted("coffee", styles), 400)


def networks() -> Image.Image:
    """The same photos by each of the networks for any style."""
    pairs = [("chelsea", "chrysanthemums"), ("coffee", "belle-ile"), ("astronaut", "arlesiennes")]
    methods = ("adain.small", "adain.base", "styletr")
    lines = [[painted(*pair, method=method) for pair in pairs] for method in methods]
    return rows(*lines, height=240)


def failures() -> Image.Image:
    """What goes wrong: small faces, pale skies, halos."""
    chosen = [
        ("astronaut", "great-wave"),
        ("astronaut", "etretat"),
        ("chelsea", "shipwreck"),
    ]
    return rows([painted(*pair) for pair in chosen], height=300)


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "samples.jpg": samples,
    "chelsea-chrysanthemums.jpg": lambda: scaled(painted("chelsea", "chrysanthemums"), 300),
    "chelsea-refined.jpg": lambda: painted("chelsea", "chrysanthemums", 451, refine=30),
    "coffee-luminance.jpg": lambda: scaled(
        painted("coffee", "chrysanthemums", preserve_color="luminance"), 400
    ),
    "coffee-masks.jpg": masked,
    "networks.jpg": networks,
    "failures.jpg": failures,
    "gallery.jpg": lambda: to_pil(paint_sheet(str(EXAMPLES / "chelsea.jpg"))),
}


def main(names: list[str]) -> None:
    """Paints the pictures of these names, or all."""
    for name in names or PICTURES:
        PICTURES[name]().save(IMAGES / name, quality=QUALITY, optimize=True)
        print(name, (IMAGES / name).stat().st_size // 1024, "kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
