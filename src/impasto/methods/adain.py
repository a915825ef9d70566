"""Any style in one forward pass: encoder, matching, decoder (Huang & Belongie, ICCV 2017).

The photo's features are given the statistics of the style's, and a decoder trained for that turns
them back into a picture. Which statistics is a choice (`impasto.matching`); a decoder trained with
one serves the others too. Beyond the paper:

- features are matched at two depths and after each block of the decoder, each place by its own
  statistics; the style's are those of the style picture sent through the same network, which
  learns to give it back unchanged. So what is matched last is nearly the picture itself;
- in the decoder the match is always one of covariances: palettes and strokes are more than the mean
  and deviation of each channel;
- the photo fades into what is painted with the style's weight: ``strength`` 0 is the photo itself;
- no layer normalises over space: the photo's statistics enter at the matching alone. Fitted once,
  everything is local, so that tiles equal the whole.

The encoder is VGG, frozen, as in ``adain.base``, or a compact one that is trained along, as in
``adain.small``, which is made for processors without a graphics card.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from impasto import matching, weights
from impasto.encoders import Encoder, Precision, Tap, dtype_of, load_encoder, precision_setting
from impasto.matching import Affine, Lookup
from impasto.methods import Method, OnStep, Transfer, blend
from impasto.methods.layers import Conv, full_precision
from impasto.moments import Moments, Quantiles
from impasto.style import check_settings, setting, unmasked
from impasto.tiling import Box, Tiling

Matching = Literal["adain", "wct", "coral", "histogram"]
Map: TypeAlias = "Affine | Lookup"
Statistics: TypeAlias = "Moments | Quantiles"
Prepare: TypeAlias = "Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]"
"""Makes what is painted of photos, given what paints pictures of any size."""
Visit: TypeAlias = Callable[[str, Tensor, Tensor, int], None]
"""Told of a place of matching, its features, the weights there, and its stride."""

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
_BYTES_PER_PIXEL = {"compact": 700, "vgg16": 1_500, "vgg19": 1_500}
_STRIDE = 8
_STYLE_TILE = 1024
"""Side, in pixels, of the tiles that a large style is measured in."""
STYLE_AREA = 512 * 512
"""Styles are measured no larger than this without ``style_size``: about the scale of training."""


@dataclass(frozen=True)
class AdainConfig:
    """Settings of the method ``adain``."""

    weights: str = setting(
        "adain.base",
        "The trained network: adain.small or adain.base, styletr.base, or a file that `train` "
        "wrote.",
    )
    matching: Matching = setting(
        "adain",
        "Which statistics the features take over: mean and deviation (adain), covariances (wct, "
        "coral), or whole distributions (histogram). In the decoder it is always covariances.",
        get_args(Matching),
    )
    precision: Precision = precision_setting()

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


_Conv3 = partial(Conv, side=3, beyond="replicate")


class _Block(nn.Module):
    """Residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _Conv3(channels, channels), _Conv3(channels, channels)

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
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

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


class AnyStyle(Method):
    """What methods have in common that paint any style with one trained network.

    Args:
        config: the method's settings.
        network: replaces the one that the settings name; for tests.
    """

    style_area = STYLE_AREA
    network: Any

    def __init__(self, config: Any = None, network: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config or self.Config()
        self.precision, self.sha256 = dtype_of(self.config.precision), ""
        if network is None:
            network, self.sha256 = self.load_network(self.config.weights)
        self.network = network.requires_grad_(False).eval()

    @staticmethod
    @abstractmethod
    def load_network(name: str) -> tuple[nn.Module, str]:
        """A trained network by name or from a file, and the sha256 of its weights."""

    def weights_used(self, trained: Sequence[str] = ()) -> dict[str, str]:  # noqa: ARG002
        """See `Method.weights_used`."""
        return {Path(self.config.weights).name: self.sha256}


@dataclass(frozen=True)
class OnePass(Transfer):
    """Paints in one pass, which may have been done while fitting."""

    painted: tuple[Tensor, Tensor, Tensor] | None = field(default=None, kw_only=True)
    """Content and weights that were painted while fitting, and the result."""

    @abstractmethod
    def paint(self, content: Tensor, weights: Tensor) -> Tensor:
        """See `Transfer.__call__`."""

    def __call__(
        self,
        content: Tensor,
        weights: Tensor,
        on_step: OnStep | None = None,  # noqa: ARG002 - a single step
    ) -> Tensor:
        """See `Transfer.__call__`."""
        if self.painted and content is self.painted[0] and weights is self.painted[1]:
            return self.painted[2].clone()
        return self.paint(content, weights)


class Adain(AnyStyle):
    """The method; see the module and `AnyStyle`."""

    Config = AdainConfig
    network: Network

    @staticmethod
    def load_network(name: str) -> tuple[Network, str]:
        """See `AnyStyle.load_network`."""
        return load_network(name)

    @property
    def tiling(self) -> Tiling:
        """See `Method.tiling`."""
        return self.network.tiling

    def bytes_per_pixel(self) -> int:
        """See `Method.bytes_per_pixel`."""
        return _BYTES_PER_PIXEL[self.network.config.encoder]

    @torch.no_grad()
    def encode_style(self, style: Tensor) -> dict[str, Statistics]:
        """Statistics of the style at each place, of all of its tiles together."""
        sums: dict[str, Any] = {}
        unchanged = PathTransfer(self.network, [], self.precision)
        where = _everywhere(style)
        for box in self.tiling.boxes(style.shape[-2], style.shape[-1], _STYLE_TILE):

            def visit(
                place: str, features: Tensor, where: Tensor, stride: int, box: Box = box
            ) -> None:
                (part,) = self._statistics(place, box, features, where, stride)
                sums[place] = sums[place] + part if place in sums else part

            unchanged.paint(box.outer(style), box.outer(where), visit)
        return sums

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[Mapping[str, Statistics]],
        weights: Tensor,
        *,
        seed: int = 0,  # noqa: ARG002 - nothing is random
    ) -> Transfer:
        """Measures the photo inside of each style's region."""
        looks: list[dict[str, Map]] = [{} for _ in styles]
        transfer = PathTransfer(self.network, looks, self.precision)
        (box,) = self.tiling.boxes(content.shape[-2], content.shape[-1], None)

        def match(place: str, features: Tensor, where: Tensor, stride: int) -> None:
            matcher = matcher_at(place, self.config.matching)
            measured = self._statistics(place, box, features, where, stride)
            for look, own, style in zip(looks, measured, styles, strict=True):
                look[place] = matcher(own, style[place])

        return replace(
            transfer, painted=(content, weights, transfer.paint(content, weights, match))
        )

    def _statistics(
        self, place: str, box: Box, features: Tensor, where: Tensor, stride: int
    ) -> list[Statistics]:
        """Of the part of features (1, C, h, w) that belongs to the tile itself, for each region of
        the weights (1 + K, h, w).
        """
        regions = where[1:] if len(where) > 1 else where
        if self.config.matching != "histogram" or in_decoder(place):
            return list(moments_inside(box, features[0], regions, stride))
        features = box.inner(features, stride)[0]
        if regions.shape[-2:] == (1, 1):
            regions = regions.expand(-1, *features.shape[-2:])
        else:
            regions = box.inner(regions, stride)
        return [Quantiles.of(features, region) for region in regions]


def moments_inside(box: Box, features: Tensor, regions: Tensor, stride: int) -> list[Moments]:
    """Of the part of features (..., h, w) that belongs to the tile itself, for each of the regions
    (K, h, w), or (K, 1, 1) if they are the same everywhere.
    """
    features = box.inner(features, stride)
    if regions.shape[-2:] == (1, 1):
        whole = Moments.of(features)
        return [whole * share for share in regions[:, 0, 0]]
    return [Moments.of(features, region) for region in box.inner(regions, stride)]


@dataclass(frozen=True)
class PathTransfer(OnePass):
    """Paints with a network, features being mapped at each place of matching."""

    network: Network
    looks: Sequence[Mapping[str, Callable[[Tensor], Tensor]]]
    """Of each style, the maps by place."""
    precision: torch.dtype

    @torch.no_grad()
    def paint(self, content: Tensor, weights: Tensor, visit: Visit | None = None) -> Tensor:
        """Paints; ``visit`` is shown what comes to each place before it is matched there."""
        padded = self.network.tiling.padded
        image = padded(content)
        everywhere = weights[:, :1, :1] if unmasked(weights) else padded(weights[None])[0]
        pooled = cache(partial(_pooled, everywhere))

        def transfer(place: str, features: Tensor) -> Tensor:
            stride = image.shape[-1] // features.shape[-1]
            where = pooled(stride)
            if visit is not None:
                visit(place, features, where, stride)
            return blend(features, where, [look[place] for look in self.looks])

        lower = self.precision == torch.bfloat16
        with torch.autocast(image.device.type, torch.bfloat16, enabled=lower):
            painted = self.network.run(image, transfer)
        height, width = content.shape[-2:]
        if everywhere[0].any():
            painted = everywhere[0] * image + (1 - everywhere[0]) * painted
        return painted[..., :height, :width].clamp(0, 1)


def _smoothed(image: Tensor) -> Tensor:
    """(N, 3, H, W) times (1 2 1) / 4 both ways, which lets no lattice of the half size through."""
    kernel = torch.tensor([1.0, 2.0, 1.0]).to(image) / 4
    weight = kernel[:, None] * kernel
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, weight.expand(3, 1, 3, 3), groups=3)


def _pooled(maps: Tensor, stride: int) -> Tensor:
    """Maps (K, H, W) averaged down; those of one pixel stay."""
    return maps if maps.shape[-1] == 1 else F.avg_pool2d(maps, stride)


def _everywhere(image: Tensor) -> Tensor:
    """Weights (1, H, W) of a picture as a whole."""
    return image.new_ones(()).expand(1, *image.shape[-2:])


def _taps(encoder: Encoder) -> list[str]:
    """Where features are matched, at strides 4 and 8."""
    return ["relu4", "relu8"] if isinstance(encoder, CompactEncoder) else list(_VGG_TAPS)


def _encoder(config: NetworkConfig) -> Encoder:
    if config.encoder == "compact":
        return CompactEncoder(config.widths)
    return load_encoder(config.encoder)


def load_network(name: str) -> tuple[Network, str]:
    """A trained network by name or from a file, and the sha256 of its weights.

    Raises:
        WeightsError: missing, damaged, or not the weights of such a network.
    """
    network, file = weights.load(name, "adain", _built)
    return network, file.sha256


def _built(path: Path, file: weights.WeightsFile) -> Network:
    network = Network(NetworkConfig(**json.loads(file.metadata["config"])))
    wanted = file.metadata["encoder_sha256"]
    if network.encoder.sha256 != wanted:
        raise weights.of_another(path, network.encoder.name, wanted)
    weights.fill(network, file, without="encoder." if wanted else None)
    return network
