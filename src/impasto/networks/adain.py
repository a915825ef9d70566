"""The network of `impasto.methods.adain`: encoder, places of matching, decoder.

Features are matched at two depths of the encoder and after each block of the decoder. The encoder
is VGG, frozen, as in ``adain.base``, or a compact one that is trained along, as in ``adain.small``.
No layer normalises over space: the photo's statistics enter at the matching alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto import matching
from impasto.matching import Affine, Lookup
from impasto.moments import Moments
from impasto.networks import Network
from impasto.networks.encoder import Encoder, Tap
from impasto.networks.layers import Conv, channels_last, full_precision
from impasto.networks.vgg import load_encoder
from impasto.tiling import Tiling

Matching = Literal["adain", "wct", "coral", "histogram"]
Map: TypeAlias = "Affine | Lookup"
Prepare: TypeAlias = "Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]"
"""Makes what is painted of photos, given what paints pictures of any size."""

_VGG_TAPS = ("relu3_1", "relu4_1")
DEEPEST = "relu8"
"""The place of matching that the compact encoder ends with."""
_BLOCKS = "block"
"""Begins the names of the places of matching in the decoder, where covariances are matched."""
_RIDGE = 1e-2
"""Of covariances in the decoder: the last hundredth of their variance is mostly noise."""
_ENCODER_REACH = {"compact": 32, "vgg16": 40, "vgg19": 40}
"""Pixels that the deepest tap sees to each side, rounded up to its stride."""
_ENCODER_SCALE = {"compact": 1.0, "vgg16": 1 / 256, "vgg19": 1 / 256}
"""VGG's features run into hundreds. Steps of a learning rate that suits the rest would be leaps."""
_STRIDE = 8


@dataclass(frozen=True)
class AdainNetworkConfig:
    """What a network is built from; stands in the metadata of its weights file."""

    encoder: str = "compact"
    """``compact``, trained with the decoder, or ``vgg16``, ``vgg19``, frozen."""
    widths: Sequence[int] = (32, 64, 128)
    """Channels of the decoder, and of the compact encoder, at strides 2, 4 and 8."""
    blocks: Sequence[int] = (1, 1, 3)
    """Residual blocks of the decoder at each of these."""


class CompactEncoder(Encoder):
    """Three convolutions and a block, on 2 x 2 pixels folded into channels.

    Taps: ``relu4``, ``relu8``, by their stride.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.name, self.sha256 = "compact", ""
        self.taps = {f"relu{2**n}": Tap(width, 2**n) for n, width in enumerate(widths[1:], 2)}
        inputs = (12, *widths)
        self.convs = nn.ModuleList(
            _Conv3(inputs[n], width, stride=1 if n == 0 else 2) for n, width in enumerate(widths)
        )
        self.block = _Block(widths[-1])

    def forward(self, image: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """See `Encoder.forward`."""
        first, second, third = self.convs
        with full_precision(image):  # the steps of bfloat16 are coarser than those of pictures
            x = first(F.pixel_unshuffle(image.float(), 2))
        x = F.relu(second(F.relu(x)))
        features = {"relu4": x, "relu8": self.block(F.relu(third(x)))}
        return {tap: features[tap] for tap in taps}


_Conv3 = partial(Conv, kernel_size=3, padding_mode="replicate")


class _Block(nn.Module):
    """Residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _Conv3(channels, channels), _Conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(x)))
        return x + added


class AdainNetwork(Network):
    """Encoder and decoder of one trained network.

    Args:
        config: what it is built from.
        encoder: replaces the one that ``config`` names; for tests.
    """

    architecture = "adain"
    Config = AdainNetworkConfig
    encoder_part = "encoder"

    config: AdainNetworkConfig

    def __init__(self, config: AdainNetworkConfig, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder or _encoder(config)
        self.taps = _taps(self.encoder)
        widths = config.widths
        self.laterals = nn.ModuleList(
            nn.Conv2d(self.encoder.taps[tap].channels, width, 1)
            for tap, width in zip(self.taps, widths[1:], strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(_Block(width) for _ in range(count))
            for width, count in zip(widths, config.blocks, strict=True)
        )
        self.ups = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for shallow, deep in pairwise(widths))
        self.head = _Conv3(widths[0], 12)
        with torch.no_grad():  # the four pixels of a place begin alike: no lattice to unlearn
            first = self.head.weight[::4] / 2
            self.head.weight.copy_(first.repeat_interleave(4, 0))
            self.head.bias.fill_(0.5)  # type: ignore[union-attr]
        channels_last(self)

    @property
    def tiling(self) -> Tiling:
        """How far the network sees: 3 x 3 convolutions at each stride, and the interpolations."""
        decoder = sum(2 * n * 2**level for level, n in enumerate(self.config.blocks, 1))
        upsampling = sum(2**level for level in range(2, len(self.config.blocks) + 1))
        return Tiling(_ENCODER_REACH[self.config.encoder] + decoder + upsampling + 3, _STRIDE)

    def run(
        self,
        image: Tensor,
        transfer: Callable[[str, Tensor], Tensor],
        encoded: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Encodes and decodes.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1], sides multiples of 8.
            transfer: called with place and features (N, C, h, w), in float32 whatever the rest is
                calculated in, at each place of matching; what it returns goes on.
            encoded: the encoder's features of the picture, where they are known already.

        Returns:
            (N, 3, H, W), not clipped.
        """

        def matched(place: str, features: Tensor) -> Tensor:
            with full_precision(features):
                return transfer(place, features.float())

        features = encoded or self.encoder(image, self.taps)
        scale = _ENCODER_SCALE[self.config.encoder]
        skips = [
            lateral(matched(tap, features[tap]) * scale)
            for tap, lateral in zip(self.taps, self.laterals, strict=True)
        ]
        x = skips.pop()
        for level in reversed(range(len(self.blocks))):
            if level < len(self.ups):
                up = F.interpolate(self.ups[level](x), scale_factor=2, mode="bilinear")
                x = F.relu(up + skips.pop() if skips else up)
            blocks: Any = self.blocks[level]
            for n, block in enumerate(blocks):
                x = matched(f"block{level}.{n}", block(x))
        with full_precision(x):  # eight bits would be seen as steps of colour
            return _smoothed(F.pixel_shuffle(self.head(x.float()), 2))

    def forward(
        self,
        content: Tensor,
        style: Tensor,
        prepare: Prepare | None = None,
        encoded: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Paints a batch for training.

        Args:
            content: (k N, 3, H, W), sRGB in [0, 1], sides multiples of 8.
            style: (N, 3, h, w), likewise; photo n is painted in style n modulo N.
            prepare: makes what is painted of the photos, given what paints pictures of any size
                in these styles.
            encoded: the encoder's features of the styles, where they are known already.

        Returns:
            The paintings (k N, 3, H, W), and the styles as the network gives them back
            (N, 3, h, w), not clipped.
        """
        theirs: dict[str, Moments] = {}

        def measure(place: str, features: Tensor) -> Tensor:
            theirs[place] = Moments.of(features)
            return features

        def transfer(place: str, features: Tensor) -> Tensor:
            grouped = features.view(-1, len(style), *features.shape[1:])
            matched = matcher_at(place, "adain")(Moments.of(grouped), theirs[place])(grouped)
            return matched.flatten(0, 1)

        given_back = self.run(style, measure, encoded)
        paint = partial(self.run, transfer=transfer)
        return paint(prepare(content, paint) if prepare else content), given_back


def in_decoder(place: str) -> bool:
    """Whether a place of matching is in the decoder, where covariances are matched."""
    return place.startswith(_BLOCKS)


def matcher_at(place: str, matched: Matching) -> Callable[[Any, Any], Map]:
    """How a place is matched."""
    if in_decoder(place):
        return partial(matching.coral, ridge=_RIDGE)
    matcher: Callable[[Any, Any], Map] = getattr(matching, matched)
    return matcher


def _smoothed(image: Tensor) -> Tensor:
    """(N, 3, H, W) times (1 2 1) / 4 both ways, which lets no lattice of the half size through."""
    kernel = torch.tensor([1.0, 2.0, 1.0]).to(image) / 4
    weight = kernel[:, None] * kernel
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, weight.expand(3, 1, 3, 3), groups=3)


def _taps(encoder: Encoder) -> list[str]:
    """Where features are matched, at strides 4 and 8."""
    return ["relu4", "relu8"] if isinstance(encoder, CompactEncoder) else list(_VGG_TAPS)


def _encoder(config: AdainNetworkConfig) -> Encoder:
    if config.encoder == "compact":
        return CompactEncoder(config.widths)
    return load_encoder(config.encoder)
