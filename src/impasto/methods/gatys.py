"""Style transfer by optimisation (Gatys et al. 2016, CVPR), and texture synthesis (Gatys et al.
2015, arXiv:1505.07376).

The pixels themselves are optimised until the picture has the content's features in deep layers and
the style's statistics in all. Beyond the papers:

- coarse to fine (Gatys et al. 2017, arXiv:1611.07865, sec. 6): large shapes settle on a small
  picture, where a step costs a fraction, and the optimiser's state is carried to the next size;
- losses are relative (see `impasto.losses`), so that one trade-off suits every picture and layer;
- style targets are `Moments`, so that Gram matrices and Wasserstein distances, mixtures of styles,
  masks and strength come from the same statistics: ``strength`` 0.3 aims at moments that are
  mixed from 0.7 of the photo's own and 0.3 of the style's.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from impasto import images, losses
from impasto.controls import MIN_SIDE
from impasto.errors import ControlError, Stop
from impasto.gallery import TrainedLook
from impasto.matching import wct
from impasto.methods.base import (
    Footprint,
    Memory,
    Method,
    OnStep,
    Past,
    Progress,
    Transfer,
    picture_of,
)
from impasto.mixing import Mix, Region
from impasto.moments import Moments
from impasto.networks.encoder import Encoder, Precision, parse_layers, precision_setting
from impasto.networks.layers import adaptive_pool
from impasto.networks.vgg import load_encoder
from impasto.optimize import OptimizerName, PixelOptimizer
from impasto.settings import check_settings, setting

EncoderName = Literal["vgg19", "vgg16"]
Pooling = Literal["max", "average"]
StyleLoss = Literal["gram", "wasserstein"]

_STYLE_LOSSES = {"gram": losses.gram_loss, "wasserstein": losses.wasserstein_loss}
_COARSE_ITERATIONS = 100
_COARSEST_SIDE = 64
"""Coarse-to-fine starts where the shorter side has at least this many pixels."""
# Peak memory per pixel, measured at 512 and 1024 px, by style loss; mostly features of the first
# two blocks with their gradients.
_BYTES_PER_PIXEL = 3_000


@dataclass(frozen=True)
class GatysConfig:
    """Settings of the method ``gatys``, the optimiser."""

    encoder: EncoderName = setting(
        "vgg19",
        "Network whose features the optimiser compares.",
        get_args(EncoderName),
    )
    encoder_weights: str | None = setting(
        None,
        "Safetensors file with weights for the encoder, for instance torchvision's (default: the "
        "bundled ones).",
    )
    pooling: Pooling = setting(
        "max",
        "Pooling between the encoder's blocks: max, which it was trained with, or average, which "
        "gives smoother pictures.",
        get_args(Pooling),
    )
    precision: Precision = precision_setting()
    content_layers: str = setting(
        "relu4_2",
        "Layers of the encoder at which the picture keeps the photo's features, separated by "
        "commas; relu4_2:0.5 gives a layer half the weight.",
    )
    style_layers: str = setting(
        "relu1_1,relu2_1,relu3_1,relu4_1,relu5_1",
        "Layers of the encoder at which the picture takes over the style's statistics, separated "
        "by commas; relu4_1:0.5 gives a layer half the weight.",
    )
    style_loss: StyleLoss = setting(
        "gram",
        "Distance between the picture's and the style's statistics: that of Gram matrices (gram), "
        "or the Wasserstein-2 distance of mean and covariance (wasserstein).",
        get_args(StyleLoss),
    )
    content_weight: float = setting(
        0.15, "Weight of the content loss; a higher one keeps more of the photo.", min=0
    )
    style_weight: float = setting(
        1.0, "Weight of the style loss; a higher one takes more of the style.", min=0
    )
    tv_weight: float = setting(
        0.0, "Weight of the total variation loss; a higher one makes the picture smoother.", min=0
    )
    optimizer: OptimizerName = setting(
        "lbfgs",
        "Optimiser of the pixels; lbfgs comes to a good picture in fewer steps than adam.",
        get_args(OptimizerName),
    )
    learning_rate: float | None = setting(
        None, "Learning rate of the optimiser (default: 1 for L-BFGS, 0.03 for Adam)."
    )
    iterations: int = setting(
        100,
        "Number of optimiser steps at full size; each smaller size before it gets as many, but at "
        "most 100.",
        min=1,
    )
    seconds: float | None = setting(
        None,
        "Time limit of the optimisation in seconds; it ends earlier if all iterations are done "
        "(default: no limit).",
    )
    coarse_to_fine: bool = setting(
        True, "Optimise a small picture first and double its size step by step, which is faster."
    )
    init: str = setting(
        "content",
        "Picture that the optimisation starts from: content (the photo), noise, style (noise in "
        "the style's colours), or a picture file.",
    )
    avg_decay: float = setting(
        0.9,
        "Decay of the running mean over the optimiser's steps, which is the result; 0 takes the "
        "last step alone, which is less smooth.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.content_weight + self.style_weight <= 0:
            raise ControlError("content_weight and style_weight are both 0: make one positive")
        if self.seconds is not None and self.seconds <= 0:
            raise ControlError(f"seconds is {self.seconds}: use more than 0")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ControlError(f"learning_rate is {self.learning_rate}: use more than 0")
        if not 0 <= self.avg_decay < 1:
            raise ControlError(f"avg_decay is {self.avg_decay}: use at least 0 and less than 1")
        parse_layers(self.content_layers)
        parse_layers(self.style_layers)


class Gatys(Method):
    """Paints by optimising the pixels (Gatys et al. 2016, CVPR).

    Args:
        config: the settings; None for the defaults.
        encoder: replaces the encoder that the settings name; for tests.

    Raises:
        ControlError: the encoder has no such layer.
        WeightsError: the encoder's weights are damaged, or of another architecture.
    """

    Config = GatysConfig
    config: GatysConfig

    def __init__(self, config: GatysConfig | None = None, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.config = config or GatysConfig()
        file = self.config.encoder_weights
        self.encoder = encoder or load_encoder(
            self.config.encoder,
            pooling=self.config.pooling,
            precision=self.config.precision,
            weights=Path(file) if file else None,
        )
        self.content_layers = parse_layers(self.config.content_layers)
        self.style_layers = parse_layers(self.config.style_layers)
        self.encoder.check([*self.content_layers, *self.style_layers])

    @property
    def footprint(self) -> Footprint:
        """Memory for each pixel; the picture is optimised as a whole, not in tiles."""
        return Footprint(_BYTES_PER_PIXEL)

    def encode_style(self, style: Tensor | TrainedLook) -> Tensor:
        """Returns the style picture (1, 3, h, w) as it is, since `fit` measures it at the scales
        that the photo goes through.

        Raises:
            ControlError: the style is a trained look, which has no picture.
        """
        return picture_of(style, "the optimiser")

    def fit(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        mix: Mix,
        *,
        seed: int = 0,
    ) -> tuple[GatysTransfer, None]:
        """Measures the styles at every scale that the photo will go through.

        Args:
            content: the photo (1, 3, H, W), sRGB in [0, 1].
            styles: K pictures (1, 3, h, w), sRGB in [0, 1].
            mix: ignored, since regions are measured while painting.
            seed: seed of the noise, if the optimisation starts from noise.

        Returns:
            The fitted function that optimises, and None, since the photo is not painted yet.
        """
        scales = self._scales(*content.shape[-2:])
        targets = [[self.measure(_scaled(style, scale)) for style in styles] for scale in scales]
        palette = [Moments.of(style[0]).normalised() for style in styles]
        return GatysTransfer(self, scales, targets, palette, seed), None

    def weights_used(self, style: Any) -> dict[str, str]:
        """Returns name and sha256 of the encoder's weights, which are the same for all styles."""
        return {self.encoder.name: self.encoder.sha256}

    def _scales(self, height: int, width: int) -> list[float]:
        """The scales that a photo is optimised at, ascending to 1 in steps of 2."""
        scales = [1.0]
        while self.config.coarse_to_fine and min(height, width) * scales[0] / 2 >= _COARSEST_SIDE:
            scales.insert(0, scales[0] / 2)
        return scales

    @torch.no_grad()
    def measure(self, style: Tensor) -> dict[str, Moments]:
        """Returns the moments of a style picture (1, 3, h, w), by layer, with weight 1."""
        features = self.encoder(style, self.style_layers)
        return {tap: Moments.of(features[tap][0]).normalised() for tap in self.style_layers}


def sum_moments(parts: Sequence[Moments]) -> Moments:
    """Adds up moments: returns those of all parts together."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _measure(features: Tensor, mask: Tensor | None) -> Moments:
    """Moments of (1, C, h, w) features inside of a mask (1, 1, H, W), scaled down by averaging."""
    if mask is None:
        return Moments.of(features.squeeze(0))
    return Moments.of(features.squeeze(0), adaptive_pool(mask, features.shape[-2:])[0, 0])


class StyleTransferLoss:
    """The loss at one scale (Gatys et al. 2016, eq. 7), its parts being relative (see
    `impasto.losses`).

    Args:
        method: the encoder, layers and weights.
        content: the photo (1, 3, H, W), sRGB in [0, 1].
        mix: how much of which style goes where, for that size.
        styles: moments by layer, for each of K styles.
    """

    def __init__(
        self,
        method: Gatys,
        content: Tensor,
        mix: Mix,
        styles: Sequence[Mapping[str, Moments]],
    ) -> None:
        self.method, self.config = method, method.config
        content_layers = list(method.content_layers) if self.config.content_weight > 0 else []
        self.taps = {*content_layers, *method.style_layers}
        with torch.no_grad():
            # At full strength the photo's own style statistics count for nothing.
            features = method.encoder(content, self.taps if mix.strength < 1 else content_layers)
            # Each region with the moments that it aims at, by layer.
            self.regions = [
                (region, _targets(region, mix.strength, features, styles))
                for region in mix.regions()
            ]
        self.content = {tap: features[tap] for tap in content_layers}

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Computes the weighted losses of a picture (1, 3, H, W).

        Returns:
            The losses ``content``, ``style`` and ``tv``, and their sum, ``total``.
        """
        features = self.method.encoder(image, self.taps)
        content = image.new_zeros(())
        for tap, target in self.content.items():
            share = self.method.content_layers[tap]
            content = content + share * losses.content_loss(features[tap], target)
        distance = _STYLE_LOSSES[self.config.style_loss]
        style = image.new_zeros(())
        for region, targets in self.regions:
            for tap, share in self.method.style_layers.items():
                moments = _measure(features[tap], region.mask)
                style = style + region.area * share * distance(moments, targets[tap])
        parts = {
            "content": self.config.content_weight * content,
            "style": self.config.style_weight * style,
            "tv": self.config.tv_weight * losses.total_variation(image),
        }
        return {**parts, "total": torch.stack(tuple(parts.values())).sum()}


def _targets(
    region: Region,
    strength: float,
    content: Mapping[str, Tensor],
    styles: Sequence[Mapping[str, Moments]],
) -> dict[str, Moments]:
    """The moments that a region aims at, by layer: those of its styles mixed, ``strength`` of them,
    and the rest from the photo's features (1, C, h, w).
    """
    targets = {}
    for tap in styles[0]:
        mixed = sum_moments(
            [styles[k][tap] * (strength * share) for k, share in region.shares.items()]
        )
        if strength < 1:
            mixed = mixed + _measure(content[tap], region.mask).normalised() * (1 - strength)
        targets[tap] = mixed
    return targets


@dataclass(frozen=True)
class GatysTransfer(Transfer):
    """Optimises a picture towards the statistics of styles."""

    method: Gatys
    """The encoder, the optimiser's settings and the weights of the losses."""
    scales: Sequence[float]
    """Sizes that the photo is optimised at, as shares of its own, ascending to 1."""
    styles: Sequence[Sequence[Mapping[str, Moments]]]
    """Moments for each scale, then each style, then each layer."""
    palette: Sequence[Moments]
    """Mean and covariance of the colours of each style."""
    seed: int
    """Seed of the noise, if the optimisation starts from noise."""
    stop_after: int | None = None
    """Number of steps, at all scales together, after which it ends, whatever the time limit says
    at full size; None to do all of them."""

    def __call__(
        self,
        content: Tensor,
        mix: Mix,
        on_step: OnStep | None = None,
        init: Tensor | None = None,
    ) -> Tensor:
        """Optimises a picture.

        Args:
            content: the photo (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where, for this size.
            on_step: called after each step; `impasto.Stop` raised in it ends the optimisation
                early, with the picture so far.
            init: picture to start from, (1, 3, H, W), in place of the one that the settings name.

        Returns:
            (1, 3, H, W), sRGB in [0, 1]. Where the photo's share is 1, exactly the content.

        Raises:
            ControlError: the optimisation diverged.
        """
        strength = mix.strength
        if strength == 0:
            return content
        covered = mix.coverage

        def composed(image: Tensor) -> Tensor:
            image = images.resize(image, *content.shape[-2:])
            return covered * image + (1 - covered) * content

        config = self.method.config
        image = init
        if image is None:
            image = (1 - strength) * content + strength * self._init(content, mix)
        before = image
        pixels = PixelOptimizer(config.optimizer, config.learning_rate, config.avg_decay)
        done, steps, began = 0, self.steps(content), time.monotonic()
        try:
            for scale, styles, count, deadline in zip(
                self.scales, self.styles, self._counts(), self._deadlines(), strict=True
            ):
                small = _scaled(content, scale)
                image = images.resize(image, *small.shape[-2:])
                if init is not None:  # with the detail that no smaller scale could hold
                    coarser = images.resize(before, *small.shape[-2:])
                    before = images.resize(init, *small.shape[-2:])
                    image = (image + before - coarser).clamp(0, 1)
                pixels.set(image)
                loss = StyleTransferLoss(self.method, small, _downsample(mix, small), styles)
                for _ in range(count):
                    values = pixels.step(loss)
                    done += 1
                    if on_step is not None:
                        fraction = max(
                            self._work(done) / self._work(steps),
                            (time.monotonic() - began) / (config.seconds or math.inf),
                        )
                        on_step(
                            Progress(
                                done,
                                steps,
                                values,
                                lambda: composed(pixels.mean),
                                min(fraction, 1.0),
                            )
                        )
                    if done == self.stop_after:
                        raise Stop
                    if time.monotonic() > deadline:
                        break
                image = pixels.mean
        except Stop:
            image = pixels.mean
        return composed(image)

    def follow(
        self,
        content: Tensor,
        mix: Mix,
        past: Past | None,
        on_step: OnStep | None = None,
        *,
        init: Tensor | None = None,
    ) -> tuple[Tensor, Memory]:
        """Optimises the next frame of a film, from the painting before, moved (Ruder et al. 2016,
        arXiv:1604.08610, sec. 4.1); see `Transfer.follow`.

        Args:
            content: the frame (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where on this frame.
            past: the frame before; None for the first frame of a shot.
            on_step: as of `__call__`.
            init: picture to start from where the motion is not certain, (1, 3, H, W), in place of
                the one that the settings name.
        """
        if past is None:
            painted = self(content, mix, on_step, init=init)
        else:
            motion, before = past.motion, past.memory["painted"]
            init = motion.steadied(content if init is None else init, before)
            painted = motion.steadied(self(content, mix, on_step, init=init), before)
        return painted, {"painted": painted}

    def steps(self, content: Tensor) -> int:
        """Returns the number of steps of the optimiser, at all scales together."""
        return min(sum(self._counts()), self.stop_after or sys.maxsize)

    def _work(self, steps: int) -> float:
        """What the first steps cost, in steps at full size: as much as their share of its area."""
        work = 0.0
        for scale, count in zip(self.scales, self._counts(), strict=True):
            work += min(count, steps) * scale**2
            steps -= min(count, steps)
        return work

    def _counts(self) -> list[int]:
        """The number of steps at each scale."""
        iterations = self.method.config.iterations
        coarse = [min(iterations, _COARSE_ITERATIONS)] * (len(self.scales) - 1)
        return [*coarse, iterations]

    def _deadlines(self) -> list[float]:
        """When each scale ends: each gets time in proportion to its area, and so as many steps."""
        seconds = self.method.config.seconds or math.inf
        areas = [scale**2 for scale in self.scales]
        ends = [sum(areas[: n + 1]) / sum(areas) for n in range(len(areas))]
        deadlines = [time.monotonic() + seconds * end for end in ends]
        return deadlines if self.stop_after is None else [*deadlines[:-1], math.inf]

    def _init(self, content: Tensor, mix: Mix) -> Tensor:
        """The picture that the optimisation starts from."""
        init = self.method.config.init
        if init == "content":
            return content
        if init in ("noise", "style"):
            generator = torch.Generator().manual_seed(self.seed)
            noise = torch.rand(content.shape, generator=generator).to(content)
            if init == "noise":
                return noise
            shares = mix.styles.mean((1, 2))
            mixed = [moments * share for moments, share in zip(self.palette, shares, strict=True)]
            return wct(Moments.of(noise[0]), sum_moments(mixed))(noise).clamp(0, 1)
        return images.resize(images.read(init).pixels.to(content), *content.shape[-2:])


def _downsample(mix: Mix, like: Tensor) -> Mix:
    """The mix averaged down to the height and width of ``like``."""
    if not mix.masked:
        return mix
    return replace(mix, weights=adaptive_pool(mix.weights, like.shape[-2:]))


def _scaled(image: Tensor, scale: float) -> Tensor:
    """The picture at a share of its size, but no smaller than the encoder can read."""
    height, width = (max(round(side * scale), MIN_SIDE) for side in image.shape[-2:])
    return images.resize(image, height, width)
