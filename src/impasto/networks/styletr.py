"""The network of `impasto.methods.styletr`: a transformer, and the convolutional path it paints in.

Both pictures are seen by the first blocks of DINOv2's ViT-S/14; a decoder of three layers lets the
photo's tokens attend to the style's. The path is the network of `impasto.networks.adain`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from impasto import matching
from impasto.images import resize
from impasto.moments import Moments
from impasto.networks import Network
from impasto.networks.adain import DEEPEST, AdainNetwork, AdainNetworkConfig, Map, matcher_at
from impasto.networks.layers import adaptive_pool, full_precision
from impasto.networks.vit import LoRA, ViT, load_vit

Role = Literal["content", "style"]

_SEEN_AREA = 252 * 252
"""The transformer sees pictures no larger than this, in pixels."""
_CLOSE = ("block0", "block1")
"""Places of matching close to the pixels, at half and quarter size: covariances are matched."""
_CAPE_GRID = 6
SHARPNESS = 3.0
"""Unless told otherwise; see `impasto.methods.styletr.StyletrConfig`."""
_LORA_ALPHA = 16
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class StyletrNetworkConfig:
    """What a network is built from; stands in the metadata of its weights file."""

    depth: int = 6
    """Blocks of the vision transformer."""
    width: int = 256
    """Channels of a token in the decoder."""
    layers: int = 3
    """Of the decoder."""
    heads: int = 8
    """Of its attention."""
    rank: int = 0
    """Of the encoders' fine-tuning; 0 for none."""
    widths: Sequence[int] = (32, 64, 128)
    blocks: Sequence[int] = (1, 1, 3)
    """Of the convolutional path; see `impasto.networks.adain.AdainNetworkConfig`."""


class Cape(nn.Module):
    """Content-aware positional encoding (Deng et al. 2022, eq. 4 and 5): positions by what is
    there, on a fixed grid, so that they do not depend on the size of the picture.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)"""
        pooled = self.conv(adaptive_pool(tokens, (_CAPE_GRID, _CAPE_GRID)))
        return F.interpolate(pooled, tokens.shape[-2:], mode="bilinear")


class Layer(nn.Module):
    """A layer of the transformer decoder (Vaswani et al. 2017): multi-head attention to the style,
    and a two-layer perceptron.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.keys = nn.Linear(width, width), nn.Linear(width, width)
        self.values, self.proj = nn.Linear(width, width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """(N, T, C), from tokens of the photo (N, T, C) and of the style (N, S, C)."""
        given = (self.queries(self.norm1(content)), self.keys(style), self.values(style))
        queries, keys, values = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in given)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        content = content + self.proj(mixed)
        result: Tensor = content + self.mlp(self.norm2(content))
        return result


@dataclass(frozen=True)
class Tokens:
    """What encoders see of pictures, (N, C, h, w) each."""

    plain: Tensor
    """As they were pretrained, which tells best what resembles what."""
    tuned: Tensor
    """As the decoder would have it."""


@dataclass(frozen=True)
class Given:
    """What a style has to give."""

    tokens: Tokens
    local: Mapping[str, Tensor]
    """At each place of matching: features and their squares, in the mean over what a token stands
    for, (N, 2 C, h, w)."""
    whole: Mapping[str, Moments]
    """At those close to the pixels: also of all of the picture."""


@dataclass(frozen=True)
class Plan:
    """What is to be painted where, on the grid of a photo's tokens."""

    means: Mapping[str, Tensor]
    deviations: Mapping[str, Tensor]
    """Wanted at each place of matching, (N, C, h, w)."""
    whole: Mapping[str, Moments]
    """Of the style; see `Given`."""
    window: Sequence[float] = (0, 0, 1, 1)
    """Top, left, bottom and right of what is painted, as shares of the photo."""

    def match(self, place: str, own: Moments) -> Callable[[Tensor], Tensor]:
        """The map of features (N, C, H, W) that have these moments, at a place."""
        if place not in self.whole:
            return partial(self._mapped, place, [matching.standardise(own)])
        # What attention wants is then the difference to the style as a whole.
        wanted = self.whole[place]
        matched = matcher_at(place, "adain")(own, wanted)
        return partial(self._mapped, place, [matched, matching.standardise(wanted)])

    def _mapped(self, place: str, before: Sequence[Map], features: Tensor) -> Tensor:
        for step in before:
            features = step(features)
        mean, deviation = self._sampled(place, features.shape[-2:])
        return torch.addcmul(mean, features, deviation)

    def _sampled(self, place: str, size: Sequence[int]) -> Sequence[Tensor]:
        """Means and deviations in the window, enlarged to (N, C, *size)."""
        top, left, bottom, right = self.window
        joined = torch.cat((self.means[place], self.deviations[place]), 1)
        joined = joined.contiguous(memory_format=torch.channels_last)
        down, across = bottom - top, right - left
        theta = joined.new_tensor(
            [[across, 0, left + right - 1], [0, down, top + bottom - 1]]
        ).expand(len(joined), 2, 3)
        where = F.affine_grid(theta, [len(joined), 1, *size], align_corners=False)
        # The border's values beyond it; Apple's GPUs have no padding_mode for that.
        limit = 1 - 1 / joined.new_tensor(joined.shape[:-3:-1])
        where = where.clamp(-limit, limit)
        found = F.grid_sample(joined, where, align_corners=False)
        return found.chunk(2, 1)


class StyletrNetwork(Network):
    """Encoders, transformer decoder, and the convolutional path.

    Args:
        config: what it is built from.
        vit: replaces DINOv2's; for tests, and for training from nothing.
    """

    architecture = "styletr"
    Config = StyletrNetworkConfig
    encoder_part = "vit"

    config: StyletrNetworkConfig

    def __init__(self, config: StyletrNetworkConfig, vit: ViT | None = None) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.vit = vit or load_vit(config.depth)
        self.tap = f"block{config.depth}"
        tap = self.vit.taps[self.tap]
        seen, self.patch = tap.channels, tap.stride
        roles = ("content", "style")
        self.tuned = nn.ModuleDict(
            {
                role: nn.ModuleList(
                    LoRA(seen, config.rank, _LORA_ALPHA) for _ in range(config.depth)
                )
                for role in (roles if config.rank else ())
            }
        )
        self.project = nn.ModuleDict(
            {role: nn.Sequential(nn.LayerNorm(seen), nn.Linear(seen, width)) for role in roles}
        )
        self.cape = Cape(width)
        self.layers = nn.ModuleList(Layer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.added = nn.Linear(width, config.widths[-1])
        nn.init.zeros_(self.added.weight)  # begins with resemblance alone
        nn.init.zeros_(self.added.bias)
        self.path = AdainNetwork(AdainNetworkConfig("compact", config.widths, config.blocks))

    @classmethod
    def build(cls, config: StyletrNetworkConfig, *, pretrained: bool) -> Self:
        """See `Network.build`."""
        return cls(config, None if pretrained else ViT(depth=config.depth))

    def encode(self, image: Tensor, role: Role) -> Tokens:
        """Tokens of pictures (N, 3, H, W)."""
        height, width = image.shape[-2:]
        scale = min(math.sqrt(_SEEN_AREA / (height * width)), 1) / self.patch
        sides = (max(round(side * scale), 1) * self.patch for side in (height, width))
        small = resize(image.float(), *sides)
        plain = self.vit(small, [self.tap])[self.tap]
        if not self.tuned:
            return Tokens(plain, plain)
        layers: Any = self.tuned[role]
        return Tokens(plain, self.vit(small, [self.tap], tuned=layers)[self.tap])

    def study(self, style: Tensor) -> tuple[Given, Tensor]:
        """What styles (N, 3, H, W), sides multiples of 8, have to give; and the pictures as the
        path gives them back.
        """
        tokens = self.encode(style, "style")
        height, width = tokens.plain.shape[-2:]
        local: dict[str, Tensor] = {}
        whole: dict[str, Moments] = {}

        def measure(place: str, features: Tensor) -> Tensor:
            if place.startswith(_CLOSE):
                whole[place] = Moments.of(features)
            with full_precision(features):  # squares less squares lose digits
                wide = features.float()
                both = torch.cat((wide, wide.square()), 1)
                local[place] = adaptive_pool(both, (height, width))
            return features

        given_back = self.path.run(style, measure)
        return Given(tokens, local, whole), given_back

    def plan(self, content: Tokens, given: Given, sharpness: float | Tensor) -> Plan:
        """Lets the photo's tokens look at a style's.

        Args:
            content: of photos.
            given: of as many styles.
            sharpness: cosines of tokens are multiplied by this before the softmax; for all, or
                (N, 1, 1).
        """
        grid = content.plain.shape[-2:]
        with full_precision(content.plain):
            where = _resemblance(content.plain.float(), given.tokens.plain.float())
            looks = (sharpness * where).softmax(-1)
            mixed = {place: looks @ _in_line(both) for place, both in given.local.items()}
        means, deviations = {}, {}
        for place, both in mixed.items():
            mean, square = _on_grid(both, grid).chunk(2, 1)
            means[place] = mean
            deviations[place] = (square - mean.square()).clamp_min(_LEAST_VARIANCE).sqrt()
        means[DEEPEST] = means[DEEPEST] + self._decoded(content, given.tokens)
        return Plan(means, deviations, given.whole)

    def _decoded(self, content: Tokens, style: Tokens) -> Tensor:
        """What the transformer decoder makes of the photo's tokens, for the deepest features."""
        grid = content.tuned.shape[-2:]
        theirs = self.project["style"](_in_line(style.tuned))
        tokens = self.project["content"](_in_line(content.tuned))
        tokens = tokens + _in_line(self.cape(_on_grid(tokens, grid)))
        for layer in self.layers:
            tokens = layer(tokens, theirs)
        return _on_grid(self.added(self.norm(tokens)), grid).float()

    def forward(
        self,
        content: Tensor,
        style: Tensor,
        sharpness: float | Tensor = SHARPNESS,
        strength: float | Tensor = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Paints a batch for training; see `AdainNetwork.forward`, and `plan`.

        Args:
            content, style: (N, 3, H, W).
            sharpness: as for `plan`.
            strength: as in `impasto.Controls`; for all, or (N, 1, 1, 1).
        """
        given, given_back = self.study(style)
        plan = self.plan(self.encode(content, "content"), given, sharpness)

        def transfer(place: str, features: Tensor) -> Tensor:
            matched = plan.match(place, Moments.of(features))(features)
            return features + strength * (matched - features)

        painted = self.path.run(content, transfer)
        return content + strength * (painted - content), given_back


def _resemblance(tokens: Tensor, others: Tensor) -> Tensor:
    """Cosines (N, h * w, H * W) of tokens (N, C, h, w) and (N, C, H, W), each less the mean of its
    picture.
    """
    parts = (_in_line(x - x.mean((-2, -1), keepdim=True)) for x in (tokens, others))
    one, other = (F.normalize(part, dim=-1) for part in parts)
    return one @ other.mT


def _in_line(tokens: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, h * w, C)"""
    return tokens.flatten(2).mT


def _on_grid(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """(N, h * w, C) -> (N, C, h, w)"""
    return tokens.mT.reshape(len(tokens), -1, *grid)
