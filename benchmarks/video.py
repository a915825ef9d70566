"""Frames per second of painted films, from file to file, after the first frame.

    python benchmarks/video.py

The film is a pan over a bundled photo. Prints a table for docs/how-to/films.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

import impasto
from impasto.recipes import Recipe
from impasto.video import FilmPainter
from impasto.video.film import paint_film
from impasto.video.reader import open_film

METHODS = {
    "fast": ("fast", "starry-night"),
    "adain.small": ("adain.small", "chrysanthemums"),
    "adain.base": ("adain.base", "chrysanthemums"),
}
SIZES = ((640, 360), (1280, 720))


def write_pan(path: Path, width: int, height: int, frames: int) -> None:
    """Writes a film of a camera that moves over a photo by 2 pixels a frame."""
    photo = Image.open(Path(impasto.__file__).parent / "data/photos/coffee.jpg")
    large = np.asarray(photo.resize((width + 2 * frames, height + 2 * frames)))
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            crop = large[number : number + height, 2 * number : 2 * number + width]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(crop))))
        file.mux(stream.encode())


def frames_per_second(film: Path, method: str, style: str) -> float:
    """Paints a film; returns the frames per second after the first."""
    times: list[float] = []
    painter = FilmPainter(Recipe(method), style)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "painted.mp4"
        paint_film(
            open_film(film), output, painter, on_frame=lambda _: times.append(time.monotonic())
        )
    return (len(times) - 1) / (times[-1] - times[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    frames = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as folder:
        for name, (method, style) in METHODS.items():
            rates = []
            for width, height in SIZES:
                film = Path(folder) / f"{width}.mp4"
                write_pan(film, width, height, frames)
                rates.append(f"{frames_per_second(film, method, style):.2f}")
            print(f"| {name} | {' | '.join(rates)} |", flush=True)


if __name__ == "__main__":
    main()
