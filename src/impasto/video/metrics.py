"""Metrics of painted films: how much they flicker, and how sharp their edges are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from impasto.errors import FilmError
from impasto.metrics import content_distance, content_layers
from impasto.motion import sampled
from impasto.networks.encoder import Encoder
from impasto.networks.vgg import load_encoder
from impasto.video.base import Film
from impasto.video.flow import Flow, as_maps, optical_flow, visible
from impasto.video.frames import Frame, Pixels, resized
from impasto.video.shots import with_cuts

DISTANCES = (1, 10)
"""Frames are compared with those so many frames before."""
MOMENTS = 20
"""So many frames of a film are judged, evenly spread over it; fewer if it has no more."""
_AREA = 640 * 360
"""Larger frames are scaled down to so many pixels."""
_LEAST_VISIBLE = 0.1
"""Frames that share less of the picture are not compared."""


@dataclass(frozen=True)
class Flicker:
    """How a painted frame differs from an earlier one moved along the photo's motion; 0 is best."""

    rmse: float
    """Root of the mean squared difference, 0..1."""
    vgg: float
    """Difference of features, 0..2, as the ``content`` of `impasto.metrics.Scores`."""
    visible: float
    """Share of the picture that can be seen in both frames, 0..1; the rest is left out."""


@dataclass(frozen=True)
class FilmScores:
    """Scores of a painted film."""

    frames: int
    """How many frames it has."""
    moments: int
    """How many of them were judged."""
    flicker: dict[int, Flicker]
    """The means by `DISTANCES`; without those for which all shots are too short."""
    edges: float
    """Mean steepness of the painted frames' lightness, relative to the photo's."""


class FilmJudge:
    """Scores painted films, with a network that is loaded once.

    Args:
        encoder: encoder for the difference of features; None for VGG-19.

    Raises:
        WeightsError: the weights are damaged.
    """

    def __init__(self, encoder: Encoder | None = None) -> None:
        self.encoder = encoder or load_encoder("vgg19")
        self.layers = content_layers(self.encoder)

    def film(
        self, painted: Film, photo: Film, on_moment: Callable[[float], object] | None = None
    ) -> FilmScores:
        """Scores a painted film.

        Args:
            painted: the painted film.
            photo: the film that it was painted of.
            on_moment: called with the share that is done, 0..1.

        Raises:
            FilmError: a film cannot be read, or they have not the same number of frames.
        """
        count, other = (sum(1 for _ in film.read()) for film in (painted, photo))
        if count != other:
            raise FilmError(
                f"{painted.path}: has {count} frames, but {photo.path} has {other}: give the film "
                "that it was painted of, as long as it is"
            )
        return self(painted.read(), photo.read(), count, on_moment)

    def __call__(
        self,
        painted: Iterable[Frame],
        photo: Iterable[Frame],
        count: int,
        on_moment: Callable[[float], object] | None = None,
    ) -> FilmScores:
        """Scores painted frames.

        Args:
            painted: the painted frames.
            photo: the frames that they were painted of.
            count: how many there are.
            on_moment: called with the share that is done, 0..1.
        """
        moments = set(np.linspace(min(1, count - 1), count - 1, MOMENTS).round().astype(int))
        flicker: dict[int, list[Flicker]] = {distance: [] for distance in DISTANCES}
        edges: list[float] = []
        shot: deque[tuple[Frame, Frame]] = deque(maxlen=max(DISTANCES) + 1)
        for number, ((frame, first), now) in enumerate(zip(with_cuts(photo), painted, strict=True)):
            if first:
                shot.clear()
            shot.append((now, frame))
            if number not in moments:
                continue
            edges.append(edge_ratio(*_small(now, frame)))
            for distance in flicker:
                if distance < len(shot):
                    pictures = _small(*shot[-1], *shot[-1 - distance])
                    flicker[distance] += self.flicker(*pictures)
            if on_moment:
                on_moment((number + 1) / count)
        return FilmScores(
            frames=count,
            moments=len(edges),
            flicker={distance: _mean(each) for distance, each in flicker.items() if each},
            edges=fmean(edges),
        )

    def flicker(
        self, painted: Pixels, photo: Pixels, painted_before: Pixels, photo_before: Pixels
    ) -> list[Flicker]:
        """Compares a painted frame with an earlier one; without a result if they have too little in
        common. All are (H, W, 3).
        """
        flow = optical_flow(photo, photo_before)
        seen = visible(flow, optical_flow(photo_before, photo))
        if seen.mean() < _LEAST_VISIBLE:
            return []
        return [self.flicker_along(flow, seen, painted, painted_before)]

    @torch.inference_mode()
    def flicker_along(
        self, flow: Flow, seen: np.ndarray[Any, Any], painted: Pixels, painted_before: Pixels
    ) -> Flicker:
        """Compares a painted frame with an earlier one along a motion.

        Args:
            flow: from each pixel to its place in the earlier frame, (H, W, 2).
            seen: which pixels can be seen there, (H, W) of booleans, not all False.
            painted: the painted frame, (H, W, 3).
            painted_before: the earlier one, (H, W, 3).
        """
        now, before = _tensor(painted), _tensor(painted_before)
        mask = torch.from_numpy(seen)
        # Where nothing is compared, nothing differs.
        moved = torch.where(mask, sampled(before, as_maps(flow)).clamp(0, 1), now)
        share = float(mask.float().mean())
        features, target = (self.encoder(one, self.layers) for one in (now, moved))
        differences = [float(content_distance(features[k], target[k])) for k in self.layers]
        return Flicker(
            rmse=float((now - moved).square().mean() / share) ** 0.5,
            vgg=fmean(differences) / share,
            visible=share,
        )


def edge_ratio(painted: Pixels, photo: Pixels) -> float:
    """Mean steepness of a picture's lightness, relative to that of another of its size."""
    steepness = []
    for pixels in (painted, photo):
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64)
        steepness.append(float(np.hypot(*np.gradient(grey)).mean()))
    return steepness[0] / max(steepness[1], 1e-3)


def _mean(flickers: Sequence[Flicker]) -> Flicker:
    return Flicker(
        rmse=fmean(one.rmse for one in flickers),
        vgg=fmean(one.vgg for one in flickers),
        visible=fmean(one.visible for one in flickers),
    )


def _small(painted: Frame, *others: Frame) -> list[Pixels]:
    """The frames' pixels (H, W, 3), all of the first one's size, or of fewer pixels."""
    height, width = painted.pixels.shape[:2]
    scale = min((_AREA / (height * width)) ** 0.5, 1)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    return [resized(frame.pixels[..., :3], *size) for frame in (painted, *others)]


def _tensor(pixels: Pixels) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).float() / 255
