"""The keyword arguments of the public functions, with their types: what editors and mypy show.

They repeat the fields of `Controls` and of the methods' settings, which tests hold them to.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Literal, TypedDict, TypeVar

from impasto.controls import ColorMode, Controls

Function = TypeVar("Function", bound=Callable[..., object])


class ControlOptions(TypedDict, total=False):
    """Fields of `impasto.Controls`."""

    strength: float
    stroke_size: float
    detail: float
    preserve_color: ColorMode
    size: int | None
    style_size: int | None
    tile: str | int
    seed: int


class MethodOptions(TypedDict, total=False):
    """Settings of the methods; see `impasto.methods`."""

    # of several
    weights: str
    precision: Literal["auto", "float32", "bfloat16"]
    # adain
    matching: Literal["adain", "wct", "coral", "histogram"]
    # styletr
    sharpness: float
    # fast
    blending: Literal["parameters", "outputs"]
    # gatys
    encoder: Literal["vgg19", "vgg16"]
    encoder_weights: str | None
    pooling: Literal["max", "average"]
    content_layers: str
    style_layers: str
    style_loss: Literal["gram", "wasserstein"]
    content_weight: float
    style_weight: float
    tv_weight: float
    optimizer: Literal["lbfgs", "adam"]
    learning_rate: float | None
    iterations: int
    seconds: float | None
    coarse_to_fine: bool
    start: str
    average: float


class Options(ControlOptions, MethodOptions, total=False):
    """Controls, and settings of the method."""


def shows_controls(function: Function) -> Function:
    """Lets ``help()`` show the fields of `Controls`, with their defaults. Settings of methods stay
    together, since it depends on the method which there are.
    """
    signature = inspect.signature(function)
    *before, rest = signature.parameters.values()
    shown = [
        inspect.Parameter(
            knob.name, inspect.Parameter.KEYWORD_ONLY, default=knob.default, annotation=knob.type
        )
        for knob in fields(Controls)
    ]
    if rest.annotation == "Unpack[Options]":
        shown.append(rest.replace(name="settings", annotation="Unpack[MethodOptions]"))
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*before, *shown]
    )
    return function
