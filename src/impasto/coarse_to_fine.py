"""Coarse to fine: a network paints the photo small, and its own painting again, larger.

The strokes of a network are some pixels wide, whatever it paints. On a small photo they are large.
The painting is then enlarged, mixed with the photo's finer detail, and painted again: strokes stay
large and become sharp. (Lin et al. 2021, arXiv:2104.05376, draft and revise by two networks; here
it is one.) All that this takes is a network's `Method.fit`, so that it serves all of them.

The sizes of the levels follow from the size of the *picture*: from the coarsest one, the same for
photos of any resolution, in steps of a square root of two to twice that, which is where forms and
strokes settle; then in steps of two or less, which only make them finer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
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
from impasto.methods import Memory, Method, OnStep, Past, Progress, Transfer
from impasto.mixing import Mix, blend
from impasto.moments import Moments, one_above_the_other
from impasto.motion import sampled_around
from impasto.tiling import Box, by_strips, render

_COARSEST_SIDE = 192
"""Square root of the first level's area in pixels; small pictures begin at half of their side."""
_SHORTEST_SIDE = 2 * MIN_SIDE
"""Shortest side of the first level in pixels, unless the photo's own is shorter."""
_DRAFT_STEP, _DRAFTS_END, _FINER_STEP = 2**0.5, 2.0, 2.0
"""Levels grow by the first factor until they are so many times the coarsest, then by the last."""
_FINER_DETAIL = 0.5
"""Factor of ``detail`` in the finer levels, where strokes only become sharper."""
_NOISE = 0.5
"""Standard deviation of the noise, relative to that of the style's own texture."""
_PLAIN_NOISE = 0.03
"""Standard deviation of the noise in pixel values, where there is no picture of the style."""
_TEXTURE_SCALE, _TEXTURE_REACH = 3.0, 16
"""A style's texture is what a Gaussian blur of the first deviation removes; correlations are taken
up to the second distance. Both are in pixels."""
PALETTE = 0.5
"""How far the colours of the photo and of the painting are moved to the style's palette, 0..1."""


@dataclass(frozen=True)
class Level:
    """A size at which the picture is painted."""

    height: int
    """Height in pixels."""
    width: int
    """Width in pixels."""
    detail: float
    """Share of the photo in the picture to be painted, 0..1; the rest is the level before."""


def levels(height: int, width: int, stroke_size: float, detail: float) -> list[Level]:
    """Returns the sizes at which a picture is painted, ascending; the last one is its own.

    Args:
        height: height of the picture in pixels.
        width: width of the picture in pixels.
        stroke_size: size of the largest strokes, relative to the usual; 0 for a single level.
        detail: how much of the photo's detail there is between the strokes, 0..1.
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
    """The fine texture of a style picture: second-order statistics of its lightness."""

    correlation: Tensor
    """Autocorrelation at distances of up to r pixels, (1, 1, 2 r + 1, 2 r + 1)."""
    deviation: Tensor
    """Standard deviation in pixel values, a scalar tensor."""

    @classmethod
    def of(cls, style: Tensor) -> Texture:
        """Measures the texture of a picture (1, 3, h, w), sRGB in [0, 1]."""
        light = style.mean(1, keepdim=True).cpu()
        texture = light - _blurred(light, _TEXTURE_SCALE)
        height, width = texture.shape[-2:]
        windowed = texture * _window(height)[:, None] * _window(width)
        correlation = torch.fft.ifft2(torch.fft.fft2(windowed).abs().square()).real
        reach = min(_TEXTURE_REACH, (min(height, width) - 1) // 2)
        near = correlation.roll((reach, reach), (-2, -1))[..., : 2 * reach + 1, : 2 * reach + 1]
        return cls(near.clone(), texture.std())

    def colour(self, white: Tensor) -> Tensor:
        """Colours white noise, so that its pixels correlate as the texture's do.

        It is the random phase noise of Galerne, Gousseau & Morel 2011.

        Args:
            white: white noise (1, 1, H, W).

        Returns:
            (1, 1, H, W), with half of the texture's deviation, to be added to pictures.
        """
        measured = self.correlation.shape[-1] // 2
        reach = min(measured, (min(white.shape[-2:]) - 1) // 2)
        inside = slice(measured - reach, measured + reach + 1)
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
    """What `Method.encode_style` returned."""
    palette: Moments | None = None
    """Mean and covariance of the picture's colours; None for a trained look."""
    texture: Texture | None = None
    """Texture of the picture; None for a trained look."""


@dataclass
class CoarseToFine(Transfer):
    """Paints a photo at one level after the other, with a method that paints in one pass.

    Each level is fitted while the first photo is painted, since what it paints depends on what the
    levels before painted. Another photo, for instance the next frame, is then painted with the same
    statistics at every level.
    """

    method: Method
    """The method that paints each level."""
    styles: Sequence[StyleCode]
    """What was measured of each style."""
    levels: Sequence[Level]
    """The sizes that the photo is painted at, ascending."""
    tile: str | int
    """Side of tiles in pixels, or ``auto`` for tiles only if memory is short."""
    seed: int
    """Seed of the noise."""
    fitted: list[Transfer] = field(default_factory=list)
    """The fitted function that paints each level; empty until a photo is painted."""
    palettes: list[list[Affine]] = field(default_factory=list)
    """For the photo (0) and for the painting (1), the map of colours to each style's palette; empty
    until a photo is painted."""

    def finish_fitting(self, content: Tensor, mix: Mix) -> None:
        """Paints the photo, or N frames of a film, (N, 3, H, W), if none was painted yet, since
        that fits the levels.
        """
        if len(self.palettes) < 2:
            self(content, mix)

    def steps(self, content: Tensor) -> int:
        """Returns the number of steps: one for each level, and one for each of its tiles."""
        return sum(1 + len(self._boxes(level, content.device)) for level in self.levels)

    @torch.no_grad()
    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """Paints level by level; see `Transfer.__call__` for the arguments.

        `impasto.Stop` raised in ``on_step`` ends the painting early, with the picture so far.
        """
        return self._paint(content, mix, on_step)

    @torch.no_grad()
    def follow(
        self, content: Tensor, mix: Mix, past: Past | None, on_step: OnStep | None = None
    ) -> tuple[Tensor, Memory]:
        """Paints the next frame of a film; see `Transfer.follow`.

        Every level goes on from a mixture with what it painted before, moved, so that what is
        steady on a coarse level is steady on the finer ones. The noise moves with the picture: it
        is looked up where each point of the picture was in the first frame.
        """
        memory: Memory = {}

        def steadied(number: int, painted: Tensor) -> Tensor:
            name = f"level{number}"
            if past is not None:
                motion = past.motion.resized(*painted.shape[-2:])
                painted = motion.steadied(painted, past.memory[name])
            memory[name] = painted
            return painted

        first = self.levels[0]
        if past is None:
            paths = content.new_zeros(1, 2, first.height, first.width)
        else:
            small = past.motion.resized(first.height, first.width)
            paths = small.flow + small.moved(past.memory["paths"], "bilinear")
        memory["paths"] = paths
        return self._paint(content, mix, on_step, steadied, paths), memory

    def _paint(
        self,
        content: Tensor,
        mix: Mix,
        on_step: OnStep | None = None,
        steadied: Callable[[int, Tensor], Tensor] = lambda _, painted: painted,
        paths: Tensor | None = None,
    ) -> Tensor:
        """Paints level by level.

        Args:
            content: the photo (1, 3, H, W).
            mix: how much of which style goes where.
            on_step: called after each step.
            steadied: what to make of the painting (1, 3, h, w) of a level, given its number.
            paths: how far each point of the first level has moved since the noise was made, in
                pixels, x before y, (1, 2, h, w); None for not at all.
        """
        size = (content.shape[-2], content.shape[-1])
        boxes = [self._boxes(level, content.device) for level in self.levels]
        steps = _Steps(on_step, boxes, size)
        recoloured = self._recoloured(0, content, mix)
        painted = before = None
        for number, level in enumerate(self.levels):
            photo = resize(recoloured, level.height, level.width)
            local = mix.resized(level.height, level.width)
            if painted is None or before is None:
                image = self.first_input(photo, local, paths)
            else:
                image = revised(photo, painted, before, level.detail, local.photo)
            painted = steadied(number, self._painted(number, image, local, steps))
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

    def _painted(self, number: int, image: Tensor, mix: Mix, steps: _Steps) -> Tensor:
        """What a level makes of a picture (1, 3, H, W), to which it is fitted if it is not yet."""
        painted = None
        if number == len(self.fitted):
            small = at_most(image, MEASURED_AREA // len(image))
            fitted, while_fitting = self.fit_level(small, mix)
            self.fitted.append(fitted)
            if small.shape == image.shape:
                painted = while_fitting
        if not steps.go_on(image):
            return image
        transfer, boxes = self.fitted[number], steps.boxes[number]
        if len(boxes) > 1:
            return torch.cat(
                [
                    render(
                        transfer.parts(one, mix, boxes),
                        one,
                        boxes,
                        lambda _, so_far: steps.report(so_far),
                    )
                    for one in torch.split(image, 1)
                ]
            )
        if painted is None:
            painted = torch.cat([transfer(one, mix) for one in torch.split(image, 1)])
        steps.go_on(painted)
        return painted

    def fit_level(self, small: Tensor, mix: Mix) -> tuple[Transfer, Tensor | None]:
        """Fits the method to what a level paints, scaled down to be measured; see `Method.fit`."""
        codes = [style.code for style in self.styles]
        small_mix = mix.resized(small.shape[-2], small.shape[-1])
        return self.method.fit(small, codes, small_mix, seed=self.seed)

    def first_input(self, photo: Tensor, mix: Mix, paths: Tensor | None = None) -> Tensor:
        """The photo with noise, from which strokes arise on smooth surfaces (as in Ulyanov et al.
        2016, arXiv:1603.03417). Strength, scale and directions are those of the style's texture.

        Args:
            photo: the photo at the first level, (1, 3, h, w).
            mix: how much of which style goes where, for this size.
            paths: how far each point has moved since the noise was made, in pixels, x before y,
                (1, 2, h, w); None for not at all.
        """
        if len(self.levels) == 1:
            return photo
        height, width = photo.shape[-2:]

        def moving_noise(texture: Texture | None) -> Tensor:
            still = noise(height, width, texture, self.seed).to(photo)
            return still if paths is None else sampled_around(still, paths)

        if any(style.texture is None for style in self.styles):
            added = (1 - mix.photo) * moving_noise(None)
        else:
            noises = [moving_noise(style.texture) for style in self.styles]
            shares = zip(mix.styles, noises, strict=True)
            added = torch.stack([share * one for share, one in shares]).sum(0)
        return (photo + added).clamp(0, 1)

    def _recoloured(self, number: int, image: Tensor, mix: Mix) -> Tensor:
        """A picture moved towards the styles' palettes: the photo (0), so that its colours do not
        come back with its detail, or the painting (1), whose colours grow too strong by level.
        """
        if not self.recolours:
            self.palettes = [[], []]
            return image
        if number == len(self.palettes):
            self.fit_palettes(at_most(image, MEASURED_AREA // len(image)), mix)
        if not mix.masked:
            return by_strips(lambda part: self.recoloured(number, part, mix.weights), image)
        return by_strips(partial(self.recoloured, number), image, mix.weights)

    @property
    def recolours(self) -> bool:
        """Whether the photo and the painting are moved towards the styles' palettes."""
        return len(self.levels) > 1 and all(style.palette is not None for style in self.styles)

    def fit_palettes(self, small: Tensor, mix: Mix) -> None:
        """Fits the next of `palettes` to a picture that is scaled down to be measured."""
        palettes = [style.palette for style in self.styles if style.palette is not None]
        small_mix = mix.resized(small.shape[-2], small.shape[-1])
        self.palettes.append(_fit_palettes(small, palettes, small_mix))

    def recoloured(self, number: int, part: Tensor, weights: Tensor) -> Tensor:
        """A part of the photo (0), or of the painting (1), with its colours moved.

        Args:
            number: which.
            part: (1, 3, h, w).
            weights: of the mix there, (1 + K, h, w) or (1 + K, 1, 1).
        """
        maps = self.palettes[number]
        return torch.lerp(part, blend(part, weights, maps), PALETTE).clamp(0, 1)


@dataclass
class _Steps:
    """Counts and reports the steps of all levels: one as a level begins, and one for each tile."""

    on_step: OnStep | None
    boxes: Sequence[Sequence[Box]]
    """The tiles of each level."""
    size: tuple[int, int]
    """Height and width of the picture."""
    done: int = 0
    stopped: bool = False

    def report(self, image: Tensor) -> None:
        """Reports a step with the picture so far; raises `Stop` if the user asks for it."""
        self.done += 1
        if self.on_step is None:
            return
        steps = list(itertools.chain(*map(_work, self.boxes)))
        fraction = sum(steps[: self.done]) / sum(steps)
        whole = partial(resize, image, *self.size)
        try:
            self.on_step(Progress(self.done, len(steps), {}, whole, fraction))
        except Stop:
            self.stopped = True
            raise

    def go_on(self, image: Tensor) -> bool:
        """Reports a step with the picture so far; returns whether to go on."""
        with suppress(Stop):
            self.report(image)
        return not self.stopped


def _work(boxes: Sequence[Box]) -> list[int]:
    """The work of each step of a level, in pixels: of fitting it, and of its tiles."""
    tiles = [
        (box.outer_bottom - box.outer_top) * (box.outer_right - box.outer_left) for box in boxes
    ]
    return [min(sum(tiles), MEASURED_AREA), *tiles]


def revised(
    photo: Tensor, painted: Tensor, before: Tensor, detail: float, keep: float | Tensor = 0.0
) -> Tensor:
    """Returns what a level paints: the level before, enlarged and with the photo's detail.

    Args:
        photo: the photo at this level, (N, 3, H, W).
        painted: the painting at the level before, (N, 3, h, w).
        before: the photo at the level before, (N, 3, h, w).
        detail: share of the photo, 0..1.
        keep: where the result is the photo itself, 0..1; (H, W), or one number for all pixels.

    Returns:
        (N, 3, H, W), in [0, 1].
    """
    size = photo.shape[-2:]
    enlarged = (resize(painted, *size), resize(before.mean(1, keepdim=True), *size))
    return with_detail(photo, *enlarged, detail, keep)


def with_detail(
    photo: Tensor, painted: Tensor, before: Tensor, detail: float, keep: float | Tensor
) -> Tensor:
    """Returns a part of what a level paints, of what is enlarged already; see `revised`.

    Args:
        photo: the photo, (N, 3, H, W).
        painted: the painting at the level before, enlarged, (N, 3, H, W).
        before: the lightness of the photo at the level before, enlarged, (N, 1, H, W).
        detail: share of the photo, 0..1.
        keep: where the result is the photo itself.
    """
    lightness = photo.mean(1, keepdim=True) - before
    enlarged = torch.lerp(painted + lightness * detail, photo, detail)
    return torch.lerp(enlarged.clamp(0, 1), photo, keep)


def noise(height: int, width: int, texture: Texture | None, seed: int) -> Tensor:
    """Returns the noise that is added to the photo of the first level, (1, 1, height, width).

    Args:
        height: height of the photo in pixels.
        width: width of the photo in pixels.
        texture: texture that the noise resembles; None for weak smoothed noise.
        seed: seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    if texture is None:
        white = torch.randn(1, 1, height + 2, width + 2, generator=generator)
        return 3 * _PLAIN_NOISE * F.avg_pool2d(white, 3, 1)
    return texture.colour(torch.randn(1, 1, height, width, generator=generator))


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
    """For each style, the map of the colours painted inside of its region to its palette."""
    pixels = one_above_the_other(painted)[0]
    masks = mix.styles.repeat(1, len(painted), 1) if mix.masked else [None] * len(palettes)
    return [
        coral(Moments.of(pixels, mask), palette)
        for mask, palette in zip(masks, palettes, strict=True)
    ]
