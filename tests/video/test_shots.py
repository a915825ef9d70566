"""Where films are cut, and the samples of their shots."""

from fractions import Fraction
from itertools import islice, pairwise

import cv2
import numpy as np
import pytest

from impasto.video.frames import Frame, shrunk
from impasto.video.shots import is_cut, shot_samples, with_cuts
from tests.helpers import films

PHOTOS = ("coffee", "chelsea", "astronaut")


def thumbnail(name, left=0, top=0, width=240, height=135):
    return shrunk(films.photo(name)[top : top + height, left : left + width])


def cuts(frames):
    return [is_cut(shrunk(a), shrunk(b)) for a, b in pairwise(frames)]


def noisy(frame, deviation=0.05):
    noise = np.random.default_rng(frame.sum()).normal(0, 255 * deviation, frame.shape)
    return (frame + noise).clip(0, 255).astype(np.uint8)


def lit(frame, light):
    return (frame * float(light)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", [lambda f: f, noisy, lambda f: lit(f, 0.25)])
def test_cuts_are_found(change):
    for name in PHOTOS:
        for other in PHOTOS:
            if name != other:
                assert is_cut(change(thumbnail(name)), change(thumbnail(other)))
    # Two views of one table.
    assert is_cut(change(thumbnail("coffee")), change(thumbnail("coffee", 360, 265)))


@pytest.mark.parametrize(
    "film",
    [
        films.pan(speed=(8, 5)),
        films.pan(speed=(50, 0), count=3),  # a quarter of the picture
        films.pan(speed=(50, 20), count=3, noise=0.03),
        films.zoom(speed=1.2, count=4),
        films.moving_square(speed=(30, 5), side=70, count=4),
        films.moving_square(speed=(10, 0), side=40, back=(-10, 4)),
    ],
)
def test_motion_is_no_cut(film):
    assert not any(cuts(film.frames))


def test_light_and_noise_are_no_cuts():
    for name in PHOTOS:
        frame = thumbnail(name)
        for light in (0.25, 0.6, 1.3, 2):
            assert not is_cut(frame, lit(frame, light))
            assert not is_cut(lit(frame, light), frame)
        assert not is_cut(noisy(frame, 0.1), noisy(lit(frame, 0.99), 0.1))
        assert not is_cut(frame, noisy(frame, 0.1))


def test_slow_fades_and_dissolves_are_no_cuts():
    one, other = thumbnail("coffee"), thumbnail("astronaut")
    parts = np.linspace(0, 1, 25)
    assert not any(cuts([lit(one, part) for part in parts]))
    mixed = [cv2.addWeighted(one, 1 - part, other, part, 0) for part in parts]
    assert not any(cuts(mixed))


@pytest.mark.parametrize("share", [0.25, 0.4])
def test_an_object_that_suddenly_covers_much_is_no_cut(share):
    covered = thumbnail("coffee").copy()
    columns = round(share * covered.shape[1])
    covered[:, :columns] = thumbnail("astronaut")[:, :columns]
    assert not is_cut(thumbnail("coffee"), covered)


def test_a_cut_to_black_is_one_but_black_is_not_cut():
    frame = thumbnail("coffee")
    black = np.zeros_like(frame)
    assert is_cut(frame, black)
    assert is_cut(black, frame)
    assert not is_cut(black, black)


@pytest.mark.parametrize("shape", [(1, 160), (160, 3), (16, 160), (160, 31)])
def test_films_of_odd_shapes(shape):
    random = np.random.default_rng(0)
    one, other = (random.integers(0, 256, (*shape, 3)).astype(np.uint8) for _ in range(2))
    assert not is_cut(one, one)
    assert is_cut(one, other)
    assert is_cut(one, other.transpose(1, 0, 2))


class NumberedFrame(Frame):
    """A frame whose upper left pixel tells its number, and which notes when it is looked at."""

    def __init__(self, picture, number, looked_at):
        self.time = Fraction(number)
        self.picture = picture
        self.looked_at = looked_at

    @property
    def thumbnail(self):
        return self.picture

    @property
    def pixels(self):
        number = int(self.time)
        self.looked_at.append(number)
        pixels = self.picture.copy()
        pixels[0, 0] = number // 256, number % 256, 0
        return pixels


def film(*lengths, looked_at=None):
    """Shots of these lengths."""
    pictures = [thumbnail(name) for name in PHOTOS]
    looked_at = [] if looked_at is None else looked_at
    shots = [shot for shot, length in enumerate(lengths) for _ in range(length)]
    for number, shot in enumerate(shots):
        yield NumberedFrame(pictures[shot % 3], number, looked_at)


def numbers(samples):
    return [int(pixels[0, 0, 0]) * 256 + int(pixels[0, 0, 1]) for pixels in samples]


def test_the_first_frames_of_shots():
    firsts = [int(frame.time) for frame, first in with_cuts(film(5, 1, 3)) if first]
    assert firsts == [0, 5, 6]
    assert list(with_cuts([])) == []


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 17, 64, 100])
def test_samples_are_spread_over_their_shot(length):
    before, samples, after = map(numbers, shot_samples(film(3, length, 2)))
    assert before == [0, 1, 2]
    assert after == [3 + length, 4 + length]
    assert len(samples) == min(length, 4)
    edges = [3, *samples, 2 + length]
    assert edges == sorted(edges)
    if length >= 4:
        # Quarters of the shot have a sample each, but for rounding to the frames that were kept.
        middles = 3 + length * (np.arange(4) + 0.5) / 4
        assert np.abs(samples - middles).max() <= length / 8 + 1


def test_few_frames_are_converted():
    looked_at = []
    samples = next(shot_samples(film(200, looked_at=looked_at)))
    assert numbers(samples) == looked_at
    assert len(looked_at) == 4


def test_a_long_shot_is_sampled_before_its_end_is_read():
    frames = film(40, 4)
    shots = shot_samples(frames, longest=10)
    assert max(numbers(next(shots))) < 10
    assert int(next(frames).time) == 10
    assert numbers(next(shots)) == [40, 41, 42, 43]
    assert next(shots, None) is None


def test_a_shot_of_just_the_longest_length_comes_once():
    assert [len(samples) for samples in shot_samples(film(8, 8), longest=8)] == [4, 4]
    assert list(shot_samples([])) == []
    assert len(list(islice(shot_samples(film(1)), 2))) == 1
