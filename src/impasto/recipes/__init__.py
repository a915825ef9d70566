"""Recipes: all that decides a picture, or a training, except for the pictures that go in.

A recipe is one value, whether it comes from flags, from a YAML file (those in this folder go by
name), from a painted picture, or from the app; and it can be written as each of them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from impasto.controls import Controls
from impasto.errors import ControlError
from impasto.settings import make_settings

if TYPE_CHECKING:
    from impasto.stylizer import Stylizer

_CONTROLS = frozenset(knob.name for knob in fields(Controls))
# What the recipe inside a painted picture tells beside the settings.
_NOT_SETTINGS = {"about", "impasto", "styles"}
# Names in recipes that were written before the settings were renamed.
_RENAMED = {"start": "init", "average": "avg_decay"}


@dataclass(frozen=True)
class Recipe:
    """Method, controls and settings of a painting, as far as they were given."""

    method: str = "auto"
    """Name of the method; ``auto`` for the first that has the settings."""
    refine: str | int | None = None
    """Steps (``50``) or seconds (``30s``) for which the optimiser refines the painting; None for
    none."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The fields of `impasto.Controls` that were given, by name."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings by name: of the method, of the optimiser that refines, and of trained looks."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Hashes by name of the weights that painted a picture, if the recipe comes from one."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Recipe:
        """Makes a recipe from keyword arguments of `impasto.stylize`."""
        settings = dict(options)
        method = settings.pop("method", "auto")
        refine, sha256 = settings.pop("refine", None), settings.pop("sha256", {})
        given = {name: settings.pop(name) for name in list(settings) if name in _CONTROLS}
        return cls(method, refine, given, settings, sha256)

    @property
    def options(self) -> dict[str, Any]:
        """The recipe as keyword arguments of `impasto.stylize`, without those at their defaults."""
        method = {} if self.method == "auto" else {"method": self.method}
        refine = {} if self.refine is None else {"refine": self.refine}
        return {**self.given, **method, **refine, **self.settings}

    @property
    def controls(self) -> Controls:
        """The controls, with defaults for those that were not given.

        Raises:
            ControlError: a value is not allowed.
        """
        return make_settings(Controls, self.given)

    def stylizer(self, device: str = "auto") -> Stylizer:
        """Loads the recipe's method with its settings.

        Args:
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

        Raises:
            ControlError: there is no such method or setting.
            SetupError: there is no such device.
            WeightsError: weights are missing or damaged.
        """
        from impasto.stylizer import Stylizer

        return Stylizer(self.method, device=device, refine=self.refine, **self.settings)

    def other_weights(self, used: Mapping[str, str]) -> list[str]:
        """Returns the names of the weights that changed since the recipe's picture was painted.

        Args:
            used: hashes by name of the weights that paint now.
        """
        return [name for name, sha in self.sha256.items() if used.get(name, sha) != sha]

    def differing(self, made: Mapping[str, Any]) -> list[str]:
        """Returns the names of what was given, controls aside, and is otherwise in a saved look.

        Args:
            made: the look's recipe.
        """
        own = self.options.items()
        return sorted(k for k, v in own if k not in self.given and made.get(k) != v)

    def command(
        self,
        photo: str | None,
        styles: Sequence[Mapping[str, Any]],
        output: str,
        *,
        film: bool = False,
    ) -> str:
        """Writes the command that paints a picture or a film by this recipe.

        Args:
            photo: file of the photo or the film; None for a texture.
            styles: for each style a mapping with ``source``, ``weight`` and ``mask``, as recipes in
                pictures have them.
            output: file that is written.
            film: whether it is a film.
        """
        words = ["impasto", "texture" if photo is None else "video" if film else "stylize"]
        words += [] if photo is None else [_path(photo)]
        plain = len(styles) == 1 and styles[0]["mask"] is None
        for style in styles:
            mask = f":{style['mask']}" if style["mask"] else ""
            source = _path(style["source"])
            words += [source] if plain else ["--style", f"{source}:{style['weight']:g}{mask}"]
        options = self.options
        if "width" in options:
            words += ["--size", f"{options.pop('width')}x{options.pop('height')}"]
        for name, value in options.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", str(value)]
        return shlex.join([*words, "-o", output])

    def python(self, photo: str | None, styles: Sequence[Mapping[str, Any]], output: str) -> str:
        """Writes the Python code that paints a picture by this recipe.

        Args:
            photo: file of the photo; None for a texture.
            styles: for each style a mapping with ``source``, ``weight`` and ``mask``, as recipes in
                pictures have them.
            output: file that the picture is written to.
        """
        listed = [
            repr(style["source"])
            if style["mask"] is None and style["weight"] == 1
            else f"Style({style['source']!r}, {style['weight']:g}"
            + (f", mask={style['mask']!r})" if style["mask"] else ")")
            for style in styles
        ]
        several = f"[{', '.join(listed)}]" if len(listed) > 1 else listed[0]
        arguments = [] if photo is None else [repr(photo)]
        arguments += [several, *(f"{name}={value!r}" for name, value in self.options.items())]
        lines = ["import impasto"]
        if "Style(" in several:
            lines.append("from impasto import Style")
        function = "texture" if photo is None else "stylize"
        call = f"impasto.{function}(\n    " + ",\n    ".join(arguments) + ",\n)"
        return "\n".join([*lines, "", f"picture = {call}", f"picture.save({output!r})"])


def _path(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name  # which would be read as a flag


def names(package: str = __name__) -> list[str]:
    """Returns the names of the recipes that are bundled in a package."""
    folder = resources.files(package)
    return sorted(
        file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")
    )


def read_named(name: str, package: str = __name__) -> dict[str, Any]:
    """Reads a bundled recipe.

    Args:
        name: name of the recipe.
        package: the package it is in.

    Returns:
        Its settings by name, and ``about``, a line that says what it is.

    Raises:
        ControlError: there is no recipe of that name.
    """
    bundled = names(package)
    if name not in bundled:
        raise ControlError(f"unknown recipe '{name}': use a file, or one of {', '.join(bundled)}")
    text = (resources.files(package) / f"{name}.yaml").read_text(encoding="utf-8")
    return _settings(text, name)


def read_recipe(name: str, package: str = __name__) -> dict[str, Any]:
    """Reads the settings of a recipe.

    Args:
        name: name of a bundled recipe, a YAML file, or a picture that impasto painted.
        package: the package of the bundled recipes.

    Returns:
        The settings by name.

    Raises:
        ControlError: there is no such recipe, or the file is not one.
        ImageError: the picture holds no recipe.
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
    return settings_in(values)


def settings_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings among all that a recipe tells, by the names that they have today."""
    return {key: value for key, value in renamed(values).items() if key not in _NOT_SETTINGS}


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recipe's values by the names that its settings have today."""
    return {_RENAMED.get(name, name): value for name, value in values.items()}


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
    """The number, if a value is one such as ``1e-6``, which YAML takes for a text."""
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value)
    return float(value) if is_number else value
