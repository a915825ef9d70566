"""From HDR to sRGB: films in PQ and HLG, as they look on an ordinary display."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from impasto.profiles import from_linear
from impasto.video.frames import Pixels

HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions of HDR, by the numbers of ITU-T H.273."""

_WHITE = 203
"""White of pages and paper, in cd/m2, by ITU-R BT.2408; what is brighter is light and glare."""
_SHOULDER = 0.75
"""Up to this part of white, light is as in the film; from there on it approaches white."""
_TO_BT709 = np.array(
    ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
)
"""From primaries of BT.2020, by ITU-R BT.2087."""


def to_srgb(pixels: Pixels, transfer: int) -> Pixels:
    """Converts a frame (H, W, 3) in BT.2020 with a transfer function of `HDR`."""
    return np.asarray(Image.fromarray(pixels).filter(_table(transfer)))


@cache
def _table(transfer: int, size: int = 65) -> ImageFilter.Color3DLUT:
    blue, green, red = np.meshgrid(*[np.linspace(0, 1, size)] * 3, indexing="ij")
    light = _light(np.stack((red, green, blue), -1), transfer) @ _TO_BT709.T / _WHITE
    room = 1 - _SHOULDER
    bent = 1 - room * np.exp(-(light.clip(_SHOULDER) - _SHOULDER) / room)
    light = np.where(light > _SHOULDER, bent, light.clip(0))
    return ImageFilter.Color3DLUT(size, from_linear(light).ravel())


def _light(signal: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """In cd/m2, by ITU-R BT.2100; of HLG on a display that reaches 1000."""
    if HDR[transfer] == "PQ":
        root = signal ** (32 / 2523)
        base = (root - 107 / 128).clip(0) / (2413 / 128 - 2392 / 128 * root)
        light: NDArray[np.float64] = 10000 * base ** (8192 / 1305)
        return light
    low = signal**2 / 3
    high = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene = np.where(signal > 0.5, high, low)
    luma: NDArray[np.float64] = scene @ np.array((0.2627, 0.6780, 0.0593))
    return 1000 * scene * luma[..., None] ** 0.2
