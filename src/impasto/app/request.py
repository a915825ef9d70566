"""What a visitor asks for, how it is painted, and how to ask for it without the app."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from impasto import gallery, images
from impasto.app import job_queue, max_pixels
from impasto.app.job_queue import Job
from impasto.app.server import SMALL_SIDE
from impasto.controls import Style
from impasto.encoding import EncodedStyle, resolve
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
SHOWN_SIDE = 1600
"""Longer side, in pixels, of pictures as the page shows them."""
_QUICK = "adain.small"
"""Method that paints pictures of all styles at a glance."""
COLOURS = {
    "off": "Painting's",
    "luminance": "Photo's",
    "coral": "Photo's palette",
    "histogram": "Exact palette",
}
"""Ways to preserve colours, in words for everybody."""
_LONGEST_TITLE = 60
"""In characters: of up to four bytes, of which file names have 255."""
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\:<>\"|?*]+")
"""What names of files must not have on some system."""
_STYLE_PIXELS = 16e6
"""Of paintings: more would not be seen, and six of them take memory."""
OPTIMISED_PIXELS = 1.5e6
"""The optimiser takes some 3 kB for each pixel: so that it leaves half of 16 GB to the others."""
_MASK_SIDE = 512
"""Longer side, in pixels, of the masks that the brush makes."""


@dataclass(frozen=True)
class Upload:
    """A picture file that a visitor uploaded."""

    name: str
    data: bytes = field(repr=False)

    @cached_property
    def id(self) -> str:
        """Name among a visitor's uploads."""
        return hashlib.sha256(self.name.encode() + self.data).hexdigest()[:24]

    def read(self) -> Picture:
        """Reads the picture.

        Raises:
            ImageError, TooLargeError: one sentence.
        """
        return images.decode(self.data, self.name, most=max_pixels())

    @cached_property
    def shown(self) -> Image.Image:
        """The picture as the page shows it, at most `SHOWN_SIDE` pixels on its longer side.

        Raises:
            ImageError, TooLargeError: one sentence.
        """
        image, _ = self._opened
        return image

    def open(self) -> None:
        """Finds out whether the picture can be read.

        Raises:
            ImageError, TooLargeError: one sentence.
        """
        _ = self._opened

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        _, size = self._opened
        return size

    @property
    def memory(self) -> int:
        """Bytes of memory that it takes, with the picture that the page shows if it is unpacked."""
        shown = self.shown if "_opened" in vars(self) else None
        return len(self.data) + (3 * shown.width * shown.height if shown else 0)

    @cached_property
    def _opened(self) -> tuple[Image.Image, tuple[int, int]]:
        with UNPACKING:
            image = images.to_pil(self.read())
            size = image.size
            image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BOX, reducing_gap=2)
            return image, size


@dataclass(frozen=True)
class StyleChoice:
    """A style that a visitor chose."""

    source: str | Upload
    """Name of a bundled style, or a picture."""
    weight: float = 1.0
    """Weight among the styles that are chosen, 0 or more; only the ratio to the others matters."""
    mask: Image.Image | None = None
    """Where it goes: white = here; of any size."""

    @property
    def id(self) -> str:
        """Name among the styles to choose from."""
        return self.source if isinstance(self.source, str) else self.source.id

    @property
    def name(self) -> str:
        """Name as recipes and command lines have it."""
        return self.source if isinstance(self.source, str) else self.source.name

    @property
    def title(self) -> str:
        """Name as people say it."""
        known = gallery.paintings().get(self.name) if isinstance(self.source, str) else None
        return known.title if known else self.name

    @property
    def trained(self) -> bool:
        """Whether it is a trained look, of which there is no picture."""
        return self.source in gallery.trained()

    def style(self, size: tuple[int, int] | None = None) -> Style:
        """Returns the style as the library takes it.

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
class Request:
    """Everything that decides how a picture is painted."""

    photo: Upload | None
    """None for a texture."""
    styles: tuple[StyleChoice, ...]
    options: Mapping[str, Any]
    """What `impasto.stylize` or `impasto.texture` are given, where it differs from the default."""
    snapshot_every: int = 0
    """Keep the picture of every so many steps; 0 for none."""

    @property
    def uploads(self) -> list[Upload]:
        """What the visitor uploaded for it."""
        given = (self.photo, *(style.source for style in self.styles))
        return [one for one in given if isinstance(one, Upload)]

    @property
    def masks(self) -> dict[str, Image.Image]:
        """Masks by the names of their files."""
        numbered = enumerate(self.styles, 1)
        return {f"mask-{n}.png": style.mask for n, style in numbered if style.mask is not None}

    def zip_masks(self) -> bytes:
        """Returns the masks at the size of the photo in a zip, for the command line."""
        assert self.photo is not None
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, mask in self.masks.items():
                with archive.open(name, "w") as entry:
                    mask.resize(self.photo.size).save(entry, "PNG")
        return file.getvalue()

    @property
    def title(self) -> str:
        """Names of photo and styles, which the picture's file is called by."""
        names = ["texture"] if self.photo is None else [self.photo.name]
        names += [style.name for style in self.styles]
        return "-".join(Path(name).stem for name in names)

    @property
    def recipe_styles(self) -> list[dict[str, Any]]:
        """The styles as recipes tell of them; two files of one name are told apart."""
        masks = iter(self.masks)
        photos = [] if self.photo is None else [self.photo.name]
        names = list(distinct([*photos, *(style.name for style in self.styles)]))
        told = []
        for name, style in zip(names[len(photos) :], self.styles, strict=True):
            mask = None if style.mask is None else next(masks)
            told.append({"source": name, "weight": style.weight, "mask": mask})
        return told

    def painted_size(self) -> tuple[int, int]:
        """Returns width and height of the picture that this request makes of its photo."""
        assert self.photo is not None
        height, width = render_size(self.photo.size[::-1], self.options.get("size"))
        return width, height

    def texture_size(self) -> tuple[int, int]:
        """Returns width and height of the texture that this request makes."""
        if "width" in self.options:
            return self.options["width"], self.options["height"]
        picture = resolve(self.styles[0].style())
        assert isinstance(picture, Picture)
        height, width = picture.size
        return width, height


@dataclass(eq=False)
class Result:
    """A painted picture of a visitor's history, with all that it takes to paint it again."""

    request: Request
    image: Image.Image
    recipe: dict[str, Any]
    """What stands in the picture's file."""
    id: str = ""
    """Name among the pictures of its session."""
    notes: tuple[str, ...] = ()
    """Sentences about the photo or the styles, for instance that a colour profile was damaged."""
    drawn: Mapping[str, str] = field(default_factory=dict)
    """The masks as the brush drew them: PNGs as data URLs, by the style's id."""
    losses: Sequence[Mapping[str, float]] = ()
    """The optimiser's losses, a row for each step."""
    snapshots: Mapping[int, Image.Image] = field(default_factory=dict)
    """Pictures of the way there, by step."""
    steps: int = 0
    """How many steps there would have been, if it was stopped before its end; else 0."""
    title: str = ""
    """Name that the visitor gave it."""
    kept: bool = False
    """Whether it stays in the history until the visitor deletes it."""

    @property
    def name(self) -> str:
        """The picture in a few words: what the visitor called it, or what it was painted with."""
        if self.title:
            return self.title
        styles, options = self.request.styles, self.request.options
        alone = len(styles) == 1
        told = [style.title if alone else f"{style.title} {style.weight:g}" for style in styles]
        told += ["masks"] if self.request.masks else []
        told += [_told(setting, value) for setting, value in options.items() if setting != "size"]
        return ", ".join([*told, *([f"stopped at {self.stop_after}"] if self.steps else [])])

    @property
    def file(self) -> str:
        """Name of its file, without extension; two pictures of one photo and style differ."""
        title = file_stem(self.title or self.request.title) or "picture"
        return f"{title}{f'-{self.id}' if self.id else ''}"

    @property
    def stop_after(self) -> int | None:
        """The step that it was stopped after, if it was stopped."""
        return self.recipe.get("stop_after")

    @property
    def options(self) -> dict[str, Any]:
        """What makes this very picture, as keyword arguments of the library."""
        stop = {} if self.stop_after is None else {"stop_after": self.stop_after}
        return {**self.request.options, **stop}

    @property
    def memory(self) -> int:
        """Bytes of memory that its pictures take."""
        pictures = [self.image, *self.snapshots.values()]
        drawn = sum(map(len, self.drawn.values()))
        return drawn + sum(3 * image.width * image.height for image in pictures)

    def picture(self, form: str) -> Image.Image | None:
        """Returns the picture in a form of `sized`; or a snapshot, ``step-50``."""
        steps = {f"step-{step}": image for step, image in self.snapshots.items()}
        return steps.get(form) if form.startswith("step-") else sized(self.image, form)

    def encode(self, extension: str) -> bytes:
        """Returns the picture's file, with its recipe inside."""
        with UNPACKING:
            return images.encode(Path(f"picture{extension}"), images.read(self.image), self.recipe)

    def command(self) -> str:
        """Returns the command line that makes this picture."""
        options = dict(self.options)
        if self.request.snapshot_every:
            options["snapshot_every"] = self.request.snapshot_every
        return Recipe.of(options).command(*self._files())

    def python(self) -> str:
        """Returns the Python code that makes this picture."""
        return Recipe.of(self.options).python(*self._files())

    def _files(self) -> tuple[str | None, list[dict[str, Any]], str]:
        """Files of photo, styles and picture."""
        photo = None if self.request.photo is None else self.request.photo.name
        return photo, self.request.recipe_styles, f"{self.file}.png"


def file_stem(title: str) -> str:
    """A title as the name of a file on any system, without extension; may be empty."""
    return _UNFIT.sub("-", title).lstrip("-.")[:_LONGEST_TITLE]


def _told(setting: str, value: object) -> str:
    """A setting in the name of a picture."""
    if setting == "preserve_color":
        return f"colours: {COLOURS[str(value)].lower()}"
    return f"{setting.replace('_', ' ')} {value}"


@lru_cache(maxsize=4)
def stylizer(method: str, **settings: Any) -> Stylizer:
    """Returns a method, which is loaded once for all visitors."""
    return Stylizer(method, **settings)


def warm_up() -> None:
    """Loads the networks that most visitors will use, before the first one comes."""

    def work(_: Job) -> None:
        grey = Image.new("RGB", (64, 64), "grey")
        for method in ("auto", _QUICK):
            stylizer(method).stylize(grey, grey)
        # Streamlit collects garbage after every run of a page. What is loaded by now is none, and
        # to look through it each time would take longer than all the rest of the run.
        gc.freeze()

    job_queue.queue().submit(Job(work, quick=True))


@lru_cache(maxsize=64)
def _encoded(method: str, name: str) -> list[EncodedStyle]:
    """A bundled style, read and measured once."""
    return stylizer(method).encode(name)


def sized(image: Image.Image, form: str) -> Image.Image:
    """Returns a picture as the page shows it.

    Args:
        image: the picture.
        form: ``full`` for all its pixels, ``small`` for a thumbnail, empty for what fits a screen.
    """
    side = {"full": None, "small": SMALL_SIDE}.get(form, SHOWN_SIDE)
    if side is None or max(image.size) <= side:
        return image
    smaller = image.copy()
    smaller.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    return smaller


def paint_small(photo: Image.Image, source: str | Upload) -> Image.Image:
    """Paints a small photo in a style by the quickest network, to give an idea of it.

    Args:
        photo: the photo, of a few hundred pixels.
        source: name of a bundled style, or a picture.

    Raises:
        ImpastoError: one sentence.
    """
    choice = StyleChoice(source)
    method = "auto" if choice.trained else _QUICK
    if isinstance(source, Upload):
        styles = stylizer(method).encode(choice.style())
    else:
        styles = _encoded(method, source)
    return stylizer(method).stylize(photo, styles)


def paint(
    request: Request,
    stylizer: Stylizer,
    on_step: OnStep,
    styles: Sequence[EncodedStyle] | None = None,
) -> Result:
    """Paints a photo.

    Args:
        request: what to paint.
        stylizer: made for its method.
        on_step: told of the progress; it may raise `impasto.Stop`, which ends the painting with the
            picture so far.
        styles: those of the request, if they are encoded already.

    Raises:
        ImpastoError: one sentence.
    """
    assert request.photo is not None
    controls = Recipe.of(request.options).given
    photo = request.photo.read()
    size = render_size(photo.size, controls.get("size"))
    _check_size(*size)
    photo = photo.resized(*size)  # masks are at the photo's size, and many megapixels take memory
    chosen: list[Any] = [choice.style(photo.size) for choice in request.styles]
    return _result(request, stylizer.fit(photo, list(styles or chosen), **controls), on_step)


def paint_texture(request: Request, on_step: OnStep) -> Result:
    """Paints a texture.

    Args:
        request: what to paint.
        on_step: told of the progress; it may raise `impasto.Stop`, which ends the painting with the
            picture so far.

    Raises:
        ImpastoError: one sentence.
    """
    options = dict(request.options)
    if "width" in options:
        _check_size(options["height"], options["width"])
    look = fit_texture([choice.style() for choice in request.styles], **options)
    return _result(request, look, on_step)


def _result(request: Request, look: Look, on_step: OnStep) -> Result:
    image = images.to_pil(look(on_step=on_step))
    size = {} if request.photo else {"width": image.width, "height": image.height}
    recipe = {**look.recipe(), **size, "styles": request.recipe_styles}
    return Result(request, image, recipe, notes=look.notes)


def _check_size(height: int, width: int) -> None:
    if height * width > max_pixels():
        raise TooLargeError(
            f"a picture of {width}x{height} is more than the {max_pixels() / 1e6:g} megapixels "
            "allowed here: choose a smaller size"
        )


def read_masks(drawn: Mapping[str, str], names: Sequence[str]) -> list[Image.Image | None]:
    """Returns masks from what was painted with the brush.

    Args:
        drawn: PNGs as data URLs, whose alpha is where the style goes, by the style's id.
        names: ids of the styles. One that was painted nowhere takes what the others leave; if
            nothing was painted, all go everywhere.
    """
    given = {name: _alpha(drawn[name]) for name in names if name in drawn}
    found = {name: mask for name, mask in given.items() if mask is not None}
    if not found:
        return [None for _ in names]
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
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
