"""Styles as they are given, and encoded: read once and measured once, for any number of photos."""

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
    """A style ready to be painted in; see `impasto.Stylizer.encode`."""

    style: Style
    source: Picture | TrainedLook | None
    """The picture that was read, or the trained look; None if there is only what was saved."""
    method: Method
    """What paints it."""
    latest: tuple[Any, StyleCode] | None = field(default=None, repr=False)
    """What was measured last, and at which size."""
    saved_with: Controls = field(default_factory=Controls, repr=False)
    """If there is only what was saved: the controls that it was measured with."""

    def size(self, area: int, controls: Controls) -> tuple[int, int] | None:
        """Height and width that the picture is measured at; None if there is no picture.

        Args:
            area: of the result, in pixels.
            controls: of which ``style_size`` decides.
        """
        if not isinstance(self.source, Picture):
            return None
        area = min(area, self.method.footprint.style_area or area)
        return style_size(self.source, area, controls.style_size)

    def pixels(self, photo: torch.Tensor, controls: Controls) -> torch.Tensor:
        """The picture (1, 3, h, w) as it is measured.

        Args:
            photo: (1, 3, H, W), at the size of the result; decides the colours if they are kept.
            controls: of which ``style_size`` and ``preserve_color`` decide.

        Raises:
            ControlError: there is no picture.
        """
        size = self.size(photo.shape[-2] * photo.shape[-1], controls)
        if size is None or not isinstance(self.source, Picture):
            raise ControlError(f"'{self.style.source}': there is no picture of this style here")
        picture = self.source.resized(*size).pixels.to(photo.device)
        return color.prepare_style(picture, photo, controls.preserve_color)

    def code(self, photo: torch.Tensor, controls: Controls) -> StyleCode:
        """What is measured of the style; kept for the next photo, if that needs the same.

        Args:
            photo, controls: as for `pixels`.
        """
        mode = controls.preserve_color
        if isinstance(self.source, TrainedLook):
            look = color.prepare_style(self.source, photo, mode)
            return StyleCode(self.method.encode_style(look))
        if self.source is None:
            return self._saved_code(controls)
        key = self.size(photo.shape[-2] * photo.shape[-1], controls)
        if mode == "off" and self.latest is not None and self.latest[0] == key:
            return self.latest[1]
        pixels = self.pixels(photo, controls)
        code = StyleCode(self.method.encode_style(pixels))
        if self.method.footprint.tiling is not None:  # may be painted coarse to fine
            code = replace(code, palette=Moments.of(pixels[0]), texture=Texture.of(pixels))
        self.latest = (key, code) if mode == "off" else None
        return code

    def _saved_code(self, controls: Controls) -> StyleCode:
        """What was measured of a style whose picture is not here."""
        for name in ("preserve_color", "style_size"):
            if getattr(controls, name) != getattr(self.saved_with, name):
                raise ControlError(
                    f"'{self.style.source}': {name} needs the style's picture, which a saved look "
                    "has not; leave it out"
                )
        assert self.latest is not None
        return self.latest[1]


def as_styles(styles: Styles) -> list[Style | EncodedStyle]:
    """One or several styles, however they are given, as a list.

    Raises:
        ControlError: there is none.
    """
    several = isinstance(styles, Sequence) and not isinstance(styles, str)
    listed: list[Any] = list(styles) if several else [styles]  # type: ignore[arg-type]
    if not listed:
        raise ControlError("no style is given: name at least one picture")
    return [one if isinstance(one, (Style, EncodedStyle)) else Style(one) for one in listed]


def resolve(style: Style) -> Picture | TrainedLook:
    """The picture that a style is, read, or the trained look.

    Raises:
        ControlError: there is no such style.
        ImageError: the picture cannot be read.
    """
    source = gallery.resolve(style.source)
    return source if isinstance(source, TrainedLook) else images.read(source)


def style_size(style: Picture, area: int, longer_side: int | None) -> tuple[int, int]:
    """Height and width that a style picture is measured at: longer side, else equal area."""
    height, width = style.size
    scale = longer_side / max(height, width) if longer_side else math.sqrt(area / (height * width))
    return max(round(height * scale), MIN_SIDE), max(round(width * scale), MIN_SIDE)
