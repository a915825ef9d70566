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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from impasto import images, losses
from impasto.encoders import Encoder, Precision, load_encoder, precision_setting
from impasto.errors import ControlError, Stop
from impasto.matching import wct
from impasto.methods import Method, OnStep, Progress, Transfer
from impasto.moments import Moments
from impasto.style import MIN_SIDE, check_settings, setting

EncoderName = Literal["vgg19", "vgg16"]
Pooling = Literal["max", "average"]
StyleLoss = Literal["gram", "wasserstein"]
OptimizerName = Literal["lbfgs", "adam"]

_STYLE_LOSSES = {"gram": losses.gram_loss, "wasserstein": losses.wasserstein_loss}
_LEARNING_RATES = {"lbfgs": 1.0, "adam": 0.03}
_LBFGS_HISTORY = 10
_FIRST_STEP, _LONGEST_STEP = 0.01, 0.05
"""Of L-BFGS: root mean square change of the pixels."""
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
        0.15, "Weight of the content loss: more keeps more of the photo.", least=0
    )
    style_weight: float = setting(1.0, "Weight of the style loss.", least=0)
    tv_weight: float = setting(0.0, "Weight of the total variation: more is smoother.", least=0)
    optimizer: OptimizerName = setting("lbfgs", "The optimiser.", get_args(OptimizerName))
    learning_rate: float | None = setting(
        None, "Its step; without it, 1 for lbfgs and 0.03 for adam."
    )
    iterations: int = setting(
        100, "Steps at full size; each coarser scale takes as many, but at most 100.", least=1
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


def parse_layers(text: str) -> dict[str, float]:
    """Layers and their shares, which are made to sum to 1: ``a,b:3`` -> ``{a: 0.25, b: 0.75}``.

    Raises:
        ControlError: no layers, or a weight that is not a positive number.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        layer, _, number = part.partition(":")
        try:
            weights[layer] = float(number or 1)
        except ValueError:
            weights[layer] = math.nan
        if not 0 < weights[layer] < math.inf:
            raise ControlError(f"layer '{part}': write NAME or NAME:WEIGHT with a positive weight")
    if not weights:
        raise ControlError("no layers are named: write, for instance, relu1_1,relu2_1:0.5")
    return {layer: weight / sum(weights.values()) for layer, weight in weights.items()}


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

    def weights_used(self, trained: Sequence[str] = ()) -> dict[str, str]:  # noqa: ARG002
        """See `Method.weights_used`."""
        return {self.encoder.name: self.encoder.sha256}

    def bytes_per_pixel(self) -> int:
        """See `Method.bytes_per_pixel`."""
        return _BYTES_PER_PIXEL

    def fit(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        weights: Tensor,  # noqa: ARG002 - regions are measured while painting
        *,
        seed: int = 0,
    ) -> GatysTransfer:
        """Measures the styles' moments at every scale that ``content`` will go through."""
        scales = self._scales(*content.shape[-2:])
        targets = [[self._moments(_scaled(style, scale)) for style in styles] for scale in scales]
        palette = [Moments.of(style[0]).normalised() for style in styles]
        return GatysTransfer(self, scales, targets, palette, seed)

    def _scales(self, height: int, width: int) -> list[float]:
        """Ascending to 1 in steps of 2."""
        scales = [1.0]
        while self.config.coarse_to_fine and min(height, width) * scales[0] / 2 >= _COARSEST_SIDE:
            scales.insert(0, scales[0] / 2)
        return scales

    @torch.no_grad()
    def _moments(self, style: Tensor) -> dict[str, Moments]:
        features = self.encoder(style, self.style_layers)
        return {tap: Moments.of(features[tap][0]).normalised() for tap in self.style_layers}


@dataclass(frozen=True)
class _Region:
    """A part of the picture that aims at one mixture of moments."""

    mask: Tensor | None
    """(1, 1, H, W) in [0, 1]; None = everywhere."""
    weight: float
    """Share of the style loss: the region's share of the picture."""
    targets: Mapping[str, Moments]


def _regions(
    weights: Tensor,
    strength: float,
    own: Mapping[str, Tensor],
    styles: Sequence[Mapping[str, Moments]],
) -> list[_Region]:
    """Groups the styles by where they go and mixes the moments of each group.

    Args:
        weights: (1 + K, H, W).
        strength: the most that they have of any style anywhere; averaged down, they have less.
        own: the content's features, of whose moments 1 - strength is mixed in.
        styles: moments by layer, for each of the K styles.
    """
    peaks = weights[1:].amax((1, 2))
    groups: list[tuple[Tensor, list[int]]] = []
    for number, peak in enumerate(peaks):
        if peak == 0:
            continue
        mask = weights[1 + number] / peak
        for other, members in groups:
            if torch.allclose(mask, other, atol=1e-5):
                members.append(number)
                break
        else:
            groups.append((mask, [number]))
    regions = []
    for mask, members in groups:
        total = float(peaks[members].sum())
        everywhere = bool((mask > 1 - 1e-5).all())
        guide = None if everywhere else mask[None, None]
        targets = {}
        for tap in styles[0]:
            mixed = sum_moments(
                [styles[k][tap] * (strength * float(peaks[k]) / total) for k in members]
            )
            if strength < 1:
                mixed = mixed + _measure(own[tap], guide).normalised() * (1 - strength)
            targets[tap] = mixed
        regions.append(_Region(guide, float(mask.mean()) * total / strength, targets))
    return regions


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
    return Moments.of(features.squeeze(0), _shrunk(mask, features)[0, 0])


class _Objective:
    """The loss at one scale."""

    def __init__(
        self,
        method: Gatys,
        content: Tensor,
        weights: Tensor,
        strength: float,
        styles: Sequence[Mapping[str, Moments]],
    ) -> None:
        self.method, self.config = method, method.config
        content_layers = list(method.content_layers) if self.config.content_weight > 0 else []
        self.taps = {*content_layers, *method.style_layers}
        with torch.no_grad():
            # At full strength the photo's own style statistics count for nothing.
            own = method.encoder(content, self.taps if strength < 1 else content_layers)
            self.regions = _regions(weights, strength, own, styles)
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
        for region in self.regions:
            for tap, share in self.method.style_layers.items():
                moments = _measure(features[tap], region.mask)
                style = style + region.weight * share * distance(moments, region.targets[tap])
        parts = {
            "content": self.config.content_weight * content,
            "style": self.config.style_weight * style,
            "tv": self.config.tv_weight * losses.total_variation(image),
        }
        return {**parts, "total": torch.stack(tuple(parts.values())).sum()}


@dataclass
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
        weights: Tensor,
        on_step: OnStep | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """See `Transfer.__call__`; ends early, with the picture so far, on `Stop`.

        Args:
            content, weights, on_step: see there.
            start: a picture to go on from, (1, 3, H, W); replaces the one that the settings name.
        """
        strength = float((1 - weights[0]).max())
        if strength == 0:
            return content
        covered = (1 - weights[0]) / strength

        def composed(image: Tensor) -> Tensor:
            image = images.resize(image, *content.shape[-2:])
            return covered * image + (1 - covered) * content

        config = self.method.config
        image = start
        if image is None:
            image = (1 - strength) * content + strength * self._start(content, weights)
        before = image
        pixels = _Pixels(config)
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
                maps = _shrunk(weights, small)
                objective = _Objective(self.method, small, maps, strength, styles)
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

    def _start(self, content: Tensor, weights: Tensor) -> Tensor:
        """The picture that the optimisation starts from."""
        start = self.method.config.start
        if start == "content":
            return content
        if start in ("noise", "style"):
            generator = torch.Generator().manual_seed(self.seed)
            noise = torch.rand(content.shape, generator=generator).to(content)
            if start == "noise":
                return noise
            shares = weights[1:].mean((1, 2))
            mixed = [moments * share for moments, share in zip(self.palette, shares, strict=True)]
            return wct(Moments.of(noise[0]), sum_moments(mixed))(noise).clamp(0, 1)
        return images.resize(images.read(start).pixels.to(content), *content.shape[-2:])


class _Pixels:
    """The picture being optimised, with its optimiser and the running mean over the last steps."""

    def __init__(self, config: GatysConfig) -> None:
        self.config = config
        self.optimizer: torch.optim.Optimizer | None = None

    def set(self, image: Tensor) -> None:
        """Goes on from this picture; a change of size carries the optimiser's state along."""
        before = self.optimizer
        self.image = image.detach().clone().contiguous().requires_grad_()
        rate = self.config.learning_rate or _LEARNING_RATES[self.config.optimizer]
        if self.config.optimizer == "adam":
            self.optimizer = torch.optim.Adam([self.image], lr=rate, betas=(0.9, 0.99))
        else:
            # One iteration a call. The tolerances would end it early, at a scale of their own.
            self.optimizer = torch.optim.LBFGS(
                [self.image],
                lr=rate,
                max_iter=1,
                history_size=_LBFGS_HISTORY,
                tolerance_grad=0,
                tolerance_change=0,
            )
        if before is not None:
            _carry_state(before, self.optimizer)
        self._average, self._averaged = torch.zeros_like(image), 0.0

    @property
    def mean(self) -> Tensor:
        """The running mean over the last steps, free of the bias towards its start."""
        return self._average / self._averaged if self._averaged else self.image.detach()

    def step(self, objective: _Objective) -> dict[str, float]:
        """One step of the optimiser; returns the losses before it."""
        values: dict[str, Tensor] = {}
        optimizer = self.optimizer
        assert optimizer is not None

        def closure() -> Tensor:
            optimizer.zero_grad()
            values.update(objective(self.image))
            # The losses are means. Times the number of values, a pixel's gradient is of the same
            # size at every scale, and nowhere near the optimisers' epsilons.
            total = values["total"] * self.image.numel()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        before = self.image.detach().clone()
        optimizer.step(closure)  # type: ignore[arg-type]  # torch's LBFGS wants the tensor
        with torch.no_grad():
            self._bound(before)
            decay = self.config.average
            self._average = decay * self._average + (1 - decay) * self.image
            self._averaged = decay * self._averaged + (1 - decay)
        numbers = {name: float(value.detach()) for name, value in values.items()}
        if not math.isfinite(numbers["total"]):
            raise ControlError("the optimisation diverged: use a smaller learning_rate")
        return numbers

    def _bound(self, before: Tensor) -> None:
        """Keeps pixels in [0, 1] and L-BFGS, which knows no box and has no line search, honest."""
        state = self.optimizer.state[self.image] if self.optimizer else {}
        if "old_stps" in state:
            # Its first step, along the gradient, has no scale; later ones may overshoot.
            longest = _FIRST_STEP if state["n_iter"] == 1 else _LONGEST_STEP
            step = self.image - before
            length = step.square().mean().sqrt()
            if length > longest or state["n_iter"] == 1:
                self.image.copy_(before + step * (longest / length.clamp_min(1e-30)))
        self.image.clamp_(0, 1)
        if "old_stps" in state:
            # The step that was really made is what the change of gradient belongs to.
            state["d"], state["t"] = (self.image - before).flatten(), 1.0


def _carry_state(before: torch.optim.Optimizer, after: torch.optim.Optimizer) -> None:
    """Resizes the optimiser's state, so that it need not learn the loss's shape anew."""
    (old,) = before.param_groups[0]["params"]
    (new,) = after.param_groups[0]["params"]
    state: dict[str, Any] = before.state[old]

    def resized(values: Tensor) -> Tensor:
        return F.interpolate(values.view(old.shape), new.shape[-2:], mode="bilinear")

    if isinstance(after, torch.optim.Adam):
        after.state[new] = {
            "step": state["step"],
            "exp_avg": resized(state["exp_avg"]),
            "exp_avg_sq": resized(state["exp_avg_sq"]),
        }
        return
    # L-BFGS: pairs of steps s and changes of gradient y. A step of length 0 stands for the change
    # of size: the optimiser makes no pair of it.
    pairs = [
        (resized(s).flatten(), resized(y).flatten())
        for s, y in zip(state.get("old_stps", ()), state.get("old_dirs", ()), strict=True)
    ]
    pairs = [(s, y) for s, y in pairs if s.dot(y) > 0]
    if not pairs:
        return
    s, y = pairs[-1]
    after.state[new] = {
        "n_iter": state["n_iter"],
        "func_evals": state["func_evals"],
        "d": torch.zeros_like(s),
        "t": 0.0,
        "old_stps": [s for s, _ in pairs],
        "old_dirs": [y for _, y in pairs],
        "ro": [1 / s.dot(y) for s, y in pairs],
        "H_diag": s.dot(y) / y.dot(y),
        "prev_flat_grad": torch.zeros_like(s),
        "prev_loss": state["prev_loss"],
    }


def _shrunk(maps: Tensor, like: Tensor) -> Tensor:
    """Maps averaged down to the height and width of ``like``."""
    return F.adaptive_avg_pool2d(maps, (like.shape[-2], like.shape[-1]))


def _scaled(image: Tensor, scale: float) -> Tensor:
    """The picture at a share of its size, but no smaller than the encoder can read."""
    height, width = (max(round(side * scale), MIN_SIDE) for side in image.shape[-2:])
    return images.resize(image, height, width)
