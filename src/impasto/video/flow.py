"""Optical flow of the photo, and how far it can be trusted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from impasto.motion import Motion
from impasto.video.frames import Pixels

Flow = NDArray[np.float32]
"""From each pixel of a frame to its place in another one, in pixels, x before y: (H, W, 2)."""

_TOLERANCE = 0.03
"""Difference of two frames along the motion, 0..1, at which trust has fallen to 1 / e."""
_SMOOTHING = 1.5
"""Frames are compared after a Gaussian blur of this deviation in pixels, which takes the noise of
the sensor away."""

_SMALL_AREA = 400 * 250
"""Area, in pixels, below which flow is estimated at full and not at half size; it takes four times
as long."""
_LEAST_SIDE = 32
"""Shortest side, in pixels, of pictures whose flow OpenCV can estimate."""
_WAY_BACK = 4.0
"""Square of the distance, in pixels, from home at which the way there and back may end."""


def optical_flow(frame: Pixels, other: Pixels) -> Flow:
    """Estimates where each pixel of a frame is in another one (DIS, Kroeger et al. 2016,
    arXiv:1603.03590).

    Args:
        frame: (H, W, 3).
        other: (H, W, 3).
    """
    height, width = frame.shape[:2]
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if height * width < _SMALL_AREA:
        method.setFinestScale(0)
    flow: Flow = method.calc(grey(frame), grey(other), None)  # type: ignore[call-overload]
    return flow[:height, :width]


def grey(frame: Pixels) -> NDArray[np.uint8]:
    """Returns the lightness of a frame (H, W, 3). One that is too small for OpenCV's flow, which
    would crash, is continued at the bottom and on the right.
    """
    lightness = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    bottom, right = (max(_LEAST_SIDE - side, 0) for side in lightness.shape)
    padded = cv2.copyMakeBorder(lightness, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return padded.astype(np.uint8, copy=False)


def moved(image: NDArray[Any], flow: Flow) -> NDArray[Any]:
    """Moves an image (H, W) or (H, W, C): each pixel's value comes from where the flow points."""
    places = _places(flow).astype(np.float32)
    result: NDArray[Any] = cv2.remap(
        image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )  # type: ignore[call-overload]
    return result


def _places(flow: Flow) -> NDArray[Any]:
    """Where the flow points, in pixels from the top left corner, x before y: (H, W, 2)."""
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return flow + np.stack((columns, rows), -1)


def visible(forward: Flow, backward: Flow) -> NDArray[np.bool_]:
    """Finds the pixels of a frame that can be seen in another one: going there and back again must
    lead home (Sundaram et al. 2010, eq. 5; with more patience for short ways, since the flow at
    the edges of what moves is only nearly right).

    Args:
        forward: from the frame to the other.
        backward: from the other to the frame.

    Returns:
        (H, W)
    """
    height, width = forward.shape[:2]
    back = moved(backward, forward)
    x, y = np.moveaxis(_places(forward), -1, 0)
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    gap = np.square(forward + back).sum(-1)
    lengths = np.square(forward).sum(-1) + np.square(back).sum(-1)
    seen: NDArray[np.bool_] = inside & (gap <= 0.01 * lengths + _WAY_BACK)
    return seen


def as_maps(flow: Flow) -> Tensor:
    """Returns a flow as maps (1, 2, H, W)."""
    return torch.from_numpy(flow.transpose(2, 0, 1)[None].copy())


def motion_between(frame: Pixels, before: Pixels) -> Motion:
    """Estimates how a frame moved since the one before.

    Args:
        frame: (H, W, 3).
        before: (H, W, 3).

    Returns:
        The motion, whose trust falls with the difference of the frames along it where the place can
        be seen in both, and is 0 elsewhere.
    """
    flow = optical_flow(frame, before)
    seen = visible(flow, optical_flow(before, frame))
    smooth = [
        cv2.GaussianBlur(one, (0, 0), _SMOOTHING).astype(np.float32) for one in (frame, before)
    ]
    difference = np.abs(smooth[0] - moved(smooth[1], flow)).mean(-1) / 255
    trust = np.exp(-np.square(difference / _TOLERANCE)) * seen
    return Motion(as_maps(flow), torch.from_numpy(trust.astype(np.float32))[None, None])
