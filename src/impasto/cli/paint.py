"""The commands that paint: ``stylize`` and ``texture``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from impasto import files, images
from impasto.cli.base import tell
from impasto.cli.job import Job
from impasto.cli.options import (
    method_option,
    painting_options,
    refine_option,
    setting_options,
)
from impasto.cli.targets import made, targets_of
from impasto.controls import OF_PHOTOS, Controls, Style
from impasto.errors import ControlError
from impasto.methods import METHODS, method_class
from impasto.naming import is_clutter
from impasto.stylizer import paint_sheet
from impasto.textures import fit_texture

SETTINGS: dict[str, type[Any]] = {
    "": Controls,
    **{name: method_class(name).Config for name in METHODS},
}
"""The settings of a painting, by whose they are."""


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="CONTENT... [STYLE]")
@click.option(
    "-o",
    "--output",
    metavar="FILE|FOLDER",
    required=True,
    help="The picture to write; its extension decides the format. For several photos, a folder, "
    "which is made if there is none.",
)
@method_option
@refine_option
@click.option(
    "--save-look",
    type=click.Path(path_type=Path),
    metavar="NAME.look",
    help="Save the measured styles and all settings in a file that can be used as the style of "
    "other photos.",
)
@click.option(
    "--strip-metadata",
    is_flag=True,
    help="Leave out what the photo's file says about it, such as date, place and copyright. "
    "Without this flag it is kept.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a picture larger than memory where an earlier run ended. What it painted is "
    "in a folder beside the output until the picture is done.",
)
@painting_options
@setting_options(SETTINGS)
def stylize(pictures: Sequence[str], styles: Sequence[str], output: str, **options: Any) -> int:
    """Paint photos in the style of an artwork.

    The last picture is the style. If --style is given, all pictures are photos instead. A style may
    also be a name that `impasto styles` lists, or a look that --save-look wrote. The results of
    several photos go into a folder; a photo that cannot be painted does not stop the others.
    """
    given = [Path(name) for name in (pictures if styles else pictures[:-1])]
    if not given:
        raise ControlError("no style is given: write CONTENT STYLE, or add --style STYLE")
    if not all((*pictures, *styles)):
        raise ControlError("a picture has no name: it is an empty text")
    contents = [path for path in given if not is_clutter(path)]
    if not contents:
        raise ControlError(f"{given[0]}: an operating system's own file; name the photo itself")
    if len(contents) > 1 and (options["history"] or options["plot"] or options["save_look"]):
        raise ControlError(
            "--history, --plot and --save-look follow one photo: give a single CONTENT"
        )
    job = Job.of([parse_style(text) for text in styles or pictures[-1:]], options)
    folder, targets = targets_of(contents, output)
    with made(folder):
        job.check_outputs(targets, contents)
        fit = job.fit()
        pairs = zip(contents, targets, strict=True)
        return job.paint_all([(*pair, partial(fit, *pair)) for pair in pairs])


@click.command()
@click.argument("pictures", nargs=-1, metavar="[STYLE]")
@click.option(
    "-o",
    "--output",
    metavar="FILE|FOLDER",
    required=True,
    help="The picture to write; its extension decides the format. In a folder it has the style's "
    "name.",
)
@click.option(
    "--size",
    "size_text",
    metavar="WxH",
    help="Width and height of the texture in pixels.  [default: the style's]",
)
@click.option(
    "--method",
    metavar="NAME",
    help="How to paint: auto, or one that `impasto methods` lists.  [default: gatys]",
)
@painting_options
@setting_options(SETTINGS, without=("size", *OF_PHOTOS))
def texture(
    pictures: Sequence[str],
    styles: Sequence[str],
    output: str,
    size_text: str | None,
    method: str | None,
    **options: Any,
) -> int:
    """Paint a texture from a style alone.

    It has the colours and strokes of the style all over, but shows no objects.
    """
    if method is not None:
        options["method"] = method
    job = Job.of([parse_style(text) for text in (*pictures, *styles)], options)
    options = job.recipe.options
    if size_text:
        options["width"], options["height"] = parse_size(size_text)
        options.pop("size", None)  # of the recipe
    folder, targets = targets_of([Path(str(job.styles[0].source))], output)

    with made(folder):
        job.check_outputs(targets, [])
        fit = partial(fit_texture, job.styles, device=job.device, **options)
        return job.paint_all([(None, targets[0], fit)])


def write_sheet(photo: Path, output: Path, device: str) -> None:
    """Paints a photo in each trained style, all on one sheet: ``impasto styles --sheet``."""
    images.check_writable(output)
    files.check_apart([output], [photo])
    images.write(output, paint_sheet(photo, device=device))
    tell(f"{output}: {photo.name} in each trained style")


def parse_style(text: str) -> Style:
    """``PATH[:WEIGHT[:MASK]]``. Names may hold colons: the longest that there is a file of wins.

    Raises:
        ControlError: the weight is not a number.
    """
    if _is_file(text):
        return Style(text)
    colons = [place for place, letter in enumerate(text) if letter == ":"]
    path = next((text[:place] for place in reversed(colons) if _is_file(text[:place])), None)
    if path is None:
        # No file: a name, or a mistake. The letter of a Windows drive is a part of its path.
        found = re.fullmatch(r"(.{2,}?):[^:\\/]*(:.+)?", text, re.DOTALL)
        if found is None:
            return Style(text)
        path = found[1]
    weight, _, mask = text[len(path) + 1 :].partition(":")
    try:
        number = float(weight or 1)
    except ValueError as error:
        raise ControlError(
            f"style '{text}': there is no file of this name, and '{weight}' is no weight; write "
            "PATH[:WEIGHT[:MASK]]"
        ) from error
    return Style(path, number, mask or None)


def _is_file(name: str) -> bool:
    """Whether there is a file of that name. A network's may be followed by a style, ``#wave``."""
    path, _, style = name.partition(".safetensors#")
    file = Path(f"{path}.safetensors" if style else name)
    with suppress(OSError):  # a name that is too long, for one
        return ":" not in style and file.exists() and not file.is_dir()
    return False


def parse_size(text: str) -> tuple[int, int]:
    """``WxH`` in pixels.

    Raises:
        ControlError: it is not of that form.
    """
    found = re.fullmatch(r"(\d+)\s*[xX]\s*(\d+)", text)
    if found is None:
        raise ControlError(f"size is '{text}': write WIDTHxHEIGHT, for instance 512x384")
    return int(found[1]), int(found[2])
