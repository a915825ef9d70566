"""The command line. Commands are thin: they parse, call the library, and report.

Nothing heavy is imported at module level: ``impasto --help`` answers without loading torch. Flags
are generated from `impasto.Controls` and from the settings of methods and of training.
"""

from __future__ import annotations

import sys

import click

from impasto.cli import evaluate, info, paint, train
from impasto.cli.base import INTERRUPTED, cli, fail, say
from impasto.errors import ImpastoError

__all__ = ["cli", "evaluate", "info", "main", "paint", "train"]


def main() -> None:
    """Runs the command line. Whatever goes wrong is one line on stderr and exit code 2."""
    try:
        code = cli.main(standalone_mode=False, prog_name="impasto")
    except ImpastoError as error:
        code = fail(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        code = fail(error.format_message().replace("\n", " "))
    except OSError as error:  # what no check foresaw: a name too long, a disk gone
        code = fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        say("stopped before there was a picture; nothing was written")
        code = INTERRUPTED
    sys.exit(code)
