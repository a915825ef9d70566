"""Shots: where a film is cut, and frames of each shot by which it gets its look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from impasto.video.flow import Flow, grey, moved
from impasto.video.frames import Frame, Pixels

_CUT = 0.5
"""`change` from which on two frames belong to different shots."""
_PATCH = 16
"""Side in pixels of the patches of thumbnails that are compared."""
_FAINT = 2
"""Standard deviation, of 0..255, below which a patch hardly counts: it shows next to nothing."""


def shot_samples(
    frames: Iterable[Frame], most: int = 4, longest: int = 750
) -> Iterator[list[Pixels]]:
    """Takes some frames of each shot of a film.

    No more frames are read than needed: a shot's samples come with the first frame of the next
    shot, or as soon as it has ``longest`` frames.

    Args:
        frames: the film's frames.
        most: how many samples to take of a shot.
        longest: from how many frames of a shot to take them.

    Yields:
        For each shot its samples, evenly spread over it, in their order.
    """
    kept: list[Frame] = []
    count, stride = 0, 1
    for frame, first in with_cuts(frames):
        if first:
            if kept:
                yield _spread(kept, most)
            kept, count, stride = [], 0, 1
        if count < longest and count % stride == 0:
            kept.append(frame)
            if len(kept) > 2 * most:  # nobody knows yet how long the shot is
                kept, stride = kept[::2], 2 * stride
        count += 1
        if count == longest:
            yield _spread(kept, most)
            kept = []
    if kept:
        yield _spread(kept, most)


def with_cuts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Goes through a film's frames, and says of each whether it is the first of a shot."""
    before: Pixels | None = None
    for frame in frames:
        yield frame, before is None or is_cut(before, frame.thumbnail)
        before = frame.thumbnail


def is_cut(before: Pixels, after: Pixels) -> bool:
    """Tells whether a film was cut between two frames.

    Pans and zooms, shaking, noise, changes of light and objects that cover up to 40 % of the
    picture at once are no cuts. Neither are the frames of a slow fade or dissolve, whose shots
    therefore count as one. Of a dissolve within 6 frames, one frame may count as a cut. So may a
    flash that leaves nothing to be seen but white.

    Args:
        before: thumbnail of a frame, (h, w, 3).
        after: thumbnail of the next one.
    """
    if before.shape != after.shape:
        return True
    if change(before, after) < _CUT:
        return False
    # Flow does not find by itself what has moved by more than a tenth of the picture.
    return change(before, after, _shift(before, after)) >= _CUT


def change(before: Pixels, after: Pixels, start: tuple[float, float] = (0, 0)) -> float:
    """Measures how much of a frame's structure is new: one minus the correlation of each patch
    with where it was, by optical flow, weighted by its contrast.

    Args:
        before: thumbnail of a frame, (h, w, 3).
        after: thumbnail of the next one.
        start: motion, x before y, from which the flow is looked for.

    Returns:
        0 if nothing is new, about 0.7 if all is, less if there is little to see in either.
    """
    old, new = _smooth(before), _smooth(after)
    flow: Flow = np.full((*new.shape, 2), start, np.float32)
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    method.calc(new, old, flow)
    x, y = moved(old, flow).astype(np.float32), new.astype(np.float32)
    mean_x, mean_y = _mean(x), _mean(y)
    deviation_x = np.sqrt((_mean(x * x) - mean_x**2).clip(0))
    deviation_y = np.sqrt((_mean(y * y) - mean_y**2).clip(0))
    covariance = _mean(x * y) - mean_x * mean_y
    correlation = covariance / (deviation_x * deviation_y).clip(_FAINT**2)
    contrast = deviation_x + deviation_y
    return float((contrast * (1 - correlation)).sum() / (contrast + 2 * _FAINT).sum())


def _spread(frames: list[Frame], most: int) -> list[Pixels]:
    """The pixels of so many frames from the middles of equal parts of the list."""
    indices = {int((part + 0.5) * len(frames) / most) for part in range(most)}
    return [frames[index].pixels for index in sorted(indices)]


def _smooth(thumbnail: Pixels) -> NDArray[np.uint8]:
    return cv2.GaussianBlur(grey(thumbnail), (0, 0), 1).astype(np.uint8)


def _mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the patch around each pixel."""
    return cv2.blur(image, (_PATCH, _PATCH)).astype(np.float32)


def _shift(before: Pixels, after: Pixels) -> tuple[float, float]:
    """By how much the whole picture seems to have moved (phase correlation)."""
    old, new = (_smooth(one).astype(np.float32) for one in (before, after))
    window = cv2.createHanningWindow(old.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(new, old, window)
    return x, y
