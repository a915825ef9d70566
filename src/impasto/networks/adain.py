"""The network of `impasto.methods.adain`: an encoder and a decoder, between and in which features
are matched.

Features are matched at two layers of the encoder and after each block of the decoder (after Huang &
Belongie 2017, arXiv:1703.06868, who match once). The encoder is VGG, frozen, as in ``adain.base``,
or a compact one that is trained along, as in ``adain.small``. No layer normalises over space: the
photo's statistics enter at the matching alone.
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
"""Called with photos (N, 3, H, W) and a function that paints pictures of any size; returns what is
to be painted in their place, for instance the photos as painted at half the size."""

_VGG_TAPS = ("relu3_1", "relu4_1")
DEEPEST = "relu8"
"""Name of the compact encoder's last layer, where features are matched."""
_BLOCKS = "block"
"""Begins the names of the decoder's layers, where covariances are matched."""
_RIDGE = 1e-2
"""Added to the decoder's correlation matrices: the last hundredth of their variance is noise."""
_ENCODER_REACH = {"compact": 32, "vgg16": 40, "vgg19": 40}
"""Pixels that the deepest tap sees to each side, rounded up to its stride."""
_ENCODER_SCALE = {"compact": 1.0, "vgg16": 1 / 256, "vgg19": 1 / 256}
"""VGG's features run into hundreds. Steps of a learning rate that suits the rest would be leaps."""
_STRIDE = 8


@dataclass(frozen=True)
class AdainNetworkConfig:
    """What an `AdainNetwork` is built from; kept in the metadata of its weights file."""

    encoder: str = "compact"
    """The encoder: ``compact``, trained with the decoder, or ``vgg16`` or ``vgg19``, frozen."""
    widths: Sequence[int] = (32, 64, 128)
    """Channels of the decoder, and of the compact encoder, at strides 2, 4 and 8."""
    blocks: Sequence[int] = (1, 1, 3)
    """Residual blocks of the decoder at strides 2, 4 and 8."""


class CompactEncoder(Encoder):
    """A small encoder of three convolutions and a residual block; 2 x 2 pixels become channels.

    Its taps are ``relu4`` and ``relu8``, named by their stride.

    Args:
        widths: channels at strides 2, 4 and 8.
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
        """Computes the features of pictures.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1], sides multiples of 8.
            taps: names of taps.

        Returns:
            For each tap (N, C, H / stride, W / stride).
        """
        first, second, third = self.convs
        with full_precision(image):  # the steps of bfloat16 are coarser than those of pictures
            x = first(F.pixel_unshuffle(image.float(), 2))
        x = F.relu(second(F.relu(x)))
        features = {"relu4": x, "relu8": self.block(F.relu(third(x)))}
        return {tap: features[tap] for tap in taps}


_Conv3 = partial(Conv, kernel_size=3, padding_mode="replicate")


class _Block(nn.Module):
    """Residual block of two 3 x 3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _Conv3(channels, channels), _Conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(x)))
        return x + added


class AdainNetwork(Network):
    """Encoder and decoder, between and in which features are matched.

    Args:
        config: what the network is built from.
        encoder: replaces the encoder that ``config`` names; for tests.
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
        with torch.no_grad():  # the four pixels of a feature begin alike: no lattice to unlearn
            first = self.head.weight[::4] / 2
            self.head.weight.copy_(first.repeat_interleave(4, 0))
            self.head.bias.fill_(0.5)  # type: ignore[union-attr]
        channels_last(self)

    @property
    def tiling(self) -> Tiling:
        """How far the network sees, and the stride that tiles are aligned to."""
        # 3 x 3 convolutions at each stride, and the interpolations between them.
        decoder = sum(2 * n * 2**level for level, n in enumerate(self.config.blocks, 1))
        upsampling = sum(2**level for level in range(2, len(self.config.blocks) + 1))
        return Tiling(_ENCODER_REACH[self.config.encoder] + decoder + upsampling + 3, _STRIDE)

    def run(
        self,
        image: Tensor,
        transfer: Callable[[str, Tensor], Tensor],
        encoded: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Encodes pictures and decodes them, with a function applied at each layer of matching.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1], sides multiples of 8.
            transfer: called with a layer's name and its features (N, C, h, w), in float32 whatever
                the rest is calculated in; the network goes on with what it returns.
            encoded: the encoder's features of the pictures by tap, if they are known already.

        Returns:
            (N, 3, H, W), not clipped.
        """

        def matched(layer: str, features: Tensor) -> Tensor:
            with full_precision(features):
                return transfer(layer, features.float())

        features = encoded or self.encoder(image, self.taps)
        scale = _ENCODER_SCALE[self.config.encoder]
        skips = [
            lateral(matched(tap, features[tap]) * scale)
            for tap, lateral in zip(self.taps, self.laterals, strict=True)
        ]
        x = skips.pop()  # (N, widths[2], H / 8, W / 8)
        for level in reversed(range(len(self.blocks))):
            if level < len(self.ups):
                up = F.interpolate(self.ups[level](x), scale_factor=2, mode="bilinear")
                x = F.relu(up + skips.pop() if skips else up)  # at stride 4, then 2
            blocks: Any = self.blocks[level]
            for n, block in enumerate(blocks):
                x = matched(f"block{level}.{n}", block(x))
        with full_precision(x):  # eight bits would be seen as steps of colour
            # (N, 12, H / 2, W / 2) -> (N, 3, H, W)
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
            style: (N, 3, h, w), sRGB in [0, 1], sides multiples of 8; photo n is painted in style
                n modulo N.
            prepare: makes what is painted from the photos; None to paint the photos themselves.
            encoded: the encoder's features of the styles by tap, if they are known already.

        Returns:
            The paintings (k N, 3, H, W), and the styles as the network reconstructs them,
            (N, 3, h, w); neither is clipped.
        """
        style_moments: dict[str, Moments] = {}

        def measure(layer: str, features: Tensor) -> Tensor:
            style_moments[layer] = Moments.of(features)
            return features

        def transfer(layer: str, features: Tensor) -> Tensor:
            grouped = features.view(-1, len(style), *features.shape[1:])  # (k, N, C, h, w)
            matcher = matcher_at(layer, "adain")
            return matcher(Moments.of(grouped), style_moments[layer])(grouped).flatten(0, 1)

        reconstruction = self.run(style, measure, encoded)
        paint = partial(self.run, transfer=transfer)
        return paint(prepare(content, paint) if prepare else content), reconstruction


def in_decoder(layer: str) -> bool:
    """Tells whether a layer of matching is in the decoder, where covariances are matched."""
    return layer.startswith(_BLOCKS)


def matcher_at(layer: str, chosen: Matching) -> Callable[[Any, Any], Map]:
    """Returns the function of `impasto.matching` that fits the map of a layer.

    Args:
        layer: name of the layer.
        chosen: the user's choice, which counts in the encoder; in the decoder it is `coral`.
    """
    if in_decoder(layer):
        return partial(matching.coral, ridge=_RIDGE)
    matcher: Callable[[Any, Any], Map] = getattr(matching, chosen)
    return matcher


def _smoothed(image: Tensor) -> Tensor:
    """(N, 3, H, W) convolved with (1 2 1) / 4 both ways, which removes any lattice with a
    period of 2 pixels.
    """
    kernel = torch.tensor([1.0, 2.0, 1.0]).to(image) / 4
    weight = kernel[:, None] * kernel
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, weight.expand(3, 1, 3, 3), groups=3)


def _taps(encoder: Encoder) -> list[str]:
    """Taps of the encoder where features are matched, at strides 4 and 8."""
    return ["relu4", "relu8"] if isinstance(encoder, CompactEncoder) else list(_VGG_TAPS)


def _encoder(config: AdainNetworkConfig) -> Encoder:
    if config.encoder == "compact":
        return CompactEncoder(config.widths)
    return load_encoder(config.encoder, padding="replicate")
