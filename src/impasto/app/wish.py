"""What a visitor asks for, how it is painted, and how to ask for it without the app."""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from impasto import gallery, images
from impasto.app import max_pixels
from impasto.controls import Style
from impasto.encoding import EncodedStyle
from impasto.errors import TooLargeError
from impasto.images import Picture
from impasto.look import Look, render_size
from impasto.methods import OnStep
from impasto.naming import distinct
from impasto.recipes import Recipe
from impasto.stylizer import Stylizer
from impasto.textures import fit_texture

UNPACKING = threading.RLock()
"""Outside of jobs, pictures are unpacked and packed one at a time, for that takes memory."""
_LONGEST_TITLE = 80
_STYLE_PIXELS = 16e6
"""Of paintings: more would not be seen, and six of them take memory."""
_MASK_SIDE = 512
"""Of the masks that the brush makes."""
SHOWN_SIDE = 1600
"""Longer side, in pixels, of pictures as the page shows them."""


@dataclass(frozen=True)
class Upload:
    """A picture file that a visitor uploaded."""

    name: str
    data: bytes = field(repr=False)

    def read(self) -> Picture:
        """The picture.

        Raises:
            ImageError, TooLargeError: one sentence.
        """
        return images.decode(self.data, self.name, most=max_pixels())


@dataclass(frozen=True)
class Chosen:
    """A style that a visitor chose."""

    source: str | Upload
    """The name of a painting that comes with the package, or a picture."""
    weight: float = 1.0
    mask: Image.Image | None = None
    """Where it goes: white = here; of any size."""

    @property
    def name(self) -> str:
        """As recipes and command lines call it."""
        return self.source if isinstance(self.source, str) else self.source.name

    @property
    def title(self) -> str:
        """As people call it."""
        known = gallery.paintings().get(self.name) if isinstance(self.source, str) else None
        return known.title if known else self.name

    @property
    def trained(self) -> bool:
        """Whether it is a network, and there is no picture."""
        return self.source in gallery.trained()

    def style(self, size: tuple[int, int] | None = None) -> Style:
        """The style as the library takes it.

        Args:
            size: height and width of the photo, which the mask is scaled to.
        """
        source: str | Picture
        if isinstance(self.source, str):
            source = self.source
        else:
            source = self.source.read()
            height, width = source.size
            shrink = min((_STYLE_PIXELS / (height * width)) ** 0.5, 1)
            source = source.resized(round(height * shrink), round(width * shrink))
        mask = None if self.mask is None or size is None else self.mask.resize(size[::-1])
        return Style(source, self.weight, mask)


@dataclass(frozen=True)
class Wish:
    """Everything that decides how a picture is painted."""

    photo: Upload | None
    """None for a texture."""
    styles: tuple[Chosen, ...]
    options: Mapping[str, Any]
    """What `impasto.stylize` or `impasto.texture` are given, where it differs from the default."""
    snapshot_every: int = 0

    @property
    def masks(self) -> dict[str, Image.Image]:
        """Masks by the names of their files."""
        numbered = enumerate(self.styles, 1)
        return {f"mask-{n}.png": style.mask for n, style in numbered if style.mask is not None}

    def zip_masks(self) -> bytes:
        """The masks at the photo's size, for the command line."""
        assert self.photo is not None
        with UNPACKING:
            height, width = self.photo.read().size
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, mask in self.masks.items():
                with archive.open(name, "w") as entry:
                    mask.resize((width, height)).save(entry, "PNG")
        return file.getvalue()

    @property
    def title(self) -> str:
        """Of the picture's file, without extension."""
        names = ["texture"] if self.photo is None else [self.photo.name]
        names += [style.name for style in self.styles]
        return "-".join(Path(name).stem for name in names)[:_LONGEST_TITLE].lstrip("-")

    @property
    def recipe_styles(self) -> list[dict[str, Any]]:
        """The styles as recipes tell of them. Two files of one name are told apart."""
        masks = iter(self.masks)
        photos = [] if self.photo is None else [self.photo.name]
        names = list(distinct([*photos, *(style.name for style in self.styles)]))
        told = []
        for name, style in zip(names[len(photos) :], self.styles, strict=True):
            mask = None if style.mask is None else next(masks)
            told.append({"source": name, "weight": style.weight, "mask": mask})
        return told


@dataclass(frozen=True)
class Painted:
    """A painted picture, with its wish, recipe and notes."""

    wish: Wish
    image: Image.Image
    recipe: dict[str, Any]
    notes: tuple[str, ...] = ()

    def encode(self, extension: str) -> bytes:
        """The file, with its recipe inside."""
        with UNPACKING:
            return images.encode(Path(f"picture{extension}"), images.read(self.image), self.recipe)


def paint(
    wish: Wish,
    stylizer: Stylizer,
    on_step: OnStep,
    styles: Sequence[EncodedStyle] | None = None,
) -> Painted:
    """Paints a photo.

    Args:
        wish: what to paint.
        stylizer: made for its method.
        on_step: told of the progress.
        styles: the wish's, if they are encoded already.

    Raises:
        ImpastoError: one sentence.
    """
    assert wish.photo is not None
    photo = wish.photo.read()
    controls = Recipe.of(wish.options).given
    size = render_size(photo.size, controls.get("size"))
    _check_size(*size)
    photo = photo.resized(*size)  # masks are at the photo's size, and many megapixels take memory
    chosen: list[Any] = [style.style(photo.size) for style in wish.styles]
    chosen = list(styles or chosen)
    return _painted(wish, stylizer.fit(photo, chosen, **controls), on_step)


def paint_texture(wish: Wish, on_step: OnStep) -> Painted:
    """Paints a texture.

    Raises:
        ImpastoError: one sentence.
    """
    options = dict(wish.options)
    if "width" in options:
        _check_size(options["height"], options["width"])
    look = fit_texture([style.style() for style in wish.styles], **options)
    return _painted(wish, look, on_step)


def _painted(wish: Wish, look: Look, on_step: OnStep) -> Painted:
    image = images.to_pil(look(on_step=on_step))
    size = {} if wish.photo else {"width": image.width, "height": image.height}
    return Painted(wish, image, {**look.recipe(), **size, "styles": wish.recipe_styles}, look.notes)


def _check_size(height: int, width: int) -> None:
    if height * width > max_pixels():
        raise TooLargeError(
            f"a picture of {width}x{height} is more than the {max_pixels() / 1e6:g} megapixels "
            "allowed here: choose a smaller size"
        )


def as_url(image: Image.Image, side: int = SHOWN_SIDE) -> str:
    """A picture for the page as a data URL, scaled down if a side is longer than ``side``."""
    shown = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    shown.thumbnail((side, side))
    kind = "WEBP" if shown.mode == "RGBA" else "JPEG"
    encoded = io.BytesIO()
    shown.save(encoded, kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encoded.getvalue()).decode()}"


def read_masks(drawn: Mapping[str, str], names: Sequence[str]) -> list[Image.Image | None]:
    """Masks from what was painted with the brush.

    Args:
        drawn: PNGs as data URLs, whose alpha is where the style goes, by the style's id.
        names: ids of the styles. One that was painted nowhere takes what the others leave; if
            nothing was painted, all go everywhere.
    """
    found = {name: mask for name in names if (mask := _alpha(drawn.get(name, "")))}
    if not found:
        return [None] * len(names)
    taken = Image.new("L", next(iter(found.values())).size)
    for mask in found.values():
        taken = ImageChops.add(taken, mask)
    return [found.get(name, ImageChops.invert(taken)) for name in names]


def _alpha(url: str) -> Image.Image | None:
    """What the brush painted; None if that is nothing, or not a mask that our brush makes."""
    try:
        file = io.BytesIO(base64.b64decode(url.partition(",")[2]))
        image = Image.open(file, formats=["PNG"])
        return image.getchannel("A") if max(image.size) <= _MASK_SIDE else None
    except (OSError, SyntaxError, ValueError):
        return None


def command(wish: Wish) -> str:
    """What makes the same picture on the command line."""
    options = dict(wish.options)
    if wish.snapshot_every:
        options["snapshot_every"] = wish.snapshot_every
    return Recipe.of(options).command(*_named(wish))


def python(wish: Wish) -> str:
    """What makes the same picture in Python."""
    return Recipe.of(wish.options).python(*_named(wish))


def _named(wish: Wish) -> tuple[str | None, list[dict[str, Any]], str]:
    """Files of photo and styles, and of the picture."""
    photo = None if wish.photo is None else wish.photo.name
    return photo, wish.recipe_styles, f"{wish.title}.png"
