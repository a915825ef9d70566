"""The commands that list things, and the one that serves the app.

They answer at once: what needs torch is loaded when it is called for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from impasto import weights as weights_files
from impasto.app import MAX_MEGAPIXELS, serve
from impasto.cli.base import RECIPES, TRAIN_RECIPES, load, tell
from impasto.errors import ControlError, WeightsError
from impasto.gallery import paintings
from impasto.recipes import names, read_named

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the list as JSON instead of a table."
)


def show(rows: Sequence[dict[str, Any]], as_json: bool, line: Callable[..., str]) -> None:
    """Prints a list, as JSON or with a line for each row, made from its values."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            tell(line(**row))


@click.command()
@click.option(
    "--host",
    default="localhost",
    show_default=True,
    help="Address to listen on: localhost for this machine alone, 0.0.0.0 to let others in.",
)
@click.option(
    "--port",
    default=8501,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port to listen on.",
)
@click.option(
    "--max-megapixels",
    default=MAX_MEGAPIXELS,
    show_default=True,
    type=click.IntRange(1),
    help="Largest picture that is accepted or painted, in millions of pixels.",
)
@click.option(
    "--base-url",
    metavar="URL",
    help="Address that visitors type if it is another, such as a proxy's: "
    "https://pictures.example/impasto.",
)
def app(host: str, port: int, max_megapixels: int, base_url: str | None) -> None:
    """Paint in your browser, with buttons and sliders."""
    serve(host, port, max_megapixels, base_url)


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """List the ways to paint."""
    table = load("impasto.methods:METHODS")
    rows = [{"name": name, "about": entry.about} for name, entry in table.items()]
    show(rows, as_json, "{name:10} {about}".format)


@click.command()
@click.option(
    "--sheet",
    metavar="PHOTO",
    type=click.Path(path_type=Path),
    help="Paint this photo in each style that has a network of its own, all on one sheet.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The picture file that --sheet writes.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Paint the sheet on the processor (cpu) or on a GPU (cuda, mps); auto takes a GPU if "
    "there is one.",
)
@json_option
def styles(sheet: Path | None, output: Path | None, device: str, as_json: bool) -> None:
    """List the styles that have a name.

    With --sheet, paint a photo in all those that have a network of their own.
    """
    if (sheet is None) != (output is None):
        raise ControlError("a sheet needs both: --sheet PHOTO -o OUT")
    if sheet is not None and output is not None:
        load("impasto.cli.paint:write_sheet")(sheet, output, device)
        return
    rows = [
        {
            "name": known.name,
            "title": known.title,
            "artist": known.artist,
            "year": known.year,
            "licence": known.licence,
            "kind": "trained" if known.picture is None else "picture",
        }
        for known in paintings().values()
    ]

    def line(name: str, kind: str, licence: str, **about: Any) -> str:
        return f"{name:22} {'{artist}, {title} ({year})'.format(**about):69} {kind:8} {licence}"

    show(rows, as_json, line)


@click.command()
@json_option
def recipes(as_json: bool) -> None:
    """List ready-made sets of settings."""
    rows = [
        {"name": name, "commands": commands, "about": read_named(name, folder)["about"]}
        for folder, commands in ((RECIPES, ["stylize", "texture"]), (TRAIN_RECIPES, ["train"]))
        for name in names(folder)
    ]

    def line(name: str, commands: Sequence[str], about: str) -> str:
        return f"{name:14} {', '.join(commands):17} {about}"

    show(rows, as_json, line)


@click.group()
def weights() -> None:
    """List, fetch and check the networks' weights."""


@weights.command("list")
@json_option
def list_weights(as_json: bool) -> None:
    """List all known weights and where they are."""
    rows = [
        {
            "name": known.name,
            "architecture": known.architecture,
            "size": known.size,
            "licence": known.licence,
            "source": known.source,
            "sha256": known.sha256,
            "path": None if (path := weights_files.find(known)) is None else str(path),
        }
        for known in weights_files.table().values()
    ]

    def line(name: str, size: int, licence: str, path: str | None, **_: str) -> str:
        return f"{name:32} {size / 1e6:6.1f} MB  {licence:10} {path or 'not here'}"

    show(rows, as_json, line)


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True)
def fetch_weights(names: Sequence[str]) -> None:
    """Download weights to this machine, for work offline.

    NAMES are those that `impasto weights list` lists.
    """
    for name in names:
        tell(f"{name}: {weights_files.fetch(name)}")


@weights.command("verify")
@json_option
def verify_weights(as_json: bool) -> None:
    """Check that all weights on this machine are whole."""
    rows, damaged = [], []
    for known in weights_files.table().values():
        path, state = weights_files.find(known), "not here"
        if path is not None:
            state = "ok" if weights_files.sha256_of(path) == known.sha256 else "damaged"
        if state == "damaged":
            damaged.append(str(path))
        rows.append({"name": known.name, "path": path and str(path), "state": state})

    def line(name: str, state: str, **_: str) -> str:
        return f"{name:32} {state.upper() if state == 'damaged' else state}"

    show(rows, as_json, line)
    if damaged:
        raise WeightsError(f"{', '.join(damaged)}: wrong sha256; delete and fetch again")
