"""`Frame`: a frame of a film, whose pixels are converted only when somebody looks at them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

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

    @property
    @abstractmethod
    def pixels(self) -> Pixels:
        """The frame upright, at the film's own size."""

    @property
    @abstractmethod
    def thumbnail(self) -> Pixels:
        """The frame at a longer side of `THUMBNAIL_SIDE`, (h, w, 3)."""


class ArrayFrame(Frame):
    """A frame that is an array already."""

    def __init__(self, pixels: Pixels, time: Fraction = Fraction(0)) -> None:
        self.time = time
        self._pixels = pixels

    @property
    def pixels(self) -> Pixels:
        """The frame upright, at the film's own size."""
        return self._pixels

    @cached_property
    def thumbnail(self) -> Pixels:
        """The frame at a longer side of `THUMBNAIL_SIDE`, (h, w, 3)."""
        return shrunk(self._pixels[..., :3])


def shrunk(pixels: Pixels) -> Pixels:
    """Scales a frame (H, W, 3) to a longer side of `THUMBNAIL_SIDE`."""
    height, width = pixels.shape[:2]
    scale = THUMBNAIL_SIDE / max(height, width)
    return resized(pixels, max(round(height * scale), 1), max(round(width * scale), 1))


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """Scales a frame (H, W, 3) to (height, width, 3); each pixel is the mean of those it covers."""
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
