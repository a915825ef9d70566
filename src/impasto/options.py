"""Options: the keyword arguments of the public functions, with their types, for editors and mypy.

They repeat the fields of `impasto.Controls` and of the methods' settings; tests make sure of that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Literal, TypedDict, TypeVar

from impasto.controls import ColorMode, Controls

Function = TypeVar("Function", bound=Callable[..., object])


class ControlOptions(TypedDict, total=False):
    """Keyword arguments that are fields of `impasto.Controls`, which describes them."""

    strength: float
    stroke_size: float
    detail: float
    preserve_color: ColorMode
    size: int | None
    style_size: int | None
    tile: str | int
    seed: int
    stop_after: int | None


class MethodOptions(TypedDict, total=False):
    """Keyword arguments that are settings of methods, whose ``Config`` classes describe them."""

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
    init: str
    avg_decay: float


class Options(ControlOptions, MethodOptions, total=False):
    """Keyword arguments of `impasto.stylize` and `impasto.texture`: controls, and settings of the
    method.
    """


def shows_controls(function: Function) -> Function:
    """Decorates a function so that ``help()`` shows the fields of `impasto.Controls` as its
    arguments, with their defaults.

    Settings of methods stay together, since which there are depends on the method.
    """
    signature = inspect.signature(function)
    *before, rest = signature.parameters.values()
    parameters = [
        inspect.Parameter(
            knob.name, inspect.Parameter.KEYWORD_ONLY, default=knob.default, annotation=knob.type
        )
        for knob in fields(Controls)
    ]
    if rest.annotation == "Unpack[Options]":
        parameters.append(rest.replace(name="settings", annotation="Unpack[MethodOptions]"))
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*before, *parameters]
    )
    return function
