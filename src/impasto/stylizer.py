"""The public face: `Stylizer`, the `Look` it fits, and `stylize` and `texture` for single use."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import torch
from torch import Tensor

from impasto import color, gallery, images
from impasto.coarse_to_fine import CoarseToFine, levels
from impasto.errors import ControlError, TooLargeError
from impasto.images import ImageLike, Picture
from impasto.methods import (
    Method,
    OnStep,
    Progress,
    TrainedStyle,
    Transfer,
    choose_method,
    load_method,
    settings_of,
)
from impasto.methods.gatys import Gatys, GatysConfig, GatysTransfer
from impasto.style import (
    MIN_SIDE,
    MIN_TILE,
    ColorMode,
    Controls,
    Style,
    replace_known,
    scale_weights,
    undiluted,
    unmasked,
    weight_maps,
)
from impasto.tiling import by_strips

Styles: TypeAlias = "Style | ImageLike | Sequence[Style | ImageLike]"

_BYTES_PER_STYLE_PIXEL = 1_000
"""Peak memory of measuring a style: features of the first block, without gradients."""
_BYTES_OF_PICTURES = 90
"""Of photo, result and what is between them, for each pixel, with reading and writing them."""
_WHOLE_BYTES, _TILE_BYTES = 2 * 2**30, 2**30
"""What painting a whole picture, or a tile, may take before smaller tiles are better."""
_FAILED_ALLOCATIONS = ("allocate memory", "enough memory", "out of memory")
"""In what libraries say when it is memory that they lack."""
_ENDLESS = 10**6
"""Steps, where seconds set the end."""


class Stylizer:
    """A method, loaded on a device, ready to paint any number of pictures.

    Args:
        method: one of `impasto.methods.METHODS`; ``method.tag`` for trained weights of that name;
            ``auto`` for the first method that has the settings given; or a `Method` of your own.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        refine: optimise (`impasto.methods.gatys`) what the method painted, for so many steps
            (``50``) or seconds (``30s``).
        **settings: the method's own, for instance those of `impasto.methods.adain.AdainConfig`;
            with ``refine``, also the optimiser's.

    Raises:
        ControlError: unknown method or setting, or no such device.
        WeightsError: weights are missing or damaged.
    """

    def __init__(
        self,
        method: str | Method = "auto",
        *,
        device: str = "auto",
        refine: str | int | None = None,
        **settings: Any,
    ) -> None:
        self.device = find_device(device)
        self.refine, self.refiner = refine, None
        if isinstance(refine, str) and refine.isdecimal():
            self.refine = int(refine)
        self.auto, self.settings = method == "auto", settings
        self.fast: Stylizer | None = None
        optimiser: dict[str, Any] = {}
        if refine is not None:
            optimiser = {k: v for k, v in settings.items() if k in settings_of("gatys")}
            # Large forms are painted already.
            given = {"coarse_to_fine": False, **optimiser, **parse_refine(refine)}
            config = replace_known(GatysConfig, given)
            self.refiner = Gatys(config).to(self.device).eval()
        if isinstance(method, str):
            name, own = choose_method(
                method, {k: v for k, v in settings.items() if k not in optimiser}
            )
            if self.refiner and name == "gatys":
                raise ControlError("refine is for the other methods: gatys has iterations")
            shared = {k: v for k, v in optimiser.items() if k in settings_of(name)}
            method = load_method(name, **own, **shared)
        self.name = type(method).__name__.lower()
        self.method = method.to(self.device).eval()

    @property
    def optimises(self) -> bool:
        """Whether a picture takes many steps, each with its losses."""
        return self.refiner is not None or isinstance(self.method, Gatys)

    def fit(self, content: ImageLike, styles: Styles, **controls: Any) -> Look:
        """Measures content and styles; the `Look` that comes back paints.

        Args:
            content: the photo.
            styles: one or several, as pictures, as names of trained ones (`impasto.gallery`), or as
                `Style`.
            **controls: fields of `Controls`.

        Raises:
            ControlError, ImageError, TooLargeError: one line each, with the fix.
        """
        knobs: Controls = replace_known(Controls, controls)
        asked = _as_styles(styles)
        trained = _all_trained(asked)
        names = tuple(str(style.source) for style in asked) if trained else ()
        if trained and (self.refiner is not None or not self.method.trained):
            return self._for_trained(asked[0]).fit(content, asked, **controls)
        if trained:
            if knobs.style_size is not None:
                raise ControlError("strokes of trained styles have their size: use --size instead")
            self.method.load(names, self.device)
        elif self.method.trained:
            raise ControlError(
                f"{images.name_of(asked[0].source)}: method {self.name} paints trained styles, not "
                "pictures; name one of `impasto styles`, or use another method"
            )
        elif self.method.tiling is None:
            _check_networks_only(knobs)
        photo = images.read(content)
        height, width = render_size(photo, knobs.size)
        sources = [] if trained else [images.read(style.source) for style in asked]
        area = min(height * width, self.method.style_area or height * width)
        sizes = [style_size(source, area, knobs.style_size) for source in sources]
        tile = self._tile(height, width, knobs.tile)
        self._check_memory(height, width, sizes, tile)
        masks = [
            None if style.mask is None else images.read_mask(style.mask, *photo.size)
            for style in asked
        ]
        shares = [style.weight for style in asked]
        weights = weight_maps(*photo.size, shares, masks, knobs.strength)
        with self._memory_guarded(height, width):
            inputs = _Inputs.of(photo, weights, knobs, self.device)
            mode, seen = knobs.preserve_color, list[Any]()
            if trained:
                recolour = color.recolouring(inputs.pixels, mode)
                seen = [TrainedStyle(name, recolour) for name in names]
            for source, size in zip(sources, sizes, strict=True):
                style = source.resized(*size).pixels.to(self.device)
                seen.append(color.prepare_style(style, inputs.pixels, mode))
            refinement = None
            if self.refiner is not None:
                refinement = self.refiner.fit(inputs.prepared, seen, inputs.maps, seed=knobs.seed)
            transfer = self._transfer(inputs, seen, knobs)
        notes = (*photo.notes, *_notes(sources))
        return Look(self, knobs, transfer, refinement, weights, inputs, notes, names)

    def _transfer(self, inputs: _Inputs, styles: Sequence[Any], controls: Controls) -> Transfer:
        """The method's, or, if it can be applied at any size, what applies it coarse to fine."""
        content, weights, method = inputs.prepared, inputs.maps, self.method
        encoded = [method.encode_style(style) for style in styles]
        if method.tiling is None:
            return method.fit(content, encoded, weights, seed=controls.seed)
        return CoarseToFine(
            method,
            encoded,
            [] if method.trained else styles,
            levels(content.shape[-2], content.shape[-1], controls.stroke_size, controls.detail),
            lambda height, width: self._tile(height, width, controls.tile),
            controls.seed,
            content,
        )

    def _for_trained(self, style: Style) -> Stylizer:
        """What paints trained styles in place of this one."""
        if self.refiner is not None or not self.auto:
            whose = "refine" if self.refiner is not None else f"method {self.name}"
            raise ControlError(
                f"'{style.source}' is a trained style, and {whose} needs the picture of one"
            )
        if self.fast is None:
            self.fast = Stylizer("fast", device=str(self.device), **self.settings)
        return self.fast

    def stylize(
        self, content: ImageLike, styles: Styles, *, on_step: OnStep | None = None, **controls: Any
    ) -> Any:
        """Paints ``content`` in the look of ``styles``; see `fit`.

        Returns:
            A picture in the type of ``content``; a PIL image if that is a path.
        """
        photo = images.read(content)
        return images.like(self.fit(photo, styles, **controls)(photo, on_step), content)

    def recipe(self, controls: Controls, trained: Sequence[str] = ()) -> dict[str, Any]:
        """All that decides how a picture comes out, but the pictures that went in; ``trained`` are
        its trained styles.
        """
        from impasto import __version__

        settings = {} if self.method.config is None else asdict(self.method.config)
        return {
            "impasto": __version__,
            "method": self.name,
            "sha256": self.method.weights_used(trained),
            **asdict(controls),
            **settings,
            **({} if self.refiner is None else self._refinement()),
        }

    def _refinement(self) -> dict[str, Any]:
        given = asdict(self.refiner.config) if self.refiner else {}
        spent = ("iterations", "seconds")  # are in `refine`
        return {"refine": self.refine, **{k: given[k] for k in given if k not in spent}}

    def _tile(self, height: int, width: int, asked: str | int) -> int | None:
        """The side of the tiles; None to paint the whole at once."""
        tiling = self.method.tiling
        if tiling is None:
            return None
        if asked != "auto":
            return None if int(asked) >= max(height, width) else int(asked)
        free = self._free_memory()
        per_pixel = self.method.bytes_per_pixel()
        if height * width * per_pixel <= min(_WHOLE_BYTES, free / 2):
            return None
        side = math.sqrt(min(_TILE_BYTES, free / 4) / per_pixel) - 2 * tiling.halo
        return max(int(side), MIN_TILE)

    def _free_memory(self) -> float:
        """Bytes; infinite where nobody can tell."""
        if self.device.type == "cpu":
            return min(float(psutil.virtual_memory().available), _free_in_container())
        if self.device.type == "cuda":
            return float(torch.cuda.mem_get_info(self.device)[0])
        return math.inf

    def _check_memory(
        self, height: int, width: int, styles: Sequence[tuple[int, int]], tile: int | None
    ) -> None:
        """Refuses what cannot fit, before it drives the machine into swapping."""
        free = self._free_memory()
        painter = self.refiner or self.method
        at_once = height * width
        if tile is not None and self.refiner is None and self.method.tiling is not None:
            tiled = max((tile + 2 * self.method.tiling.halo) ** 2, images.MEASURED_AREA)
            at_once = min(at_once, tiled)
        needed = painter.bytes_per_pixel() * at_once + _BYTES_OF_PICTURES * height * width
        if needed > free:
            raise _too_large(height, width, needed, math.sqrt(free / needed))
        for high, wide in styles:
            if high * wide * _BYTES_PER_STYLE_PIXEL > free:
                raise TooLargeError(
                    f"a style picture of {wide}x{high} does not fit into memory; "
                    "give a smaller --style-size"
                )

    @contextmanager
    def _memory_guarded(self, height: int, width: int) -> Iterator[None]:
        """Turns failures to allocate into `TooLargeError`."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            out = isinstance(error, (MemoryError, torch.OutOfMemoryError))
            if not out and not any(text in str(error) for text in _FAILED_ALLOCATIONS):
                raise
            needed = self.method.bytes_per_pixel() * height * width
            raise _too_large(height, width, needed, math.sqrt(0.5)) from error


@dataclass(frozen=True)
class _Inputs:
    """A photo as a method is given it."""

    photo: Picture
    small: Picture
    """At the size to be painted."""
    pixels: Tensor
    """Of that, (1, 3, H, W), where it is painted."""
    prepared: Tensor
    """The same, in the colours to be painted."""
    maps: Tensor
    """Weights (1 + K, H, W) for it."""

    @classmethod
    def of(
        cls, photo: Picture, weights: Tensor, controls: Controls, device: torch.device
    ) -> _Inputs:
        """Of a photo, and of weights at its own size."""
        small = photo.resized(*render_size(photo, controls.size))
        pixels = small.pixels.to(device)
        prepared = _prepared(pixels, controls.preserve_color)
        return cls(photo, small, pixels, prepared, scale_weights(weights, *small.size, device))


@dataclass(frozen=True)
class Look:
    """A fitted look: call it on the photo, or on another of the same size (the next frame)."""

    stylizer: Stylizer
    controls: Controls
    transfer: Transfer
    refinement: GatysTransfer | None
    weights: Tensor
    """(1 + K, H, W) at the photo's own size; see `impasto.style.weight_maps`."""
    fitted: _Inputs
    """The photo that it was fitted to."""
    notes: tuple[str, ...]
    """What the user should know about how the pictures were read."""
    trained: tuple[str, ...] = ()
    """Its trained styles."""

    def __call__(self, content: ImageLike, on_step: OnStep | None = None) -> Any:
        """Paints.

        Args:
            content: the photo.
            on_step: told of the progress; may raise `impasto.errors.Stop`.

        Returns:
            A picture in the type of ``content``; a PIL image if that is a path. The photo's alpha
            is kept.
        """
        photo = images.read(content)
        if photo.size != tuple(self.weights.shape[-2:]):
            raise ControlError(
                f"{images.name_of(content)}: this look was fitted to pictures of "
                f"{self.weights.shape[-1]}x{self.weights.shape[-2]}; fit it anew"
            )
        size, mode = render_size(photo, self.controls.size), self.controls.preserve_color
        with self.stylizer._memory_guarded(*size):
            given = self.fitted
            if photo is not given.photo:
                given = _Inputs.of(photo, self.weights, self.controls, self.stylizer.device)
            pixels = given.pixels

            def finished(image: Tensor) -> Tensor:
                if mode != "luminance":
                    return image
                return by_strips(lambda part, photo: color.finish(part, photo, mode), image, pixels)

            told = on_step and _finishing(on_step, finished)
            result = finished(self._painted(given.prepared, given.maps, told)).cpu()
        return images.like(replace(given.small, pixels=result), content)

    def _painted(self, content: Tensor, weights: Tensor, on_step: OnStep | None) -> Tensor:
        """Painted, and refined if asked."""
        if self.refinement is None:
            return self.transfer(content, weights, on_step)
        # Masks' soft edges are mixed in by the refinement, and only there.
        keep = 1 - self.controls.strength
        whole = weights if unmasked(weights) else undiluted(weights, keep)
        return self.refinement(content, weights, on_step, start=self.transfer(content, whole))

    def recipe(self) -> dict[str, Any]:
        """What made the picture; written into it, and read back by ``--recipe``."""
        return self.stylizer.recipe(self.controls, self.trained)


def stylize(
    content: ImageLike,
    styles: Styles,
    *,
    method: str = "auto",
    device: str = "auto",
    on_step: OnStep | None = None,
    **options: Any,
) -> Any:
    """Paints ``content`` in the look of ``styles``: a `Stylizer` used once.

    Args:
        content: the photo: path, PIL image, array or tensor.
        styles: one or several, as pictures, as names of trained ones (`impasto.gallery`), or as
            `Style` (with weight and mask).
        method, device: see `Stylizer`.
        on_step: called after each step with a `Progress`.
        **options: fields of `Controls` and settings of the method.

    Returns:
        A picture in the type of ``content``; a PIL image if that is a path.
    """
    controls, settings = split_options(options)
    stylizer = Stylizer(method, device=device, **settings)
    return stylizer.stylize(content, styles, on_step=on_step, **controls)


def texture(
    styles: Styles,
    *,
    width: int | None = None,
    height: int | None = None,
    device: str = "auto",
    on_step: OnStep | None = None,
    **options: Any,
) -> Any:
    """Synthesises a texture: the style's statistics alone, from noise (Gatys et al. 2015).

    Args:
        styles: one or several; without ``style_size``, at the first one's own scale.
        width, height: of the result; without them, the first style's.
        device: see `Stylizer`.
        on_step: called after each step with a `Progress`.
        **options: as of `stylize`; without ``method``, it is ``gatys``. The others paint noise.

    Returns:
        A PIL image.
    """
    look, blank = fit_texture(styles, width=width, height=height, device=device, **options)
    return images.to_pil(look(blank, on_step))


def paint_sheet(content: ImageLike, *, device: str = "auto", side: int = 384) -> Picture:
    """A photo in each of the trained styles that come along (`impasto.gallery.paintings`).

    Args:
        content: the photo; it stands first.
        device: see `Stylizer`.
        side: longer side of each picture on the sheet, in pixels.
    """
    photo, stylizer = images.read(content), Stylizer("fast", device=device)
    photo = photo.resized(*render_size(photo, min(side, max(photo.size))))
    painted = {name: stylizer.stylize(photo, name) for name in gallery.trained()}
    return images.sheet({"photo": photo, **painted})


def fit_texture(
    styles: Styles,
    *,
    width: int | None = None,
    height: int | None = None,
    device: str = "auto",
    **options: Any,
) -> tuple[Look, Picture]:
    """The look that paints a texture, and the blank picture to call it on; see `texture`."""
    asked = _as_styles(styles)
    if _all_trained(asked):
        raise ControlError(f"'{asked[0].source}' is a trained style: a texture needs a picture")
    first = images.read(asked[0].source)
    asked[0] = replace(asked[0], source=first)
    height = first.size[0] if height is None else height
    width = first.size[1] if width is None else width
    if min(height, width) < MIN_SIDE:
        raise ControlError(f"size is {width}x{height}: use at least {MIN_SIDE} pixels a side")
    blank = Picture(torch.full((1, 3, 1, 1), 0.5).expand(1, 3, height, width))  # takes no memory
    controls, settings = split_options(options)
    method, seed = settings.pop("method", "gatys"), controls.get("seed", 0)
    if method == "fast":
        raise ControlError("method fast paints trained styles: a texture needs another method")
    if method in ("auto", "gatys"):
        method, settings = "gatys", {"start": "noise", **settings, "content_weight": 0.0}
    else:
        noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
        blank = Picture(noise)
    if controls.get("style_size") is None:
        controls["style_size"] = max(first.size)
    for name in ("size", "strength", "preserve_color", "detail"):  # of a recipe for photos
        controls.pop(name, None)
    controls["stroke_size"] = 0.0 if method != "gatys" else 1.0
    return Stylizer(method, device=device, **settings).fit(blank, asked, **controls), blank


def parse_refine(text: str | int) -> dict[str, Any]:
    """``50`` steps or ``30s`` seconds, as settings of the optimiser.

    Raises:
        ControlError: it is of neither form.
    """
    found = re.fullmatch(r"(\d+)|(\d+(?:\.\d*)?)s", str(text))
    if found is None:
        raise ControlError(f"refine is '{text}': write a number of steps (50) or seconds (30s)")
    if found[1]:
        return {"iterations": int(found[1])}
    return {"iterations": _ENDLESS, "seconds": float(found[2])}


def split_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts keyword arguments into fields of `Controls` and settings of the method."""
    controls = {name: value for name, value in options.items() if name in Controls.__annotations__}
    return controls, {name: value for name, value in options.items() if name not in controls}


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that a container's limit (cgroup v2) leaves; infinite where there is none."""
    try:
        limit, used = (float((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return limit - used + float(stat["inactive_file"])  # files read before make way
    except (OSError, ValueError, KeyError):  # no such limit: "max"
        return math.inf


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU if there is one.

    Raises:
        ControlError: there is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ControlError(f"device '{name}' is not on this machine: use auto or cpu") from error
    return device


def render_size(picture: Picture, longer_side: int | None) -> tuple[int, int]:
    """Height and width of the picture when its longer side is scaled to this.

    Raises:
        ControlError: the shorter side would become too small.
    """
    height, width = picture.size
    if longer_side is None:
        return height, width
    scale = longer_side / max(height, width)
    height, width = round(height * scale), round(width * scale)
    if min(height, width) < MIN_SIDE:
        raise ControlError(
            f"size is {longer_side}: this picture would become {width}x{height}, at least "
            f"{MIN_SIDE} pixels a side are needed"
        )
    return height, width


def style_size(style: Picture, area: int, longer_side: int | None) -> tuple[int, int]:
    """Height and width that a style picture is measured at: longer side, else equal area."""
    height, width = style.size
    scale = longer_side / max(height, width) if longer_side else math.sqrt(area / (height * width))
    return max(round(height * scale), MIN_SIDE), max(round(width * scale), MIN_SIDE)


def _check_networks_only(controls: Controls) -> None:
    """Raises `ControlError` for what the optimiser has other settings for."""
    for name, instead in (("stroke_size", "style_size"), ("detail", "content_weight")):
        value, default = getattr(controls, name), getattr(Controls, name)
        if value != default:
            raise ControlError(f"{name} is for networks: the optimiser has {instead} instead")


def _all_trained(styles: Sequence[Style]) -> bool:
    trained = {gallery.is_trained(style.source) for style in styles}
    if len(trained) > 1:
        raise ControlError("some styles are trained ones, others pictures: give one kind at a time")
    return trained.pop()


def _as_styles(styles: Styles) -> list[Style]:
    several = isinstance(styles, Sequence) and not isinstance(styles, str)
    listed: list[Any] = list(styles) if several else [styles]  # type: ignore[arg-type]
    if not listed:
        raise ControlError("no style is given: name at least one picture")
    given = [style if isinstance(style, Style) else Style(style) for style in listed]
    return [replace(style, source=gallery.find(style.source)) for style in given]


def _prepared(pixels: Tensor, mode: ColorMode) -> Tensor:
    if mode != "luminance":
        return pixels
    return by_strips(lambda part: color.prepare_content(part, mode), pixels)


def _notes(pictures: Sequence[Picture]) -> tuple[str, ...]:
    return tuple(note for picture in pictures for note in picture.notes)


def _finishing(on_step: OnStep, finish: Callable[[Tensor], Tensor]) -> OnStep:
    """Hands on progress whose picture has gone through ``finish``."""

    def step(progress: Progress) -> None:
        on_step(replace(progress, image=lambda: finish(progress.image())))

    return step


def _too_large(height: int, width: int, needed: float, shrink: float) -> TooLargeError:
    fits = max(int(max(height, width) * shrink * 0.95) // 16 * 16, MIN_SIDE)
    return TooLargeError(
        f"{width}x{height} takes about {needed / 2**30:.1f} GiB of memory, more than is free; "
        f"--size {fits} would fit"
    )
