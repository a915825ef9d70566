"""Flags made from settings: of the methods, of training, and of the controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def setting_options(
    settings: Mapping[str, type[Any]], without: Sequence[str] = ()
) -> Callable[[Function], Function]:
    """Gives a command a flag for each setting; several may share one.

    Args:
        settings: dataclasses of settings, by whose they are; "" if they are for all.
        without: settings that make no sense for the command.
    """
    knobs: dict[str, Field[Any]] = {}
    owners: dict[str, list[str]] = {}
    for owner, kind in settings.items():
        for knob in fields(kind):
            knobs.setdefault(knob.name, knob)
            owners.setdefault(knob.name, []).append(owner)

    def decorate(command: Function) -> Function:
        for name in reversed(knobs):  # decorators apply from the last to the first
            if name not in without:
                command = _option(knobs[name], owners[name])(command)
        return command

    return decorate


def _option(knob: Field[Any], owners: Sequence[str]) -> Callable[[Function], Function]:
    """The flag of a setting. Its default is None, "not given", so that recipes show through."""
    name = knob.name.replace("_", "-")
    shown = ("no", "yes")[knob.default] if isinstance(knob.default, bool) else knob.default
    default = "" if shown is None else f"  [default: {shown}]"
    kinds: dict[str, click.ParamType[Any]] = {"int": click.INT, "float": click.FLOAT}
    kind = kinds.get(str(knob.type).split(" ")[0], click.STRING)
    choices = knob.metadata["choices"]
    return click.option(
        f"--{name}/--no-{name}" if knob.type == "bool" else f"--{name}",
        default=None,
        type=None if knob.type == "bool" else click.Choice(choices) if choices else kind,
        help=(f"{', '.join(owners)}: " if any(owners) else "") + knob.metadata["help"] + default,
    )


method_option = click.option(
    "--method",
    metavar="NAME",
    help="How to paint: auto, or one that `impasto methods` lists.  [default: auto]",
)
refine_option = click.option(
    "--refine",
    metavar="STEPS|SECONDS",
    help="After a network has painted, improve the picture with the optimiser, for so many steps "
    "(50) or seconds (30s).",
)


style_option = click.option(
    "--style",
    "styles",
    multiple=True,
    metavar="STYLE[:WEIGHT[:MASK]]",
    help="Paint in this style: a picture, or a name that `impasto styles` lists. WEIGHT is its "
    "share if there are several; MASK is a picture that is white where the style goes. May be "
    "given several times.",
)


def painting_options(command: Function) -> Function:
    """The options that ``stylize`` and ``texture`` share."""
    path = click.Path(path_type=Path)
    for option in (
        click.option(
            "--plot", type=path, help="Draw the optimiser's losses into this PNG, SVG or PDF file."
        ),
        click.option(
            "--history", type=path, help="Write the optimiser's losses into this CSV file."
        ),
        click.option(
            "--snapshot-every",
            metavar="STEPS",
            type=int,
            help="Save a picture of the work in progress every so many steps, next to the result.",
        ),
    ):
        command = option(command)
    return style_option(shared_options(command))


def shared_options(command: Function) -> Function:
    """The options that all commands share that paint."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="Print a report as JSON instead of a line."
        ),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="Paint on the processor (cpu) or on a GPU (cuda, mps); auto takes a GPU if there "
            "is one.",
        ),
        click.option(
            "--recipe",
            metavar="NAME|FILE",
            help="Take all settings from a recipe: one that `impasto recipes` lists, a YAML file, "
            "or a picture that impasto painted. Other flags override it.",
        ),
    ):
        command = option(command)
    return command
