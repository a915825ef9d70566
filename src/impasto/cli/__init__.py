"""The command line. Commands are thin: they parse, call the library, and report.

A command's module is imported when the command is called, so that ``impasto --help`` answers
without loading torch. Flags are made from `impasto.Controls` and from the settings of methods and
of training.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings

import click

from impasto import __version__
from impasto.cli.base import INTERRUPTED, Home, LazyGroup, fail, say
from impasto.errors import ImpastoError, reason

__all__ = ["cli", "main"]

_HELP = {"help_option_names": ["-h", "--help"]}
_COMMANDS = {
    "app": Home("impasto.cli.info:app", "Paint in your browser, with buttons and sliders."),
    "batch": Home("impasto.cli.batch:batch", "Paint folders of photos, each photo in each style."),
    "evaluate": Home("impasto.cli.evaluate:evaluate", "Measure how good painted pictures are."),
    "methods": Home("impasto.cli.info:methods", "List the ways to paint."),
    "recipes": Home("impasto.cli.info:recipes", "List ready-made sets of settings."),
    "styles": Home("impasto.cli.info:styles", "List the styles that have a name."),
    "stylize": Home("impasto.cli.paint:stylize", "Paint photos in the style of an artwork."),
    "texture": Home("impasto.cli.paint:texture", "Paint a texture from a style alone."),
    "video": Home("impasto.cli.video:video", "Paint a film in the style of an artwork.", "video"),
    "weights": Home("impasto.cli.info:weights", "List, fetch and check the networks' weights."),
}
_TRAININGS = {
    "adain": Home("impasto.cli.train:adain", "Train a network that paints in any style.", "train"),
    "fast": Home("impasto.cli.train:fast", "Train a network for one style, or a few.", "train"),
    "styletr": Home(
        "impasto.cli.train:styletr", "Train a transformer that paints in any style.", "train"
    ),
}


@click.group(cls=LazyGroup, homes=_COMMANDS, context_settings=_HELP)
@click.version_option(__version__, prog_name="impasto")
def cli() -> None:
    """Paint photographs in the style of any artwork."""


@cli.group("train", cls=LazyGroup, homes=_TRAININGS)
def training() -> None:
    """Train a network on your own pictures."""


def main() -> None:
    """Runs the command line. Whatever goes wrong is one line on stderr and exit code 2."""
    _quieten_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names may hold what it cannot encode
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int | None:
    """Runs the command; returns its exit code, None for 0."""
    try:
        code: int | None = cli.main(standalone_mode=False, prog_name="impasto")
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return fail(error.format_message().replace("\n", " "))
    except (ImpastoError, OSError, MemoryError) as error:
        return fail(reason(error))
    except (KeyboardInterrupt, click.Abort):
        say("stopped before the work was done")
        return INTERRUPTED
    return code


def _quieten_libraries() -> None:
    """Keeps what libraries warn of from the terminal: it is for programmers, who can ask for it
    with ``python -W default -m impasto``. What users should know is said in notes.
    """
    if sys.warnoptions:
        return
    # Filters stay as they are, so that warnings can still be made errors.
    warnings.showwarning = lambda *_arguments, **_options: None
    logging.getLogger("matplotlib").addHandler(logging.NullHandler())
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
