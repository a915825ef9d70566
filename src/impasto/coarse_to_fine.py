"""Coarse to fine: a network paints the photo small, and its own painting again, larger.

The strokes of a network are some pixels wide, whatever it paints. Painted on a small photo they are
large; enlarged, given back what the photo has of detail beyond them and painted again they stay
large and become sharp (the drafting and revision of Lin et al., CVPR 2021, by one and the same
network). It takes nothing but a network's `Method.fit`, and so serves all of them.

The sizes of the levels follow from the size of the *picture*: from the coarsest one, the same for
photos of any resolution, in steps of a square root of two to twice that, which is where forms and
strokes settle; then in steps of two or less, which only make them finer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.controls import MIN_SIDE
from impasto.errors import Stop
from impasto.images import at_most, resize
from impasto.matching import Affine, coral
from impasto.memory import MEASURED_AREA, tile_side
from impasto.methods import Method, OnStep, Progress, Transfer
from impasto.mixing import Mix, blend
from impasto.moments import Moments
from impasto.tiling import Box, by_strips, render

_COARSEST_SIDE = 192
"""Of the first level: square root of its area. Smaller pictures begin at half of their size."""
_SHORTEST_SIDE = 2 * MIN_SIDE
"""Of the first level, unless the photo's own is shorter."""
_DRAFT_STEP, _DRAFTS_END, _FINER_STEP = 2**0.5, 2.0, 2.0
"""Levels grow by the first factor up to so many times the coarsest, by the last one from there."""
_FINER_DETAIL = 0.5
"""Times the share of the photo in what is painted again: there the strokes only become sharper."""
_NOISE = 0.5
"""Deviation of the noise, in those of the style's own texture."""
_PLAIN_NOISE = 0.03
"""The same in pixel values, where there is no picture of the style."""
_TEXTURE_SCALE, _TEXTURE_REACH = 3.0, 16
"""Pixels: what a Gaussian of this deviation takes away from a style is its texture, and pixels
farther apart than the other have no part in the same stroke."""
PALETTE = 0.5
"""How far the photo, and what was painted, are brought to the style's palette."""


@dataclass(frozen=True)
class Level:
    """A size at which the picture is painted."""

    height: int
    width: int
    detail: float
    """Share of the photo in what is painted, 0..1; the rest is the level before, enlarged."""


def levels(height: int, width: int, stroke_size: float, detail: float) -> list[Level]:
    """The sizes that a picture is painted at, ascending; the last one is its own.

    Args:
        height, width: of the picture.
        stroke_size: see `impasto.Controls`; 0 for a single level.
        detail: see there.
    """
    if stroke_size == 0:
        return [Level(height, width, 1.0)]
    side = math.sqrt(height * width)
    coarsest = min(_COARSEST_SIDE, side / 2) / stroke_size
    coarsest = max(coarsest, side * _SHORTEST_SIDE / min(height, width))
    growth = max(side / coarsest, 1.0)
    drafted = min(growth, _DRAFTS_END)
    drafts = _between(1.0, drafted, _DRAFT_STEP)
    finer = _between(drafted, growth, _FINER_STEP)
    scales = [(1.0, 1.0), *((scale, detail) for scale in drafts)]
    scales += [(scale, detail * _FINER_DETAIL) for scale in finer]
    sides = partial(_scaled, height, width)
    return [Level(*sides(scale / growth), share) for scale, share in scales]


def _between(first: float, last: float, step: float) -> list[float]:
    """Values after ``first``, up to ``last``, each at most ``step`` times the one before."""
    count = math.ceil(math.log(last / first, step) - 1e-6)
    return [first * (last / first) ** (n / count) for n in range(1, count + 1)]


def _scaled(height: int, width: int, scale: float) -> tuple[int, int]:
    return round(height * scale), round(width * scale)


@dataclass(frozen=True)
class Texture:
    """What is finer than forms in a picture: how pixels near each other go together."""

    correlation: Tensor
    """(1, 1, 2 r + 1, 2 r + 1): autocorrelation at distances of up to r pixels."""
    deviation: Tensor
    """(): standard deviation, in pixel values."""

    @classmethod
    def of(cls, style: Tensor) -> Texture:
        """The texture of a picture (1, 3, h, w), sRGB in [0, 1]."""
        light = style.mean(1, keepdim=True).cpu()
        texture = light - _blurred(light, _TEXTURE_SCALE)
        height, width = texture.shape[-2:]
        windowed = texture * _window(height)[:, None] * _window(width)
        correlation = torch.fft.ifft2(torch.fft.fft2(windowed).abs().square()).real
        reach = min(_TEXTURE_REACH, (min(height, width) - 1) // 2)
        near = correlation.roll((reach, reach), (-2, -1))[..., : 2 * reach + 1, : 2 * reach + 1]
        return cls(near.clone(), texture.std())

    def given_to(self, white: Tensor) -> Tensor:
        """White noise (1, 1, H, W) made to look like the texture: with its correlations between
        pixels, and in proportion to its deviation (Galerne, Gousseau & Morel 2011, random phase
        noise), to be added to pictures.
        """
        known = self.correlation.shape[-1] // 2
        reach = min(known, (min(white.shape[-2:]) - 1) // 2)
        inside = slice(known - reach, known + reach + 1)
        fade = _window(2 * reach + 1)
        kernel = torch.zeros_like(white)
        kernel[..., : 2 * reach + 1, : 2 * reach + 1] = (
            self.correlation[..., inside, inside] * fade[:, None] * fade
        )
        spectrum = torch.fft.fft2(kernel.roll((-reach, -reach), (-2, -1))).real.clamp_min(0)
        noise: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * spectrum.sqrt()).real
        return noise / noise.std().clamp_min(1e-12) * self.deviation * _NOISE


@dataclass(frozen=True)
class StyleCode:
    """All that is measured of a style, whatever the photo."""

    code: Any
    """Of `Method.encode_style`."""
    palette: Moments | None = None
    """Of the picture's colours; None if there is no picture, but a trained look."""
    texture: Texture | None = None
    """Of the picture, likewise."""


@dataclass
class CoarseToFine(Transfer):
    """Paints a photo at one level after the other with a method that paints in one pass.

    Each level is fitted to the first photo that is painted, since what it is given depends on what
    the levels before painted; that can be watched and stopped. Another photo, the next frame, is
    then painted with the same statistics at every level.
    """

    method: Method
    styles: Sequence[StyleCode]
    levels: Sequence[Level]
    tile: str | int
    """See `impasto.Controls`."""
    seed: int
    """Of the noise."""
    fitted: list[Transfer] = field(default_factory=list)
    """Of each level."""
    palettes: list[list[Affine]] = field(default_factory=list)
    """Maps of colours for each style: of the photo, and of what was painted."""

    def finish_fitting(self, content: Tensor, mix: Mix) -> None:
        """See `Transfer.finish_fitting`."""
        if len(self.palettes) < 2:
            self(content, mix)

    @torch.no_grad()
    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """See `Transfer.__call__`; ends early, with the picture so far, on `Stop`."""
        size = (content.shape[-2], content.shape[-1])
        boxes = [self._boxes(level, content.device) for level in self.levels]
        steps = _Steps(on_step, boxes, size)
        recoloured = self._recoloured(0, content, mix)
        painted = before = None
        for number, level in enumerate(self.levels):
            photo = resize(recoloured, level.height, level.width)
            where = mix.resized(level.height, level.width)
            if painted is None or before is None:
                given = self._drafted(photo, where)
            else:
                given = revised(photo, painted, before, level.detail, where.photo)
            painted = self._painted(number, given, where, steps)
            if steps.stopped:
                return resize(painted, *size)
            before = photo
        assert painted is not None
        return self._recoloured(1, painted, mix)

    def _boxes(self, level: Level, device: torch.device) -> list[Box]:
        footprint = self.method.footprint
        assert footprint.tiling is not None
        tile = tile_side(footprint, level.height, level.width, self.tile, device)
        return list(footprint.tiling.boxes(level.height, level.width, tile))

    def _painted(self, number: int, given: Tensor, where: Mix, steps: _Steps) -> Tensor:
        """What a level makes of what it is given, (1, 3, H, W)."""
        painted = None
        if number == len(self.fitted):
            small = at_most(given, MEASURED_AREA)
            codes = [style.code for style in self.styles]
            there = where.resized(small.shape[-2], small.shape[-1])
            fitted, while_fitting = self.method.fit(small, codes, there, seed=self.seed)
            self.fitted.append(fitted)
            if small.shape == given.shape:
                painted = while_fitting
        if not steps.go_on(given):
            return given
        transfer, boxes = self.fitted[number], steps.boxes[number]
        if len(boxes) > 1:
            return render(
                transfer.parts(given, where, boxes),
                given,
                boxes,
                lambda _, image: steps.tell(image),
            )
        if painted is None:
            painted = transfer(given, where)
        steps.go_on(painted)
        return painted

    def _drafted(self, photo: Tensor, where: Mix) -> Tensor:
        """What the first level is given: the photo, with something to hold on to for strokes on
        smooth surfaces (the noise of Ulyanov et al. 2016), as strong, as coarse and in such
        directions as the texture of the style.
        """
        if len(self.levels) == 1:
            return photo
        height, width = photo.shape[-2:]
        if any(style.texture is None for style in self.styles):
            added = (1 - where.photo) * noise(height, width, None, self.seed).to(photo)
        else:
            noises = [noise(height, width, style.texture, self.seed) for style in self.styles]
            shares = zip(where.styles, noises, strict=True)
            added = torch.stack([share * one.to(photo) for share, one in shares]).sum(0)
        return (photo + added).clamp(0, 1)

    def _recoloured(self, number: int, image: Tensor, mix: Mix) -> Tensor:
        """Closer to the palettes of the styles: the photo, so that its colours do not come back
        with its detail, and the painting, whose colours grow too strong from level to level.
        """
        wanted = [style.palette for style in self.styles if style.palette is not None]
        if len(self.levels) == 1 or len(wanted) < len(self.styles):
            self.palettes = [[], []]
            return image
        if number == len(self.palettes):
            small = at_most(image, MEASURED_AREA)
            where = mix.resized(small.shape[-2], small.shape[-1])
            self.palettes.append(_fit_palettes(small, wanted, where))
        maps = self.palettes[number]

        def recoloured(part: Tensor, weights: Tensor) -> Tensor:
            return torch.lerp(part, blend(part, weights, maps), PALETTE).clamp(0, 1)

        if not mix.masked:
            return by_strips(lambda part: recoloured(part, mix.weights), image)
        return by_strips(recoloured, image, mix.weights)


@dataclass
class _Steps:
    """Counts and tells the steps of all levels: what each is given, and its tiles."""

    on_step: OnStep | None
    boxes: Sequence[Sequence[Box]]
    size: tuple[int, int]
    """Height and width of the picture."""
    done: int = 0
    stopped: bool = False

    def tell(self, image: Tensor) -> None:
        """Tells of a step, after which there is this picture; may raise `Stop`."""
        self.done += 1
        if self.on_step is None:
            return
        steps = sum(1 + len(boxes) for boxes in self.boxes)
        try:
            self.on_step(Progress(self.done, steps, {}, lambda: resize(image, *self.size)))
        except Stop:
            self.stopped = True
            raise

    def go_on(self, image: Tensor) -> bool:
        """Tells of a step; returns whether to go on."""
        with suppress(Stop):
            self.tell(image)
        return not self.stopped


def revised(
    photo: Tensor, painted: Tensor, before: Tensor, detail: float, kept: float | Tensor = 0.0
) -> Tensor:
    """What a level is given: the level before enlarged, with detail and share of the photo.

    Args:
        photo: at this level, (N, 3, H, W).
        painted, before: painting and photo at the level before, (N, 3, h, w).
        detail: share of the photo.
        kept: 1 where the photo is to be kept, and given as it is: (H, W), or for all.
    """
    size = photo.shape[-2:]
    lightness = photo.mean(1, keepdim=True) - resize(before.mean(1, keepdim=True), *size)
    enlarged = torch.lerp(resize(painted, *size) + lightness * detail, photo, detail)
    return torch.lerp(enlarged.clamp(0, 1), photo, kept)


def noise(height: int, width: int, texture: Texture | None, seed: int) -> Tensor:
    """What is added to the photo that is painted first, (1, 1, height, width).

    Args:
        height, width: of the photo.
        texture: what it takes after; None if there is none.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    if texture is None:
        white = torch.randn(1, 1, height + 2, width + 2, generator=generator)
        return 3 * _PLAIN_NOISE * F.avg_pool2d(white, 3, 1)
    return texture.given_to(torch.randn(1, 1, height, width, generator=generator))


def _window(length: int) -> Tensor:
    """A Hann window whose ends are not zero."""
    return torch.hann_window(length + 2, periodic=False)[1:-1]


def _blurred(image: Tensor, deviation: float) -> Tensor:
    """(1, 1, H, W) convolved with a Gaussian, the border repeated."""
    reach = math.ceil(3 * deviation)
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-offsets.square() / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).to(image)
    for sides, shape in (
        ((reach, reach, 0, 0), (1, 1, 1, -1)),
        ((0, 0, reach, reach), (1, 1, -1, 1)),
    ):
        image = F.conv2d(F.pad(image, sides, mode="replicate"), kernel.view(shape))
    return image


def _fit_palettes(painted: Tensor, palettes: Sequence[Moments], mix: Mix) -> list[Affine]:
    """For each style, what brings the colours painted inside of its region to its own."""
    regions = mix.styles if mix.masked else [None] * len(palettes)
    return [
        coral(Moments.of(painted[0], region), palette)
        for region, palette in zip(regions, palettes, strict=True)
    ]
