"""Encoding: styles are read once and measured once, for any number of photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch

from impasto import color, gallery, images
from impasto.coarse_to_fine import StyleCode, Texture
from impasto.controls import MIN_SIDE, Controls, Style
from impasto.errors import ControlError
from impasto.gallery import TrainedLook
from impasto.images import ImageLike, Picture
from impasto.methods import Method
from impasto.moments import Moments

Styles: TypeAlias = "Style | ImageLike | EncodedStyle | Sequence[Style | ImageLike | EncodedStyle]"


@dataclass
class EncodedStyle:
    """A style that was read and is measured once, for any number of photos.

    `impasto.Stylizer.encode` returns it, and it can be given wherever a style can.
    """

    style: Style
    """The style as the user gave it, with its weight and mask."""
    source: Picture | TrainedLook | None
    """The picture that was read, or the trained look; None if it comes from a saved look."""
    method: Method
    """The method that paints it."""
    latest: tuple[Any, StyleCode] | None = field(default=None, repr=False)
    """The size at which the style was measured last, and what was measured."""
    saved_with: Controls = field(default_factory=Controls, repr=False)
    """The controls that the style was measured with, if it comes from a saved look."""

    def size(self, area: int, controls: Controls) -> tuple[int, int] | None:
        """Returns height and width at which the style picture is measured; None if there is none.

        Args:
            area: area of the result in pixels.
            controls: the controls, of which ``style_size`` matters.
        """
        if not isinstance(self.source, Picture):
            return None
        area = min(area, self.method.footprint.style_area or area)
        return style_size(self.source, area, controls.style_size)

    def pixels(self, sample: torch.Tensor, area: int, controls: Controls) -> torch.Tensor:
        """Returns the style picture as it is measured: (1, 3, h, w), sRGB in [0, 1].

        Args:
            sample: what `impasto.color.sampled` made of the photo at the size of the result,
                (1, 3, h, w); the picture is recoloured with its palette if the photo's colours are
                kept.
            area: area of the result in pixels.
            controls: the controls, of which ``style_size`` and ``preserve_color`` matter.

        Raises:
            ControlError: there is no picture of this style.
        """
        size = self.size(area, controls)
        if size is None or not isinstance(self.source, Picture):
            raise ControlError(f"'{self.style.source}': there is no picture of this style here")
        picture = self.source.resized(*size).pixels.to(sample.device)
        return color.prepare_style(picture, sample, controls.preserve_color)

    def code(self, sample: torch.Tensor, area: int, controls: Controls) -> StyleCode:
        """Measures the style, unless it was measured like that for the last photo.

        Args:
            sample: of the photo, as for `pixels`.
            area: area of the result in pixels.
            controls: the controls, of which ``style_size`` and ``preserve_color`` matter.

        Raises:
            ControlError: the style comes from a saved look, and would have to be measured anew.
        """
        mode = controls.preserve_color
        if isinstance(self.source, TrainedLook):
            look = color.prepare_style(self.source, sample, mode)
            return StyleCode(self.method.encode_style(look))
        if self.source is None:
            return self._saved_code(controls)
        key = self.size(area, controls)
        if mode == "off" and self.latest is not None and self.latest[0] == key:
            return self.latest[1]
        pixels = self.pixels(sample, area, controls)
        code = StyleCode(self.method.encode_style(pixels))
        if self.method.footprint.tiling is not None:  # may be painted coarse to fine
            code = replace(code, palette=Moments.of(pixels[0]), texture=Texture.of(pixels))
        self.latest = (key, code) if mode == "off" else None
        return code

    def _saved_code(self, controls: Controls) -> StyleCode:
        """What was measured of a style that comes from a saved look."""
        for name in ("preserve_color", "style_size"):
            if getattr(controls, name) != getattr(self.saved_with, name):
                raise ControlError(
                    f"'{self.style.source}': {name} needs the style's picture, which a saved look "
                    "has not; leave it out"
                )
        assert self.latest is not None
        return self.latest[1]


def weights_used(styles: Sequence[EncodedStyle], codes: Sequence[StyleCode]) -> dict[str, str]:
    """Returns hashes (sha256) by name of the weights that paint styles.

    Args:
        styles: as `impasto.Stylizer.encode` returns them.
        codes: what was measured of each.
    """
    used: dict[str, str] = {}
    for style, code in zip(styles, codes, strict=True):
        used |= style.method.weights_used(code.code)
    return used


def by_method(styles: Sequence[EncodedStyle]) -> dict[Method, list[int]]:
    """Returns the numbers of the styles that each method paints."""
    groups: dict[Method, list[int]] = {}
    for number, style in enumerate(styles):
        groups.setdefault(style.method, []).append(number)
    return groups


def as_styles(styles: Styles) -> list[Style | EncodedStyle]:
    """Returns one or several styles as a list.

    Args:
        styles: a style as a picture, name, `Style` or `EncodedStyle`, or a sequence of these.

    Raises:
        ControlError: the sequence is empty.
    """
    several = isinstance(styles, Sequence) and not isinstance(styles, str)
    sequence: list[Any] = list(styles) if several else [styles]  # type: ignore[arg-type]
    if not sequence:
        raise ControlError("no style is given: name at least one picture")
    return [one if isinstance(one, (Style, EncodedStyle)) else Style(one) for one in sequence]


def resolve(style: Style) -> Picture | TrainedLook:
    """Reads the picture of a style; a trained look is returned as such.

    Raises:
        ControlError: there is no such style.
        ImageError: the picture cannot be read.
    """
    source = gallery.resolve(style.source)
    return source if isinstance(source, TrainedLook) else images.read(source)


def style_size(style: Picture, area: int, longer_side: int | None) -> tuple[int, int]:
    """Returns height and width at which a style picture is measured.

    Args:
        style: the picture.
        area: area in pixels that it is scaled to.
        longer_side: longer side in pixels that it is scaled to instead; None for the area.
    """
    height, width = style.size
    scale = longer_side / max(height, width) if longer_side else math.sqrt(area / (height * width))
    return max(round(height * scale), MIN_SIDE), max(round(width * scale), MIN_SIDE)
