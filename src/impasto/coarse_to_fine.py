"""Coarse to fine: a network paints the photo small, and its own painting again, larger.

The strokes of a network are some pixels wide, whatever it paints. On a small photo they are large.
The painting is then enlarged, mixed with the photo's finer detail, and painted again: strokes stay
large and become sharp. (Lin et al. 2021, arXiv:2104.05376, draft and revise by two networks; here
it is one.) All that this takes is a network's `Method.fit`, so that it serves all of them.

The sizes of the levels follow from the size of the *picture*: from the coarsest one, the same for
photos of any resolution, in steps of a square root of two to twice that, which is where forms and
strokes settle; then once more, twice as large, which only makes them finer.

What is painted is not the photo itself but its forms, without fine detail, and the painting of the
last level is brought to the picture's size by enlarging its strokes (`impasto.abstraction`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto import abstraction
from impasto.abstraction import abstracted, blurred
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

_COARSEST_SIDE = 160
"""Square root of the first level's area in pixels; small pictures begin at half of their side."""
_SHORTEST_SIDE = 2 * MIN_SIDE
"""Shortest side of the first level in pixels, unless the photo's own is shorter."""
_DRAFT_STEP, _DRAFTS_END, _LARGEST = 2**0.5, 2.0, 4.0
"""Levels grow by the first factor until they are so many times the coarsest; one more, as large as
the picture, is so many times the coarsest at most."""
_LAST_DETAIL = 0.5
"""Factor of ``detail`` in that level, where strokes only become sharper."""
_STROKES = 0.001
"""Scale of the abstraction of a painting, relative to its side, for ``stroke_size`` 1."""
_FORMS = 0.013
"""Scale of the abstraction of the photo, likewise, for ``detail`` 0."""
_FINEST = 0.4
"""What is taken from both, in pixels: in small pictures strokes are as fine as can be painted."""
_LARGEST_SCALE = 8.0
"""Largest scale of abstractions, in pixels; larger ones would mostly see other tiles."""
ABSTRACTING = 0.15
"""Work of abstracting a pixel, relative to painting it."""
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
    """Returns the sizes at which a picture is painted, ascending; the last one is its own, or four
    times the first.

    Args:
        height: height of the picture in pixels.
        width: width of the picture in pixels.
        stroke_size: size of the largest strokes, relative to the usual; 0 for a single level.
        detail: how much of the photo's detail there is between the strokes, 0..1.
    """
    if stroke_size == 0:
        return [Level(height, width, 1.0)]
    side = _side(height, width)
    coarsest = min(_COARSEST_SIDE, side / 2) / stroke_size
    coarsest = max(coarsest, side * _SHORTEST_SIDE / min(height, width))
    growth = max(side / coarsest, 1.0)
    drafted, last = min(growth, _DRAFTS_END), min(growth, _LARGEST)
    count = math.ceil(math.log(drafted, _DRAFT_STEP) - 1e-6)
    drafts = [drafted ** (n / count) for n in range(1, count + 1)]
    scales = [(1.0, 1.0), *((scale, detail) for scale in drafts)]
    if last > drafted:
        scales.append((last, detail * _LAST_DETAIL))
    sides = partial(_scaled, height, width)
    return [Level(*sides(scale / growth), share) for scale, share in scales]


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
        texture = light - blurred(light, _TEXTURE_SCALE)
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
    size: tuple[int, int]
    """Height and width of the picture in pixels."""
    stroke_size: float
    """Size of the largest strokes, relative to the usual; 0 for a single pass."""
    detail: float
    """How much of the photo's detail there is between the strokes, 0..1."""
    tile: str | int
    """Side of tiles in pixels, or ``auto`` for tiles only if memory is short."""
    seed: int
    """Seed of the noise."""
    fitted: list[Transfer] = field(default_factory=list)
    """The fitted function that paints each level; empty until a photo is painted."""
    palettes: list[list[Affine]] = field(default_factory=list)
    """For the photo (0) and for the painting (1), the map of colours to each style's palette; empty
    until a photo is painted."""

    @cached_property
    def levels(self) -> list[Level]:
        """The sizes that the photo is painted at, ascending."""
        return levels(*self.size, self.stroke_size, self.detail)

    @property
    def single_pass(self) -> bool:
        """Whether the network paints the photo as it is, once."""
        return len(self.levels) == 1

    @torch.no_grad()
    def finish_fitting(self, content: Tensor, mix: Mix) -> None:
        """Paints the levels of the photo, or of N frames of a film, (N, 3, H, W), if none was
        painted yet, since that fits them.
        """
        if len(self.palettes) < 2:
            self._paint_levels(content, mix, self._steps(content, None))

    def steps(self, content: Tensor) -> int:
        """Returns the number of steps: one for each level, one for each of its tiles, and one for
        each tile of the painting as it is brought to its size.
        """
        tiles = sum(1 + len(self._boxes(level, content.device)) for level in self.levels)
        return tiles + len(self.finishing_boxes)

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
        """Paints level by level, and brings the painting to its size; see `_paint_levels`."""
        steps = self._steps(content, on_step)
        photo, forms, painted = self._paint_levels(content, mix, steps, steadied, paths)
        enlarged = resize(painted, *self.size)
        if self.single_pass:
            return enlarged
        some = bool(mix.photo.any())
        so_far = torch.lerp(enlarged, photo, mix.photo) if some else enlarged
        if steps.stopped:
            return so_far
        others = (photo, resize(forms, *self.size)) if some else ()
        return _in_tiles(
            self.finished,
            self.finishing_boxes,
            so_far,
            (enlarged, mix.photo, *others),
            lambda _, so_far: steps.report(so_far),
        )

    def _paint_levels(
        self,
        content: Tensor,
        mix: Mix,
        steps: _Steps,
        steadied: Callable[[int, Tensor], Tensor] = lambda _, painted: painted,
        paths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Paints level by level.

        Args:
            content: the photo, or N frames of a film, (N, 3, H, W).
            mix: how much of which style goes where.
            steps: counts and reports the steps.
            steadied: what to make of the painting (N, 3, h, w) of a level, given its number.
            paths: how far each point of the first level has moved since the noise was made, in
                pixels, x before y, (1, 2, h, w); None for not at all.

        Returns:
            The photo (N, 3, H, W) with its colours moved; its `forms`, (N, 3, h, w); and the
            painting of the last level, (N, 3, h, w), or of another if the user stopped there.
        """
        photo = self._recoloured(0, content, mix)
        mixes = [mix.resized(level.height, level.width) for level in self.levels]
        last = self.levels[-1]
        forms = resize(photo, last.height, last.width)
        if self.forms_scale:
            forms = _in_tiles(self.forms, self.forms_boxes, forms, (forms, mixes[-1].photo))
        painted = before = forms
        for number, (level, local) in enumerate(zip(self.levels, mixes, strict=True)):
            form = resize(forms, level.height, level.width)
            if number == 0:
                image = self.first_input(form, local, paths)
            else:
                image = revised(form, painted, before, level.detail, local.photo)
            painted = steadied(number, self._painted(number, image, local, steps))
            if steps.stopped:
                return photo, forms, painted
            before = form
        return photo, forms, self._recoloured(1, painted, mixes[-1])

    def _steps(self, content: Tensor, on_step: OnStep | None) -> _Steps:
        boxes = [self._boxes(level, content.device) for level in self.levels]
        return _Steps(on_step, boxes, self.finishing_boxes, self.size)

    def forms(self, photo: Tensor, keep: Tensor) -> Tensor:
        """A part of the photo without its fine detail.

        Args:
            photo: the photo at the size of the last level, (N, 3, h, w).
            keep: where the result is the photo itself, 0..1, (h, w) or (1, 1).
        """
        return torch.lerp(abstracted(photo, self.forms_scale), photo, keep)

    def finished(
        self,
        painted: Tensor,
        keep: Tensor,
        photo: Tensor | None = None,
        forms: Tensor | None = None,
    ) -> Tensor:
        """A part of the painting, brought to its own size.

        Args:
            painted: the painting of the last level, enlarged, (N, 3, H, W).
            keep: how much of the photo there is, 0..1, (H, W) or (1, 1).
            photo: the photo, (N, 3, H, W); None if there is nothing of it.
            forms: what `forms` returned, enlarged, (N, 3, H, W); None likewise.
        """
        strokes = abstracted(painted, self.strokes_scale) if self.strokes_scale else painted
        if photo is None or forms is None:
            return strokes
        detailed = (painted + photo - forms).clamp(0, 1)
        return torch.where(keep == 1, photo, torch.lerp(strokes, detailed, keep))

    @property
    def strokes_scale(self) -> float:
        """Scale of the abstraction of the painting, in pixels; 0 for none."""
        return self._scale(_STROKES * _side(*self.size))

    @property
    def forms_scale(self) -> float:
        """Scale of the abstraction of the photo, in pixels of the last level; 0 for none."""
        last = self.levels[-1]
        return self._scale(_FORMS * (1 - self.detail) * _side(last.height, last.width))

    def _scale(self, usual: float) -> float:
        """The scale of an abstraction in pixels, given what it is for strokes of the usual size.
        Strokes are no larger than the first level says.
        """
        if self.single_pass:
            return 0.0
        first = self.levels[0]
        stroke = min(self.stroke_size, _COARSEST_SIDE / _side(first.height, first.width))
        return min(max(stroke * usual - _FINEST, 0.0), _LARGEST_SCALE)

    @cached_property
    def forms_boxes(self) -> list[Box]:
        """The tiles for `forms`."""
        last = self.levels[-1]
        return abstraction.boxes(last.height, last.width, self.forms_scale)

    @cached_property
    def finishing_boxes(self) -> list[Box]:
        """The tiles for `finished`; none if there is a single level, which is left as it is."""
        return [] if self.single_pass else abstraction.boxes(*self.size, self.strokes_scale)

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
        if self.single_pass:
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
        return not self.single_pass and all(style.palette is not None for style in self.styles)

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
    """Counts and reports the steps of all levels: one as a level begins, and one for each tile;
    then one for each tile of the painting as it is brought to its size.
    """

    on_step: OnStep | None
    boxes: Sequence[Sequence[Box]]
    """The tiles of each level."""
    finishing: Sequence[Box]
    """The tiles of the painting as it is brought to its size."""
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
        steps += [ABSTRACTING * box.area for box in self.finishing]
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


def _work(boxes: Sequence[Box]) -> list[float]:
    """The work of each step of a level, in pixels: of fitting it, and of its tiles."""
    tiles = [box.area for box in boxes]
    return [min(sum(tiles), MEASURED_AREA), *tiles]


def _in_tiles(
    function: Callable[..., Tensor],
    boxes: Sequence[Box],
    so_far: Tensor,
    maps: Sequence[Tensor],
    on_tile: Callable[[int, Tensor], None] = lambda *_: None,
) -> Tensor:
    """Calls a function of the parts of maps (..., H, W) tile by tile; those of one pixel are the
    same everywhere. What is not done yet is that of a picture so far, (N, 3, H, W).
    """
    parts = (
        function(*(one if one.shape[-2:] == (1, 1) else box.outer(one) for one in maps))
        for box in boxes
    )
    return render(parts, so_far, boxes, on_tile)


def _side(height: int, width: int) -> float:
    """The side of a square of the same area."""
    return math.sqrt(height * width)


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


def _fit_palettes(painted: Tensor, palettes: Sequence[Moments], mix: Mix) -> list[Affine]:
    """For each style, the map of the colours painted inside of its region to its palette."""
    pixels = one_above_the_other(painted)[0]
    masks = mix.styles.repeat(1, len(painted), 1) if mix.masked else [None] * len(palettes)
    return [
        coral(Moments.of(pixels, mask), palette)
        for mask, palette in zip(masks, palettes, strict=True)
    ]
