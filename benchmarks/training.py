"""How many paintings a second networks learn from, and where the time of a step goes.

    python benchmarks/training.py speed [--network adain.base] [--against REVISION]
    python benchmarks/training.py parts [--network adain.base]

One thread, steps of four paintings, crops of 128 px, losses at VGG-16; an idle machine. ``speed``
runs the command line; ``--against`` lets the code of another revision (git) run the recipe that it
has, in turns with this one. ``parts`` shows what of a step each part takes.
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
from impasto.train.data import Crops, collate, find_pictures
from impasto.train.perceptual import halved
from impasto.train.run import Run

ROOT = Path(__file__).parent.parent
STEPS, ROUNDS = 20, 3
SIZES = (144, 400), (256, 512)
# The network and the losses that there were before photos were painted twice.
ONCE = ["--no-revisions", "--batch", "4", "--similarity-weight", "0", "--distribution-weight", "0"]
ONCE += ["--coarse-style-layers", ""]
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
    """Of a run of the command line of the package in ``source``."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "impasto", "train", "adain", "--recipe", recipe, *extra]
        command += ["--content", folder / "photos", "--style", folder / "paintings"]
        command += ["--out", f"{out}/n.safetensors", "--workers", "0", "--holdout", "0"]
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
    own = {name: value for name, value in recipe.items() if hasattr(AdainTraining, name)}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_pictures(folder)
        run = Run(folder / "photos", folder / "paintings", folder / "n.safetensors")
        task = AdainTask(AdainTraining(**own), run)
        crops = Crops(find_pictures(run.content), find_pictures(run.style), 128, *SIZES, 0)
        batches = [collate([crops[2 * n], crops[2 * n + 1]])[:2] for n in range(20)]
        started = time.perf_counter()
        for n in range(20):
            collate([crops[2 * n], crops[2 * n + 1]])
        took = {"reading, once decoded": (time.perf_counter() - started) / 20}
    network, judge = task.network.train(), task.judge
    taps = {*task.style_layers, *task.distributed}
    coarse = {*task.coarse_layers, *task.seen}
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

    def judging(image, taps, backward):
        image = image.clone().requires_grad_(backward)
        with autocast(), torch.set_grad_enabled(backward):
            features = judge(image, taps)
            total = sum(each.float().mean() for each in features.values())
        if backward:
            total.backward()
        return features

    four = torch.cat((content, style))
    known = judging(style, {*taps, *task.shared}, False)
    encoded = {tap: known[tap] for tap in task.shared}
    rows = {
        "a step": step,
        "styles seen, both sizes": lambda: (
            judging(style, {*taps, *task.shared}, False),
            judging(halved(style), coarse, False),
        ),
        "photos seen, half size": lambda: judging(halved(content), task.seen, False),
        "network, forward": lambda: painting(False),
        "network, forward and backward": lambda: painting(True),
        "paintings seen, forward": lambda: judging(four, taps, False),
        "paintings seen, forward and backward": lambda: judging(four, taps, True),
        "half size, forward and backward": lambda: judging(halved(four), coarse, True),
    }
    for name, act in rows.items():
        took[name] = seconds(act)
    for name, each in took.items():
        print(f"{name:40} {each:.4f} s {100 * each / took['a step']:5.1f} %")


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "parts"])
    parser.add_argument("--network", choices=list(BEFORE), default="adain.base")
    parser.add_argument("--against", metavar="REVISION")
    asked = parser.parse_args()
    if asked.what == "speed":
        speed(asked.network, asked.against)
    else:
        parts(asked.network)
