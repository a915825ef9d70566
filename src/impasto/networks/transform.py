"""The image-transformation network of `impasto.methods.fast` (Johnson, Alahi & Fei-Fei, ECCV 2016).

Instance normalisation (Ulyanov et al. 2016) has the gains and biases of a look: the convolutions of
one network serve all of its looks (Dumoulin et al. 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks import Network
from impasto.networks.layers import Conv, channels_last
from impasto.tiling import Tiling

Upsampling = Literal["nearest", "transposed"]
Normalise: TypeAlias = Callable[[int, Tensor], Tensor]
"""Takes the number of a place of normalisation, and the features (N, C, H, W) there."""
Statistics: TypeAlias = tuple[Tensor, Tensor]
"""Mean and variance of each channel, (N, C, 1, 1)."""

_EPSILON = 1e-3
"""Added to variances. Johnson's 1e-5 makes the noise of flat photos as strong as any form."""
_LEAK = 0.2
"""Close to the pixels Johnson's plain ReLU dies on whole regions, which stay grey for good."""
_SPACE = (-2, -1)


@dataclass(frozen=True)
class TransformNetworkConfig:
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

    @property
    def halo(self) -> int:
        """Pixels that it sees to each side: 9 x 9 at either end, 3 x 3 at each stride between."""
        return 4 + 1 + 2 + 8 * self.residuals + 2 * 2 + 2 + 4


_Conv = partial(Conv, padding_mode="reflect")


class _Up(Conv):
    """Doubles the size by repeating pixels, then convolves."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, 2 H, 2 W)."""
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class TransformNetwork(Network):
    """The image-transformation network."""

    architecture = "fast"
    Config = TransformNetworkConfig
    stride = 4
    """Of the deepest features, in pixels."""

    config: TransformNetworkConfig

    def __init__(self, config: TransformNetworkConfig) -> None:
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
        channels_last(self)

    @property
    def tiling(self) -> Tiling:
        """How far it sees."""
        return Tiling(self.config.halo, self.stride)

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


def _upsampling(config: TransformNetworkConfig, inputs: int, outputs: int) -> nn.Module:
    if config.upsampling == "nearest":
        return _Up(inputs, outputs, 3, padding_mode="reflect")
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)


class _Normalised(torch.autograd.Function):
    """Features (N, C, H, W) less their mean, divided by their deviation. torch's own function does
    not keep channels last; what it would derive from the formula takes three times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mean, var = measured(x)
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


def measured(x: Tensor) -> Statistics:
    """Mean and variance of each channel of features (N, C, H, W)."""
    # torch.var_mean is several times slower where channels come last.
    mean = x.mean(_SPACE, keepdim=True)
    return mean, (x - mean).square().mean(_SPACE, keepdim=True)


def scaled(x: Tensor, statistics: Statistics, gain: Tensor, bias: Tensor) -> Tensor:
    """Features (N, C, H, W) normalised, times ``gain`` plus ``bias``, (C,)."""
    mean, var = statistics
    scale = gain[:, None, None] * (var.float() + _EPSILON).rsqrt()
    shift = bias[:, None, None] - mean.float() * scale
    return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))
