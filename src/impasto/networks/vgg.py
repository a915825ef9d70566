"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014, arXiv:1409.1556), convolutions only.

The taps of convolution I in block B = 1..5 are ``convB_I``, before the ReLU, and ``reluB_I``, after
it.

Two things differ from the classification network. The input normalisation is folded into the
first convolution. And the first convolution pads by repeating the border pixels: with zeros,
which stand for a grey frame, painted pictures get dirty borders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto import weights as weights_files
from impasto.errors import ControlError, WeightsError
from impasto.networks.encoder import Encoder, Tap, dtype_of
from impasto.networks.layers import channels_last

Padding: TypeAlias = Literal["zeros", "replicate"]

_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)
_POOLINGS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "max": F.max_pool2d,
    "average": F.avg_pool2d,
}

# Channel order, mean and standard deviation that weights expect, for pixels in [0, 1]. "caffe":
# BGR in 0..255 minus the mean, as the Oxford weights; "torchvision": RGB, standardised.
_NORMALISATIONS = {
    "caffe": ((2, 1, 0), (103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255,) * 3),
    "torchvision": ((0, 1, 2), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class VGG(Encoder):
    """The convolutional part of a VGG network.

    Args:
        architecture: ``vgg16`` or ``vgg19``.
        pooling: ``max`` or ``average``.
        precision: the type that the convolutions are calculated in; features have the picture's.
        width: channels of the first block; 64 in the published networks. Tests use fewer.
        padding: what lies beyond the border of features: ``zeros`` as trained, or ``replicate``.

    Raises:
        ControlError: there is no such architecture or pooling.
    """

    def __init__(
        self,
        architecture: str = "vgg19",
        *,
        pooling: str = "max",
        precision: torch.dtype = torch.float32,
        width: int = 64,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        if architecture not in _BLOCKS:
            raise ControlError(f"unknown encoder '{architecture}': use {' or '.join(_BLOCKS)}")
        if pooling not in _POOLINGS:
            raise ControlError(f"unknown pooling '{pooling}': use {' or '.join(_POOLINGS)}")
        self.name, self.sha256, self.precision = architecture, "", precision
        self.pooling = pooling
        self.convs = nn.ModuleDict()
        self.taps = {}
        in_channels = 3
        for block, (count, channels) in enumerate(
            zip(_BLOCKS[architecture], _CHANNELS, strict=True)
        ):
            out_channels = channels * width // 64
            for index in range(1, count + 1):
                layer = f"{block + 1}_{index}"
                # The first convolution has no padding: `forward` repeats the border instead.
                around = 0 if in_channels == 3 else 1
                self.convs[layer] = nn.Conv2d(
                    in_channels, out_channels, 3, padding=around, padding_mode=padding
                )
                self.taps[f"conv{layer}"] = self.taps[f"relu{layer}"] = Tap(out_channels, 2**block)
                in_channels = out_channels
        self.requires_grad_(False)
        channels_last(self)

    def forward(self, image: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Computes the features of pictures at some taps.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1].
            taps: names of taps; nothing behind the deepest of them is computed.

        Returns:
            For each tap (N, C, H / stride, W / stride), sizes rounded down.

        Raises:
            ControlError: there is no such tap.
        """
        requested = set(taps)
        self.check(requested)
        features: dict[str, Tensor] = {}
        x = F.pad(image, (1, 1, 1, 1), mode="replicate").contiguous(
            memory_format=torch.channels_last
        )
        for layer, following in pairwise([*self.convs, None]):
            if len(features) == len(requested):
                break
            conv = self.convs[layer]
            x = conv(x.to(next(conv.parameters()).dtype))
            if f"conv{layer}" in requested:
                features[f"conv{layer}"] = x.to(image.dtype)
                x = F.relu(x)
            else:
                x = F.relu_(x)
            if f"relu{layer}" in requested:
                features[f"relu{layer}"] = x.to(image.dtype)
            if following and following[0] != layer[0] and len(features) < len(requested):
                x = _POOLINGS[self.pooling](x, 2)
        return features

    def load(self, file: weights_files.WeightsFile, path: Path) -> None:
        """Loads weights, and folds the input normalisation that they expect into the first
        convolution.

        Two layouts are understood: that of our own files (``conv1_1.weight`` ...), and that of
        torchvision and timm (``features.0.weight`` ...), which implies torchvision's normalisation.

        Args:
            file: the tensors and metadata.
            path: where they come from, for messages.

        Raises:
            WeightsError: a tensor is missing or has another shape.
        """
        tensors, normalisation = file.tensors, "torchvision"
        if "features.0.weight" in tensors:
            names = _torchvision_names(self.convs)
        else:
            names = {layer: f"conv{layer}" for layer in self.convs}
            config = json.loads(file.metadata.get("config", "{}"))
            normalisation = config.get("normalisation", "caffe")
        if normalisation not in _NORMALISATIONS:
            raise WeightsError(f"{path}: unknown normalisation '{normalisation}'")
        for layer, conv in self.convs.items():
            for kind, parameter in conv.named_parameters():
                stored = tensors.get(f"{names[layer]}.{kind}")
                if stored is None or stored.shape != parameter.shape:
                    fault = "missing" if stored is None else f"of shape {tuple(stored.shape)}"
                    raise WeightsError(
                        f"{path}: {names[layer]}.{kind} is {fault}, {self.name} needs "
                        f"{tuple(parameter.shape)}; give weights of a {self.name}"
                    )
                parameter.copy_(stored)
        self._fold(*_NORMALISATIONS[normalisation])
        self._narrow()
        self.name, self.sha256 = file.metadata.get("name", path.name), file.sha256

    def _fold(
        self, order: tuple[int, ...], mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        """conv((x[order] - mean) / std) = conv'(x), in float64."""
        first = self.convs["1_1"]
        assert isinstance(first, nn.Conv2d)
        assert first.bias is not None
        weight = first.weight.double() / torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1)
        shift = (weight * torch.tensor(mean, dtype=torch.float64).view(1, 3, 1, 1)).sum((1, 2, 3))
        first.bias.copy_(first.bias.double() - shift)
        first.weight.copy_(weight[:, list(order)])

    def _narrow(self) -> None:
        """Stores all but the first convolution, which sees raw pixels, in `precision`."""
        for layer, conv in self.convs.items():
            if layer != "1_1":
                conv.to(self.precision)


def _torchvision_names(layers: Iterable[str]) -> dict[str, str]:
    """Layer -> ``features.N``: a convolution and its ReLU count two, each pooling one."""
    return {
        layer: f"features.{2 * count + int(layer[0]) - 1}" for count, layer in enumerate(layers)
    }


def load_encoder(
    name: str = "vgg19",
    *,
    pooling: str = "max",
    precision: str = "float32",
    padding: Padding = "zeros",
    weights: Path | None = None,
) -> Encoder:
    """Loads the encoder ``vgg16`` or ``vgg19``, with the bundled ImageNet weights or a file's.

    Args:
        name: the architecture.
        pooling: ``max`` as trained, or ``average``, which Gatys et al. 2016 found smoother.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on processors that multiply it
            natively, which halves time and memory; the difference cannot be seen.
        padding: what lies beyond the border of features: ``zeros`` as trained, or ``replicate``,
            which continues them, so that no frame can be seen in what is painted.
        weights: a safetensors file with other weights of the same architecture.

    Raises:
        ControlError: there is no such architecture or pooling.
        WeightsError: the weights are damaged or of another architecture.
    """
    vgg = VGG(name, pooling=pooling, precision=dtype_of(precision), padding=padding)
    path = weights or weights_files.fetch(f"{name}.imagenet")
    vgg.load(weights_files.read(path), path)
    return vgg
