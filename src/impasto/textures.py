"""Textures: pictures with the statistics of a style, from noise (Gatys et al. 2015,
arXiv:1505.07376).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from numbers import Integral
from typing import Any, Unpack

import torch
from PIL import Image

from impasto import images
from impasto.controls import MIN_SIDE, OF_PHOTOS, Controls
from impasto.encoding import EncodedStyle, Styles, as_styles, resolve
from impasto.errors import ControlError
from impasto.images import Picture
from impasto.look import Look
from impasto.methods import OnStep
from impasto.methods.gatys import GatysConfig
from impasto.options import Options, shows_controls
from impasto.recipes import Recipe


@shows_controls
def texture(
    styles: Styles,
    *,
    width: int | None = None,
    height: int | None = None,
    method: str = "gatys",
    device: str = "auto",
    refine: str | int | None = None,
    on_step: OnStep | None = None,
    **options: Unpack[Options],
) -> Image.Image:
    """Synthesises a texture: a picture with the statistics of a style, from noise (Gatys et al.
    2015, arXiv:1505.07376).

    Args:
        styles: one or several style pictures; without ``style_size`` they are measured at the scale
            of the first one.
        width: width of the result in pixels; None for the first style's.
        height: height of the result in pixels; None for the first style's.
        method: ``gatys``, the optimiser; or a network's method, which paints noise.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        refine: steps (``50``) or seconds (``30s``) for which the optimiser refines what a network
            painted; None for none.
        on_step: called after each step with a `Progress`.
        **options: fields of `Controls`, and settings of the method. ``size`` is the longer side of
            the result. Those that are about a photo (``strength``, ``stroke_size``,
            ``detail``, ``preserve_color`` and the like) are refused.

    Returns:
        A PIL image.

    Raises:
        ControlError: there is no such method or setting, a value is not allowed, or an option is
            about a photo.
        ImageError: a style picture cannot be read.
        SetupError: there is no such device.
        TooLargeError: the result needs more memory than is free.
        WeightsError: weights are missing or damaged.
    """
    settings: dict[str, Any] = {**options, "method": method, "refine": refine}
    look = fit_texture(styles, width=width, height=height, device=device, **settings)
    return images.to_pil(look(on_step=on_step))


def fit_texture(
    styles: Styles,
    *,
    width: int | None = None,
    height: int | None = None,
    device: str = "auto",
    **options: Any,
) -> Look:
    """Fits a look that paints a texture; its arguments and errors are those of `texture`."""
    listed = as_styles(styles)
    resolved = [one.source if isinstance(one, EncodedStyle) else resolve(one) for one in listed]
    pictures = [source for source in resolved if isinstance(source, Picture)]
    for source in resolved:
        if not isinstance(source, Picture):
            which = f"'{source.source}' is a trained style" if source else "a saved look has none"
            raise ControlError(f"{which}: a texture needs a picture")
    read = [
        replace(one.style if isinstance(one, EncodedStyle) else one, source=picture)
        for one, picture in zip(listed, pictures, strict=True)
    ]
    recipe = Recipe.of({"method": "gatys", **options})
    _check_texture(recipe)
    first = pictures[0].size
    height, width = _texture_size(first, height, width, recipe.controls.size)
    blank = Picture(torch.full((1, 3, 1, 1), 0.5).expand(1, 3, height, width))  # takes no memory
    if recipe.method in ("auto", "gatys"):
        recipe = replace(
            recipe,
            method="gatys",
            settings={"init": "noise", **recipe.settings, "content_weight": 0.0},
        )
    else:
        generator = torch.Generator().manual_seed(recipe.controls.seed)
        blank = Picture(torch.rand(1, 3, height, width, generator=generator))
    controls = asdict(recipe.controls) | {"size": None}
    controls["style_size"] = controls["style_size"] or max(first)
    controls["stroke_size"] = 1.0 if recipe.method == "gatys" else 0.0
    return recipe.stylizer(device).fit(blank, read, **controls)


def _check_texture(recipe: Recipe) -> None:
    """Raises `ControlError` for options that have no meaning without a photo."""
    if recipe.method == "fast":
        raise ControlError("method fast paints trained styles: a texture needs another method")
    allowed = {"stroke_size": 0, "content_weight": 0}  # the values that textures are painted with
    options = {**asdict(recipe.controls), **recipe.settings}
    for name in OF_PHOTOS:
        default = getattr(Controls if hasattr(Controls, name) else GatysConfig, name)
        if options.get(name, default) not in (default, allowed.get(name, default)):
            raise ControlError(f"{name} is for photos, and a texture has none: leave it out")


def _texture_size(
    first: tuple[int, int], height: int | None, width: int | None, longer_side: int | None
) -> tuple[int, int]:
    """Height and width of a texture.

    Raises:
        ControlError: sizes contradict each other, are not whole numbers, or are too small.
    """
    if longer_side is not None:
        if height is not None or width is not None:
            raise ControlError("size is the longer side: give it, or width and height, not both")
        scale = longer_side / max(first)
        first = (round(first[0] * scale), round(first[1] * scale))
    height = first[0] if height is None else height
    width = first[1] if width is None else width
    for name, side in (("height", height), ("width", width)):
        if not isinstance(side, Integral):
            raise ControlError(f"{name} is {side!r}: use a whole number of pixels")
    if min(height, width) < MIN_SIDE:
        raise ControlError(f"size is {width}x{height}: use at least {MIN_SIDE} pixels a side")
    return height, width
