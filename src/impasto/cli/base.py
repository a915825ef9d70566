"""What all commands share: the group, how they report, and checks of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from impasto import __version__
from impasto.errors import OutputError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="impasto")
def cli() -> None:
    """Paint photographs in the style of any artwork."""


def fail(message: str) -> int:
    """Says what went wrong; returns the exit code for it."""
    say(f"error: {message}")
    return 2


def say(text: str) -> None:
    """Prints a line on stderr, where it is in nobody's way."""
    click.echo(f"impasto: {text}", err=True)


def check_apart(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raises `OutputError` if an output is also an input or another output."""
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise OutputError(f"{path}: is also an input or another output; choose another name")
        taken.add(path.resolve())
