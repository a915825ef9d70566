"""The flow of films whose motion is known, and what of it is trusted."""

import numpy as np
import pytest

from impasto.video.flow import motion_between, moved, optical_flow, visible
from tests.helpers import films


@pytest.mark.parametrize("film", [films.pan(2), films.zoom(2), films.pan(2, noise=0.02)])
def test_flow_is_the_motion(film):
    before, frame = film.frames
    error = np.linalg.norm(optical_flow(frame, before) - film.flow(1, 0), axis=-1)
    assert np.median(error[film.visible(1, 0)]) < 0.25


def test_what_moved_is_found_where_it_was():
    film = films.pan(2, speed=(3, 2))
    before, frame = film.frames
    back = moved(before, film.flow(1, 0))
    seen = film.visible(1, 0)
    assert np.abs(back[seen].astype(int) - frame[seen]).mean() < 2


def test_what_comes_into_view_is_not_visible_before():
    film = films.moving_square(2, speed=(14, 0))
    there, back = film.flow(1, 0), film.flow(0, 1)
    found = visible(there, back)
    truth = film.visible(1, 0)
    assert (found == truth).mean() > 0.97
    assert found[~truth].mean() < 0.3


def test_a_painting_is_kept_where_the_photo_says_so():
    film = films.moving_square(2, speed=(14, 0), noise=0.02)
    trust = motion_between(film.frames[1], film.frames[0]).trust[0, 0].numpy()
    seen = film.visible(1, 0)
    assert trust[seen].mean() > 0.8
    assert trust[~seen].mean() < 0.25


def test_nothing_is_kept_of_another_picture():
    coffee, chelsea = (films.pan(1, name=name).frames[0] for name in ("coffee", "chelsea"))
    assert motion_between(coffee, chelsea).trust.mean() < 0.25


@pytest.mark.parametrize("size", [(16, 16), (16, 160), (12, 300), (200, 17)])
def test_small_frames_have_a_flow(size):
    film = films.pan(2, size=size, speed=(1, 0))
    before, frame = film.frames
    assert optical_flow(frame, before).shape == (*size, 2)
    assert motion_between(frame, before).trust.mean() > 0.3
