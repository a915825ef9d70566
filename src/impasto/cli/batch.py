"""The command ``batch``, which paints folders of photos."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from impasto import batch as batches
from impasto.batch import Report, Workers
from impasto.cli.base import FAILED, INTERRUPTED, fail, on_terminal, say, tell
from impasto.cli.options import method_option, refine_option, setting_options, shared_options
from impasto.cli.paint import SETTINGS
from impasto.cli.progress import PATIENCE_S, bar
from impasto.errors import ControlError
from impasto.formats import FORMATS
from impasto.interrupt import interruptible
from impasto.recipes import read_recipe

_MOST_ERRORS = 10
"""How many photos that cannot be painted are told of one by one."""
_LINES = 10
"""How many lines of progress are printed where there is no terminal."""


@click.command()
@click.argument("photos", metavar="INPUT")
@click.argument("styles", nargs=-1, metavar="STYLE...")
@click.option(
    "-o",
    "--output",
    metavar="FOLDER|URL",
    required=True,
    help="The folder to paint into; it is made if there is none.",
)
@click.option(
    "--styles",
    "folders",
    multiple=True,
    metavar="FOLDER|URL",
    help="Paint in the style of each picture in this folder. May be given several times.",
)
@click.option(
    "--strength",
    metavar="NUMBER|A..B",
    help="How much of the style there is: 0 is the photo itself, 1 the full style. Of a range such "
    "as 0.5..1, each painting gets a number of its own, which depends on --seed and the file's "
    "name alone.  [default: 1.0]",
)
@click.option(
    "--format",
    type=click.Choice([suffix.removeprefix(".") for suffix in FORMATS]),
    default="png",
    show_default=True,
    help="The format of the paintings.",
)
@click.option(
    "--strip-metadata",
    is_flag=True,
    help="Leave out what the photos' files say about them, such as date, place and copyright.",
)
@click.option(
    "--workers",
    metavar="N|N..M",
    help="How many paint at once: processes of this machine, or workers of the Ray cluster, whose "
    "number may be a range.  [default: one for each core, or for each GPU]",
)
@click.option(
    "--ray",
    metavar="auto|local|ADDRESS",
    help="Paint on a Ray cluster: the one that this machine belongs to (auto), the one at an "
    "address, or one of this machine alone (local).",
)
@click.option(
    "--gpus-per-worker",
    type=float,
    help="With --ray: GPUs for each worker; 0.5 lets two share one.  [default: 1 if there are any]",
)
@method_option
@refine_option
@shared_options
@setting_options(SETTINGS, without=("strength", "stop_after"))
def batch(
    *,
    photos: str,
    styles: Sequence[str],
    folders: Sequence[str],
    recipe: str | None,
    workers: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Paint folders of photos, each photo in each style.

    INPUT is a folder of photos, or the URL of one, such as s3://bucket/photos. Folders in it become
    folders in the output. Each STYLE is a picture, a name that `impasto styles` lists, a saved look
    or a weights file. The output gets failed.csv, if some photos cannot be painted, and
    report.json. What it holds already is not painted again: after Ctrl-C, the same command goes on.
    """
    values = read_recipe(recipe) if recipe else {}
    values.pop("stop_after", None)  # of the picture that the recipe is of
    values.pop("sha256", None)
    values |= {name: value for name, value in options.items() if value is not None}
    values["strength"] = _strength(str(values.get("strength", 1.0)))
    with interruptible() as stop, _progress(photos) as show:
        report = batches.paint(
            photos,
            [*styles, *folders],
            workers=_workers(workers),
            stopped=stop.is_set,
            on_progress=show,
            **values,
        )
    return _finish(report, as_json=as_json)


def _finish(report: Report, *, as_json: bool) -> int:
    """Tells what became of all; returns the exit code."""
    untold = len(report.failures) - _MOST_ERRORS
    if untold > 0:
        fail(f"{untold} more photos cannot be painted")
    if report.failures:
        say(f"what failed is listed in {report.output}/failed.csv")
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        counts = [f"{report.painted} painted"]
        counts += [f"{report.skipped} there already"] if report.skipped else []
        counts += [f"{report.failed} failed"] if report.failed else []
        tell(
            f"{report.output}: {', '.join(counts)}, {report.seconds:.0f} s, "
            f"{report.rate:.2f} pictures/s"
        )
    if report.stopped:
        left = report.total - report.skipped - report.painted - report.failed
        say(f"stopped; {left} pictures are not painted, the same command goes on with them")
        return INTERRUPTED
    return FAILED if report.failures else 0


def _strength(text: str) -> float | tuple[float, float]:
    """``0.8`` or ``0.5..1``."""
    low, dots, high = text.partition("..")
    try:
        return (float(low), float(high)) if dots else float(low)
    except ValueError as error:
        raise ControlError(f"strength is '{text}': write 0.8, or a range such as 0.5..1") from error


def _workers(text: str | None) -> Workers:
    """``4`` or ``2..8``."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    if found is None:
        raise ControlError(f"workers is '{text}': write a number, or a range such as 2..8")
    return (int(found[1]), int(found[2])) if found[2] else int(found[1])


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Report], None]]:
    """What tells of errors, and shows the progress: a bar on a terminal, lines elsewhere."""
    told = 0

    def tell_errors(report: Report) -> None:
        nonlocal told
        for one in report.failures[told:_MOST_ERRORS]:
            fail(f"{one.photo}{f' in {one.style}' if one.style else ''}: {one.error}")
        told = len(report.failures)

    if not on_terminal():
        lines, started = 0, time.monotonic()

        def line(report: Report) -> None:
            nonlocal lines
            tell_errors(report)
            due = int(_fraction(report) * _LINES)
            if due > lines and time.monotonic() - started > PATIENCE_S:
                lines = due
                say(f"{name}: {_place(report)}, {report.rate:.2f} pictures/s")

        yield line
        return
    with bar(name) as show:

        def move(report: Report) -> None:
            tell_errors(report)
            show(_fraction(report), _place(report), f"{report.rate:.2f} pictures/s")

        yield move


def _fraction(report: Report) -> float:
    """How much is done of what was not there already."""
    return (report.painted + report.failed) / max(report.total - report.skipped, 1)


def _place(report: Report) -> str:
    return f"{report.skipped + report.painted + report.failed}/{report.total}"
