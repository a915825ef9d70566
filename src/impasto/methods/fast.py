"""One network for one style, or for a few (Johnson et al. 2016, arXiv:1603.08155).

The image-transformation network is trained for its paintings and knows nothing else, so that a
style is the name of a trained look (`impasto.gallery`), not a picture. Beyond the paper: the
statistics that instance normalisation takes are measured once, by `Fast.fit`. What remains is
local: tiles, and frames, agree with the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from impasto.color import Recolour, Recolouring
from impasto.errors import ControlError
from impasto.gallery import TrainedLook
from impasto.methods.base import Footprint, Method, OnStep, Transfer
from impasto.mixing import Mix, blend
from impasto.moments import one_above_the_other
from impasto.networks import TrainedNetwork, load_network
from impasto.networks.encoder import Precision, dtype_of, precision_setting
from impasto.networks.layers import calculated_in
from impasto.networks.transform import (
    Statistics,
    TransformNetwork,
    TransformNetworkConfig,
    measured,
    scaled,
)
from impasto.settings import check_settings, setting
from impasto.tiling import Tiling

Blending = Literal["parameters", "outputs"]

_MARGIN = 24
"""Pixels by which pictures are continued to each side: networks that were trained with a loss
network that pads with zeros paint a frame there."""
_BYTES_PER_PIXEL = 20
"""Peak memory per pixel, for each of the network's channels at full size."""


@dataclass(frozen=True)
class FastConfig:
    """Settings of the method ``fast``."""

    blending: Blending = setting(
        "parameters",
        "How several trained styles without masks are mixed: parameters averages the networks into "
        "one new style, if they were trained from the same network; outputs blends the pictures "
        "that they paint.",
        get_args(Blending),
    )
    precision: Precision = precision_setting()

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class LoadedLook:
    """A trained look whose network is loaded: what `Fast.encode_style` returns."""

    weights: str
    """Name or file of the network's weights."""
    sha256: str
    """Hash of the weights file."""
    index: int
    """Which of the network's styles it is, from 0."""
    recolouring: Recolouring | None = None
    """How what was painted is recoloured to keep the photo's colours; there is no style picture
    that could be recoloured before."""


class Fast(Method):
    """Paints trained looks, each by its own network, in one pass (Johnson et al. 2016,
    arXiv:1603.08155).

    Args:
        config: the settings; None for the defaults.
    """

    Config = FastConfig
    config: FastConfig

    def __init__(self, config: FastConfig | None = None) -> None:
        super().__init__()
        self.config = config or FastConfig()
        self.precision = dtype_of(self.config.precision)
        self.networks: dict[str, TrainedNetwork[TransformNetwork]] = {}
        """The networks that were needed so far, by the name or file of their weights."""
        self.register_buffer("here", torch.empty(0), persistent=False)  # tells the device

    @property
    def footprint(self) -> Footprint:
        """Memory for each pixel, and how a picture can be tiled, with the largest network."""
        used = [trained.network for trained in self.networks.values()]
        widths = [network.config.width for network in used]
        halos = [network.tiling.halo for network in used]
        usual = TransformNetworkConfig([])
        tiling = Tiling(max(halos, default=usual.halo), TransformNetwork.stride)
        return Footprint(_BYTES_PER_PIXEL * max(widths, default=usual.width), tiling)

    def encode_style(self, style: Tensor | TrainedLook) -> LoadedLook:
        """Loads the network of a trained look, unless that is done already.

        Raises:
            ControlError: the style is a picture, or the network has no such look.
            WeightsError: weights are missing or damaged.
        """
        if not isinstance(style, TrainedLook):
            raise ControlError("method fast paints trained styles, not pictures")
        if style.weights not in self.networks:
            trained = load_network(style.weights, TransformNetwork)
            trained.network.requires_grad_(False).to(self.get_buffer("here").device)
            self.networks[style.weights] = trained
        trained = self.networks[style.weights]
        looks = list(trained.network.config.looks)
        if style.look is None and len(looks) == 1:
            index = 0
        elif style.look in looks:
            index = looks.index(style.look)
        else:
            choices = ", ".join(f"{style.weights}#{look}" for look in looks)
            raise ControlError(f"style '{style.source}': no such look; write one of {choices}")
        return LoadedLook(style.weights, trained.sha256, index, style.recolouring)

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[LoadedLook],
        mix: Mix,
        *,
        seed: int = 0,
    ) -> tuple[Transfer, Tensor]:
        """Measures the photo in each style's network.

        Args:
            content: the photo (1, 3, H, W), sRGB in [0, 1].
            styles: what `encode_style` returned, for each of K styles.
            mix: how much of which style goes where.
            seed: ignored, since nothing is random.

        Returns:
            The fitted function that paints, and the photo painted by it, (1, 3, H, W).
        """
        groups = self._groups(styles, mix)
        fitted = [
            Painter(
                self, [styles[n] for n in group], mix.styles[group, 0, 0] if group[1:] else None
            ).fitted(content)
            for group in groups
        ]
        transfer = FastTransfer([painter for painter, _ in fitted], groups)
        return transfer, transfer.blended(content, mix, [image for _, image in fitted])

    def _groups(self, styles: Sequence[LoadedLook], mix: Mix) -> list[list[int]]:
        """The styles that are mixed by parameters: without masks, those with a common base."""
        if self.config.blending == "outputs" or mix.masked:
            return [[number] for number in range(len(styles))]
        bases = [self.networks[style.weights].base_sha256 for style in styles]
        return [[n for n, b in enumerate(bases) if b == base] for base in dict.fromkeys(bases)]

    def mixed(self, styles: Sequence[LoadedLook], shares: Tensor | None) -> TransformNetwork:
        """Returns a network of one style whose parameters are the mean of several networks'.

        Args:
            styles: K styles, of networks with a common base.
            shares: how much each counts, (K,); None for a single style.
        """
        parts = [1.0] if shares is None else shares / shares.sum().clamp_min(1e-12)
        states = [self.networks[s.weights].network.select_styles([s.index]) for s in styles]
        mean = {
            name: sum(part * state[name] for part, state in zip(parts, states, strict=True))
            for name in states[0]
        }
        with torch.device("meta"):  # without the random weights of a new one
            config = self.networks[styles[0].weights].network.config
            network = TransformNetwork(replace(config, looks=["mixed"]))
        network.load_state_dict(mean, assign=True)
        return network.requires_grad_(False).eval()

    def weights_used(self, style: LoadedLook) -> dict[str, str]:
        """Returns name and sha256 of the weights of a style's network."""
        return {Path(style.weights).name: style.sha256}


@dataclass(frozen=True)
class Painter:
    """A network of one style, or mixed from K, with the statistics of the photo that it was fitted
    to.
    """

    method: Fast
    """The method, which holds the networks."""
    styles: Sequence[LoadedLook]
    """The K styles that it paints as one."""
    shares: Tensor | None
    """How much each of K styles counts, (K,); None for a single style."""
    statistics: Sequence[Statistics] = ()
    """Mean and variance at each normalisation layer, of the photo it was fitted to."""
    recolour: Recolour | None = None
    """Recolours what was painted; None to leave it."""

    @cached_property
    def network(self) -> TransformNetwork:
        """The network of the one style, or the mixed network."""
        return self.method.mixed(self.styles, self.shares)

    def fitted(self, image: Tensor) -> tuple[Painter, Tensor]:
        """Returns a painter fitted to a photo (1, 3, H, W), and the photo painted."""
        layers: list[Statistics] = []

        def statistics(layer: int, x: Tensor) -> Statistics:
            layers.append(measured(one_above_the_other(x)))
            return layers[layer]

        painted = self._run(image, statistics)
        recolouring = self.styles[0].recolouring
        recolour = None if recolouring is None else recolouring(one_above_the_other(painted))
        painter = replace(self, statistics=layers, recolour=recolour)
        return painter, recolour(painted) if recolour else painted

    def __call__(self, image: Tensor) -> Tensor:
        """Paints a picture (1, 3, H, W), or a tile of it."""
        painted = self._run(image, lambda layer, _: self.statistics[layer])
        return self.recolour(painted) if self.recolour else painted

    def _run(self, image: Tensor, statistics: Callable[[int, Tensor], Statistics]) -> Tensor:
        """Paints with the statistics that a function returns for a layer and the features there."""
        network = self.network

        def normalise(layer: int, x: Tensor) -> Tensor:
            gain, bias = (part[layer][0] for part in (network.gains, network.biases))  # (C,) each
            return scaled(x, statistics(layer, x), gain, bias)

        height, width = image.shape[-2:]
        with calculated_in(self.method.precision, image):
            painted = network.run(network.tiling.padded(image, _MARGIN), normalise)
        inside = painted[..., _MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width]
        return inside.clamp(0, 1)


@dataclass(frozen=True)
class FastTransfer(Transfer):
    """Blends what several networks paint."""

    painters: Sequence[Painter]
    """The fitted networks."""
    groups: Sequence[Sequence[int]]
    """For each painter, the numbers of the styles that it paints, from 0."""

    @torch.no_grad()
    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """Paints a picture (1, 3, H, W), or a tile; see `Transfer.__call__` for the arguments."""
        return self.blended(content, mix, [painter(content) for painter in self.painters])

    def blended(self, content: Tensor, mix: Mix, painted: Sequence[Tensor]) -> Tensor:
        """Blends the photo (1, 3, H, W) with what each painter made of it, by the mix's weights."""
        styles = [mix.styles[list(group)].sum(0) for group in self.groups]
        maps = [partial(_replaced, image) for image in painted]
        return blend(content, torch.stack([mix.photo, *styles]), maps).clamp(0, 1)


def _replaced(painted: Tensor, _content: Tensor) -> Tensor:
    return painted
