"""Style transfer by optimisation (Gatys, Ecker & Bethge, CVPR 2016), and texture synthesis (2015).

The pixels themselves are optimised until the picture has the content's features in deep layers and
the style's statistics in all. Beyond the paper:

- coarse to fine (Gatys et al. 2017, sec. 6): large shapes settle on a small picture, where a step
  costs a fraction, and the optimiser's memory goes along to the next size;
- losses are relative (see `impasto.losses`), so that one trade-off suits every picture and layer;
- style targets are `Moments`, so that Gram matrices and Wasserstein distances, mixtures of styles,
  masks and strength come from the same statistics: ``strength`` 0.3 aims at moments that are
  mixed from 0.7 of the photo's own and 0.3 of the style's.
"""

from __future__ import annotations

import math
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
from impasto.methods.base import Footprint, Method, OnStep, Progress, Transfer, picture_of
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
    """Settings of the method ``gatys``. Layers are written ``relu1_1,relu2_1:0.5`` (default 1)."""

    encoder: EncoderName = setting(
        "vgg19", "Network whose features are compared.", get_args(EncoderName)
    )
    encoder_weights: str | None = setting(
        None, "Safetensors file with other weights for the encoder."
    )
    pooling: Pooling = setting("max", "Pooling of the encoder.", get_args(Pooling))
    precision: Precision = precision_setting()
    content_layers: str = setting("relu4_2", "Layers whose features the photo gives.")
    style_layers: str = setting(
        "relu1_1,relu2_1,relu3_1,relu4_1,relu5_1", "Layers whose statistics the style gives."
    )
    style_loss: StyleLoss = setting(
        "gram",
        "Distance of statistics: Gram matrices, or Wasserstein-2 between Gaussians.",
        get_args(StyleLoss),
    )
    content_weight: float = setting(
        0.15, "Weight of the content loss: more keeps more of the photo.", min=0
    )
    style_weight: float = setting(1.0, "Weight of the style loss.", min=0)
    tv_weight: float = setting(0.0, "Weight of the total variation: more is smoother.", min=0)
    optimizer: OptimizerName = setting("lbfgs", "The optimiser.", get_args(OptimizerName))
    learning_rate: float | None = setting(
        None, "Its step; without it, 1 for lbfgs and 0.03 for adam."
    )
    iterations: int = setting(
        100, "Steps at full size; each coarser scale takes as many, but at most 100.", min=1
    )
    seconds: float | None = setting(
        None, "Time to spend, shared by the scales; ends before the iterations do."
    )
    coarse_to_fine: bool = setting(
        True, "Paint small first and double the size step by step, or start at full size."
    )
    start: str = setting(
        "content",
        "Where to start: content, noise, style (noise in the style's colours), or a picture file.",
    )
    average: float = setting(
        0.9, "Decay of the running mean over the last steps that is the result; 0 = the last step."
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.content_weight + self.style_weight <= 0:
            raise ControlError("content_weight and style_weight are both 0: nothing to aim at")
        if self.seconds is not None and self.seconds <= 0:
            raise ControlError(f"seconds is {self.seconds}: use more than 0")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ControlError(f"learning_rate is {self.learning_rate}: use more than 0")
        if not 0 <= self.average < 1:
            raise ControlError(f"average is {self.average}: use at least 0 and less than 1")
        parse_layers(self.content_layers)
        parse_layers(self.style_layers)


class Gatys(Method):
    """The method; see the module.

    Args:
        config: its settings.
        encoder: replaces the one that the settings name; for tests.
    """

    Config = GatysConfig

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
        """See `Method.footprint`."""
        return Footprint(_BYTES_PER_PIXEL)

    def encode_style(self, style: Tensor | TrainedLook) -> Tensor:
        """The picture itself: it is measured at every scale that the photo goes through."""
        return picture_of(style, "the optimiser")

    def fit(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        mix: Mix,  # noqa: ARG002 - regions are measured while painting
        *,
        seed: int = 0,
    ) -> tuple[GatysTransfer, None]:
        """Measures the styles' moments at every scale that ``content`` will go through."""
        scales = self._scales(*content.shape[-2:])
        targets = [[self.measure(_scaled(style, scale)) for style in styles] for scale in scales]
        palette = [Moments.of(style[0]).normalised() for style in styles]
        return GatysTransfer(self, scales, targets, palette, seed), None

    def weights_used(self, style: Any) -> dict[str, str]:  # noqa: ARG002 - the same for all
        """See `Method.weights_used`."""
        return {self.encoder.name: self.encoder.sha256}

    def _scales(self, height: int, width: int) -> list[float]:
        """Ascending to 1 in steps of 2."""
        scales = [1.0]
        while self.config.coarse_to_fine and min(height, width) * scales[0] / 2 >= _COARSEST_SIDE:
            scales.insert(0, scales[0] / 2)
        return scales

    @torch.no_grad()
    def measure(self, style: Tensor) -> dict[str, Moments]:
        """Moments of a style picture (1, 3, h, w), by layer."""
        features = self.encoder(style, self.style_layers)
        return {tap: Moments.of(features[tap][0]).normalised() for tap in self.style_layers}


def sum_moments(parts: Sequence[Moments]) -> Moments:
    """Moments of all parts together."""
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
    """The loss at one scale (Gatys et al. 2016, eq. 7), with relative parts.

    Args:
        method: whose encoder, layers and weights are used.
        content: the photo (1, 3, H, W).
        mix: how much of which style goes where, for that size.
        styles: moments by layer, for each of the K styles.
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
            own = method.encoder(content, self.taps if mix.strength < 1 else content_layers)
            self.regions = [
                (region, _targets(region, mix.strength, own, styles)) for region in mix.regions()
            ]
        self.content = {tap: own[tap] for tap in content_layers}

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Weighted content, style and total variation loss of (1, 3, H, W), and their total."""
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
    own: Mapping[str, Tensor],
    styles: Sequence[Mapping[str, Moments]],
) -> dict[str, Moments]:
    """What a region aims at, by layer: the mixture of its styles' moments, and 1 - strength of the
    photo's own, of whose features these are.
    """
    targets = {}
    for tap in styles[0]:
        mixed = sum_moments(
            [styles[k][tap] * (strength * share) for k, share in region.shares.items()]
        )
        if strength < 1:
            mixed = mixed + _measure(own[tap], region.mask).normalised() * (1 - strength)
        targets[tap] = mixed
    return targets


@dataclass(frozen=True)
class GatysTransfer(Transfer):
    """A fitted optimisation."""

    method: Gatys
    scales: Sequence[float]
    styles: Sequence[Sequence[Mapping[str, Moments]]]
    """By scale, then by style, then by layer."""
    palette: Sequence[Moments]
    """Of the pixels of each style."""
    seed: int

    def __call__(
        self,
        content: Tensor,
        mix: Mix,
        on_step: OnStep | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """See `Transfer.__call__`; ends early, with the picture so far, on `Stop`.

        Args:
            content, mix, on_step: see there.
            start: a picture to go on from, (1, 3, H, W); replaces the one that the settings name.
        """
        strength = mix.strength
        if strength == 0:
            return content
        covered = (1 - mix.photo) / strength

        def composed(image: Tensor) -> Tensor:
            image = images.resize(image, *content.shape[-2:])
            return covered * image + (1 - covered) * content

        config = self.method.config
        image = start
        if image is None:
            image = (1 - strength) * content + strength * self._start(content, mix)
        before = image
        pixels = PixelOptimizer(config.optimizer, config.learning_rate, config.average)
        coarse = [min(config.iterations, _COARSE_ITERATIONS)] * (len(self.scales) - 1)
        counts, done = [*coarse, config.iterations], 0
        deadlines = self._deadlines()
        try:
            for scale, styles, count, deadline in zip(
                self.scales, self.styles, counts, deadlines, strict=True
            ):
                small = _scaled(content, scale)
                image = images.resize(image, *small.shape[-2:])
                if start is not None:  # with what no smaller scale could hold of it
                    held = images.resize(before, *small.shape[-2:])
                    before = images.resize(start, *small.shape[-2:])
                    image = (image + before - held).clamp(0, 1)
                pixels.set(image)
                objective = StyleTransferLoss(self.method, small, _shrunk(mix, small), styles)
                for _ in range(count):
                    values = pixels.step(objective)
                    done += 1
                    if on_step is not None:
                        on_step(Progress(done, sum(counts), values, lambda: composed(pixels.mean)))
                    if time.monotonic() > deadline:
                        break
                image = pixels.mean
        except Stop:
            image = pixels.mean
        return composed(image)

    def _deadlines(self) -> list[float]:
        """When each scale ends: each gets time in proportion to its area, and so as many steps."""
        seconds = self.method.config.seconds or math.inf
        areas = [scale**2 for scale in self.scales]
        ends = [sum(areas[: n + 1]) / sum(areas) for n in range(len(areas))]
        return [time.monotonic() + seconds * end for end in ends]

    def _start(self, content: Tensor, mix: Mix) -> Tensor:
        """The picture that the optimisation starts from."""
        start = self.method.config.start
        if start == "content":
            return content
        if start in ("noise", "style"):
            generator = torch.Generator().manual_seed(self.seed)
            noise = torch.rand(content.shape, generator=generator).to(content)
            if start == "noise":
                return noise
            shares = mix.styles.mean((1, 2))
            mixed = [moments * share for moments, share in zip(self.palette, shares, strict=True)]
            return wct(Moments.of(noise[0]), sum_moments(mixed))(noise).clamp(0, 1)
        return images.resize(images.read(start).pixels.to(content), *content.shape[-2:])


def _shrunk(mix: Mix, like: Tensor) -> Mix:
    """The mix averaged down to the height and width of ``like``."""
    if not mix.masked:
        return mix
    return replace(mix, weights=adaptive_pool(mix.weights, like.shape[-2:]))


def _scaled(image: Tensor, scale: float) -> Tensor:
    """The picture at a share of its size, but no smaller than the encoder can read."""
    height, width = (max(round(side * scale), MIN_SIDE) for side in image.shape[-2:])
    return images.resize(image, height, width)
