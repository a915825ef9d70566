"""Settings are fields of frozen dataclasses, each with a sentence of help, its choices and bounds.

Command line, app and docs are generated from them, so that a setting is described in one place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from impasto.errors import ControlError

SettingsT = TypeVar("SettingsT")

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
}


def setting(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Any:
    """Returns a dataclass field with what command line, app and docs are generated from.

    Args:
        default: the field's value where the user gives none.
        help: a whole sentence that says what the setting does.
        choices: the values that are allowed; None for any.
        min: the smallest number that is allowed; None for any.
        max: the largest number that is allowed, which needs a ``min``; None for any.
    """
    return field(
        default=default, metadata={"help": help, "choices": choices, "min": min, "max": max}
    )


def check_settings(settings: Any) -> None:
    """Checks the types, choices and bounds of a dataclass of `setting` fields.

    Raises:
        ControlError: a value is not allowed; the message names the field and what it may be.
    """
    for knob in fields(settings):
        value, choices = getattr(settings, knob.name), knob.metadata.get("choices")
        named = [_TYPES[name] for name in str(knob.type).split(" | ") if name in _TYPES]
        allowed = [kind for several in named for kind in several]
        if allowed and value is not knob.default and type(value) not in allowed:
            raise ControlError(f"{knob.name} is {value!r}: use a value of type {knob.type}")
        if choices and value not in choices:
            raise ControlError(f"{knob.name} is '{value}': use {', '.join(choices)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ControlError(f"{knob.name} is {value}: use a finite number")
        low, high = knob.metadata.get("min"), knob.metadata.get("max")
        if low is None or value is None:
            continue
        if value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            raise ControlError(f"{knob.name} is {value}: use {bounds}")


def make_settings(kind: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """Makes a dataclass of settings from values by name.

    Args:
        kind: the dataclass.
        values: values of its fields; the others get their defaults.

    Raises:
        ControlError: there is no field of a name, or a value is not allowed.
    """
    names = [knob.name for knob in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ControlError(f"unknown setting '{unknown[0]}': known are {', '.join(names)}")
    return kind(**values)
