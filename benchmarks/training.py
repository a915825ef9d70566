"""Measures how many paintings a second networks learn from, and where the time of a step goes.

    python benchmarks/training.py speed [--network adain.base] [--against REVISION]
    python benchmarks/training.py parts [--network adain.base]

One thread, steps of four paintings, crops of 128 px, losses at VGG-16; an idle machine. ``speed``
runs the command line; ``--against`` runs code and recipe of another git revision in turns with
those of this one. ``parts`` shows which part of a step takes how much of its time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from feed_forward import seconds
from impasto.recipes import read_recipe
from impasto.train.adain import AdainTask, AdainTraining
from impasto.train.config import split_settings
from impasto.train.data import Crops, collate
from impasto.train.perceptual import half_size
from impasto.train.run import Run

ROOT = Path(__file__).parent.parent
STEPS, ROUNDS = 20, 3
SIZES = (144, 400), (256, 512)
# The network and the losses that there were before photos were painted twice.
ONCE = ["--no-revisions", "--batch-size", "4", "--coarse-style-layers", ""]
ONCE += ["--similarity-weight", "0", "--distribution-weight", "0"]
BEFORE = {
    "adain.base": [*ONCE, "--widths", "48,96,192", "--blocks", "1,1,3"],
    "adain.small": [*ONCE, "--widths", "32,64,128", "--blocks", "1,1,3"],
}


def write_pictures(folder, count=40):
    """Pieces of the examples, as photos and paintings."""
    for role, name in (("photos", "chelsea.jpg"), ("paintings", "chrysanthemums.jpg")):
        (folder / role).mkdir()
        with Image.open(ROOT / "examples" / name) as image:
            pixels = np.asarray(image.convert("RGB").resize((400, 300)))
        for number in range(count):
            Image.fromarray(np.roll(pixels, 9 * number, 1)).save(folder / role / f"{number}.png")


def seconds_per_step(source, folder, recipe, extra):
    """Seconds that a step takes on the command line of the package in ``source``."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "impasto", "train", "adain", "--recipe", recipe, *extra]
        command += ["--content", folder / "photos", "--style", folder / "paintings"]
        command += ["--out", f"{out}/n.safetensors", "--workers", "0"]
        env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        seen = []
        for steps in (4, 4 + STEPS):  # the first ones read pictures and warm up
            given = [*command, "--steps", str(steps), *(["--resume"] if seen else [])]
            subprocess.run(given, env=env, check=True, capture_output=True)
            checkpoint = torch.load(f"{out}/n-training/checkpoint.pt", weights_only=True)
            seen.append(checkpoint["seconds"])
        return (seen[1] - seen[0]) / STEPS


def speed(network, revision):
    recipe = network.replace(".", "-")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_pictures(folder)
        runs = {"recipe": (ROOT / "src", [])}
        if revision:
            archive = subprocess.run(
                ["git", "archive", revision, "src"], cwd=ROOT, check=True, capture_output=True
            )
            subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
            runs["same losses"] = (ROOT / "src", BEFORE[network])
            runs[revision] = (folder / "src", [])
        taken = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, (source, extra) in runs.items():
                taken[name].append(seconds_per_step(source, folder, recipe, extra))
        for name, several in taken.items():
            print(f"{name:12} {median(several):.3f} s a step, {4 / median(several):.2f} a second")


def parts(network):
    """Shares of a step, each part by itself; what they do not cover is the rest."""
    torch.set_num_threads(1)
    recipe = read_recipe(network.replace(".", "-"), "impasto.train.recipes")
    _, own = split_settings(recipe, AdainTraining)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_pictures(folder)
        run = Run(folder / "photos", folder / "paintings", folder / "n.safetensors")
        task = AdainTask(own, run)
        crops = Crops(run.photos, run.styles, 128, *SIZES, 0)
        batches = [collate([crops[2 * n], crops[2 * n + 1]])[:2] for n in range(20)]
        started = time.perf_counter()
        for n in range(20):
            collate([crops[2 * n], crops[2 * n + 1]])
        took = {"reading, once decoded": (time.perf_counter() - started) / 20}
    network, loss_network = task.network.train(), task.loss_network
    layers = {*task.style_layers, *task.distribution_layers}
    coarse = {*task.coarse_style_layers, *task.content_layers}
    parameters = [p for p in network.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, lr=1e-4)
    content, style = batches[0]

    numbers = cycle(range(len(batches)))

    def step():
        number = next(numbers)
        with autocast():
            total = sum(task.losses(network, *batches[number], number).values())
        total.backward()
        adam.step()
        adam.zero_grad()

    def painting(backward):
        with autocast():
            painted, back = network(torch.cat([content] * 2), style, None, encoded)
            total = painted.square().mean() + back.square().mean()
        if backward:
            total.backward()

    def comparing(image, layers, backward):
        image = image.clone().requires_grad_(backward)
        with autocast(), torch.set_grad_enabled(backward):
            features = loss_network(image, layers)
            total = sum(each.float().mean() for each in features.values())
        if backward:
            total.backward()
        return features

    four = torch.cat((content, style))
    features = comparing(style, {*layers, *task.shared_layers}, False)
    encoded = {layer: features[layer] for layer in task.shared_layers}
    rows = {
        "a step": step,
        "features of styles, both sizes": lambda: (
            comparing(style, {*layers, *task.shared_layers}, False),
            comparing(half_size(style), coarse, False),
        ),
        "features of photos, half size": lambda: comparing(
            half_size(content), task.content_layers, False
        ),
        "network, forward": lambda: painting(False),
        "network, forward and backward": lambda: painting(True),
        "features of paintings, forward": lambda: comparing(four, layers, False),
        "features of paintings, forward and backward": lambda: comparing(four, layers, True),
        "half size, forward and backward": lambda: comparing(half_size(four), coarse, True),
    }
    for name, act in rows.items():
        took[name] = seconds(act)
    for name, each in took.items():
        print(f"{name:44} {each:.4f} s {100 * each / took['a step']:5.1f} %")


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "parts"])
    parser.add_argument("--network", choices=list(BEFORE), default="adain.base")
    parser.add_argument("--against", metavar="REVISION")
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.network, options.against)
    else:
        parts(options.network)
