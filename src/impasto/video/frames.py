"""`Frame`: a frame of a film, whose pixels are converted only when somebody looks at them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""A frame's pixels, (H, W, 3) RGB or (H, W, 4) with alpha, sRGB in 0..255."""

THUMBNAIL_SIDE = 160
"""Longer side, in pixels, of the small pictures that cuts are found in."""


class Frame(ABC):
    """A frame of a film."""

    time: Fraction
    """When it is shown, in seconds from the beginning of the film."""

    pixels: Pixels
    """The frame upright, at the film's own size."""

    @property
    @abstractmethod
    def thumbnail(self) -> Pixels:
        """The frame at a longer side of `THUMBNAIL_SIDE`, (h, w, 3)."""


@dataclass(frozen=True)
class ArrayFrame(Frame):
    """A frame that is an array already."""

    pixels: Pixels
    time: Fraction = Fraction(0)

    @cached_property
    def thumbnail(self) -> Pixels:
        """The frame at a longer side of `THUMBNAIL_SIDE`, (h, w, 3)."""
        return shrunk(self.pixels[..., :3])


def shrunk(pixels: Pixels) -> Pixels:
    """Scales a frame (H, W, 3) to a longer side of `THUMBNAIL_SIDE`."""
    height, width = pixels.shape[:2]
    scale = THUMBNAIL_SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small: Any = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small
