"""The films that other tests rely on: their flow is the motion that their frames show."""

import cv2
import numpy as np
import pytest

from tests.helpers import films

FILMS = {"pan": films.pan, "zoom": films.zoom, "square": films.moving_square}


def error(film, number, other, flow):
    """Mean difference of a frame and another one moved along a flow, where that is visible."""
    frames = [frame.astype(np.float32) / 255 for frame in film.frames]
    height, width = film.size
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(frames[other], x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC)
    visible = film.visible(number, other)
    assert visible.mean() > 0.6
    return np.abs(moved - frames[number])[visible].mean()


@pytest.mark.parametrize("film", FILMS.values(), ids=FILMS)
@pytest.mark.parametrize(("number", "other"), [(1, 0), (0, 1), (5, 0)])
def test_flow_and_visible_are_those_of_the_frames(film, number, other):
    film = film(back=(1.5, 0)) if film is films.moving_square else film()
    flow = film.flow(number, other)
    right = error(film, number, other, flow)
    assert right < 0.01
    assert right < 0.6 * error(film, number, other, flow + np.float32(0.3))
    assert right < 0.3 * error(film, number, other, np.zeros_like(flow))


def test_noise_is_as_strong_as_asked_for_and_new_in_each_frame():
    clean, noisy = films.pan(speed=(0, 0)).frames, films.pan(speed=(0, 0), noise=0.02).frames
    noise = [(a.astype(float) - b) / 255 for a, b in zip(noisy, clean, strict=True)]
    middle = [n[(c > 30) & (c < 225)] for n, c in zip(noise, clean, strict=True)]
    assert np.std(middle[0]) == pytest.approx(0.02, rel=0.05)
    assert np.std(middle[0] - middle[1]) == pytest.approx(0.02 * 2**0.5, rel=0.05)
