"""One network for one style, or for a few (Johnson, Alahi & Fei-Fei, ECCV 2016).

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

_BYTES_PER_PIXEL = 20
"""For each channel at full size."""


@dataclass(frozen=True)
class FastConfig:
    """Settings of the method ``fast``."""

    blending: Blending = setting(
        "parameters",
        "Several styles without masks: networks that began as the same are mixed by their "
        "parameters, to one new style, or, as always with masks, by what they paint (outputs).",
        get_args(Blending),
    )
    precision: Precision = precision_setting()

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class LookStyle:
    """A trained look whose network is loaded."""

    weights: str
    """Name or file of the network."""
    sha256: str
    """Of that file."""
    number: int
    """Of the look in the network."""
    recolouring: Recolouring | None = None
    """There is no style picture to recolour: what was painted is."""


class Fast(Method):
    """The method; see the module."""

    Config = FastConfig

    def __init__(self, config: FastConfig | None = None) -> None:
        super().__init__()
        self.config = config or FastConfig()
        self.precision = dtype_of(self.config.precision)
        self.networks: dict[str, TrainedNetwork[TransformNetwork]] = {}
        """Those that were needed so far, by name or file."""
        self.register_buffer("here", torch.empty(0), persistent=False)  # tells the device

    @property
    def footprint(self) -> Footprint:
        """See `Method.footprint`; that of the largest network."""
        used = [trained.network for trained in self.networks.values()]
        widths = [network.config.width for network in used]
        halos = [network.tiling.halo for network in used]
        usual = TransformNetworkConfig([])
        tiling = Tiling(max(halos, default=usual.halo), TransformNetwork.stride)
        return Footprint(_BYTES_PER_PIXEL * max(widths, default=usual.width), tiling)

    def encode_style(self, style: Tensor | TrainedLook) -> LookStyle:
        """Loads the network of a trained look, once.

        Raises:
            ControlError: it is a picture, or there is no such look in the network.
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
            number = 0
        elif style.look in looks:
            number = looks.index(style.look)
        else:
            written = ", ".join(f"{style.weights}#{known}" for known in looks)
            raise ControlError(f"style '{style.source}': no such look; write one of {written}")
        return LookStyle(style.weights, trained.sha256, number, style.recolouring)

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[LookStyle],
        mix: Mix,
        *,
        seed: int = 0,  # noqa: ARG002 - nothing is random
    ) -> tuple[Transfer, Tensor]:
        """Measures the photo, in each look."""
        groups = self._groups(styles, mix)
        fitted = [
            Painter(
                self, [styles[n] for n in group], mix.styles[group, 0, 0] if group[1:] else None
            ).fitted(content)
            for group in groups
        ]
        transfer = FastTransfer([painter for painter, _ in fitted], groups)
        return transfer, transfer.blended(content, mix, [image for _, image in fitted])

    def _groups(self, styles: Sequence[LookStyle], mix: Mix) -> list[list[int]]:
        """The styles that are painted as one: those of one family that go to the same places."""
        if self.config.blending == "outputs" or mix.masked:
            return [[number] for number in range(len(styles))]
        families = [self.networks[style.weights].family for style in styles]
        return [[n for n, its in enumerate(families) if its == f] for f in dict.fromkeys(families)]

    def mixed(self, styles: Sequence[LookStyle], shares: Tensor | None) -> TransformNetwork:
        """A network of one look: the mean of several by their shares (K,)."""
        parts = [1.0] if shares is None else shares / shares.sum().clamp_min(1e-12)
        looks = [self.networks[s.weights].network.look([s.number]) for s in styles]
        mean = {
            name: sum(part * look[name] for part, look in zip(parts, looks, strict=True))
            for name in looks[0]
        }
        with torch.device("meta"):  # without the random weights of a new one
            config = self.networks[styles[0].weights].network.config
            network = TransformNetwork(replace(config, looks=["mixed"]))
        network.load_state_dict(mean, assign=True)
        return network.requires_grad_(False).eval()

    def weights_used(self, style: LookStyle) -> dict[str, str]:
        """See `Method.weights_used`."""
        return {Path(style.weights).name: style.sha256}


@dataclass(frozen=True)
class Painter:
    """A network of one look, mixed of some, with the statistics of a photo."""

    method: Fast
    styles: Sequence[LookStyle]
    shares: Tensor | None
    """(K,); None for a single style."""
    statistics: Sequence[Statistics] = ()
    recolour: Recolour | None = None

    @cached_property
    def network(self) -> TransformNetwork:
        """The mixed network."""
        return self.method.mixed(self.styles, self.shares)

    def fitted(self, image: Tensor) -> tuple[Painter, Tensor]:
        """The same with the statistics of a photo, and the photo painted."""
        found: list[Statistics] = []

        def statistics(place: int, x: Tensor) -> Statistics:
            found.append(measured(x))
            return found[place]

        painted = self._run(image, statistics)
        recolouring = self.styles[0].recolouring
        recolour = None if recolouring is None else recolouring(painted)
        painter = replace(self, statistics=found, recolour=recolour)
        return painter, recolour(painted) if recolour else painted

    def __call__(self, image: Tensor) -> Tensor:
        """Paints a picture (1, 3, H, W), or a tile of it."""
        painted = self._run(image, lambda place, _: self.statistics[place])
        return self.recolour(painted) if self.recolour else painted

    def _run(self, image: Tensor, statistics: Callable[[int, Tensor], Statistics]) -> Tensor:
        """Paints with the statistics that are given for each place, and the features there."""
        network = self.network

        def normalise(place: int, x: Tensor) -> Tensor:
            gain, bias = (part[place][0] for part in (network.gains, network.biases))
            return scaled(x, statistics(place, x), gain, bias)

        height, width = image.shape[-2:]
        with calculated_in(self.method.precision, image):
            painted = network.run(network.tiling.padded(image), normalise)
        return painted[..., :height, :width].clamp(0, 1)


@dataclass(frozen=True)
class FastTransfer(Transfer):
    """Blends what several networks paint."""

    painters: Sequence[Painter]
    groups: Sequence[Sequence[int]]
    """Of each painter, the styles whose weights are its own."""

    @torch.no_grad()
    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:  # noqa: ARG002
        """See `Transfer.__call__`."""
        return self.blended(content, mix, [painter(content) for painter in self.painters])

    def blended(self, content: Tensor, mix: Mix, painted: Sequence[Tensor]) -> Tensor:
        """The photo, and what each painter made of it, by their weights."""
        styles = [mix.styles[list(group)].sum(0) for group in self.groups]
        maps = [partial(_replaced, image) for image in painted]
        return blend(content, torch.stack([mix.photo, *styles]), maps).clamp(0, 1)


def _replaced(painted: Tensor, _content: Tensor) -> Tensor:
    return painted
