"""What all commands share: how they are loaded, how they report, and checks of files."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from impasto.errors import SetupError

FAILED = 2
"""Exit code of a command that could not do all that it was asked for."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
RECIPES, TRAIN_RECIPES = "impasto.recipes", "impasto.train.recipes"
"""The packages that hold the recipes of paintings and of trainings."""

# Characters that would break a line, or that a terminal would obey.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Home:
    """Where a command is, and what the list of commands says about it."""

    where: str
    """Its module and name, as ``module:name``."""
    summary: str
    extra: str | None = None
    """The extra of the package that it needs."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is called: its list needs nothing heavy."""

    def __init__(self, *args: Any, homes: Mapping[str, Home], **options: Any) -> None:
        super().__init__(*args, **options)
        self.homes = homes
        for name, home in homes.items():
            self.add_command(click.Command(name, short_help=home.summary))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that is called.

        Raises:
            SetupError: a package that it needs is not installed.
        """
        name, command, rest = super().resolve_command(ctx, args)
        home = self.homes.get(name or "")
        if home is None:
            return name, command, rest
        try:
            return name, load(home.where), rest
        except ModuleNotFoundError as error:
            if home.extra is None:
                raise
            raise lacking(f"`{ctx.command_path} {name}`", error, home.extra) from error


def lacking(what: str, error: ModuleNotFoundError, extra: str) -> SetupError:
    """The error that something needs a package, which an extra of impasto brings."""
    return SetupError(f"{what} needs the package '{error.name}': pip install 'impasto[{extra}]'")


def load(where: str) -> Any:
    """What ``module:name`` names, imported at this moment and no sooner."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def on_terminal() -> bool:
    """Whether somebody may be watching stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


def printable(text: str) -> str:
    """The text as one line that no terminal takes for a command: file names may hold anything."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def tell(text: str) -> None:
    """Prints a line of the result on stdout."""
    click.echo(printable(text))


def say(text: str) -> None:
    """Prints a line on stderr, where it is in nobody's way. If nobody reads it, work goes on."""
    with suppress(OSError):
        click.echo(f"impasto: {printable(text)}", err=True)


def fail(message: str) -> int:
    """Says what went wrong; returns the exit code for it."""
    say(f"error: {message}")
    return FAILED
