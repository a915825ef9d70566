"""The command ``video``, which paints films."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from impasto import __version__, files
from impasto.cli.base import FAILED, INTERRUPTED, fail, say, tell
from impasto.cli.job import named
from impasto.cli.options import (
    method_option,
    refine_option,
    setting_options,
    shared_options,
    style_option,
)
from impasto.cli.paint import SETTINGS, parse_style
from impasto.cli.progress import film_progress_of
from impasto.controls import LOOK_SUFFIX, Style
from impasto.errors import ControlError, OutputError, Stop, reason
from impasto.interrupt import interruptible
from impasto.recipes import Recipe, read_recipe, settings_in
from impasto.video.encoding import CODECS
from impasto.video.film import FilmProgress, FilmResult, OnFrame, paint_film
from impasto.video.keyframes import Keyframes, read_keyframes
from impasto.video.painting import FilmControls, FilmPainter
from impasto.video.reader import open_film
from impasto.video.writer import CONTAINERS, output_of
from impasto.video.writer import read_recipe as read_film_recipe


@click.command()
@click.argument("path", metavar="FILM", type=click.Path(path_type=Path))
@click.argument("picture", metavar="[STYLE]", required=False)
@click.option(
    "-o",
    "--output",
    metavar="FILE|FOLDER",
    required=True,
    type=click.Path(path_type=Path),
    help="The film to write; its extension decides the format: .mp4, .mov, .mkv or .webm, or .gif "
    "or .webp for an animation. A name without extension is a folder of pictures.",
)
@click.option("--start", type=float, metavar="SECONDS", help="Begin here.  [default: 0]")
@click.option("--end", type=float, metavar="SECONDS", help="End here.  [default: the film's end]")
@click.option(
    "--keyframes",
    type=click.Path(path_type=Path),
    metavar="FILE.yaml",
    help="Weights of several styles over time: lines such as `2.5: [1, 0]`, of seconds and a "
    "weight for each style. In between they change steadily.",
)
@click.option(
    "--codec",
    type=click.Choice(list(CODECS)),
    help="How the film is encoded.  [default: h264, in .webm vp9]",
)
@click.option(
    "--crf",
    type=int,
    help="How much the film may lose by being encoded: 0 is least, more makes smaller files.  "
    f"[default: {', '.join(f'{c.crf} with {c.name}' for c in CODECS.values() if c.crf)}]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where an earlier run ended. What it painted is in a folder beside the output until "
    "the film is done.",
)
@method_option
@refine_option
@style_option
@shared_options
@setting_options({"": FilmControls})
@setting_options(SETTINGS, without=("stop_after",))
def video(
    *,
    path: Path,
    picture: str | None,
    styles: Sequence[str],
    output: Path,
    start: float | None,
    end: float | None,
    keyframes: Path | None,
    codec: str | None,
    crf: int | None,
    resume: bool,
    recipe: str | None,
    device: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Paint a film in the style of an artwork.

    All of a shot is painted in one look, and the painting follows what moves. Sound is copied as it
    is. Films, GIFs, animated WebPs and folders of pictures can be painted. Ctrl-C ends the work:
    what is painted by then is a film already, and --resume goes on from there.
    """
    given = [parse_style(text) for text in ((picture, *styles) if picture else styles)]
    _check_styles(given)
    film, target = open_film(path, start, end), output_of(output, codec, crf)
    sources = [Path(str(one)) for style in given for one in (style.source, style.mask) if one]
    files.check_apart([output], [path, *sources])
    _check_outside(output, path)
    notes = [*film.notes, *target.check(film)]
    values = _recipe_of(recipe) | {name: v for name, v in options.items() if v is not None}
    stability = values.pop("stability", FilmControls.stability)
    changes = _keyframes(keyframes, values.pop("keyframes", None), len(given))
    painter = FilmPainter(
        Recipe.of(values), given, device=device, stability=stability, keyframes=changes
    )
    _say_all(notes)
    started, told = time.monotonic(), _recipe(painter, given)
    row: dict[str, Any] = {"content": str(path)}
    try:
        with interruptible() as stop, film_progress_of(path.name) as show:
            result = paint_film(
                film,
                output,
                painter,
                codec=codec,
                crf=crf,
                resume=resume,
                recipe=told,
                sources=[source for source in sources if source.exists()],
                on_frame=_watched(show, stop),
            )
    except Exception as error:  # whatever it is, the report says it
        row["error"] = reason(error)
        fail(row["error"])
    else:
        _say_all(note for note in result.notes if note not in notes)
        row |= _row(result, time.monotonic() - started, told)
    return _report(row, as_json=as_json)


def _check_styles(styles: Sequence[Style]) -> None:
    """Raises `ControlError` if there is no style, or one that films cannot be painted in."""
    if not styles:
        raise ControlError("no style is given: write FILM STYLE, or add --style STYLE")
    for style in styles:
        if str(style.source).endswith(LOOK_SUFFIX):
            raise ControlError(
                f"{style.source}: films are not painted with saved looks; name the style's picture"
            )


def _check_outside(output: Path, film: Path) -> None:
    """Raises `OutputError` if the output would be among the pictures of a film that is a folder."""
    if film.is_dir() and output.resolve().is_relative_to(film.resolve()):
        raise OutputError(f"{output}: is in the folder that is painted; choose another place")


def _recipe_of(name: str | None) -> dict[str, Any]:
    """The settings of a recipe, which may also be a film that impasto painted."""
    if name is None:
        return {}
    if Path(name).suffix.lower() in CONTAINERS:
        return settings_in(read_film_recipe(Path(name)))
    return read_recipe(name)


def _keyframes(path: Path | None, kept: dict[str, Any] | None, styles: int) -> Keyframes | None:
    """The keyframes of a file; else those of a recipe, if it has some."""
    if path is not None:
        return read_keyframes(path, styles)
    if kept is None:
        return None
    keyframes = Keyframes({float(moment): weights for moment, weights in kept.items()})
    keyframes.check_styles(styles)
    return keyframes


def _recipe(painter: FilmPainter, styles: Sequence[Style]) -> dict[str, Any]:
    """All that decides how the frames are painted."""
    return {
        "impasto": __version__,
        **painter.stylizer.described(painter.styles, painter.stylizer.refine),
        **asdict(painter.controls),
        "stability": painter.stability,
        "keyframes": painter.keyframes and dict(painter.keyframes.weights),
        "styles": [named(style) for style in styles],
    }


def _row(result: FilmResult, seconds: float, recipe: dict[str, Any]) -> dict[str, Any]:
    """What the report says about a painted film."""
    height, width = result.size
    return {
        "output": str(result.output),
        "width": width,
        "height": height,
        "frames": result.frames,
        "duration": round(result.seconds, 3),
        "seconds": round(seconds, 2),
        "stopped": result.stopped,
        "notes": list(result.notes),
        "recipe": recipe,
    }


def _report(row: dict[str, Any], *, as_json: bool) -> int:
    """Tells what was painted; returns the exit code."""
    if as_json:
        click.echo(json.dumps([row], indent=2))
    elif "output" in row:
        size = f"{row['width']}x{row['height']}"
        frames = f"{row['frames']} frame{'s' * (row['frames'] > 1)}"
        tell(f"{row['output']}: {size}, {frames}, {row['seconds']:.0f} s")
    if row.get("stopped"):
        say(
            f"stopped after frame {row['frames']}; the film so far is in {row['output']}, and "
            "--resume goes on from there"
        )
        return INTERRUPTED
    return FAILED if "error" in row else 0


def _say_all(notes: Iterable[str]) -> None:
    for note in notes:
        say(f"note: {note}")


def _watched(show: OnFrame, stop: threading.Event) -> OnFrame:
    """What shows each frame's progress, and ends the painting when Ctrl-C was pressed."""

    def on_frame(progress: FilmProgress) -> None:
        show(progress)
        if stop.is_set():
            raise Stop

    return on_frame
