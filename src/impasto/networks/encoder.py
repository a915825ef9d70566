"""Encoders: frozen networks that turn a picture into named feature maps, their taps.

An encoder has no state but its weights. What it expects of its input (colour order, mean, scale)
is part of it, so every encoder is called with the one currency of the package: sRGB in [0, 1].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from impasto.errors import ControlError
from impasto.settings import setting

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Tap:
    """A layer of an encoder whose output can be asked for by name."""

    channels: int
    """Channels of its features."""
    stride: int
    """Input pixels per feature pixel, along each side."""


class Encoder(nn.Module, ABC):
    """Base of all encoders. They take pictures (N, 3, H, W), sRGB in [0, 1]."""

    name: str
    """Name of the weights, for instance ``vgg19.imagenet``, or of the file they came from."""
    sha256: str
    """Hash of the weights file; "" if there is none."""
    taps: dict[str, Tap]
    """The layers that can be asked for, by name, from the first to the last."""

    def check(self, taps: Iterable[str]) -> None:
        """Checks that the network has the taps.

        Raises:
            ControlError: there is no such tap; the message tells the nearest names.
        """
        for tap in taps:
            if tap not in self.taps:
                near = get_close_matches(tap, self.taps, n=3) or list(self.taps)[:5]
                raise ControlError(
                    f"unknown layer '{tap}' of {self.name}: did you mean {', '.join(near)}?"
                )

    @abstractmethod
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

    def __call__(self, image: Tensor, taps: Iterable[str], **more: Any) -> dict[str, Tensor]:
        """Computes the features (N, C, h, w) of pictures (N, 3, H, W) by tap; see `forward`."""
        features: dict[str, Tensor] = super().__call__(image, taps, **more)
        return features


def parse_layers(text: str) -> dict[str, float]:
    """Reads layers with weights from a text: ``a,b:3`` becomes ``{"a": 0.25, "b": 0.75}``.

    Args:
        text: names separated by commas, each with a weight after a colon; 1 without.

    Returns:
        The weights by layer, scaled to sum to 1.

    Raises:
        ControlError: there is no layer, or a weight is not a positive number.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        layer, _, number = part.partition(":")
        try:
            weights[layer] = float(number or 1)
        except ValueError:
            weights[layer] = math.nan
        if not 0 < weights[layer] < math.inf:
            raise ControlError(f"layer '{part}': write NAME or NAME:WEIGHT with a positive weight")
    if not weights:
        raise ControlError("no layers are named: write, for instance, relu1_1,relu2_1:0.5")
    return {layer: weight / sum(weights.values()) for layer, weight in weights.items()}


def layer_names(text: str) -> list[str]:
    """Reads the names of layers, which may be none, from a text such as ``relu1_1, relu2_1``."""
    return [name for part in text.split(",") if (name := part.strip())]


def precision_setting() -> Any:
    """Returns the setting ``precision``, which several methods have."""
    return setting(
        "auto",
        "Number format that the networks calculate in. bfloat16 halves time and memory on "
        "processors that have it built in, with differences too small to see; auto uses it there.",
        get_args(Precision),
    )


def dtype_of(precision: str) -> torch.dtype:
    """Returns the type that a setting ``precision`` means on this machine.

    Args:
        precision: ``float32``, ``bfloat16`` or ``auto``, which is bfloat16 where the processor
            multiplies it natively and no GPU is there.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        return torch.float32  # cuDNN already takes TF32 where there is any
    # Only newer releases of torch can tell.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if native else torch.float32
