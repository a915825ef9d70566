"""Encoders: frozen networks that turn a picture into feature maps with names ("taps").

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
    """A place in the network whose output can be asked for."""

    channels: int
    stride: int
    """Input pixels per feature pixel, along each side."""


class Encoder(nn.Module, ABC):
    """Base of all encoders."""

    name: str
    """Name of the weights, for instance ``vgg19.imagenet``, or of the file they came from."""
    sha256: str
    """Hash of the weights file."""
    taps: dict[str, Tap]

    def check(self, taps: Iterable[str]) -> None:
        """Raises `ControlError` for a tap that the network lacks, with the nearest names."""
        for tap in taps:
            if tap not in self.taps:
                near = get_close_matches(tap, self.taps, n=3) or list(self.taps)[:5]
                raise ControlError(
                    f"unknown layer '{tap}' of {self.name}: did you mean {', '.join(near)}?"
                )

    @abstractmethod
    def forward(self, image: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Features of a picture.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1].
            taps: names of `taps`; nothing behind the deepest of them is computed.

        Returns:
            For each tap (N, C, H / stride, W / stride), sizes rounded down.
        """

    def __call__(self, image: Tensor, taps: Iterable[str], **more: Any) -> dict[str, Tensor]:
        """See `forward`."""
        features: dict[str, Tensor] = super().__call__(image, taps, **more)
        return features


def parse_layers(text: str) -> dict[str, float]:
    """Layers and their shares, which are made to sum to 1: ``a,b:3`` -> ``{a: 0.25, b: 0.75}``.

    Raises:
        ControlError: no layers, or a weight that is not a positive number.
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
    """Layers written as ``relu1_1, relu2_1``, which may be none."""
    return [name for part in text.split(",") if (name := part.strip())]


def precision_setting() -> Any:
    """The setting ``precision``, which several methods have."""
    return setting(
        "auto",
        "Arithmetic of the networks; auto is bfloat16 where the processor has it built in. Tiles, "
        "and pictures from other machines, then differ by rounding.",
        get_args(Precision),
    )


def dtype_of(precision: str) -> torch.dtype:
    """What ``float32``, ``bfloat16`` or ``auto`` stands for here; see `impasto.networks.vgg`."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        return torch.float32  # cuDNN already takes TF32 where there is any
    # Only newer releases of torch can tell.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if native else torch.float32
