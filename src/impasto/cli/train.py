"""The commands that train networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

from impasto.cli.base import INTERRUPTED, TRAIN_RECIPES, say, tell
from impasto.cli.options import setting_options
from impasto.errors import TrainingError
from impasto.recipes import read_recipe
from impasto.train.adain import AdainTask
from impasto.train.config import TrainConfig, split_settings
from impasto.train.fast import FastTask
from impasto.train.run import Run
from impasto.train.styletr import StyletrTask
from impasto.train.task import Task
from impasto.train.trainer import Trainer

Function = TypeVar("Function", bound=Callable[..., Any])

TASKS: dict[str, type[Task]] = {"adain": AdainTask, "styletr": StyletrTask, "fast": FastTask}
"""What trains networks, by the name of its command."""


def training_options(task: str, style: str) -> Callable[[Function], Function]:
    """The options of ``train TASK``.

    Args:
        task: what is trained.
        style: help for ``--style``.
    """

    def decorate(command: Function) -> Function:
        path = click.Path(path_type=Path)
        for option in (
            setting_options({"": TrainConfig, task: TASKS[task].Config}),
            click.option(
                "--nodes", default=1, show_default=True, help="Number of machines to train on."
            ),
            click.option(
                "--devices",
                default=1,
                show_default=True,
                help="Number of devices to train on, on each machine.",
            ),
            click.option(
                "--accelerator",
                default="auto",
                show_default=True,
                help="Train on the processor (cpu) or on a GPU (cuda, mps); auto takes a GPU if "
                "there is one.",
            ),
            click.option(
                "--resume", is_flag=True, help="Continue the run in the folder OUT-training."
            ),
            click.option(
                "--init-from",
                metavar="NAME|FILE",
                help="Start from these weights: a name that `impasto weights list` lists, or a "
                "file that `impasto train` wrote.",
            ),
            click.option(
                "--recipe",
                metavar="NAME|FILE",
                help="Take all settings from a recipe: one that `impasto recipes` lists, or a YAML "
                "file. Other flags override it.",
            ),
            click.option("--out", type=path, required=True, help="The weights file to write."),
            click.option("--style", type=path, required=True, help=style),
            click.option(
                "--content", type=path, required=True, help="Folder of photos to learn from."
            ),
        ):
            command = option(command)
        return command

    return decorate


@click.command()
@training_options("adain", style="Folder of paintings to learn from.")
def adain(**options: Any) -> int | None:
    """Train a network that paints in any style.

    Without --recipe it uses `adain-quick`, whose network is usable after twenty minutes; other
    recipes take a day or more. The defaults below apply to settings that the recipe does not set.
    Subfolders are searched too. Checkpoint, losses, plots and samples go into the folder
    OUT-training next to OUT; after Ctrl-C, --resume continues from there.
    """
    return run_training("adain", **{**options, "recipe": options["recipe"] or "adain-quick"})


@click.command()
@training_options("styletr", style="Folder of paintings to learn from.")
def styletr(**options: Any) -> int | None:
    """Train a transformer that paints in any style.

    Its decoder is trained first, then the encoders along with it. Without --recipe it uses
    `styletr-vit`. The defaults below apply to settings that the recipe does not set. Checkpoint,
    losses, plots and samples go into the folder OUT-training next to OUT; after Ctrl-C, --resume
    continues from there.
    """
    return run_training("styletr", **{**options, "recipe": options["recipe"] or "styletr-vit"})


@click.command()
@training_options(
    "fast", style="The style's picture, or a folder of pictures, each of which becomes a style."
)
def fast(**options: Any) -> int | None:
    """Train a network for one style, or a few.

    Without --recipe it uses `fast`, which starts from a network that knows other paintings and
    takes minutes; the other recipes start from scratch. The defaults below apply to settings that
    the recipe does not set. Checkpoint, losses, plots and samples go into the folder OUT-training
    next to OUT; after Ctrl-C, --resume continues from there.
    """
    return run_training("fast", **{**options, "recipe": options["recipe"] or "fast"})


def run_training(
    task: str,
    *,
    content: Path,
    style: Path,
    out: Path,
    recipe: str,
    init_from: str | None,
    resume: bool,
    **options: Any,
) -> int | None:
    """Trains a network; arguments are those of the commands. Returns the exit code."""
    kind = TASKS[task]
    place = {name: options.pop(name) for name in ("accelerator", "devices", "nodes")}
    given = {name: value for name, value in options.items() if value is not None}
    values = {**read_recipe(recipe, TRAIN_RECIPES), **given}
    start = values.pop("init_from", None)
    if init_from is None and start is not None:
        init_from = str(start)
    config, own = split_settings(values, kind.Config)
    run = Run(content, style, out)
    run.check(resume=resume)
    torch.manual_seed(config.seed)
    made = kind(own, run, init_from)
    trainer = Trainer(made, config, run, resume=resume, on_message=say, **place)
    try:
        result = trainer.train()
    except TrainingError:
        if trainer.fabric.is_global_zero:
            raise
        return None  # the first process says why
    if not trainer.fabric.is_global_zero:
        return None
    if not result.finished:
        return INTERRUPTED
    tell(f"{out}: after {config.steps} steps; {made.usage(out)}")
    return None
