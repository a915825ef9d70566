"""Abstraction: a picture's fine detail merges into strokes with clear edges.

It is coherence-enhancing filtering (Kyprianidis & Kang 2011, Computer Graphics Forum 30 (2)): the
picture is smoothed along the directions of its forms, by line integral convolution, and sharpened
across them, by a shock filter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.tiling import Box, Tiling

_TILE = 1024
"""Side of the tiles in pixels; they need some 200 bytes a pixel."""
_ITERATIONS = 2
"""How often a picture is smoothed and sharpened."""
_DIRECTION_BLUR = 2.0
"""Standard deviation of the Gaussian that averages directions, relative to the scale."""
_SMOOTHING = 4.0
"""Standard deviation of the Gaussian along the lines, relative to the scale."""
_SAMPLES = 6
"""Samples to each side along a line, over two standard deviations."""
_SHARPENING = 0.7
"""Share of the sharpened picture, 0..1."""
_EDGE = 0.03
"""Second derivative across an edge, in pixel values, from which on it is fully sharpened."""


def boxes(height: int, width: int, scale: float) -> list[Box]:
    """Returns the tiles of a picture, each with all that `abstracted` looks at."""
    directions = math.ceil(3 * _DIRECTION_BLUR * scale) + 1
    lines = math.ceil(2 * _SMOOTHING * scale) + 1
    # What is sharpened looks no further than the directions across which it is.
    halo = _ITERATIONS * (2 * directions + lines)
    return list(Tiling(halo, 1).boxes(height, width, _TILE))


def abstracted(image: Tensor, scale: float) -> Tensor:
    """Merges fine detail into strokes with clear edges.

    Args:
        image: pictures (N, 3, H, W), sRGB in [0, 1].
        scale: an eighth of the strokes' length in pixels, above 0.

    Returns:
        Pictures of the same shape and range.
    """
    for _ in range(_ITERATIONS):
        image = _smoothed(image, _gradients(image, scale), scale)
        image = _sharpened(image, _gradients(image, scale), scale)
    return image.clamp(0, 1)


def blurred(image: Tensor, deviation: float) -> Tensor:
    """Returns maps (N, C, H, W) convolved with a Gaussian, the border repeated."""
    reach = math.ceil(3 * deviation)
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-offsets.square() / (2 * deviation**2))
    channels = image.shape[1]
    kernel = (kernel / kernel.sum()).to(image).expand(channels, 1, 1, -1)
    image = F.conv2d(F.pad(image, (reach, reach, 0, 0), mode="replicate"), kernel, groups=channels)
    return F.conv2d(
        F.pad(image, (0, 0, reach, reach), mode="replicate"), kernel.mT, groups=channels
    )


def _gradients(image: Tensor, scale: float) -> Tensor:
    """Unit vectors (N, 2, H, W), x before y, across the forms of pictures (N, 3, H, W): the
    principal directions of the structure tensor (Brox et al. 2006).
    """
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(image) / 8
    kernels = torch.stack((sobel, sobel.T))[:, None].repeat(3, 1, 1, 1)
    slopes = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernels, groups=3)
    right, down = slopes[:, ::2], slopes[:, 1::2]  # (N, 3, H, W) each
    tensor = torch.stack([(right * right).sum(1), (right * down).sum(1), (down * down).sum(1)], 1)
    xx, xy, yy = blurred(tensor, _DIRECTION_BLUR * scale).unbind(1)
    angle = torch.atan2(2 * xy, xx - yy) / 2
    return torch.stack((angle.cos(), angle.sin()), 1)


def _smoothed(image: Tensor, gradients: Tensor, scale: float) -> Tensor:
    """Pictures (N, 3, H, W) blurred along the lines that are everywhere normal to the gradients."""
    tangents = torch.stack((-gradients[:, 1], gradients[:, 0]), 1)
    maps = torch.cat((image, tangents), 1)
    start = _places(image)
    total, weights = image.clone(), 1.0
    step = 2 * _SMOOTHING * scale / _SAMPLES
    for side in (step, -step):
        place, direction = start, side * tangents
        for n in range(1, _SAMPLES + 1):
            place = place + direction
            sampled = _at(maps, place)
            weight = math.exp(-2 * (n / _SAMPLES) ** 2)
            total += weight * sampled[:, :3]
            weights += weight
            # Tangents have no sign: the line goes on in the half-plane that it comes from.
            ahead = (sampled[:, 3:] * direction).sum(1, keepdim=True)
            direction = torch.where(ahead < 0, -step, step) * sampled[:, 3:]
    return total / weights


def _sharpened(image: Tensor, gradients: Tensor, scale: float) -> Tensor:
    """Pictures (N, 3, H, W) in which each side of an edge spreads up to the edge (Osher & Rudin
    1990).
    """
    places, step = _places(image), scale * gradients
    light = blurred(image.mean(1, keepdim=True), scale)
    sides = [_at(torch.cat((image, light), 1), place) for place in (places + step, places - step)]
    bend = sides[0][:, 3:] + sides[1][:, 3:] - 2 * light
    near = torch.stack((image, sides[0][:, :3], sides[1][:, :3]))
    edge = torch.where(bend < 0, near.amax(0), near.amin(0))
    return torch.lerp(image, edge, torch.tanh(bend / _EDGE).abs() * _SHARPENING)


def _places(image: Tensor) -> Tensor:
    """Where each pixel of pictures (N, C, H, W) is, in pixels: (1, 2, H, W), x before y."""
    rows, columns = (torch.arange(side).to(image) for side in image.shape[-2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y))[None]


def _at(maps: Tensor, places: Tensor) -> Tensor:
    """Maps (N, C, H, W) looked up at places in pixels, (N, 2, H, W), x before y."""
    height, width = maps.shape[-2:]
    size = torch.tensor([width, height]).to(maps)
    grid = places.movedim(1, -1) * 2 / (size - 1) - 1
    # Apple's GPUs lack the padding mode "border".
    return F.grid_sample(maps, grid.clamp(-1, 1), align_corners=True)
