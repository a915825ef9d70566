"""The commands that train networks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from impasto.cli.base import INTERRUPTED, cli, say
from impasto.cli.options import SettingsCommand
from impasto.errors import SetupError, TrainingError

if TYPE_CHECKING:
    from impasto.train.loop import Task

TRAIN_RECIPES = "impasto.train.recipes"
"""Where their recipes are."""


def task_class(task: str) -> type[Task]:
    """What trains networks of that name.

    Raises:
        SetupError: a package that training needs is not installed.
    """
    try:
        found: type[Task] = getattr(import_module(f"impasto.train.{task}"), f"{task.title()}Task")
    except ModuleNotFoundError as error:
        raise SetupError(
            f"training needs the package '{error.name}': pip install 'impasto[train]'"
        ) from error
    return found


def settings_of_training(task: str) -> dict[str, type[Any]]:
    """The dataclasses of settings of a training, by whose they are; "" for what all have."""
    from impasto.train.config import TrainConfig

    return {"": TrainConfig, task: task_class(task).Config}


@cli.group()
def train() -> None:
    """Train a network on your own pictures."""


def _trains(task: str, style: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command ``train TASK``; the function under it supplies its name and help.

    Args:
        task: what is trained.
        style: what ``--style`` names.
    """

    def made(function: Callable[..., None]) -> click.Command:
        folder = click.Path(path_type=Path)
        for option in (
            click.option("--nodes", default=1, show_default=True, help="How many machines."),
            click.option("--devices", default=1, show_default=True, help="How many on a machine."),
            click.option("--accelerator", default="auto", help="auto, cpu, cuda or mps."),
            click.option("--resume", is_flag=True, help="Go on with the run beside OUT."),
            click.option("--init", help="Weights to start from: a name, or a file of an own run."),
            click.option("--recipe", help="Settings by name (see `recipes`) or from a YAML file."),
            click.option("--out", type=folder, required=True, help="The weights file to write."),
            click.option("--style", type=folder, required=True, help=style),
            click.option("--content", type=folder, required=True, help="Folder of photos."),
        ):
            function = option(function)
        settings = partial(settings_of_training, task)
        return train.command(task, cls=SettingsCommand, settings=settings)(function)

    return made


@_trains("adain", style="Folder of paintings.")
def train_adain(**options: Any) -> None:
    """Train a network for any style.

    Recipe `adain-quick` unless told otherwise, which paints after twenty minutes; the others take
    a day or more. Folders are searched through all levels. Beside OUT a folder OUT-training is
    made, with checkpoint, losses, plots and samples; Ctrl-C leaves it fit for --resume.
    """
    run_training("adain", **{**options, "recipe": options["recipe"] or "adain-quick"})


@_trains("styletr", style="Folder of paintings.")
def train_styletr(**options: Any) -> None:
    """Train a transformer for any style: its decoder first, then the encoders along with it.

    Recipe `styletr-vit` unless told otherwise. Beside OUT a folder OUT-training is made, with
    checkpoint, losses, plots and samples; Ctrl-C leaves it fit for --resume.
    """
    run_training("styletr", **{**options, "recipe": options["recipe"] or "styletr-vit"})


@_trains("fast", style="A painting; or a folder of them, which become looks of one network.")
def train_fast(**options: Any) -> None:
    """Train a network for one painting.

    It starts from one that knows other paintings (recipe `fast`), which takes minutes; the other
    recipes start from nothing. Beside OUT a folder OUT-training is made, with checkpoint, losses,
    plots and samples; Ctrl-C leaves it fit for --resume.
    """
    run_training("fast", **{**options, "recipe": options["recipe"] or "fast"})


def run_training(
    task: str,
    *,
    content: Path,
    style: Path,
    out: Path,
    recipe: str | None,
    init: str | None,
    resume: bool,
    **options: Any,
) -> None:
    """Trains a network; arguments are those of the commands."""
    kind = task_class(task)
    import torch

    from impasto.recipes import read_recipe
    from impasto.settings import make_settings
    from impasto.train.config import TrainConfig
    from impasto.train.loop import Run, Trainer

    place = {name: options.pop(name) for name in ("accelerator", "devices", "nodes")}
    given = {name: value for name, value in options.items() if value is not None}
    values = {**(read_recipe(recipe, TRAIN_RECIPES) if recipe else {}), **given}
    own = {name: values.pop(name) for name in list(values) if name in kind.Config.__annotations__}
    start = values.pop("init", None)
    if init is None and start is not None:
        init = str(start)
    config = make_settings(TrainConfig, values)
    run = Run(content, style, out)
    run.check(resume=resume)
    torch.manual_seed(config.seed)
    made = kind(kind.Config(**own), run, init)
    trainer = Trainer(made, config, run, resume=resume, say=say, **place)
    try:
        finished = trainer.train()
    except TrainingError:
        if trainer.fabric.is_global_zero:
            raise
        return  # the first process says why
    if not trainer.fabric.is_global_zero:
        return
    if not finished:
        sys.exit(INTERRUPTED)
    click.echo(f"{out}: after {config.steps} steps; {made.usage(out)}")
