"""Synthetic films whose motion is known: a camera over a photo, a square that crosses another."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import impasto

SIZE = (120, 200)
_FINER = 2
"""Frames are drawn so many times larger, each pixel then being the mean of a square."""


@cache
def photo(name):
    """A bundled photograph, (H, W, 3)."""
    return np.asarray(Image.open(Path(impasto.__file__).parent / f"data/photos/{name}.jpg"))


@dataclass(frozen=True)
class Layer:
    """A photograph as a camera sees it; beyond its edges it goes on, mirrored."""

    photo: np.ndarray
    cameras: list[np.ndarray]
    """For each frame a matrix (3, 3) from (x, y, 1) in the frame to (x, y, 1) in the photograph."""
    window: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of what is there of the photograph; None for all."""

    def covers(self, number, points):
        """Which points (..., 2) of frame ``number`` it covers."""
        if self.window is None:
            return np.ones(points.shape[:-1], bool)
        left, top, right, bottom = self.window
        x, y = np.moveaxis(_moved(self.cameras[number], points), -1, 0)
        return (left <= x) & (x < right) & (top <= y) & (y < bottom)

    def drawn(self, number, height, width):
        """The photograph at frame ``number``, drawn at that size."""
        matrix = self.cameras[number] @ _from_finer()
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            self.photo, matrix[:2], (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )


@dataclass(frozen=True)
class MovingPicture:
    """Layers, the last on top, as a film of which all is known."""

    layers: list[Layer]
    size: tuple[int, int]
    noise: float
    """Standard deviation of the sensor's noise, where white is 1."""

    @property
    def frames(self):
        """All frames, (H, W, 3) uint8, the same at each call."""
        noise = np.random.default_rng(0)
        clean = [self._clean(number) for number in range(len(self.layers[0].cameras))]
        return [
            (frame + noise.normal(0, 255 * self.noise, frame.shape))
            .round()
            .clip(0, 255)
            .astype("u1")
            for frame in clean
        ]

    @property
    def flows(self):
        """For each frame but the first, `flow` to the one before."""
        return [self.flow(number, number - 1) for number in range(1, len(self.layers[0].cameras))]

    def flow(self, number, other):
        """(H, W, 2) float32, x first: what frame ``number`` shows at p, frame ``other`` shows at
        p + flow(p), if it shows it.
        """
        points = _grid(*self.size)
        flow = np.zeros_like(points)
        for layer in self.layers:
            back = np.linalg.inv(layer.cameras[other]) @ layer.cameras[number]
            covered = layer.covers(number, points)
            flow[covered] = (_moved(back, points) - points)[covered]
        return flow.astype(np.float32)

    def visible(self, number, other):
        """(H, W) bool: where frame ``other`` shows what frame ``number`` shows, neither hidden nor
        out of the picture.
        """
        points = _grid(*self.size)
        sources = points + self.flow(number, other)
        inside = ((sources >= 0) & (sources <= np.array(self.size[::-1]) - 1)).all(-1)
        return inside & (self._top(number, points) == self._top(other, sources))

    def _top(self, number, points):
        top = np.zeros(points.shape[:-1], int)
        for index, layer in enumerate(self.layers):
            top[layer.covers(number, points)] = index
        return top

    def _clean(self, number):
        height, width = (side * _FINER for side in self.size)
        points = _moved(_from_finer(), _grid(height, width))
        picture = np.zeros((height, width, 3), np.uint8)
        for layer in self.layers:
            covered = layer.covers(number, points)
            picture[covered] = layer.drawn(number, height, width)[covered]
        return cv2.resize(picture.astype(np.float32), self.size[::-1], interpolation=cv2.INTER_AREA)


def pan(count=6, speed=(2.3, 0.7), size=SIZE, noise=0.0, name="coffee", start=(60, 60)):
    """A camera that moves over a photograph by ``speed`` (x, y) pixels a frame."""
    return MovingPicture([_panned(name, count, speed, start)], size, noise)


def zoom(count=6, speed=1.02, size=SIZE, noise=0.0, name="coffee"):
    """A camera that comes nearer, by this factor a frame, from the photograph's middle."""
    centre = np.array(photo(name).shape[1::-1]) / 2
    cameras = []
    for number in range(count):
        scale = speed**-number
        corner = centre - scale * np.array(size[::-1]) / 2
        cameras.append(_camera(scale, corner))
    return MovingPicture([Layer(photo(name), cameras)], size, noise)


def moving_square(count=6, speed=(4.6, 1.3), size=SIZE, noise=0.0, side=48, back=(0.0, 0.0)):
    """A square cut out of one photograph that moves by ``speed`` over another, which stands still
    or moves as under a camera of speed ``back``.
    """
    start = np.array(size[::-1]) * 0.15
    corner = np.array([180, 90])  # the cat's face
    cameras = [_camera(1, corner - start - number * np.array(speed)) for number in range(count)]
    square = Layer(photo("chelsea"), cameras, (*corner, *(corner + side)))
    return MovingPicture([_panned("coffee", count, back, (60, 60)), square], size, noise)


def _panned(name, count, speed, start):
    speed, start = np.array(speed), np.array(start)
    return Layer(photo(name), [_camera(1, start + number * speed) for number in range(count)])


def _camera(scale, corner):
    return np.array([[scale, 0, corner[0]], [0, scale, corner[1]], [0, 0, 1]], float)


def _from_finer():
    """From pixels of the finer drawing to the frame's; both are counted from their centres."""
    return _camera(1 / _FINER, [0.5 / _FINER - 0.5] * 2)


def _grid(height, width):
    """(H, W, 2): x and y of each pixel."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(float)


def _moved(matrix, points):
    return points @ matrix[:2, :2].T + matrix[:2, 2]
