"""How much painted films flicker, against NumPy and against films whose motion is known."""

import json
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from impasto.errors import FilmError
from impasto.video import metrics
from impasto.video.frames import ArrayFrame
from impasto.video.metrics import FilmJudge, edge_ratio
from impasto.video.reader import open_film
from tests.helpers import cli, films
from tests.helpers.networks import tiny_vgg


@pytest.fixture(scope="module")
def judge():
    return FilmJudge(tiny_vgg("vgg19"))


def frames_of(pictures):
    return [ArrayFrame(one, Fraction(number, 25)) for number, one in enumerate(pictures)]


def scores(judge, painted, photo):
    return judge(frames_of(painted), frames_of(photo), len(photo))


def inverted(frame):
    return 255 - frame


def test_what_moves_with_the_picture_does_not_flicker(judge):
    photo = films.pan(12, speed=(1.5, 0.5), size=(100, 160)).frames
    painted = [inverted(frame) for frame in photo]
    shaken = [np.roll(one, number % 2, 1) for number, one in enumerate(painted)]
    lit = [(one * (0.9 if number % 2 else 1.0)).astype("u1") for number, one in enumerate(painted)]
    steady = scores(judge, painted, photo)
    assert steady.frames == steady.moments + 1 == 12
    assert steady.edges == pytest.approx(1, abs=0.01)
    assert set(steady.flicker) == {1, 10}
    assert all(0.8 < one.visible < 1 for one in steady.flicker.values())
    assert all(one.rmse < 0.012 for one in steady.flicker.values())
    for flickering in (shaken, lit):
        worse = scores(judge, flickering, photo).flicker[1]
        assert worse.rmse > 2 * steady.flicker[1].rmse
        assert worse.vgg > 1.5 * steady.flicker[1].vgg


def test_a_dirty_window_differs_along_the_motion(judge):
    photo = films.pan(3, speed=(3, 1)).frames
    window = np.random.default_rng(0).integers(-30, 31, photo[0].shape)
    dirty = [(frame + window).clip(0, 255).astype("u1") for frame in photo]
    assert scores(judge, dirty, photo).flicker[1].rmse > 0.05


def test_what_comes_into_view_does_not_count(judge):
    film = films.moving_square(3, speed=(9, 0))
    before, _, after = film.frames
    flow, seen = film.flow(2, 0), film.visible(2, 0)
    known = judge.flicker_along(flow, seen, after, before)
    everywhere = judge.flicker_along(flow, np.ones_like(seen), after, before)
    assert known.rmse < 0.015 < 0.04 < everywhere.rmse
    # With motion that is estimated, what was hidden is nearly found.
    (estimated,) = judge.flicker(after, after, before, before)
    assert estimated.rmse < everywhere.rmse / 2


def test_rmse_and_vgg_by_numpy(judge):
    random = np.random.default_rng(0)
    now, before = (random.integers(0, 256, (40, 60, 3)).astype("u1") for _ in range(2))
    flow = np.zeros((40, 60, 2), "f4")
    flow[..., 0] = 5
    seen = np.zeros((40, 60), bool)
    seen[4:30, 8:55] = True  # whose places are inside
    result = judge.flicker_along(flow, seen, now, before)
    moved = np.roll(before, -5, 1)
    difference = (now / 255 - moved / 255)[seen]
    assert result.visible == pytest.approx(seen.mean())
    assert result.rmse == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-3)
    filled = np.where(seen[..., None], moved, now)
    distances = []
    for layer in ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4"):
        one, other = (
            judge.encoder(torch.tensor(p / 255).permute(2, 0, 1)[None].float(), [layer])[layer][0]
            .double()
            .numpy()
            for p in (now, filled)
        )
        one, other = (f / np.sqrt((f**2).sum(0)).clip(1e-12) for f in (one, other))
        distances.append(((one - other) ** 2).sum(0).mean())
    assert result.vgg == pytest.approx(np.mean(distances) / seen.mean(), rel=1e-2)


def test_frames_are_not_compared_across_cuts(judge, monkeypatch):
    monkeypatch.setattr(metrics, "_LEAST_VISIBLE", 0)
    photo = [*films.pan(6, name="coffee").frames, *films.pan(6, name="astronaut").frames]
    result = scores(judge, photo, photo)
    assert set(result.flicker) == {1}
    assert result.flicker[1].rmse < 0.02


def test_frames_are_sampled(judge, monkeypatch):
    monkeypatch.setattr(metrics, "MOMENTS", 4)
    done = []
    photo = frames_of(films.pan(30, size=(40, 60)).frames)
    result = judge(photo, photo, 30, done.append)
    assert (result.moments, result.frames) == (4, 30)
    assert done == [2 / 30, pytest.approx(11 / 30, abs=0.04), pytest.approx(21 / 30, abs=0.04), 1]


def test_one_frame_has_edges_only(judge):
    photo = films.pan(1).frames
    result = scores(judge, [cv2.GaussianBlur(photo[0], (0, 0), 2)], photo)
    assert (result.moments, result.flicker) == (1, {})
    assert 0.2 < result.edges < 0.8


def test_edges_are_relative_and_large_frames_are_scaled_down(judge):
    ramp = np.repeat(np.arange(0, 200, 2, dtype="u1")[None, :, None], 50, 0).repeat(3, 2)
    assert edge_ratio(ramp // 2, ramp) == pytest.approx(0.5, rel=0.02)
    large = np.zeros((1080, 1920, 3), "u1")
    painted, photo = metrics._small(*frames_of([large, large[:500, :700]]))
    assert painted.shape == photo.shape == (360, 640, 3)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders of frames: a film, its painting, and one that is too short."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("film", 3), ("painted", 3), ("short", 2)):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(films.pan(count, size=(48, 64)).frames):
            Image.fromarray(inverted(frame) if name == "painted" else frame).save(
                tmp_path / name / f"{number}.png"
            )
    return tmp_path


def test_films_must_be_of_one_length(judge, folders):
    painted, short = open_film(folders / "painted"), open_film(folders / "short")
    with pytest.raises(FilmError, match=r"painted: has 3 frames, but .*short has 2"):
        judge.film(painted, short)


def test_the_command_prints_and_writes_the_scores(folders):
    code, out, err = cli.run(
        *("evaluate", "--video", "painted", "--content", "film", "--json", "scores.json")
    )
    assert (code, err) == (0, "")
    written = json.loads((folders / "scores.json").read_text())
    assert (written["painted"], written["content"]) == ("painted", "film")
    assert (written["frames"], written["moments"]) == (3, 2)
    assert list(written["flicker"]) == ["1"]
    flicker = written["flicker"]["1"]
    numbers = [line.split() for line in out.splitlines()]
    assert numbers[1] == ["1", "frame", *(f"{value:.4f}" for value in flicker.values())]
    assert numbers[2] == ["edges", f"{written['edges']:.4f}"]
    assert out.endswith("2 of 3 frames judged\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video", "painted", "--content", "film", "--style", "film"], "leave it out"),
        (["--video", "painted", "--content", "film", "--csv", "x.csv"], "use --json"),
        (["--video", "painted", "--content", "short"], "has 3 frames"),
        (["--video", "none.mp4", "--content", "film"], "none.mp4"),
        (["painted", "--content", "film"], "Missing option '--style'"),
    ],
)
def test_what_makes_no_sense_is_refused(folders, arguments, message):
    assert message in cli.refused("evaluate", *arguments)


def test_without_the_extra_the_command_names_it(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "impasto.video.metrics", None)
    line = cli.refused("evaluate", "--video", "painted", "--content", "film")
    assert "pip install 'impasto[video]'" in line
