"""The command ``evaluate``: how near painted pictures are to their photos and paintings."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, track

from impasto import files, images
from impasto.cli.base import (
    FAILED,
    fail,
    lacking,
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


def _check_style(context: click.Context, style: click.Parameter, path: Path | None) -> Path | None:
    """Pictures need their style, films do without."""
    film = context.params["video"]
    if path is None and not film:
        raise click.MissingParameter(ctx=context, param=style)
    if path is not None and film:
        raise click.UsageError("--style is not for --video: leave it out", ctx=context)
    return path


@click.command()
@click.argument("painted", metavar="OUT_DIR", type=click.Path(path_type=Path))
@click.option(
    "--content",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of the photos that were painted, or one photo for all pictures; with --video "
    "the film that was painted.",
)
@click.option(
    "--style",
    type=click.Path(path_type=Path),
    callback=_check_style,
    help="The folder of the style pictures, or one style for all pictures. It is needed unless "
    "--video is given.",
)
@click.option(
    "--video",
    is_flag=True,
    is_eager=True,
    help="OUT_DIR is a painted film: measure how much it flickers, and how sharp its edges are.",
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
def evaluate(painted: Path, content: Path, style: Path, video: bool, **outputs: Path | None) -> int:
    """Measure how good painted pictures are.

    Each picture in OUT_DIR is compared with its photo and its style. They are found by the
    picture's name, which begins with the photo's name and ends with the style's (cat_renoir.png),
    or by the recipe that impasto wrote into the picture.

    With --video, OUT_DIR is a painted film. Up to 20 of its frames, evenly spread over it, are
    compared with those 1 and 10 frames before, moved as the film that was painted moves.
    """
    wanted = {kind: path for kind, path in outputs.items() if path}
    if video and set(wanted) - {"json"}:
        raise click.UsageError("--csv and --html are not for --video: use --json")
    for path in wanted.values():
        files.check_writable(path)
    if video:
        files.check_apart(list(wanted.values()), [painted, content])
        return _evaluate_film(painted, content, wanted.get("json"))
    pairs, left = find_pairs(painted, content, style)
    files.check_apart(
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


def _evaluate_film(painted: Path, content: Path, json_path: Path | None) -> int:
    """Judges a painted film, prints its scores, and writes them if they are wanted."""
    try:
        from impasto.video.metrics import FilmJudge  # noqa: PLC0415
        from impasto.video.reader import open_film  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise lacking("--video", error, "video") from error
    films = open_film(painted), open_film(content)
    console = Console(stderr=True)
    with Progress(console=console, disable=not on_terminal(), transient=True) as progress:
        task = progress.add_task("judging", total=1)
        scores = FilmJudge().film(*films, lambda done: progress.update(task, completed=done))
    for note in (note for film in films for note in film.notes):
        say(f"note: {note}")
    tell(f"{'':12}" + "".join(f"{name:>10}" for name in ("rmse", "vgg", "visible")))
    for distance, flicker in scores.flicker.items():
        name = f"{distance} frame{'s' * (distance > 1)}"
        tell(f"{name:12}" + "".join(f"{value:10.4f}" for value in asdict(flicker).values()))
    tell(f"{'edges':12}{scores.edges:10.4f}")
    tell(f"{scores.moments} of {scores.frames} frames judged")
    if json_path is not None:
        content_of = {"painted": str(painted), "content": str(content), **asdict(scores)}
        files.replace(json_path, json.dumps(content_of, indent=2).encode())
    return 0


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
        folder = os.path.commonpath([result.pair.painted.parent for result in report.results])
        lines[:0] = [
            (str(result.pair.painted.relative_to(folder)), result.values())
            for result in report.results
        ]
    width = max(len(name) for name, _ in lines)
    tell("  ".join([" " * width, *(f"{name:>9}" for name in report.mean)]))
    for name, values in lines:
        numbers = (f"{value:{max(len(key), 9)}.4f}" for key, value in values.items())
        tell("  ".join([name.ljust(width), *numbers]))
