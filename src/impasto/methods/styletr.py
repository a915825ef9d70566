"""A transformer that looks in the style for what fits each place of the photo (StyTr2, Deng et al.
2022), with a pretrained vision transformer for its eyes.

What comes of attention paints in a convolutional path, the network of `impasto.methods.adain`, at
full resolution. Beyond the paper:

- encoders are pretrained, and fine-tuned by maps of low rank (Hu et al. 2021);
- they see pictures at no more than a fixed size, since attention grows with its square;
- what places of the style have to give are, besides tokens, the moments of the path's features
  there: attention mixes them, as in AdaAttN (Liu et al. 2021), and the photo's features are matched
  to the mixture. Where attention looks everywhere alike, what it mixes is AdaIN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from impasto.gallery import TrainedLook
from impasto.methods.base import Footprint, OnStep, Transfer, picture_of
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
from impasto.networks.styletr import SHARPNESS, Given, Plan, StyletrNetwork
from impasto.settings import check_settings, setting
from impasto.tiling import Box

_BYTES_PER_PIXEL = 400


@dataclass(frozen=True)
class StyletrConfig:
    """Settings of the method ``styletr``."""

    weights: str = setting("styletr.base", "The trained network, or a file that `train` wrote.")
    sharpness: float = setting(
        SHARPNESS,
        "How narrowly each place of the photo takes after its like in the style: from 0, palette "
        "and strokes of all of it go everywhere, to 20, skies take after skies alone.",
        min=0,
        max=100,
    )
    precision: Precision = precision_setting()

    def __post_init__(self) -> None:
        check_settings(self)


class Styletr(ArbitraryStyle):
    """The method; see the module and `ArbitraryStyle`."""

    Config = StyletrConfig
    Architecture = StyletrNetwork
    network: StyletrNetwork

    @property
    def footprint(self) -> Footprint:
        """See `Method.footprint`; the transformer sees the photo as a whole."""
        return Footprint(_BYTES_PER_PIXEL, self.network.path.tiling, STYLE_AREA)

    @torch.no_grad()
    def encode_style(self, style: Tensor | TrainedLook) -> Given:
        """See `Method.encode_style`."""
        picture = picture_of(style, "method styletr")
        with calculated_in(self.precision, picture):
            return self.network.study(self.network.path.tiling.padded(picture))[0]

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[Given],
        mix: Mix,
        *,
        seed: int = 0,  # noqa: ARG002 - nothing is random
    ) -> tuple[Transfer, Tensor]:
        """Measures the photo inside of each style's region."""
        transfer = StyletrTransfer(self.network, styles, self.precision, self.config.sharpness, {})
        own: dict[str, list[Moments]] = {}
        box = transfer.whole(content)
        plans = transfer.plans(content, transfer.window(box, content))
        maps: list[dict[str, Any]] = [{} for _ in plans]

        def match(place: str, features: Tensor, where: Tensor, stride: int) -> None:
            own[place] = moments_inside(box, features, where[1:], stride)
            for fitted, plan, moments in zip(maps, plans, own[place], strict=True):
                fitted[place] = plan.match(place, moments)

        painted = transfer.path(maps).paint(content, mix, match)
        return replace(transfer, own=own), painted


@dataclass(frozen=True)
class StyletrTransfer(Transfer):
    """Attends anew for every picture, and matches with the moments of the one it was fitted to."""

    network: StyletrNetwork
    given: Sequence[Given]
    """By each style."""
    precision: torch.dtype
    sharpness: float
    own: Mapping[str, Sequence[Moments]]
    """Of the photo that it was fitted to, at each place: inside of each style's region."""

    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:  # noqa: ARG002
        """See `Transfer.__call__`."""
        return next(self.parts(content, mix, [self.whole(content)]))

    def parts(self, content: Tensor, mix: Mix, boxes: Sequence[Box]) -> Iterator[Tensor]:
        """See `Transfer.parts`."""
        plans = self.plans(content)
        for box in boxes:
            window = self.window(box, content)
            maps = [
                {
                    place: replace(plan, window=window).match(place, own[k])
                    for place, own in self.own.items()
                }
                for k, plan in enumerate(plans)
            ]
            yield self.path(maps)(box.outer(content), mix.inside(box))

    @torch.no_grad()
    def plans(self, content: Tensor, window: Sequence[float] = (0, 0, 1, 1)) -> list[Plan]:
        """What each style wants where, in a window of the photo; see `Plan.window`."""
        with calculated_in(self.precision, content):
            tokens = self.network.encode(content, "content")
            plans = [self.network.plan(tokens, given, self.sharpness) for given in self.given]
        return [replace(plan, window=window) for plan in plans]

    def whole(self, content: Tensor) -> Box:
        """The tile that is all of a picture."""
        return next(self.network.path.tiling.boxes(content.shape[-2], content.shape[-1], None))

    def window(self, box: Box, content: Tensor) -> list[float]:
        """Where a tile is, with what it is padded by; see `Plan.window`."""
        edges = (box.outer_top, box.outer_left, box.outer_bottom, box.outer_right)
        stride = self.network.path.tiling.stride
        top, left, bottom, right = (-(-edge // stride) * stride for edge in edges)
        height, width = content.shape[-2:]
        return [top / height, left / width, bottom / height, right / width]

    def path(self, maps: Sequence[Mapping[str, Any]]) -> PathTransfer:
        """What paints with these maps at each place, of each style."""
        return PathTransfer(self.network.path, maps, self.precision)
