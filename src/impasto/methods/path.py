"""What the methods share that paint any style with a convolutional network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.methods.base import Method, OnStep, Transfer
from impasto.mixing import Mix, blend
from impasto.moments import Moments
from impasto.networks import Network, TrainedNetwork, load_network
from impasto.networks.adain import AdainNetwork
from impasto.networks.encoder import dtype_of
from impasto.networks.layers import calculated_in
from impasto.tiling import Box

Visit: TypeAlias = Callable[[str, Tensor, Tensor, int], None]
"""Told of a place of matching, its features (N, C, h, w), the weights there, and its stride."""

STYLE_AREA = 512 * 512
"""Styles are measured no larger than this without ``style_size``: about the scale of training."""


class ArbitraryStyle(Method):
    """Paints any style with one trained network.

    Args:
        config: the method's settings.
        network: replaces the one that the settings name; for tests.
    """

    Architecture: ClassVar[type[Network]]
    """The class of the network."""
    network: Any

    def __init__(self, config: Any = None, network: Network | None = None) -> None:
        super().__init__()
        self.config = config or self.Config()
        self.precision = dtype_of(self.config.precision)
        if network is None:
            trained = load_network(self.config.weights, self.Architecture)
        else:
            trained = TrainedNetwork(network, "", "")
        self.network, self.sha256 = trained.network.requires_grad_(False).eval(), trained.sha256

    def weights_used(self, style: Any) -> dict[str, str]:  # noqa: ARG002 - the same for all
        """See `Method.weights_used`."""
        return {Path(self.config.weights).name: self.sha256}


@dataclass(frozen=True)
class PathTransfer(Transfer):
    """Paints with a network, features being mapped at each place of matching."""

    network: AdainNetwork
    maps: Sequence[Mapping[str, Callable[[Tensor], Tensor]]]
    """Of each style, by place."""
    precision: torch.dtype

    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:  # noqa: ARG002
        """See `Transfer.__call__`."""
        return self.paint(content, mix)

    @torch.no_grad()
    def paint(self, content: Tensor, mix: Mix, visit: Visit | None = None) -> Tensor:
        """Paints; ``visit`` is shown what comes to each place before it is matched there."""
        padded = self.network.tiling.padded
        image = padded(content)
        weights = padded(mix.weights[None])[0] if mix.masked else mix.weights
        pooled = cache(partial(_pooled, weights))

        def transfer(place: str, features: Tensor) -> Tensor:
            stride = image.shape[-1] // features.shape[-1]
            where = pooled(stride)
            if visit is not None:
                visit(place, features, where, stride)
            return blend(features, where, [maps[place] for maps in self.maps])

        with calculated_in(self.precision, image):
            painted = self.network.run(image, transfer)
        height, width = content.shape[-2:]
        if weights[0].any():
            painted = weights[0] * image + (1 - weights[0]) * painted
        return painted[..., :height, :width].clamp(0, 1)


def _pooled(maps: Tensor, stride: int) -> Tensor:
    """Maps (K, H, W) averaged down; those of one pixel stay."""
    return maps if maps.shape[-1] == 1 else F.avg_pool2d(maps, stride)


def moments_inside(box: Box, features: Tensor, regions: Tensor, stride: int) -> list[Moments]:
    """Moments of the features of a tile, without its halo, inside of each region.

    Args:
        box: the tile.
        features: (..., h, w), of its outer box.
        regions: (K, h, w), or (K, 1, 1) if they are the same everywhere.
        stride: of the features.
    """
    features = box.inner(features, stride)
    if regions.shape[-2:] == (1, 1):
        whole = Moments.of(features)
        return [whole * share for share in regions[:, 0, 0]]
    return [Moments.of(features, region) for region in box.inner(regions, stride)]
