"""Trainings of tiny networks on the pictures of the working folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from impasto.metrics import Scores
from impasto.train import adain, data
from impasto.train.config import TrainConfig
from impasto.train.run import Run
from impasto.train.trainer import Trainer

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "steps": 6,
    "batch_size": 2,
    "crop": 32,
    "resize_min": 32,
    "resize_max": 48,
    "style_resize_min": 32,
    "style_resize_max": 48,
    "learning_rate": 1e-3,
    "warmup": 2,
    "ema_decay": 0.9,
    "val_size": 0,
    "validate_every": 1000,
    "precision": "32-true",
    "workers": 0,
}
FLAGS = [
    part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))
]
CALL = ["train", "adain", "--content", "photos", "--style", "paintings", "--out", "my.safetensors"]
CALL += [*FLAGS, "--lr-decay", "0.5", "--encoder", "compact", "--widths", "8,16,32"]


def make_run(out="my.safetensors", *, content="photos", style="paintings"):
    return Run(Path(content), Path(style), Path(out))


def adain_task(init_from=None, **settings):
    """A task with a network of few channels."""
    torch.manual_seed(0)
    config = adain.AdainTraining(**({"widths": "8,16,32"} | settings))
    return adain.AdainTask(config, make_run(), init_from)


def trainer_of(task, out="my.safetensors", *, resume=False, lines=None, **settings):
    """The trainer of a task on its pictures; what it says is added to the lines."""
    config = TrainConfig(**(TINY | settings))
    run = Run(task.run.content, task.run.style, Path(out))
    on_message = (lambda _: None) if lines is None else lines.append
    return Trainer(task, config, run, resume=resume, on_message=on_message)


def trainer(out="my.safetensors", *, init_from=None, resume=False, lines=None, **settings):
    """A trainer of `adain_task`; settings are those of the training and of the task."""
    known = adain.AdainTraining.__annotations__
    own = {name: settings.pop(name) for name in list(settings) if name in known}
    return trainer_of(adain_task(init_from, **own), out, resume=resume, lines=lines, **settings)


def trained(*arguments, **settings):
    """The trainer, after its training."""
    made = trainer(*arguments, **settings)
    assert made.train().finished
    return made


def at_step(monkeypatch, number, act):
    """Does something in the middle of a step."""
    losses, calls = adain.AdainTask.losses, []

    def hooked(*arguments):
        calls.append(None)
        if len(calls) == number:
            act()
        return losses(*arguments)

    monkeypatch.setattr(adain.AdainTask, "losses", hooked)


def crops(place, **options):
    """Pairs of crops of the pictures in a folder."""
    photos, paintings = (data.find_pictures(place / name) for name in ("photos", "paintings"))
    known: dict[str, Any] = {"crop": 32, "resize": (32, 48), "style_resize": (32, 48), "seed": 0}
    return data.Crops(photos, paintings, **(known | options))


def loss_of(task, network, pair=None):
    """The loss of a network on one pair."""
    content, style = (part[None] for part in pair or crops(Path())[0][:2])
    with torch.no_grad():
        return float(sum(task.losses(network, content, style, 0).values()))


class FakeEvaluator:
    """Gives the style distances that it is told to, in order."""

    def __init__(self, *styles):
        self.encoder = self.vit = nn.Identity()
        self.styles, self.seen = list(styles), []

    def __call__(self, painted, content, style):
        self.seen.append((painted, content, style))
        return Scores(0.0, 0.0, self.styles.pop(0), 0.0, 0.0)


# What is left of a training


def checkpoint(stem="my"):
    return torch.load(f"{stem}-training/checkpoint.pt", weights_only=True)


def same(one, other):
    """Whether two trees of tensors and numbers are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def same_run(one, other):
    """Whether two runs came to the same: all of the state but the time it took."""
    states = [
        {k: v for k, v in checkpoint(stem).items() if k != "seconds"} for stem in (one, other)
    ]
    files = [load_file(f"{stem}.safetensors") for stem in (one, other)]
    tables = [Path(f"{stem}-training/losses.csv").read_text() for stem in (one, other)]
    return same(*states) and same(*files) and tables[0] == tables[1]


def cut_off(path):
    """Takes the end off a file."""
    path.write_bytes(path.read_bytes()[:-3000])


# In processes of their own


def process(*flags, call=CALL, dies=""):
    """``impasto train`` with tiny losses: the command, and options of `subprocess.Popen`.

    Args:
        flags: further arguments.
        call: the first arguments.
        dies: see `tests.helpers.train_tiny`.
    """
    command = [sys.executable, "-m", "tests.helpers.train_tiny", *call, *flags]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TINY_DIES": dies}
    environment["OMP_NUM_THREADS"] = "1"
    return command, {"env": environment, "text": True}


def run_tiny(*flags, **options):
    """Runs `process` to its end."""
    command, options = process(*flags, **options)
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **options)
