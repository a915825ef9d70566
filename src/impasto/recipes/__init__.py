"""Recipes: settings under a name. Each YAML file in this folder is one; a user may bring more."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from impasto.errors import ControlError

# What the recipe inside a painted picture tells beside the settings.
_NOT_SETTINGS = {"about", "impasto", "sha256", "styles"}


def names(package: str = __name__) -> list[str]:
    """The recipes that come along, in this package or another."""
    folder = resources.files(package)
    return sorted(
        file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")
    )


def read_named(name: str, package: str = __name__) -> dict[str, Any]:
    """A recipe that comes along, with its line ``about``.

    Raises:
        ControlError: there is none of that name.
    """
    known = names(package)
    if name not in known:
        raise ControlError(f"unknown recipe '{name}': use a file, or one of {', '.join(known)}")
    text = (resources.files(package) / f"{name}.yaml").read_text(encoding="utf-8")
    return _settings(text, name)


def read_recipe(name: str, package: str = __name__) -> dict[str, Any]:
    """Settings by the name of a recipe, from a YAML file, or from a picture that impasto painted.

    Raises:
        ControlError: no such recipe, or not one.
        ImageError: the picture holds none.
    """
    path = Path(name)
    if not path.suffix:
        values = read_named(name, package)
    elif path.suffix.lower() in (".yaml", ".yml"):
        try:
            values = _settings(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise ControlError(f"recipe {name}: cannot be read ({error})") from error
    else:
        from impasto.images import read_recipe as recipe_inside

        values = recipe_inside(path)
    return {key: value for key, value in values.items() if key not in _NOT_SETTINGS}


def _settings(text: str, name: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ControlError(f"recipe {name}: not YAML ({reason})") from error
    if not isinstance(values, dict):
        raise ControlError(f"recipe {name}: write lines of the form 'setting: value'")
    return {key: _number(value) for key, value in values.items()}


def _number(value: Any) -> Any:
    """YAML takes ``1e-6`` for text, as it has no point."""
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value)
    return float(value) if is_number else value
