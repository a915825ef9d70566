"""A transformer that finds in the style what fits each part of the photo (StyTr2, Deng et al. 2022,
arXiv:2105.14576), with a pretrained vision transformer as its encoders.

What attention finds is painted by a convolutional path, the network of `impasto.methods.adain`, at
full resolution. Beyond the paper:

- the encoders are pretrained (DINOv2, Oquab et al. 2023, arXiv:2304.07193) and fine-tuned by maps
  of low rank (LoRA, Hu et al. 2021, arXiv:2106.09685);
- they see pictures at no more than a fixed size, since attention grows with its square;
- attention mixes not only the style's tokens but also the moments of the path's features at each of
  them, as in AdaAttN (Liu et al. 2021, arXiv:2108.03647), and the photo's features are matched to
  the mixture. Where attention is the same for all tokens, the mixture is that of AdaIN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from impasto.gallery import TrainedLook
from impasto.methods.base import Footprint, OnStep, PaintTile, Transfer, picture_of
from impasto.methods.path import (
    STYLE_AREA,
    ArbitraryStyle,
    PathTransfer,
    moments_inside,
)
from impasto.mixing import Mix
from impasto.moments import Moments
from impasto.networks.encoder import Precision, precision_setting
from impasto.networks.layers import calculated_in
from impasto.networks.styletr import SHARPNESS, StyleStats, StyletrNetwork, Targets
from impasto.settings import check_settings, setting
from impasto.tiling import Box

_BYTES_PER_PIXEL = 400


@dataclass(frozen=True)
class StyletrConfig:
    """Settings of the method ``styletr``."""

    weights: str = setting(
        "styletr.base",
        "Trained network: styletr.base, or a file that `impasto train` wrote.",
    )
    sharpness: float = setting(
        SHARPNESS,
        "How closely each part of the photo follows what resembles it in the style: at 0 the style "
        "as a whole is used everywhere, at 20 a sky is painted only like the style's sky.",
        min=0,
        max=100,
    )
    precision: Precision = precision_setting()

    def __post_init__(self) -> None:
        check_settings(self)


class Styletr(ArbitraryStyle):
    """Paints any style by attention to what fits each part of the photo (Deng et al. 2022,
    arXiv:2105.14576).

    Args:
        config: the settings, a `StyletrConfig`; None for the defaults.
        network: replaces the network that the settings name; for tests.

    Raises:
        WeightsError: the weights are missing or damaged.
    """

    Config = StyletrConfig
    Architecture = StyletrNetwork
    config: StyletrConfig
    network: StyletrNetwork

    @property
    def footprint(self) -> Footprint:
        """Memory for each pixel, and how the path can be tiled; the transformer sees the photo as a
        whole, scaled down.
        """
        return Footprint(_BYTES_PER_PIXEL, self.network.path.tiling, STYLE_AREA)

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size at which the transformer sees a photo; see `Method.seen_size`."""
        return self.network.seen_size(height, width)

    @torch.no_grad()
    def encode_style(self, style: Tensor | TrainedLook) -> StyleStats:
        """Measures a style picture (1, 3, h, w), sRGB in [0, 1].

        Raises:
            ControlError: the style is a trained look, which has no picture.
        """
        picture = picture_of(style, "method styletr")
        with calculated_in(self.precision, picture):
            return self.network.encode_style(self.network.path.tiling.padded(picture))[0]

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[StyleStats],
        mix: Mix,
        *,
        seed: int = 0,
    ) -> tuple[Transfer, Tensor]:
        """Measures the photo inside of each style's region.

        Args:
            content: the photo (1, 3, H, W), sRGB in [0, 1].
            styles: what `encode_style` returned, for each of K styles.
            mix: how much of which style goes where.
            seed: ignored, since nothing is random.

        Returns:
            The fitted function that paints, and the photo painted by it, (1, 3, H, W).
        """
        transfer = StyletrTransfer(self.network, styles, self.precision, self.config.sharpness, {})
        content_moments: dict[str, list[Moments]] = {}
        box, size = transfer.whole(content), (content.shape[-2], content.shape[-1])
        targets = transfer.targets(content, size, transfer.window(box, size))
        maps: list[dict[str, Any]] = [{} for _ in targets]

        def match(layer: str, features: Tensor, weights: Tensor, stride: int) -> None:
            moments = moments_inside(box, features, weights[1:], stride)
            content_moments[layer] = moments
            for fitted, target, inside in zip(maps, targets, moments, strict=True):
                fitted[layer] = target.match(layer, inside)

        painted = transfer.path(maps).paint(content, mix, match)
        return replace(transfer, content=content_moments), painted


@dataclass(frozen=True)
class StyletrTransfer(Transfer):
    """Paints with attention computed anew for every picture, and with the moments of the photo that
    it was fitted to.
    """

    network: StyletrNetwork
    """The network with its encoders, transformer decoder and path."""
    styles: Sequence[StyleStats]
    """What was measured of each of K styles."""
    precision: torch.dtype
    """float32, or bfloat16 for autocast."""
    sharpness: float
    """Factor of the tokens' cosine similarities before the softmax of attention."""
    content: Mapping[str, Sequence[Moments]]
    """By layer, moments of the photo that it was fitted to, inside of each style's region."""

    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """Paints a picture (1, 3, H, W) as a whole; see `Transfer.__call__` for the arguments."""
        return next(self.parts(content, mix, [self.whole(content)]))

    def tile_painter(self, content: Tensor, size: tuple[int, int]) -> PaintTile:
        """Returns what paints tiles; the transformer sees the photo once, as a whole."""
        targets = self.targets(content, size)

        def paint(tile: Tensor, mix: Mix, box: Box) -> Tensor:
            window = self.window(box, size)
            maps = [
                {
                    layer: replace(target, window=window).match(layer, moments[k])
                    for layer, moments in self.content.items()
                }
                for k, target in enumerate(targets)
            ]
            return self.path(maps)(tile, mix)

        return paint

    @torch.no_grad()
    def targets(
        self,
        content: Tensor,
        size: tuple[int, int],
        window: Sequence[float] = (0, 0, 1, 1),
    ) -> list[Targets]:
        """Returns the statistics that each style asks for, by attention.

        Args:
            content: the picture (1, 3, H, W), or the same at the size that the transformer sees.
            size: height and width of the picture.
            window: the part of it to be painted: top, left, bottom, right, as shares.
        """
        with calculated_in(self.precision, content):
            tokens = self.network.encode(content, "content", size)
            targets = [self.network.attend(tokens, style, self.sharpness) for style in self.styles]
        return [replace(target, window=window) for target in targets]

    def whole(self, content: Tensor) -> Box:
        """Returns the tile that is all of a picture (1, 3, H, W)."""
        return next(self.network.path.tiling.boxes(content.shape[-2], content.shape[-1], None))

    def window(self, box: Box, size: tuple[int, int]) -> list[float]:
        """Returns where a tile with its halo and padding lies in a picture of that height and
        width: top, left, bottom and right as shares of the picture's sides.
        """
        edges = (box.outer_top, box.outer_left, box.outer_bottom, box.outer_right)
        stride = self.network.path.tiling.stride
        top, left, bottom, right = (-(-edge // stride) * stride for edge in edges)
        height, width = size
        return [top / height, left / width, bottom / height, right / width]

    def path(self, maps: Sequence[Mapping[str, Any]]) -> PathTransfer:
        """Returns the convolutional path with the maps of each style, by layer."""
        return PathTransfer(self.network.path, maps, self.precision)
