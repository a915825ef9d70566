"""Flags made from settings: of the methods, of training, and of the controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click

from impasto.controls import Controls


def settings_of_methods() -> dict[str, type[Any]]:
    """The dataclasses of settings of all that paints, by whose they are; "" for the controls."""
    from impasto.methods import METHODS, method_class

    return {"": Controls, **{name: method_class(name).Config for name in METHODS}}


class SettingsCommand(click.Command):
    """A command with flags for settings besides its own options. They are made on demand: settings
    live beside what they set, which needs torch.

    Args:
        settings: gives the dataclasses of settings, by whose they are.
        without: settings that make no sense here.
    """

    def __init__(
        self,
        *args: Any,
        settings: Callable[[], Mapping[str, type[Any]]] = settings_of_methods,
        without: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.settings, self.without = settings, without

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of the command, with those of its settings."""
        if not any(parameter.name == "seed" for parameter in self.params):
            knobs: dict[str, Field[Any]] = {}
            owners: dict[str, list[str]] = {}
            for whose, kind in self.settings().items():
                for knob in fields(kind):
                    knobs.setdefault(knob.name, knob)
                    owners.setdefault(knob.name, []).append(whose)
            self.params += [
                _flag(knob, owners[name])
                for name, knob in knobs.items()
                if name not in self.without
            ]
        return super().get_params(ctx)


def _flag(knob: Field[Any], owners: Sequence[str]) -> click.Option:
    """The flag of a setting, which several methods may share. Its default is None, "not given", so
    that recipes show through.
    """
    name = knob.name.replace("_", "-")
    shown = "" if knob.default is None else f"  [default: {knob.default}]"
    kinds: dict[str, click.ParamType[Any]] = {"int": click.INT, "float": click.FLOAT}
    kind = kinds.get(str(knob.type).split(" ")[0], click.STRING)
    return click.Option(
        [f"--{name}/--no-{name}" if knob.type == "bool" else f"--{name}"],
        default=None,
        type=None if knob.type == "bool" else _choice(knob) or kind,
        help=(f"{', '.join(owners)}: " if any(owners) else "") + knob.metadata["help"] + shown,
    )


def _choice(knob: Field[Any]) -> click.Choice[str] | None:
    choices = knob.metadata["choices"]
    return click.Choice(choices) if choices else None


def painting_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that ``stylize`` and ``texture`` share."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print a report as JSON."),
        click.option("--plot", type=path, help="Draw the losses (PNG, SVG, PDF)."),
        click.option("--history", type=path, help="Write the losses of each step as CSV."),
        click.option("--snapshot-every", type=int, help="Keep the picture every N steps."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps."),
        click.option(
            "--recipe", help="Settings from a recipe (see `recipes`), YAML file or painted picture."
        ),
        click.option(
            "--style",
            "styles",
            multiple=True,
            metavar="STYLE[:WEIGHT[:MASK]]",
            help="A style with its weight and a mask picture; repeatable.",
        ),
    ):
        command = option(command)
    return command
