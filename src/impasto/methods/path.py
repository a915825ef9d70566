"""What the methods `adain` and `styletr` share: both paint with a convolutional network."""

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
from impasto.moments import Moments, one_above_the_other
from impasto.networks import Network, TrainedNetwork, load_network
from impasto.networks.adain import AdainNetwork
from impasto.networks.encoder import dtype_of
from impasto.networks.layers import calculated_in
from impasto.tiling import Box

Visit: TypeAlias = Callable[[str, Tensor, Tensor, int], None]
"""Called with the name of a layer where features are matched, the features there (N, C, h, w), the
weights of a `Mix` at that size, and the layer's stride."""

STYLE_AREA = 512 * 512
"""Largest area, in pixels, that styles are measured at unless ``style_size`` says otherwise; it is
about the scale of training."""


class ArbitraryStyle(Method):
    """Base of the methods that paint any style with one trained network.

    Args:
        config: the method's settings; None for the defaults.
        network: replaces the network that the settings name; for tests.

    Raises:
        WeightsError: the weights are missing or damaged.
    """

    Architecture: ClassVar[type[Network]]
    """The class of the network."""
    network: Any
    """The trained network."""

    def __init__(self, config: Any = None, network: Network | None = None) -> None:
        super().__init__()
        self.config = config or self.Config()
        self.precision = dtype_of(self.config.precision)
        if network is None:
            trained = load_network(self.config.weights, self.Architecture)
        else:
            trained = TrainedNetwork(network, "", "")
        self.network, self.sha256 = trained.network.requires_grad_(False).eval(), trained.sha256

    def weights_used(self, style: Any) -> dict[str, str]:
        """Returns name and sha256 of the network's weights, which are the same for all styles."""
        return {Path(self.config.weights).name: self.sha256}


@dataclass(frozen=True)
class PathTransfer(Transfer):
    """Paints with a network whose features are mapped at each layer of matching."""

    network: AdainNetwork
    """The network that encodes and decodes."""
    maps: Sequence[Mapping[str, Callable[[Tensor], Tensor]]]
    """For each of K styles, the maps of features (N, C, h, w) by layer."""
    precision: torch.dtype
    """float32, or bfloat16 for autocast."""

    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """Paints a picture (1, 3, H, W), or a tile; see `Transfer.__call__` for the arguments."""
        return self.paint(content, mix)

    @torch.no_grad()
    def paint(self, content: Tensor, mix: Mix, visit: Visit | None = None) -> Tensor:
        """Paints a picture.

        Args:
            content: (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where, for this size.
            visit: called at each layer before its features are matched, so that the maps can be
                fitted on the way.

        Returns:
            (1, 3, H, W), sRGB in [0, 1].
        """
        padded = self.network.tiling.padded
        image = padded(content)
        weights = padded(mix.weights[None])[0] if mix.masked else mix.weights
        pooled = cache(partial(_pooled, weights))

        def transfer(layer: str, features: Tensor) -> Tensor:
            stride = image.shape[-1] // features.shape[-1]
            local = pooled(stride)  # (1 + K, h, w), or (1 + K, 1, 1)
            if visit is not None:
                visit(layer, features, local, stride)
            return blend(features, local, [maps[layer] for maps in self.maps])

        with calculated_in(self.precision, image):
            painted = self.network.run(image, transfer)
        height, width = content.shape[-2:]
        if weights[0].any():
            painted = weights[0] * image + (1 - weights[0]) * painted
        return painted[..., :height, :width].clamp(0, 1)


def _pooled(maps: Tensor, stride: int) -> Tensor:
    """(K, H, W) -> (K, H / stride, W / stride) by averaging; (K, 1, 1) stays."""
    return maps if maps.shape[-1] == 1 else F.avg_pool2d(maps, stride)


def moments_inside(box: Box, features: Tensor, regions: Tensor, stride: int) -> list[Moments]:
    """Measures the features of a tile, without its halo, inside of each style's region.

    Args:
        box: the tile.
        features: features of the tile with its halo, (N, C, h, w), of N pictures that are measured
            together.
        regions: weights of K regions, (K, h, w), or (K, 1, 1) if they are the same everywhere.
        stride: pixels per feature, along each side.

    Returns:
        K moments of vectors (1, C), whose weights are the areas of the regions.
    """
    joined = one_above_the_other(box.inner(features, stride))
    if regions.shape[-2:] == (1, 1):
        whole = Moments.of(joined)
        return [whole * share for share in regions[:, 0, 0]]
    regions = box.inner(regions, stride).repeat(1, len(features), 1)
    return [Moments.of(joined, region) for region in regions]
