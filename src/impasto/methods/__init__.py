"""Methods: the ways to paint. Each has a file of its own; `load_method` finds them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from impasto.controls import Controls
from impasto.errors import ControlError
from impasto.methods.base import Footprint, Method, OnStep, Progress, Transfer
from impasto.settings import make_settings
from impasto.weights import architecture

__all__ = [
    "METHODS",
    "Assigned",
    "Footprint",
    "Method",
    "OnStep",
    "Progress",
    "Transfer",
    "assign",
    "choose_method",
    "load_method",
    "method_class",
    "settings_of",
]


@dataclass(frozen=True)
class Entry:
    """A method in the table."""

    home: str
    """Module and class."""
    about: str
    """A line for `impasto methods`."""


METHODS = {
    "adain": Entry(
        "impasto.methods.adain:Adain",
        "any style in one pass of a network (Huang & Belongie 2017): seconds",
    ),
    "styletr": Entry(
        "impasto.methods.styletr:Styletr",
        "any style, by attention to what fits each place (Deng et al. 2022): seconds",
    ),
    "fast": Entry(
        "impasto.methods.fast:Fast",
        "a trained style in one pass of its own network (Johnson et al. 2016): seconds",
    ),
    "gatys": Entry(
        "impasto.methods.gatys:Gatys",
        "optimisation of the pixels (Gatys et al. 2016): the best picture, in minutes",
    ),
}
"""Every method by name, the one that paints first; ``auto`` is the first that has the settings
given, so that new ones go to the end."""


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        ControlError: there is no such method.
    """
    if name not in METHODS:
        raise ControlError(f"unknown method '{name}': use {', '.join(METHODS)}")
    module, _, kind = METHODS[name].home.partition(":")
    found: type[Method] = getattr(import_module(module), kind)
    return found


def choose_method(name: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method that is meant, and its settings.

    Args:
        name: a method, ``auto`` for the first one that has all the settings, and whose weights they
            name if they do, or ``method.tag`` for trained weights of that name.
        settings: of the method.

    Raises:
        ControlError: there is no such method.
        WeightsError: there are no such weights.
    """
    if name == "auto":
        able = [n for n in METHODS if set(settings) <= set(settings_of(n))]
        if "weights" in settings:
            made_for = architecture(settings["weights"])
            able = [n for n in able if n == made_for] or able
        return (able or list(METHODS))[0], dict(settings)
    method, dot, tag = name.partition(".")
    if dot and "weights" not in settings_of(method):
        instead = f"name the style instead, '{tag}'" if method == "fast" else f"use {method}"
        raise ControlError(f"method '{name}': {method} has no weights to name; {instead}")
    method_class(method)
    return method, {**settings, "weights": name} if dot else dict(settings)


@dataclass(frozen=True)
class Assigned:
    """Settings, by whose they are."""

    method: str
    own: dict[str, Any]
    """Of the method."""
    optimiser: dict[str, Any]
    """Of `gatys`, which refines what the method painted."""
    looks: dict[str, Any]
    """Of `fast`, which paints trained looks whatever the method."""


def assign(name: str, settings: Mapping[str, Any], *, refined: bool) -> Assigned:
    """Decides whose each setting is.

    Args:
        name: as for `choose_method`.
        settings: of the method; of the optimiser, if it refines; of trained looks.
        refined: whether the optimiser goes on from what the method painted. What both have is for
            both.

    Raises:
        ControlError: there is no such method, or it has no such setting.
        WeightsError: there are no such weights.
    """
    optimiser = {k: v for k, v in settings.items() if refined and k in settings_of("gatys")}
    looks = {k: v for k, v in settings.items() if k in settings_of("fast")}
    alone = {k for k in looks if all(k not in settings_of(n) for n in METHODS if n != "fast")}
    rest = {k: v for k, v in settings.items() if k not in optimiser and k not in alone}
    method, rest = choose_method(name, rest)
    known = settings_of(method)
    own = {k: v for k, v in rest.items() if k in known or k not in looks}
    own |= {k: v for k, v in {**looks, **optimiser}.items() if k in known}
    if refined and method == "gatys":
        raise ControlError("refine is for the other methods: gatys has iterations")
    for setting in own.keys() - set(known):
        owners = [n for n in METHODS if setting in settings_of(n)]
        if owners:
            raise ControlError(
                f"unknown setting '{setting}' of {method}: it is one of {' and '.join(owners)}; "
                f"known are {', '.join(known)}"
            )
        near = get_close_matches(setting, [knob.name for knob in fields(Controls)] + known, n=1)
        if near:
            raise ControlError(f"unknown setting '{setting}': did you mean {near[0]}?")
    return Assigned(method, own, optimiser, looks)


def settings_of(name: str) -> list[str]:
    """Names of the settings of a method."""
    return [knob.name for knob in fields(method_class(name).Config)]


def load_method(name: str, **settings: Any) -> Method:
    """A method by name (see `choose_method`), with its own settings.

    Raises:
        ControlError: unknown method or setting.
        WeightsError: its weights are missing or damaged.
    """
    method, settings = choose_method(name, settings)
    kind = method_class(method)
    return kind(make_settings(kind.Config, settings))
