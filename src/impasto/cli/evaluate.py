"""The command ``evaluate``: how near painted pictures are to their photos and paintings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from impasto import files, images
from impasto.cli.base import (
    FAILED,
    check_apart,
    fail,
    on_terminal,
    say,
    tell,
)
from impasto.errors import ImpastoError, SetupError, WeightsError, reason, reason_with
from impasto.metrics import Judge
from impasto.pairs import Pair, find_pairs
from impasto.report import Report, Result

FEW_PAIRS = 20
"""Up to so many pairs are printed one by one."""


@click.command()
@click.argument("painted", metavar="OUT_DIR", type=click.Path(path_type=Path))
@click.option(
    "--content",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of the photos that were painted, or one photo for all pictures.",
)
@click.option(
    "--style",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of the style pictures, or one style for all pictures.",
)
@click.option(
    "--csv",
    type=click.Path(path_type=Path),
    help="Write the scores of each picture as a table into this CSV file.",
)
@click.option(
    "--json",
    type=click.Path(path_type=Path),
    help="Write the scores of each picture, with mean and median, into this JSON file.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    help="Write a page that shows each picture with its scores into this HTML file.",
)
def evaluate(painted: Path, content: Path, style: Path, **outputs: Path | None) -> int:
    """Measure how good painted pictures are.

    Each picture in OUT_DIR is compared with its photo and its style. They are found by the
    picture's name, which begins with the photo's name and ends with the style's (cat_renoir.png),
    or by the recipe that impasto wrote into the picture.
    """
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
    results = _judge_all(pairs)
    broken = len(pairs) - len(results)
    unwritten = _write(Report(results), wanted) if results else 0
    if results:
        skipped = f", {len(left)} without a pair skipped" if left else ""
        tell(f"{len(results)} judged{skipped}{f', {broken} failed' if broken else ''}")
    return FAILED if broken or unwritten else 0


def _judge_all(pairs: Sequence[Pair]) -> list[Result]:
    """Judges each pair. What is wrong with some is said, once if it is a picture of several."""
    judge, results, said = Judge(), list[Result](), set[str]()
    console = Console(stderr=True)
    for pair in track(pairs, "judging", console=console, disable=not on_terminal()):
        path = pair.painted
        try:
            pictures = []
            for path in (pair.painted, pair.photo, pair.painting):
                pictures.append(images.read(path).pixels)
            path = pair.painted
            results.append(Result(pair, judge(*pictures)))
        except (WeightsError, SetupError):
            raise
        except Exception as error:  # whatever it is, the other pictures are judged
            text = reason_with(path, error)
            if text not in said:
                fail(text)
            said.add(text)
    return results


def _write(report: Report, outputs: dict[str, Path]) -> int:
    """Prints the scores, and writes the files; returns how many of these failed."""
    _show(report)
    failed = 0
    for kind, path in outputs.items():
        try:
            getattr(report, f"write_{kind}")(path)
        except (ImpastoError, OSError) as error:
            fail(reason(error))
            failed += 1
    return failed


def _show(report: Report) -> None:
    """Prints the means, and each pair if there are few."""
    lines = [("mean", report.mean), ("median", report.median)]
    if len(report.results) <= FEW_PAIRS:
        lines[:0] = [(result.pair.painted.name, result.values()) for result in report.results]
    width = max(len(name) for name, _ in lines)
    tell("  ".join([" " * width, *(f"{name:>9}" for name in report.mean)]))
    for name, values in lines:
        numbers = (f"{value:{max(len(key), 9)}.4f}" for key, value in values.items())
        tell("  ".join([name.ljust(width), *numbers]))
