"""Any style in one forward pass: encoder, matching, decoder (AdaIN, Huang & Belongie 2017,
arXiv:1703.06868).

The photo's features are given the statistics of the style's, and a decoder trained for that turns
them back into a picture. Which statistics is a choice (`impasto.matching`); a decoder trained with
one serves the others too. Beyond the paper:

- features are matched at two layers of the encoder and after each block of the decoder, each by
  its own statistics; the style's are those of the style picture sent through the same network,
  which learns to reconstruct it. So what is matched last is nearly the picture itself;
- in the decoder covariances are matched, whatever the choice: palettes and strokes are more than
  the mean and deviation of each channel;
- the photo fades into what is painted with the style's weight: ``strength`` 0 is the photo itself;
- fitted once, everything is local, so that tiles equal the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import torch
from torch import Tensor

from impasto.gallery import TrainedLook
from impasto.methods.base import Footprint, Transfer, picture_of
from impasto.methods.path import (
    STYLE_AREA,
    ArbitraryStyle,
    PathTransfer,
    moments_inside,
)
from impasto.mixing import Mix
from impasto.moments import Moments, Quantiles, one_above_the_other
from impasto.networks.adain import AdainNetwork, Map, Matching, in_decoder, matcher_at
from impasto.networks.encoder import Precision, precision_setting
from impasto.settings import check_settings, setting
from impasto.tiling import Box

Statistics: TypeAlias = "Moments | Quantiles"

_BYTES_PER_PIXEL = {"compact": 700, "vgg16": 1_500, "vgg19": 1_500}
_STYLE_TILE = 1024
"""Side, in pixels, of the tiles that a large style is measured in."""


@dataclass(frozen=True)
class AdainConfig:
    """Settings of the method ``adain``."""

    weights: str = setting(
        "adain.base",
        "Trained network: adain.small (faster), adain.base (better), styletr.base (for styletr), "
        "or a file that `impasto train` wrote.",
    )
    matching: Matching = setting(
        "adain",
        "Statistics of the style that the photo's features take over: mean and deviation of each "
        "channel (adain), covariances (wct, coral), or whole distributions (histogram).",
        get_args(Matching),
    )
    precision: Precision = precision_setting()

    def __post_init__(self) -> None:
        check_settings(self)


class Adain(ArbitraryStyle):
    """Paints any style by matching the statistics of features (Huang & Belongie 2017,
    arXiv:1703.06868).

    Args:
        config: the settings, an `AdainConfig`; None for the defaults.
        network: replaces the network that the settings name; for tests.

    Raises:
        WeightsError: the weights are missing or damaged.
    """

    Config = AdainConfig
    Architecture = AdainNetwork
    config: AdainConfig
    network: AdainNetwork

    @property
    def footprint(self) -> Footprint:
        """Memory for each pixel, and how the network can be tiled."""
        network = self.network
        return Footprint(_BYTES_PER_PIXEL[network.config.encoder], network.tiling, STYLE_AREA)

    @torch.no_grad()
    def encode_style(self, style: Tensor | TrainedLook) -> dict[str, Statistics]:
        """Measures a style picture (1, 3, h, w), sRGB in [0, 1], tile by tile if it is large.

        Returns:
            By layer, the statistics of the style's features.

        Raises:
            ControlError: the style is a trained look, which has no picture.
        """
        picture = picture_of(style, "method adain")
        sums: dict[str, Any] = {}
        unchanged = PathTransfer(self.network, [], self.precision)
        everywhere = Mix(picture.new_ones(1, 1, 1), 0.0)
        for box in self.network.tiling.boxes(picture.shape[-2], picture.shape[-1], _STYLE_TILE):

            def visit(
                layer: str, features: Tensor, weights: Tensor, stride: int, box: Box = box
            ) -> None:
                (part,) = self._statistics(layer, box, features, weights, stride)
                sums[layer] = sums[layer] + part if layer in sums else part

            unchanged.paint(box.outer(picture), everywhere, visit)
        return sums

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[Mapping[str, Statistics]],
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
        maps: list[dict[str, Map]] = [{} for _ in styles]
        transfer = PathTransfer(self.network, maps, self.precision)
        (box,) = self.network.tiling.boxes(content.shape[-2], content.shape[-1], None)

        def match(layer: str, features: Tensor, weights: Tensor, stride: int) -> None:
            matcher = matcher_at(layer, self.config.matching)
            measured = self._statistics(layer, box, features, weights[1:], stride)
            for fitted, inside, style in zip(maps, measured, styles, strict=True):
                fitted[layer] = matcher(inside, style[layer])

        return transfer, transfer.paint(content, mix, match)

    def _statistics(
        self, layer: str, box: Box, features: Tensor, regions: Tensor, stride: int
    ) -> list[Statistics]:
        """Statistics of the features (N, C, h, w) of a tile, without its halo, for each of the
        regions (K, h, w) or (K, 1, 1).
        """
        if self.config.matching != "histogram" or in_decoder(layer):
            return [of[0] for of in moments_inside(box, features, regions, stride)]
        joined = one_above_the_other(box.inner(features, stride))[0]
        if regions.shape[-2:] == (1, 1):
            regions = regions.expand(-1, *joined.shape[-2:])
        else:
            regions = box.inner(regions, stride).repeat(1, len(features), 1)
        return [Quantiles.of(joined, region) for region in regions]
