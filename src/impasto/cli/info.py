"""The commands that tell what there is, and the one that serves the app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from impasto.cli.base import check_apart, cli
from impasto.cli.train import TRAIN_RECIPES
from impasto.errors import ControlError, WeightsError

RECIPES = "impasto.recipes"
"""Where the recipes of paintings are."""


@cli.command()
@click.option("--host", default="localhost", show_default=True, help="0.0.0.0 for all networks.")
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--max-megapixels",
    default=50.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Largest picture that is taken or painted.",
)
def app(host: str, port: int, max_megapixels: float) -> None:
    """Paint in the browser: serve the web app."""
    from impasto.app import serve

    serve(host, port, max_megapixels)


@cli.command()
def methods() -> None:
    """List the methods."""
    from impasto.methods import METHODS

    for name, entry in METHODS.items():
        click.echo(f"{name:10} {entry.about}")


@cli.command()
@click.option(
    "--sheet",
    metavar="PHOTO",
    type=click.Path(path_type=Path),
    help="Paint it in all trained ones.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The sheet to write.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps.")
def styles(sheet: Path | None, output: Path | None, device: str) -> None:
    """List the styles by name, or paint a photo in all trained ones."""
    from impasto.gallery import paintings

    if (sheet is None) != (output is None):
        raise ControlError("a sheet needs both: --sheet PHOTO -o OUT")
    if sheet is None or output is None:
        for known in paintings().values():
            about = f"{known.artist}, {known.title} ({known.year})"
            kind = "trained" if known.picture is None else "picture"
            click.echo(f"{known.name:22} {about:66} {kind:8} {known.licence}")
        return
    from impasto import images
    from impasto.stylizer import paint_sheet

    images.check_writable(output)
    check_apart([output], [sheet])
    images.write(output, paint_sheet(sheet, device=device))
    click.echo(f"{output}: {sheet.name} in each trained style")


@cli.command()
def recipes() -> None:
    """List the recipes."""
    from impasto.recipes import names, read_named

    for folder, what in ((RECIPES, "stylize, texture"), (TRAIN_RECIPES, "train")):
        for name in names(folder):
            click.echo(f"{name:14} {what:17} {read_named(name, folder)['about']}")


@cli.group()
def weights() -> None:
    """List, fetch and verify the weights of the networks."""


@weights.command("list")
def weights_list() -> None:
    """List all known weights and where they are."""
    from impasto import weights as files

    for known in files.table().values():
        path = files.find(known)
        place = "not here" if path is None else str(path)
        click.echo(f"{known.name:32} {known.size / 1e6:6.1f} MB  {known.licence:10} {place}")


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True)
def weights_fetch(names: Sequence[str]) -> None:
    """Get weights onto this machine, for work offline."""
    from impasto import weights as files

    for name in names:
        click.echo(f"{name}: {files.fetch(name)}")


@weights.command("verify")
def weights_verify() -> None:
    """Check the hash of all weights on this machine."""
    from impasto import weights as files

    damaged = []
    for known in files.table().values():
        path = files.find(known)
        good = path is None or files.sha256_of(path) == known.sha256
        click.echo(f"{known.name:32} {'not here' if path is None else 'ok' if good else 'DAMAGED'}")
        if not good:
            damaged.append(str(path))
    if damaged:
        raise WeightsError(f"{', '.join(damaged)}: wrong sha256; delete and fetch again")
