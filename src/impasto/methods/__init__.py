"""Methods: the ways to paint. Each has a file of its own, and `load_method` loads it by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from impasto.controls import Controls
from impasto.errors import ControlError
from impasto.methods.base import Footprint, Memory, Method, OnStep, Past, Progress, Transfer
from impasto.settings import make_settings
from impasto.weights import architecture

__all__ = [
    "METHODS",
    "Assigned",
    "Footprint",
    "Memory",
    "Method",
    "OnStep",
    "Past",
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
    """A row of the table `METHODS`."""

    home: str
    """Where the class is, as ``module:Class``."""
    about: str
    """What the method does, in one line, which `impasto methods` prints."""


METHODS = {
    "adain": Entry(
        "impasto.methods.adain:Adain",
        "any style in one pass of a network (Huang & Belongie 2017): seconds",
    ),
    "styletr": Entry(
        "impasto.methods.styletr:Styletr",
        "any style, by attention to what fits each part (Deng et al. 2022): seconds",
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
"""Every method by name. ``auto`` is the first of them that has all the settings given, so that new
ones go to the end."""


def method_class(name: str) -> type[Method]:
    """Returns the class of a method by name.

    Raises:
        ControlError: there is no such method.
    """
    if name not in METHODS:
        raise ControlError(f"unknown method '{name}': use {', '.join(METHODS)}")
    module, _, kind = METHODS[name].home.partition(":")
    method: type[Method] = getattr(import_module(module), kind)
    return method


def choose_method(name: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Decides which method a name means.

    Args:
        name: a method; ``method.tag`` for trained weights of that name; or ``auto`` for the first
            method that has all the settings, and that the ``weights`` among them are made for.
        settings: the method's settings by name.

    Returns:
        The method's name, and its settings, ``weights`` among them if the name tells them.

    Raises:
        ControlError: there is no such method.
        WeightsError: there are no such weights.
    """
    if name == "auto":
        able = [n for n in METHODS if set(settings) <= set(settings_of(n))]
        if "weights" in settings:
            owner = architecture(settings["weights"])
            able = [n for n in able if n == owner] or able
        return (able or list(METHODS))[0], dict(settings)
    method, dot, tag = name.partition(".")
    if dot and "weights" not in settings_of(method):
        instead = f"name the style instead, '{tag}'" if method == "fast" else f"use {method}"
        raise ControlError(f"method '{name}': {method} has no weights to name; {instead}")
    method_class(method)
    return method, {**settings, "weights": name} if dot else dict(settings)


@dataclass(frozen=True)
class Assigned:
    """Settings, divided among the methods that take part in a painting."""

    method: str
    """Name of the method."""
    own: dict[str, Any]
    """Settings of that method."""
    optimiser: dict[str, Any]
    """Settings of ``gatys``, if it refines what the method painted."""
    looks: dict[str, Any]
    """Settings of ``fast``, which paints trained looks whatever the method."""


def assign(name: str, settings: Mapping[str, Any], *, refined: bool) -> Assigned:
    """Divides settings among the method, the optimiser that refines, and trained looks.

    Args:
        name: the method, as for `choose_method`.
        settings: all settings by name; where several of these have one, each gets it.
        refined: whether the optimiser goes on from what the method painted.

    Raises:
        ControlError: there is no such method, or nobody has such a setting.
        WeightsError: there are no such weights.
    """
    optimiser = {k: v for k, v in settings.items() if refined and k in settings_of("gatys")}
    looks = {k: v for k, v in settings.items() if k in settings_of("fast")}
    alone = {k for k in looks if all(k not in settings_of(n) for n in METHODS if n != "fast")}
    rest = {k: v for k, v in settings.items() if k not in optimiser and k not in alone}
    method, rest = choose_method(name, rest)
    names = settings_of(method)
    own = {k: v for k, v in rest.items() if k in names or k not in looks}
    own |= {k: v for k, v in {**looks, **optimiser}.items() if k in names}
    if refined and method == "gatys":
        raise ControlError("refine is for the other methods: gatys has iterations")
    for setting in own.keys() - set(names):
        owners = [n for n in METHODS if setting in settings_of(n)]
        if owners:
            raise ControlError(
                f"unknown setting '{setting}' of {method}: it is one of {' and '.join(owners)}; "
                f"known are {', '.join(names)}"
            )
        near = get_close_matches(setting, [knob.name for knob in fields(Controls)] + names, n=1)
        if near:
            raise ControlError(f"unknown setting '{setting}': did you mean {near[0]}?")
    return Assigned(method, own, optimiser, looks)


def settings_of(name: str) -> list[str]:
    """Returns the names of a method's settings."""
    return [knob.name for knob in fields(method_class(name).Config)]


def load_method(name: str, **settings: Any) -> Method:
    """Loads a method with its settings.

    Args:
        name: the method, as for `choose_method`.
        **settings: the method's settings; the others get their defaults.

    Raises:
        ControlError: there is no such method or setting.
        WeightsError: the method's weights are missing or damaged.
    """
    method, settings = choose_method(name, settings)
    kind = method_class(method)
    return kind(make_settings(kind.Config, settings))
