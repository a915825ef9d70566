"""The command ``evaluate``: how near painted pictures are to their photos and paintings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from impasto.cli.base import check_apart, cli, fail, say
from impasto.errors import ImageError, TooLargeError

if TYPE_CHECKING:
    from impasto.pairs import Pair
    from impasto.report import Report, Result

_FEW_PAIRS = 20


@cli.command()
@click.argument("painted", metavar="OUT_DIR", type=click.Path(path_type=Path))
@click.option("--content", type=click.Path(path_type=Path), required=True, help="Photos.")
@click.option("--style", type=click.Path(path_type=Path), required=True, help="Paintings.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write the scores of each pair.")
@click.option("--json", type=click.Path(path_type=Path), help="The same with mean and median.")
@click.option("--html", type=click.Path(path_type=Path), help="The same as a page with pictures.")
def evaluate(painted: Path, content: Path, style: Path, **outputs: Path | None) -> None:
    """Measure how near painted pictures are to their photos and paintings.

    --content and --style are folders, or one picture for all. A picture in OUT_DIR begins with the
    name of its photo and ends with that of its painting (cat_renoir.png), or carries its recipe.
    """
    from impasto import files
    from impasto.pairs import find_pairs

    wanted = {kind: path for kind, path in outputs.items() if path}
    for path in wanted.values():
        files.check_writable(path)
    pairs, left = find_pairs(painted, content, style)
    check_apart(
        list(wanted.values()),
        [*left, *(path for pair in pairs for path in (pair.painted, pair.photo, pair.painting))],
    )
    for path in left:
        say(f"note: {path}: belongs to no photo and painting, skipped")
    results, broken = _judge_all(pairs)
    if results:
        from impasto.report import Report

        report = Report(results)
        for kind, path in wanted.items():
            getattr(report, f"write_{kind}")(path)
        _show(report)
        skipped = f", {len(left)} without a pair skipped" if left else ""
        click.echo(f"{len(results)} judged{skipped}{f', {broken} failed' if broken else ''}")
    if broken:
        sys.exit(2)


def _judge_all(pairs: Sequence[Pair]) -> tuple[list[Result], int]:
    """Judges each pair; returns the results and how many could not be read."""
    from rich.console import Console
    from rich.progress import track

    from impasto import images
    from impasto.metrics import Judge
    from impasto.report import Result

    judge, results = Judge(), []
    hidden = not sys.stderr.isatty()
    for pair in track(pairs, "judging", console=Console(stderr=True), disable=hidden):
        try:
            paths = (pair.painted, pair.photo, pair.painting)
            scores = judge(*(images.read(path).pixels for path in paths))
        except (ImageError, TooLargeError) as error:
            fail(str(error))
        else:
            results.append(Result(pair, scores))
    return results, len(pairs) - len(results)


def _show(report: Report) -> None:
    """Prints the means, and each pair if there are few."""
    lines = [("mean", report.mean), ("median", report.median)]
    if len(report.results) <= _FEW_PAIRS:
        lines[:0] = [(result.pair.painted.name, result.values()) for result in report.results]
    width = max(len(name) for name, _ in lines)
    click.echo("  ".join([" " * width, *(f"{name:>9}" for name in report.mean)]))
    for name, values in lines:
        numbers = (f"{value:{max(len(key), 9)}.4f}" for key, value in values.items())
        click.echo("  ".join([name.ljust(width), *numbers]))
