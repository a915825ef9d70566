"""Settings: fields of frozen dataclasses, each with its sentence of help, its choices and bounds.

Command line, app and docs are made from them, so that a setting is described in one place.
"""

from __future__ import annotations

import math
from dataclasses import Field, field, fields
from typing import Any

from impasto.errors import ControlError

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
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A dataclass field with the metadata that command line, app and docs are generated from.

    Numbers are from ``least`` on, and up to ``most`` if there is one.
    """
    metadata = {"help": help, "choices": choices, "least": least, "most": most}
    return field(default=default, metadata=metadata)


def check_settings(settings: Any) -> None:
    """Checks a dataclass of `setting` fields: types, choices, bounds, that numbers are finite.

    Raises:
        ControlError: naming the field and what it may be.
    """
    for knob in fields(settings):
        value, choices = getattr(settings, knob.name), knob.metadata.get("choices")
        named = [_TYPES[name] for name in str(knob.type).split(" | ") if name in _TYPES]
        kinds = [kind for several in named for kind in several]
        if kinds and value is not knob.default and type(value) not in kinds:
            raise ControlError(f"{knob.name} is {value!r}: use a value of type {knob.type}")
        if choices and value not in choices:
            raise ControlError(f"{knob.name} is '{value}': use {', '.join(choices)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ControlError(f"{knob.name} is {value}: use a finite number")
        least, most = knob.metadata.get("least"), knob.metadata.get("most")
        if least is None or value is None:
            continue
        if value < least or (most is not None and value > most):
            wanted = f"use at least {least}" if most is None else f"use {least} to {most}"
            raise ControlError(f"{knob.name} is {value}: {wanted}")


def replace_known(kind: type[Any], values: dict[str, Any]) -> Any:
    """``kind(**values)``, with a `ControlError` for names that it does not have."""
    known: tuple[Field[Any], ...] = fields(kind)
    unknown = sorted(set(values) - {knob.name for knob in known})
    if unknown:
        raise ControlError(
            f"unknown setting '{unknown[0]}': known are {', '.join(knob.name for knob in known)}"
        )
    return kind(**values)
