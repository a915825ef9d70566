"""The image-transformation network of `impasto.methods.fast` (Johnson et al. 2016,
arXiv:1603.08155).

Each style has its own gains and biases of the instance normalisation (Ulyanov et al. 2016,
arXiv:1607.08022); the convolutions serve all styles of a network (conditional instance
normalisation, Dumoulin et al. 2017, arXiv:1610.07629).
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
"""Called with the number of a normalisation layer, from 0, and the features (N, C, H, W) there;
returns them normalised."""
Statistics: TypeAlias = tuple[Tensor, Tensor]
"""Mean and variance of each channel, (N, C, 1, 1)."""

_EPSILON = 1e-3
"""Added to variances. Johnson's 1e-5 makes the noise of flat photos as strong as any form."""
_LEAK = 0.2
"""Close to the pixels Johnson's plain ReLU dies on whole regions, which stay grey for good."""
_SPACE = (-2, -1)


@dataclass(frozen=True)
class TransformNetworkConfig:
    """What a `TransformNetwork` is built from; kept in the metadata of its weights file."""

    looks: Sequence[str]
    """Names of the styles that the network was trained for."""
    width: int = 24
    """Channels at full size (32 in the paper); there are twice as many at half the size, and four
    times as many at a quarter."""
    residuals: int = 5
    """Number of residual blocks, which work at a quarter of the size."""
    upsampling: Upsampling = "nearest"
    """How the decoder enlarges: ``nearest`` repeats pixels before a convolution, and the output is
    linear; ``transposed`` convolves as the paper does, with a tanh at the end, and leaves
    checkerboards."""

    @property
    def halo(self) -> int:
        """Number of pixels that the network sees beyond each pixel, to each side."""
        # 9 x 9 at either end, 3 x 3 at each stride between.
        return 4 + 1 + 2 + 8 * self.residuals + 2 * 2 + 2 + 4


_Conv = partial(Conv, padding_mode="reflect")


class _Up(Conv):
    """Doubles the size by repeating pixels, then convolves."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, 2 H, 2 W)"""
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class TransformNetwork(Network):
    """The image-transformation network (Johnson et al. 2016, arXiv:1603.08155).

    Args:
        config: what the network is built from.
    """

    architecture = "fast"
    Config = TransformNetworkConfig
    stride = 4
    """Pixels per feature at the deepest layer, along each side."""

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
        styles = len(config.looks)
        # Gamma and beta of the instance normalisation: for each layer, (styles, C).
        self.gains = nn.ParameterList(torch.ones(styles, width) for width in channels)
        self.biases = nn.ParameterList(torch.zeros(styles, width) for width in channels)
        channels_last(self)

    @property
    def tiling(self) -> Tiling:
        """How far the network sees, and the stride that tiles are aligned to."""
        return Tiling(self.config.halo, self.stride)

    def select_styles(self, indices: list[int]) -> dict[str, Tensor]:
        """Returns the parameters by name for a network that has only some of the styles.

        Args:
            indices: of the styles, from 0, in the new network's order.
        """
        return {
            name: tensor[indices] if name.startswith(("gains.", "biases.")) else tensor
            for name, tensor in self.state_dict().items()
        }

    def run(self, image: Tensor, normalise: Normalise) -> Tensor:
        """Paints pictures, with a function in place of the normalisation layers.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1], sides multiples of 4.
            normalise: called at each normalisation layer; the network goes on with what it returns.

        Returns:
            (N, 3, H, W), not clipped.
        """
        layers = count()

        def normalised(x: Tensor) -> Tensor:
            return normalise(next(layers), x)

        x = image
        for conv in self.downs:
            x = F.relu(normalised(conv(x)))
        for block in self.residuals:
            first, second = block.children()
            x = x + normalised(second(F.relu(normalised(first(x)))))
        for conv in self.ups:
            x = F.leaky_relu(normalised(conv(x)), _LEAK)
        painted: Tensor = self.out(x).float()
        # Around 0, here middle grey, bfloat16 has finer steps than pictures of eight bits.
        return 0.5 + (painted if self.config.upsampling == "nearest" else 0.5 * painted.tanh())

    def forward(self, content: Tensor, style_index: Tensor) -> Tensor:
        """Paints a batch for training.

        Args:
            content: (N, 3, H, W), sRGB in [0, 1], sides multiples of 4.
            style_index: (N,) integers, the style that each photo is painted in.

        Returns:
            (N, 3, H, W), not clipped.
        """

        def normalise(layer: int, x: Tensor) -> Tensor:
            normalised: Tensor = _Normalised.apply(x)  # type: ignore[no-untyped-call]
            # (N, C): the gains and biases of each photo's style
            gain, bias = (p[layer][style_index].to(x.dtype) for p in (self.gains, self.biases))
            return torch.addcmul(bias[..., None, None], normalised, gain[..., None, None])

        return self.run(content, normalise)


def _upsampling(config: TransformNetworkConfig, channels: int, out_channels: int) -> nn.Module:
    if config.upsampling == "nearest":
        return _Up(channels, out_channels, 3, padding_mode="reflect")
    return nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1)


class _Normalised(torch.autograd.Function):
    """Instance normalisation of features (N, C, H, W). torch's own function does not keep channels
    last, and autograd of the formula takes three times as long.
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
    """Returns mean and variance (N, C, 1, 1) of each channel of features (N, C, H, W)."""
    # torch.var_mean is several times slower where channels come last.
    mean = x.mean(_SPACE, keepdim=True)
    return mean, (x - mean).square().mean(_SPACE, keepdim=True)


def scaled(x: Tensor, statistics: Statistics, gain: Tensor, bias: Tensor) -> Tensor:
    """Normalises features by given statistics, then scales and shifts them.

    Args:
        x: features (N, C, H, W).
        statistics: mean and variance of each channel, (N, C, 1, 1).
        gain: factor of each channel after the normalisation, (C,).
        bias: what is added to each channel in the end, (C,).
    """
    mean, var = statistics
    scale = gain[:, None, None] * (var.float() + _EPSILON).rsqrt()
    shift = bias[:, None, None] - mean.float() * scale
    return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))
