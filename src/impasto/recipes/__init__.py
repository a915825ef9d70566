"""Recipes: all that decides a picture, or a training, but the pictures that go in.

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


@dataclass(frozen=True)
class Recipe:
    """Method, controls and settings of a painting, as far as they were given."""

    method: str = "auto"
    refine: str | int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Controls`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the method, and of the optimiser that refines; see `impasto.methods.assign`."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of the weights that painted a picture, by name, if the recipe comes from one."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Recipe:
        """A recipe from keyword arguments: those of `impasto.stylize`."""
        left = dict(options)
        method = left.pop("method", "auto")
        refine, sha256 = left.pop("refine", None), left.pop("sha256", {})
        given = {name: left.pop(name) for name in list(left) if name in _CONTROLS}
        return cls(method, refine, given, left, sha256)

    @property
    def options(self) -> dict[str, Any]:
        """The recipe as keyword arguments, without those that say nothing."""
        method = {} if self.method == "auto" else {"method": self.method}
        refine = {} if self.refine is None else {"refine": self.refine}
        return {**self.given, **method, **refine, **self.settings}

    @property
    def controls(self) -> Controls:
        """The controls, those not given at their defaults.

        Raises:
            ControlError: one makes no sense.
        """
        return make_settings(Controls, self.given)

    def stylizer(self, device: str = "auto") -> Stylizer:
        """The method, loaded with its settings.

        Raises:
            ControlError, WeightsError: as `impasto.Stylizer`.
        """
        from impasto.stylizer import Stylizer

        return Stylizer(self.method, device=device, refine=self.refine, **self.settings)

    def other_weights(self, used: Mapping[str, str]) -> list[str]:
        """Names of weights that are others now than when the recipe's picture was painted."""
        return [name for name, sha in self.sha256.items() if used.get(name, sha) != sha]

    def command(self, photo: str | None, styles: Sequence[Mapping[str, Any]], output: str) -> str:
        """What paints a picture by this recipe on the command line.

        Args:
            photo: its file; None for a texture.
            styles: as recipes in pictures tell of them: ``source``, ``weight`` and ``mask``.
            output: the file to write.
        """
        words = ["impasto", "texture" if photo is None else "stylize"]
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
        """What paints a picture by this recipe in Python; arguments as for `command`."""
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
    return f"./{name}" if name.startswith("-") else name  # no flag


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
