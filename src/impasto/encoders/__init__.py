"""Encoders: frozen networks that turn a picture into feature maps with names ("taps").

An encoder has no state but its weights. What it expects of its input (colour order, mean, scale)
is part of it, so every encoder is called with the one currency of the package: sRGB in [0, 1].
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from impasto.errors import ControlError
from impasto.style import setting

__all__ = ["Encoder", "Precision", "Tap", "dtype_of", "load_encoder", "precision_setting"]

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Tap:
    """A place in the network whose output can be asked for."""

    channels: int
    stride: int
    """Input pixels per feature pixel, along each side."""


class Encoder(nn.Module):
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


def load_encoder(
    name: str = "vgg19",
    *,
    pooling: str = "max",
    precision: str = "float32",
    weights: Path | None = None,
) -> Encoder:
    """The encoder ``vgg16`` or ``vgg19``, with the embedded ImageNet weights or those of a file.

    Args:
        name: the architecture.
        pooling: ``max`` as trained, or ``average``, which Gatys et al. found smoother.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on processors that multiply it
            natively, which halves time and memory; the difference cannot be seen.
        weights: a safetensors file with other weights of the same architecture.

    Raises:
        ControlError: unknown name or pooling.
        WeightsError: the weights are damaged or of another architecture.
    """
    from impasto.encoders.vgg import load_vgg

    return load_vgg(name, pooling, dtype_of(precision), weights)


def precision_setting() -> Any:
    """The setting ``precision``, which several methods have."""
    return setting(
        "auto",
        "Arithmetic of the networks; auto is bfloat16 where the processor has it built in. Tiles, "
        "and pictures from other machines, then differ by rounding.",
        get_args(Precision),
    )


def dtype_of(precision: str) -> torch.dtype:
    """What ``float32``, ``bfloat16`` or ``auto`` (see `load_encoder`) stands for here."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        return torch.float32  # cuDNN already takes TF32 where there is any
    # Only newer releases of torch can tell.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if native else torch.float32
