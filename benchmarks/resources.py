"""Time of ``impasto --help`` and peak memory of a painting at 512 and 1024 px.

python benchmarks/resources.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

IMPASTO = [sys.executable, "-m", "impasto"]


def help_seconds(runs=5):
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([*IMPASTO, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def peak_gib(side, *options):
    """Peak resident memory of a square picture, measured in a child of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.png")
        noise = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 3), np.uint8)
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(path)
        call = ["stylize", path, path, "-o", path.with_name("out.png"), "--iterations", "15"]
        call += ["--no-coarse-to-fine", *options]
        code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        code += "capture_output=True); "
        code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        command = [sys.executable, "-c", code, *IMPASTO, *map(str, call)]
        kib = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return kib / 2**20


def main():
    print(f"impasto --help: {help_seconds():.2f} s")
    for side in (512, 1024):
        for options in ([], ["--precision", "float32"], ["--style-loss", "wasserstein"]):
            used = peak_gib(side, *options)
            print(f"{side} px {' '.join(options) or 'default'}: {used:.2f} GiB at the peak")


if __name__ == "__main__":
    main()
