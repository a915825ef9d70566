"""The network of `impasto.methods.styletr`: a transformer, and the convolutional path it paints in.

Both pictures are seen by the first blocks of DINOv2's ViT-S/14 (Oquab et al. 2023,
arXiv:2304.07193). A decoder of three layers lets the photo's tokens attend to the style's (StyTr2,
Deng et al. 2022, arXiv:2105.14576). The convolutional path is the network of
`impasto.networks.adain`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto import matching
from impasto.images import resize
from impasto.moments import Moments
from impasto.networks import Network
from impasto.networks.adain import DEEPEST, AdainNetwork, AdainNetworkConfig, Map, matcher_at
from impasto.networks.layers import adaptive_pool, full_precision
from impasto.networks.vit import LoRA, ViT, load_vit

Role = Literal["content", "style"]

_MAX_AREA = 252 * 252
"""Largest area, in pixels, of the pictures that the transformer sees."""
_NEAR_PIXELS = ("block0", "block1")
"""Layers close to the pixels, at half and quarter size, where covariances are matched as well."""
_CAPE_GRID = 6
SHARPNESS = 3.0
"""Default of the setting ``sharpness`` of `impasto.methods.styletr.StyletrConfig`."""
_LORA_ALPHA = 16
_MIN_VARIANCE = 1e-6


@dataclass(frozen=True)
class StyletrNetworkConfig:
    """What a `StyletrNetwork` is built from; kept in the metadata of its weights file."""

    depth: int = 6
    """Number of blocks of the vision transformer."""
    width: int = 256
    """Channels of a token in the transformer decoder."""
    layers: int = 3
    """Number of layers of the transformer decoder."""
    heads: int = 8
    """Attention heads of each decoder layer."""
    rank: int = 0
    """Rank of the encoders' `LoRA` maps; 0 if the encoders are not fine-tuned."""
    widths: Sequence[int] = (32, 64, 128)
    """Channels of the convolutional path at strides 2, 4 and 8."""
    blocks: Sequence[int] = (1, 1, 3)
    """Residual blocks of the path's decoder at strides 2, 4 and 8."""


class Cape(nn.Module):
    """Content-aware positional encoding (Deng et al. 2022, eq. 4 and 5).

    Positions are computed from the tokens pooled to a fixed grid, so that they depend on what is in
    the picture and not on its size.

    Args:
        width: channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the positional encoding (N, C, h, w) of tokens (N, C, h, w)."""
        pooled = self.conv(adaptive_pool(tokens, (_CAPE_GRID, _CAPE_GRID)))  # (N, C, 6, 6)
        return F.interpolate(pooled, tokens.shape[-2:], mode="bilinear")


class Layer(nn.Module):
    """A layer of the transformer decoder (Vaswani et al. 2017, arXiv:1706.03762): multi-head
    attention of the photo to the style, then a two-layer perceptron.

    Args:
        width: channels of a token.
        heads: attention heads; they divide the channels among them.
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
        """Returns new tokens (N, T, C) from those of the photo (N, T, C) and style (N, S, C)."""
        # (N, T, C) and twice (N, S, C), each to (N, heads, T or S, C / heads)
        projected = (self.queries(self.norm1(content)), self.keys(style), self.values(style))
        queries, keys, values = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in projected
        )
        # (N, heads, T, C / heads) -> (N, T, C)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        content = content + self.proj(mixed)
        result: Tensor = content + self.mlp(self.norm2(content))
        return result


@dataclass(frozen=True)
class Tokens:
    """The tokens (N, C, h, w) that an encoder makes of pictures."""

    frozen: Tensor
    """Tokens of the pretrained encoder, which tell best what resembles what."""
    finetuned: Tensor
    """Tokens of the fine-tuned encoder, for the transformer decoder."""


@dataclass(frozen=True)
class StyleStats:
    """What `StyletrNetwork.encode_style` measures of style pictures."""

    tokens: Tokens
    """The pictures' tokens."""
    local: Mapping[str, Tensor]
    """By layer, the mean of the path's features and of their squares over the pixels of each token,
    (N, 2 C, h, w)."""
    whole: Mapping[str, Moments]
    """By layer, for those close to the pixels: moments of all of the picture."""


@dataclass(frozen=True)
class Targets:
    """The statistics that features shall have, on the grid of a photo's tokens."""

    means: Mapping[str, Tensor]
    """By layer, the mean of each channel at each token, (N, C, h, w)."""
    deviations: Mapping[str, Tensor]
    """By layer, the standard deviation of each channel at each token, (N, C, h, w)."""
    whole: Mapping[str, Moments]
    """Moments of all of the style picture; those of `StyleStats.whole`."""
    window: Sequence[float] = (0, 0, 1, 1)
    """Top, left, bottom and right of the part to be painted, as shares of the photo."""

    def match(self, layer: str, content: Moments) -> Callable[[Tensor], Tensor]:
        """Fits the map that gives the photo's features at a layer these statistics.

        Args:
            layer: name of the layer.
            content: moments of the photo's features there.

        Returns:
            A map of features (N, C, H, W) in the window.
        """
        if layer not in self.whole:
            return partial(self._mapped, layer, [matching.standardise(content)])
        # Covariances of the whole style first; attention then adds how its parts differ from it.
        style = self.whole[layer]
        matched = matcher_at(layer, "adain")(content, style)
        return partial(self._mapped, layer, [matched, matching.standardise(style)])

    def _mapped(self, layer: str, before: Sequence[Map], features: Tensor) -> Tensor:
        for step in before:
            features = step(features)
        mean, deviation = self._sampled(layer, features.shape[-2:])
        return torch.addcmul(mean, features, deviation)

    def _sampled(self, layer: str, size: Sequence[int]) -> Sequence[Tensor]:
        """Means and deviations in the window, enlarged to (N, C, *size)."""
        top, left, bottom, right = self.window
        joined = torch.cat((self.means[layer], self.deviations[layer]), 1)  # (N, 2 C, h, w)
        joined = joined.contiguous(memory_format=torch.channels_last)
        # Output coordinates -1..1 to those of the window in the photo's -1..1, x before y.
        down, across = bottom - top, right - left
        theta = joined.new_tensor(
            [[across, 0, left + right - 1], [0, down, top + bottom - 1]]
        ).expand(len(joined), 2, 3)
        grid = F.affine_grid(theta, [len(joined), 1, *size], align_corners=False)  # (N, H, W, 2)
        # The border's values beyond it; Apple's GPUs have no padding_mode for that.
        limit = 1 - 1 / joined.new_tensor(joined.shape[:-3:-1])
        grid = grid.clamp(-limit, limit)
        return F.grid_sample(joined, grid, align_corners=False).chunk(2, 1)


class StyletrNetwork(Network):
    """Encoders, transformer decoder, and the convolutional path.

    Args:
        config: what the network is built from.
        vit: replaces DINOv2's vision transformer; for tests, and for training from scratch.
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
        channels, self.patch = tap.channels, tap.stride
        roles = ("content", "style")
        self.tuned = nn.ModuleDict(
            {
                role: nn.ModuleList(
                    LoRA(channels, config.rank, _LORA_ALPHA) for _ in range(config.depth)
                )
                for role in (roles if config.rank else ())
            }
        )
        self.project = nn.ModuleDict(
            {
                role: nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
                for role in roles
            }
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
        """Builds the network; without ``pretrained`` its vision transformer has random weights."""
        return cls(config, None if pretrained else ViT(depth=config.depth))

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size, of whole tokens, that pictures are scaled to before they are encoded:
        down to an area of at most 252 x 252.

        Args:
            height: of the pictures.
            width: of the pictures.
        """
        scale = min(math.sqrt(_MAX_AREA / (height * width)), 1) / self.patch
        down, across = (max(round(side * scale), 1) * self.patch for side in (height, width))
        return down, across

    def encode(self, image: Tensor, role: Role, size: tuple[int, int] | None = None) -> Tokens:
        """Encodes pictures.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1].
            role: which of the two fine-tuned encoders sees them.
            size: height and width that they had before they were scaled; None if they were not.

        Returns:
            One token for each 14 x 14 pixels of the scaled pictures.
        """
        small = resize(image.float(), *self.seen_size(*(size or image.shape[-2:])))
        frozen = self.vit(small, [self.tap])[self.tap]
        if not self.tuned:
            return Tokens(frozen, frozen)
        lora: Any = self.tuned[role]
        return Tokens(frozen, self.vit(small, [self.tap], lora=lora)[self.tap])

    def encode_style(self, style: Tensor) -> tuple[StyleStats, Tensor]:
        """Measures styles.

        Args:
            style: (N, 3, H, W), sRGB in [0, 1], sides multiples of 8.

        Returns:
            The statistics; and the pictures as the path reconstructs them, (N, 3, H, W), not
            clipped.
        """
        tokens = self.encode(style, "style")
        height, width = tokens.frozen.shape[-2:]
        local: dict[str, Tensor] = {}
        whole: dict[str, Moments] = {}

        def measure(layer: str, features: Tensor) -> Tensor:
            if layer.startswith(_NEAR_PIXELS):
                whole[layer] = Moments.of(features)
            with full_precision(features):  # squares less squares lose digits
                wide = features.float()
                both = torch.cat((wide, wide.square()), 1)  # (N, 2 C, H / stride, W / stride)
                local[layer] = adaptive_pool(both, (height, width))  # (N, 2 C, h, w)
            return features

        reconstruction = self.path.run(style, measure)
        return StyleStats(tokens, local, whole), reconstruction

    def attend(self, content: Tokens, style: StyleStats, sharpness: float | Tensor) -> Targets:
        """Lets the photos' tokens attend to the styles' (as AdaAttN, Liu et al. 2021,
        arXiv:2108.03647).

        Args:
            content: tokens of N photos.
            style: statistics of N styles.
            sharpness: factor of the tokens' cosine similarities before the softmax; a number, or
                one for each pair, (N, 1, 1).

        Returns:
            The statistics that the photos' features shall have: at each token those of the style's
            tokens, weighted by attention.
        """
        grid = content.frozen.shape[-2:]
        # Products are rounded by the layout of what they are of, which a saved style has lost.
        layout = torch.channels_last
        tokens = Tokens(
            style.tokens.frozen.contiguous(memory_format=layout),
            style.tokens.finetuned.contiguous(memory_format=layout),
        )
        with full_precision(content.frozen):
            cosines = _cosines(content.frozen.float(), tokens.frozen.float())
            attention = (sharpness * cosines).softmax(-1)  # (N, T, S)
            # (N, T, S) @ (N, S, 2 C) -> (N, T, 2 C)
            means, deviations = {}, {}
            for layer, both in style.local.items():
                mean, square = _in_line(both).chunk(2, -1)  # (N, S, C) each
                # About their centre, since squares less squares lose digits.
                centre = mean.mean(1, keepdim=True)
                square = square - 2 * centre * mean + centre.square()
                mixed = attention @ torch.cat((mean - centre, square), -1)  # (N, T, 2 C)
                offset, square = mixed.chunk(2, -1)  # (N, T, C) each
                variance = (square - offset.square()).clamp_min(_MIN_VARIANCE)
                means[layer] = _on_grid(centre + offset, grid)
                deviations[layer] = _on_grid(variance.sqrt(), grid)
        means[DEEPEST] = means[DEEPEST] + self._decoded(content, tokens)
        return Targets(means, deviations, style.whole)

    def _decoded(self, content: Tokens, style: Tokens) -> Tensor:
        """What the transformer decoder adds to the means of the deepest features, (N, C, h, w)."""
        grid = content.finetuned.shape[-2:]
        style_tokens = self.project["style"](_in_line(style.finetuned))  # (N, S, width)
        tokens = self.project["content"](_in_line(content.finetuned))  # (N, T, width)
        tokens = tokens + _in_line(self.cape(_on_grid(tokens, grid)))
        for layer in self.layers:
            tokens = layer(tokens, style_tokens)
        return _on_grid(self.added(self.norm(tokens)), grid).float()

    def forward(
        self,
        content: Tensor,
        style: Tensor,
        sharpness: float | Tensor = SHARPNESS,
        strength: float | Tensor = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Paints a batch for training: photo n in style n.

        Args:
            content: (N, 3, H, W), sRGB in [0, 1], sides multiples of 8.
            style: (N, 3, h, w), sRGB in [0, 1], sides multiples of 8.
            sharpness: as for `attend`.
            strength: 0..1, how much of the style is taken over; a number, or one for each photo,
                (N, 1, 1, 1).

        Returns:
            The paintings (N, 3, H, W), and the styles as the path reconstructs them, (N, 3, h, w);
            neither is clipped.
        """
        stats, reconstruction = self.encode_style(style)
        targets = self.attend(self.encode(content, "content"), stats, sharpness)

        def transfer(layer: str, features: Tensor) -> Tensor:
            matched = targets.match(layer, Moments.of(features))(features)
            return features + strength * (matched - features)

        painted = self.path.run(content, transfer)
        return content + strength * (painted - content), reconstruction


def _cosines(tokens: Tensor, others: Tensor) -> Tensor:
    """Cosine similarities (N, h w, H W) of tokens (N, C, h, w) and (N, C, H, W), each less the mean
    of its picture.
    """
    parts = (_in_line(x - x.mean((-2, -1), keepdim=True)) for x in (tokens, others))
    one, other = (F.normalize(part, dim=-1) for part in parts)
    return one @ other.mT


def _in_line(tokens: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, h w, C)"""
    return tokens.flatten(2).mT


def _on_grid(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """(N, h w, C) -> (N, C, h, w)"""
    return tokens.mT.reshape(len(tokens), -1, *grid)
