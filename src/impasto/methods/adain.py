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
from impasto.moments import Moments, Quantiles
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


class Adain(ArbitraryStyle):
    """The method; see the module and `ArbitraryStyle`."""

    Config = AdainConfig
    Architecture = AdainNetwork
    network: AdainNetwork

    @property
    def footprint(self) -> Footprint:
        """See `Method.footprint`."""
        network = self.network
        return Footprint(_BYTES_PER_PIXEL[network.config.encoder], network.tiling, STYLE_AREA)

    @torch.no_grad()
    def encode_style(self, style: Tensor | TrainedLook) -> dict[str, Statistics]:
        """Statistics of the style at each place, of all of its tiles together."""
        picture = picture_of(style, "method adain")
        sums: dict[str, Any] = {}
        unchanged = PathTransfer(self.network, [], self.precision)
        everywhere = Mix(picture.new_ones(1, 1, 1), 0.0)
        for box in self.network.tiling.boxes(picture.shape[-2], picture.shape[-1], _STYLE_TILE):

            def visit(
                place: str, features: Tensor, where: Tensor, stride: int, box: Box = box
            ) -> None:
                (part,) = self._statistics(place, box, features, where, stride)
                sums[place] = sums[place] + part if place in sums else part

            unchanged.paint(box.outer(picture), everywhere, visit)
        return sums

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[Mapping[str, Statistics]],
        mix: Mix,
        *,
        seed: int = 0,  # noqa: ARG002 - nothing is random
    ) -> tuple[Transfer, Tensor]:
        """Measures the photo inside of each style's region."""
        maps: list[dict[str, Map]] = [{} for _ in styles]
        transfer = PathTransfer(self.network, maps, self.precision)
        (box,) = self.network.tiling.boxes(content.shape[-2], content.shape[-1], None)

        def match(place: str, features: Tensor, where: Tensor, stride: int) -> None:
            matcher = matcher_at(place, self.config.matching)
            measured = self._statistics(place, box, features, where[1:], stride)
            for fitted, own, style in zip(maps, measured, styles, strict=True):
                fitted[place] = matcher(own, style[place])

        return transfer, transfer.paint(content, mix, match)

    def _statistics(
        self, place: str, box: Box, features: Tensor, regions: Tensor, stride: int
    ) -> list[Statistics]:
        """Statistics of the features (1, C, h, w) of a tile, without its halo, for each of the
        regions (K, h, w) or (K, 1, 1).
        """
        if self.config.matching != "histogram" or in_decoder(place):
            return list(moments_inside(box, features[0], regions, stride))
        features = box.inner(features, stride)[0]
        if regions.shape[-2:] == (1, 1):
            regions = regions.expand(-1, *features.shape[-2:])
        else:
            regions = box.inner(regions, stride)
        return [Quantiles.of(features, region) for region in regions]
