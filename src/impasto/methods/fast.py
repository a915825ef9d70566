"""One network for one style, or for a few (Johnson, Alahi & Fei-Fei, ECCV 2016).

The image-transformation network is trained for its paintings and knows nothing else, so that a
style is the name of a trained look (`impasto.gallery`), not a picture. Beyond the paper:

- instance normalisation (Ulyanov et al. 2016), whose gains and biases are those of a look: the
  convolutions of one network serve all of its looks (Dumoulin et al. 2017);
- the statistics it normalises by are measured once, by `Fast.fit`. What remains is local: tiles,
  and frames, agree with the whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from impasto import weights
from impasto.color import Recolouring
from impasto.encoders import Precision, dtype_of, precision_setting
from impasto.errors import ControlError
from impasto.gallery import locate
from impasto.methods import Method, OnStep, TrainedStyle, Transfer, blend
from impasto.methods.layers import Conv
from impasto.style import check_settings, setting, unmasked
from impasto.tiling import Tiling

Upsampling = Literal["nearest", "transposed"]
Blending = Literal["parameters", "outputs"]
Normalise: TypeAlias = Callable[[int, Tensor], Tensor]
"""Takes the number of a place of normalisation, and the features (N, C, H, W) there."""

_EPSILON = 1e-3
"""Added to variances. Johnson's 1e-5 makes the noise of flat photos as strong as any form."""
_LEAK = 0.2
"""Close to the pixels Johnson's plain ReLU dies on whole regions, which stay grey for good."""
_STRIDE = 4
_BYTES_PER_PIXEL = 20
"""For each channel at full size."""
_SPACE = (-2, -1)


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
class NetworkConfig:
    """What a network is built from; stands in the metadata of its weights file."""

    looks: Sequence[str]
    """Names of what it was trained to paint."""
    width: int = 24
    """Channels at full size (32 in the paper); twice and four times as many further down."""
    residuals: int = 5
    """Residual blocks at a quarter of the size."""
    upsampling: Upsampling = "nearest"
    """Followed by a convolution, with a linear output; or transposed convolutions, with tanh, as
    in the paper. These leave checkerboards."""


_Conv = partial(Conv, beyond="reflect")


class _Up(Conv):
    """Doubles the size by repeating pixels, then convolves."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, 2 H, 2 W)."""
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class Network(nn.Module):
    """The image-transformation network."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width, 2 * config.width, 4 * config.width]
        deepest = widths[-1]
        self.downs = nn.ModuleList(
            [_Conv(3, widths[0], 9), *(_Conv(*pair, 3, stride=2) for pair in pairwise(widths))]
        )
        self.residuals = nn.ModuleList(
            nn.ModuleList([_Conv(deepest, deepest, 3), _Conv(deepest, deepest, 3)])
            for _ in range(config.residuals)
        )
        self.ups = nn.ModuleList(_upsampling(config, *pair) for pair in pairwise(widths[::-1]))
        self.out = _Conv(widths[0], 3, 9)
        channels = [*widths, *[deepest] * (2 * config.residuals), *widths[1::-1]]
        looks = len(config.looks)
        self.gains = nn.ParameterList(torch.ones(looks, width) for width in channels)
        self.biases = nn.ParameterList(torch.zeros(looks, width) for width in channels)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def tiling(self) -> Tiling:
        """How far it sees: 9 x 9 at either end, 3 x 3 at each stride in between."""
        return Tiling(4 + 1 + 2 + 8 * self.config.residuals + 2 * 2 + 2 + 4, _STRIDE)

    def look(self, numbers: list[int]) -> dict[str, Tensor]:
        """The parameters of a network that has only these looks."""
        return {
            name: tensor[numbers] if name.startswith(("gains.", "biases.")) else tensor
            for name, tensor in self.state_dict().items()
        }

    def run(self, image: Tensor, normalise: Normalise) -> Tensor:
        """Paints.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1], sides multiples of 4.
            normalise: called at each place of normalisation, counted from 0.

        Returns:
            (N, 3, H, W), not clipped.
        """
        places = count()

        def normalised(x: Tensor) -> Tensor:
            return normalise(next(places), x)

        x = image
        for conv in self.downs:
            x = F.relu(normalised(conv(x)))
        for block in self.residuals:
            first, second = block.children()
            x = x + normalised(second(F.relu(normalised(first(x)))))
        for conv in self.ups:
            x = F.leaky_relu(normalised(conv(x)), _LEAK)
        painted: Tensor = self.out(x).float()
        # Around middle grey bfloat16 has finer steps than pictures of eight bits.
        return 0.5 + (painted if self.config.upsampling == "nearest" else 0.5 * painted.tanh())

    def forward(self, content: Tensor, looks: Tensor) -> Tensor:
        """Paints a batch for training.

        Args:
            content: (N, 3, H, W), sRGB in [0, 1], sides multiples of 4.
            looks: (N,), the number of each photo's look.
        """

        def normalise(place: int, x: Tensor) -> Tensor:
            normalised: Tensor = _Normalised.apply(x)  # type: ignore[no-untyped-call]
            gain, bias = (part[place][looks].to(x.dtype) for part in (self.gains, self.biases))
            return torch.addcmul(bias[..., None, None], normalised, gain[..., None, None])

        return self.run(content, normalise)


Statistics: TypeAlias = tuple[Tensor, Tensor]
"""Mean and variance of each channel, (N, C, 1, 1)."""


def _upsampling(config: NetworkConfig, inputs: int, outputs: int) -> nn.Module:
    if config.upsampling == "nearest":
        return _Up(inputs, outputs, 3, beyond="reflect")
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)


class _Normalised(torch.autograd.Function):
    """Features (N, C, H, W) less their mean, divided by their deviation. torch's own function does
    not keep channels last; what it would derive from the formula takes three times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mean, var = _measured(x)
        inverse = (var + _EPSILON).rsqrt()
        normalised = (x - mean) * inverse
        ctx.save_for_backward(normalised, inverse)
        return normalised

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        normalised, inverse = ctx.saved_tensors
        grad = grads[0]
        along = (grad * normalised).mean(_SPACE, keepdim=True)
        centred = grad - grad.mean(_SPACE, keepdim=True)
        derivative: Tensor = inverse * torch.addcmul(centred, normalised, -along)
        return derivative


def _measured(x: Tensor) -> Statistics:
    # torch.var_mean is several times slower where channels come last.
    mean = x.mean(_SPACE, keepdim=True)
    return mean, (x - mean).square().mean(_SPACE, keepdim=True)


def _scaled(x: Tensor, statistics: Statistics, gain: Tensor, bias: Tensor) -> Tensor:
    """Features (N, C, H, W) normalised, times ``gain`` plus ``bias``, (C,)."""
    mean, var = statistics
    scale = gain[:, None, None] * (var.float() + _EPSILON).rsqrt()
    shift = bias[:, None, None] - mean.float() * scale
    return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))


@dataclass(frozen=True)
class Trained:
    """A network that was loaded."""

    network: Network
    sha256: str
    """Of its weights file."""
    family: str
    """The sha256 of the network that its training began with, else its own. The parameters of
    relatives can be mixed.
    """


@dataclass(frozen=True)
class _Painter:
    """A network of one look, with the statistics of a photo."""

    network: Network
    precision: torch.dtype
    statistics: Sequence[Statistics] = ()
    recolour: Callable[[Tensor], Tensor] | None = None

    def measured(self, image: Tensor, recolouring: Recolouring | None) -> tuple[_Painter, Tensor]:
        """The same with the statistics of a photo, and the photo painted."""
        found: list[Statistics] = []

        def statistics(place: int, x: Tensor) -> Statistics:
            found.append(_measured(x))
            return found[place]

        painted = self._run(image, statistics)
        recolour = recolouring and recolouring(painted)
        painter = replace(self, statistics=found, recolour=recolour)
        return painter, recolour(painted) if recolour else painted

    def __call__(self, image: Tensor) -> Tensor:
        """Paints a picture (1, 3, H, W), or a tile of it."""
        painted = self._run(image, lambda place, _: self.statistics[place])
        return self.recolour(painted) if self.recolour else painted

    def _run(self, image: Tensor, statistics: Callable[[int, Tensor], Statistics]) -> Tensor:
        """Paints with the statistics that are given for each place, and the features there."""

        def normalise(place: int, x: Tensor) -> Tensor:
            gain, bias = (part[place][0] for part in (self.network.gains, self.network.biases))
            return _scaled(x, statistics(place, x), gain, bias)

        height, width = image.shape[-2:]
        lower = self.precision == torch.bfloat16
        with torch.autocast(image.device.type, torch.bfloat16, enabled=lower):
            painted = self.network.run(self.network.tiling.padded(image), normalise)
        return painted[..., :height, :width].clamp(0, 1)


@dataclass(frozen=True)
class _FastTransfer(Transfer):
    painters: Sequence[_Painter]
    groups: Sequence[list[int]]
    """Of each painter, the styles whose weights are its own."""
    painted: tuple[Tensor, Sequence[Tensor]] | None = None
    """Content that was painted while fitting, and what each painter made of it."""

    @torch.no_grad()
    def __call__(
        self,
        content: Tensor,
        weights: Tensor,
        on_step: OnStep | None = None,  # noqa: ARG002 - a single step
    ) -> Tensor:
        """See `Transfer.__call__`."""
        where = weights[:, :1, :1] if unmasked(weights) else weights
        styles = [where[1:][group].sum(0) for group in self.groups]
        maps: Sequence[Callable[[Tensor], Tensor]] = self.painters
        if self.painted and content is self.painted[0]:
            maps = [partial(_already, image) for image in self.painted[1]]
        return blend(content, torch.stack([where[0], *styles]), maps).clamp(0, 1)


def _already(painted: Tensor, content: Tensor) -> Tensor:  # noqa: ARG001 - stands for a painter
    return painted


class Fast(Method):
    """The method; see the module."""

    Config = FastConfig
    trained = True

    def __init__(self, config: FastConfig | None = None) -> None:
        super().__init__()
        self.config = config or FastConfig()
        self.precision = dtype_of(self.config.precision)
        self.networks: dict[str, Trained] = {}
        """Those that were needed so far, by name."""

    @property
    def tiling(self) -> Tiling:
        """See `Method.tiling`; of the network that sees farthest."""
        known = [trained.network.tiling for trained in self.networks.values()]
        return max(known, key=lambda tiling: tiling.halo)

    def weights_used(self, trained: Sequence[str] = ()) -> dict[str, str]:
        """See `Method.weights_used`."""
        return {Path(name).name: self.networks[name].sha256 for name, _ in map(locate, trained)}

    def bytes_per_pixel(self) -> int:
        """See `Method.bytes_per_pixel`."""
        widths = [trained.network.config.width for trained in self.networks.values()]
        return _BYTES_PER_PIXEL * max(widths)

    def load(self, styles: Sequence[str], device: torch.device) -> None:
        """See `Method.load`."""
        for style in styles:
            name, _ = locate(style)
            if name not in self.networks:
                self.networks[name] = load_network(name)
                self.networks[name].network.to(device)
            self._find(style)

    def _find(self, style: str) -> tuple[str, int]:
        """The name of the network of a trained style, and the number of the look."""
        name, look = locate(style)
        looks = list(self.networks[name].network.config.looks)
        if look is None and len(looks) == 1:
            return name, 0
        if look not in looks:
            written = ", ".join(f"{name}#{known}" for known in looks)
            raise ControlError(f"style '{style}': no such look; write one of {written}")
        return name, looks.index(look)

    @torch.no_grad()
    def fit(
        self,
        content: Tensor,
        styles: Sequence[TrainedStyle],
        weights: Tensor,
        *,
        seed: int = 0,  # noqa: ARG002 - nothing is random
    ) -> Transfer:
        """Measures the photo, in each look."""
        places = [self._find(style.source) for style in styles]
        groups = self._groups([name for name, _ in places], weights)
        fitted = [
            _Painter(
                self._mixed([places[number] for number in group], weights[1:, 0, 0][group]),
                self.precision,
            ).measured(content, styles[group[0]].recolouring)
            for group in groups
        ]
        painters = [painter for painter, _ in fitted]
        return _FastTransfer(painters, groups, (content, [image for _, image in fitted]))

    def _groups(self, homes: Sequence[str], weights: Tensor) -> list[list[int]]:
        """The styles that are painted as one: those of one family that go to the same places."""
        if self.config.blending == "outputs" or not unmasked(weights):
            return [[number] for number in range(len(homes))]
        families = [self.networks[home].family for home in homes]
        return [[n for n, its in enumerate(families) if its == f] for f in dict.fromkeys(families)]

    def _mixed(self, places: Sequence[tuple[str, int]], weights: Tensor) -> Network:
        """A network of one look: the mean of several by their weights, (K,)."""
        shares = weights / weights.sum().clamp_min(1e-12) if len(places) > 1 else [1.0]
        looks = [self.networks[name].network.look([look]) for name, look in places]
        mean = {
            name: sum(share * look[name] for share, look in zip(shares, looks, strict=True))
            for name in looks[0]
        }
        with torch.device("meta"):  # without the random weights of a new one
            network = Network(replace(self.networks[places[0][0]].network.config, looks=["mixed"]))
        network.load_state_dict(mean, assign=True)
        return network.eval()


def load_network(name: str) -> Trained:
    """A trained network by name or from a file.

    Raises:
        WeightsError: missing, damaged, or not the weights of such a network.
    """
    network, file = weights.load(name, "fast", _built)
    return Trained(network, file.sha256, file.metadata.get("family", file.sha256))


def _built(_path: Path, file: weights.WeightsFile) -> Network:
    network = Network(NetworkConfig(**json.loads(file.metadata["config"])))
    network.load_state_dict(file.tensors)
    return network
