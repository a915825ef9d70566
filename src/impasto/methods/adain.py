"""Any style in one forward pass: encoder, matching, decoder (Huang & Belongie, ICCV 2017).

The photo's features are given the statistics of the style's, and a decoder trained for that turns
them back into a picture. Which statistics is a choice (`impasto.matching`); a decoder trained with
one serves the others too. Beyond the paper:

- skip connections: features of several depths are matched, each by its own statistics, and the
  pixels themselves by the mean and covariance of their colours. The decoder adds to these pixels;
  so it starts as a transfer of colours and learns the strokes, edges stay where they are, and
  ``strength`` 0 is the photo itself;
- no layer normalises over space: the photo's statistics enter at the matching alone. Fitted once,
  everything is local, so that tiles equal the whole.

Two networks: ``adain.base`` looks through VGG-16; ``adain.small`` has an encoder of its own and is
made for processors without a graphics card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from impasto import matching, weights
from impasto.encoders import Encoder, Tap, load_encoder
from impasto.errors import WeightsError
from impasto.matching import Affine, Lookup
from impasto.methods import Method, OnStep, Transfer, blend
from impasto.moments import Moments, Quantiles
from impasto.style import check_settings, setting
from impasto.tiling import Tiling

Matching = Literal["adain", "wct", "coral", "histogram"]
Map: TypeAlias = "Affine | Lookup"
Statistics: TypeAlias = "Moments | Quantiles"

_PIXELS = "pixels"
_VGG_TAPS = ("relu2_1", "relu3_1", "relu4_1")
_ENCODER_REACH = {"compact": 32, "vgg16": 40, "vgg19": 40}
"""Pixels that the deepest tap sees to each side, rounded up to its stride."""
_BYTES_PER_PIXEL = {"compact": 700, "vgg16": 1_500, "vgg19": 1_500}
_STRIDE = 8
_STYLE_AREA = 512 * 512
"""Styles are measured no larger than this without ``style_size``: about the scale of training."""


@dataclass(frozen=True)
class AdainConfig:
    """Settings of the method ``adain``."""

    weights: str = setting(
        "adain.small", "The trained network: adain.small, adain.base, or a file from `train`."
    )
    matching: Matching = setting(
        "adain",
        "Which statistics the features take over: mean and deviation (adain), covariances (wct, "
        "coral), or whole distributions (histogram).",
        get_args(Matching),
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is built from; stands in the metadata of its weights file."""

    encoder: str = "compact"
    """``compact``, trained with the decoder, or ``vgg16``, ``vgg19``, frozen."""
    widths: Sequence[int] = (32, 64, 128)
    """Channels of the decoder, and of the compact encoder, at strides 2, 4 and 8."""
    blocks: Sequence[int] = (1, 1, 3)
    """Residual blocks of the decoder at each of these."""


class CompactEncoder(Encoder):
    """Three convolutions and a block, on 2 x 2 pixels folded into channels.

    Taps: ``relu2``, ``relu4``, ``relu8``, by their stride.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.name, self.sha256 = "compact", ""
        self.taps = {f"relu{2**n}": Tap(width, 2**n) for n, width in enumerate(widths, 1)}
        inputs = (12, *widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs[n], width, 3, stride=1 if n == 0 else 2, padding=1)
            for n, width in enumerate(widths)
        )
        self.block = _Block(widths[-1])

    def forward(self, image: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """See `Encoder.forward`."""
        features = {}
        x = F.pixel_unshuffle(image, 2)
        for tap, conv in zip(self.taps, self.convs, strict=True):
            x = F.relu(conv(x))
            if conv is self.convs[-1]:
                x = self.block(x)
            features[tap] = x
        return {tap: features[tap] for tap in taps}


class _Block(nn.Module):
    """Residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(x)))
        return x + added


class Network(nn.Module):
    """Encoder and decoder of one trained network.

    Args:
        config: what it is built from.
        encoder: replaces the one that ``config`` names; for tests.
    """

    def __init__(self, config: NetworkConfig, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder or _encoder(config)
        self.taps = _taps(self.encoder)
        widths = config.widths
        self.laterals = nn.ModuleList(
            nn.Conv2d(self.encoder.taps[tap].channels, width, 1)
            for tap, width in zip(self.taps, widths, strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(_Block(width) for _ in range(count)))
            for width, count in zip(widths, config.blocks, strict=True)
        )
        self.ups = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for shallow, deep in pairwise(widths))
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)
        # At first the network adds nothing to the matched pixels.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def tiling(self) -> Tiling:
        """How far the network sees: 3 x 3 convolutions at each stride, and the interpolations."""
        decoder = sum(2 * n * 2**level for level, n in enumerate(self.config.blocks, 1))
        upsampling = sum(2**level for level in range(2, len(self.config.blocks) + 1))
        return Tiling(_ENCODER_REACH[self.config.encoder] + decoder + upsampling + 2, _STRIDE)

    def encode(self, image: Tensor) -> dict[str, Tensor]:
        """Pixels and features to be matched, by tap, (N, 3, H, W) -> (N, C, h, w) each.

        Sides must be multiples of 8.
        """
        features = self.encoder(image, self.taps)
        return {_PIXELS: image, **features}

    def decode(
        self, features: Mapping[str, Tensor], transfer: Callable[[str, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The picture in two parts, to be added: the matched pixels, and what is painted on them.

        Args:
            features: of `encode`.
            transfer: matches the features of the tap of that name.
        """
        x: Tensor | None = None
        for level in reversed(range(len(self.taps))):
            tap = self.taps[level]
            skip = self.laterals[level](transfer(tap, features[tap]))
            if x is None:
                x = skip
            else:
                up = F.interpolate(self.ups[level](x), scale_factor=2, mode="bilinear")
                x = F.relu(up + skip)
            x = self.blocks[level](x)
        painted = F.pixel_shuffle(self.head(x), 2)
        pixels = transfer(_PIXELS, features[_PIXELS])
        return pixels, painted.to(pixels.dtype)

    def maps(
        self,
        own: Mapping[str, Statistics],
        theirs: Mapping[str, Statistics],
        matched: Matching = "adain",
    ) -> dict[str, Map]:
        """What carries one style over, by tap. Pixels always are matched by their covariance.

        Args:
            own: statistics of the photo by tap, as ``matched`` needs them.
            theirs: the same of the style.
            matched: how features are matched.
        """
        return {
            tap: getattr(matching, "coral" if tap == _PIXELS else matched)(own[tap], theirs[tap])
            for tap in own
        }

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Paints a batch for training, each photo in the style of the same place in its batch.

        Args:
            content: (N, 3, H, W), sRGB in [0, 1], sides multiples of 8.
            style: (N, 3, h, w), likewise.

        Returns:
            (N, 3, H, W), not clipped.
        """
        own, theirs = self.encode(content), self.encode(style)
        looks = []
        for n in range(len(content)):
            moments = {tap: Moments.of(features[n]) for tap, features in theirs.items()}
            mine = {tap: Moments.of(features[n]) for tap, features in own.items()}
            looks.append(self.maps(mine, moments))

        def transfer(name: str, features: Tensor) -> Tensor:
            painted = [look[name](one) for look, one in zip(looks, features, strict=True)]
            return torch.stack(painted).contiguous(memory_format=torch.channels_last)

        pixels, painted = self.decode(own, transfer)
        return pixels + painted


class Adain(Method):
    """The method; see the module.

    Args:
        config: its settings.
        network: replaces the one that the settings name; for tests.
    """

    Config = AdainConfig
    style_area = _STYLE_AREA

    def __init__(self, config: AdainConfig | None = None, network: Network | None = None) -> None:
        super().__init__()
        self.config = config or AdainConfig()
        self.sha256 = ""
        if network is None:
            network, self.sha256 = load_network(self.config.weights)
        self.network = network.requires_grad_(False).eval()
        self.tiling = network.tiling

    def weights_used(self) -> dict[str, str]:
        """See `Method.weights_used`."""
        return {Path(self.config.weights).name: self.sha256}

    def bytes_per_pixel(self) -> int:
        """See `Method.bytes_per_pixel`."""
        return _BYTES_PER_PIXEL[self.network.config.encoder]

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        weights: Tensor,
        *,
        seed: int = 0,  # noqa: ARG002 - nothing is random
        tile: int | None = None,
    ) -> Transfer:
        """Measures the photo inside of each style's region, and the styles."""
        regions = self._measured(content, weights[1:], tile)
        theirs = [
            self._measured(style, style.new_ones(()).expand(1, *style.shape[-2:]), tile)[0]
            for style in styles
        ]
        looks = [
            self.network.maps(own, style, self.config.matching)
            for own, style in zip(regions, theirs, strict=True)
        ]
        return _AdainTransfer(self.network, looks)

    def _measured(
        self, image: Tensor, weights: Tensor, tile: int | None
    ) -> list[dict[str, Statistics]]:
        """Statistics of a picture at each tap, of the kind that is matched, for each weighting.

        Args:
            image: (1, 3, H, W).
            weights: (K, H, W), how much each pixel counts. One that is 0 everywhere counts for
                nothing in the picture, and is taken as 1.
            tile: measure tiles of this size, and add up.
        """
        kind = Quantiles if self.config.matching == "histogram" else Moments
        regions: list[dict[str, Any]] = [{} for _ in weights]
        used = [bool(weight.any()) for weight in weights]
        for box in self.network.tiling.boxes(image.shape[-2], image.shape[-1], tile):
            outer = _padded(box.outer(image))
            where = _padded(box.outer(weights)[None])[0]
            for tap, features in self.network.encode(outer).items():
                stride = outer.shape[-1] // features.shape[-1]
                inside, counts = (
                    box.inner(features[0], stride),
                    box.inner(_pooled(where, stride), stride),
                )
                for sums, count, use in zip(regions, counts, used, strict=True):
                    part = (Moments if tap == _PIXELS else kind).of(inside, count if use else None)
                    sums[tap] = sums[tap] + part if tap in sums else part
        return regions


@dataclass(frozen=True)
class _AdainTransfer(Transfer):
    network: Network
    looks: Sequence[Mapping[str, Map]]
    """Of each style, the maps by tap."""

    @torch.no_grad()
    def __call__(
        self,
        content: Tensor,
        weights: Tensor,
        on_step: OnStep | None = None,  # noqa: ARG002 - a single step
    ) -> Tensor:
        """See `Transfer.__call__`."""
        image, where = _padded(content), _padded(weights[None])[0]

        def transfer(name: str, features: Tensor) -> Tensor:
            stride = image.shape[-1] // features.shape[-1]
            return blend(features, _pooled(where, stride), [look[name] for look in self.looks])

        pixels, painted = self.network.decode(self.network.encode(image), transfer)
        height, width = content.shape[-2:]
        # What is painted on the pixels fades with the style, so that "keep the photo" is exact.
        return (pixels + (1 - where[0]) * painted)[..., :height, :width].clamp(0, 1)


def _padded(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) with the last rows and columns repeated up to multiples of the stride."""
    height, width = maps.shape[-2:]
    return F.pad(maps, (0, -width % _STRIDE, 0, -height % _STRIDE), mode="replicate")


def _pooled(maps: Tensor, stride: int) -> Tensor:
    """Maps (K, H, W) averaged down."""
    return maps if stride == 1 else F.avg_pool2d(maps, stride)


def _taps(encoder: Encoder) -> list[str]:
    """Where features are matched, from shallow to deep, at strides 2, 4 and 8."""
    return ["relu2", "relu4", "relu8"] if isinstance(encoder, CompactEncoder) else list(_VGG_TAPS)


def _encoder(config: NetworkConfig) -> Encoder:
    if config.encoder == "compact":
        return CompactEncoder(config.widths)
    return load_encoder(config.encoder)


def load_network(name: str) -> tuple[Network, str]:
    """A trained network by name or from a file, and the sha256 of its weights.

    Raises:
        WeightsError: missing, damaged, or not the weights of such a network.
    """
    path = weights.locate(name)
    file = weights.read(path)
    if file.metadata.get("architecture") != "adain":
        raise WeightsError(f"{path}: these are not the weights of an adain network")
    network = Network(NetworkConfig(**json.loads(file.metadata["config"])))
    wanted = file.metadata["encoder_sha256"]
    if network.encoder.sha256 != wanted:
        raise WeightsError(
            f"{path}: belongs to another {network.config.encoder} (sha256 {wanted[:12]}...)"
        )
    try:
        network.load_state_dict(file.tensors, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{path}: does not fit what its metadata say ({error})") from error
    return network, file.sha256
