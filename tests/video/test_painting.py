"""Films are painted in one look a shot, steadily, sharply, and without ghosts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import Style, video
from impasto.errors import ControlError, ImageError
from impasto.motion import sampled
from impasto.recipes import Recipe
from impasto.video import Keyframes
from impasto.video.frames import ArrayFrame
from impasto.video.painting import FilmPainter
from tests.helpers import films
from tests.helpers.networks import write_fast
from tests.helpers.pictures import as_tensor, painting_array, photo_array

NOISE = 0.02
FILMS = {
    "pan": films.pan(8, noise=NOISE),
    "zoom": films.zoom(8, noise=NOISE),
    "square": films.moving_square(8, (7.3, 2.1), (180, 320), NOISE, side=72, back=(1.3, 0.4)),
}


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """The file of a trained look, which paints quickly."""
    file = tmp_path_factory.mktemp("looks") / "look.safetensors"
    return write_fast(file, {"look": as_tensor(painting_array())})


def painted(film, stability, **options):
    frames = video.paint(
        film.frames, "chrysanthemums", method="adain.small", stability=stability, **options
    )
    return [torch.from_numpy(frame.copy()).permute(2, 0, 1)[None] / 255 for frame in frames]


@pytest.fixture(scope="module", params=FILMS)
def both(request):
    """A film, painted by default and frame by frame."""
    film = FILMS[request.param]
    return film, painted(film, video.FilmControls.stability), painted(film, 0.0)


def warped_rmse(film, frames, first=2):
    """Of each frame and the one before, moved by the true flow, where that is visible."""
    squares, areas = 0.0, 0.0
    for number in range(first, len(frames)):
        flow = torch.from_numpy(film.flow(number, number - 1)).permute(2, 0, 1)[None]
        seen = torch.from_numpy(film.visible(number, number - 1))
        gap = (sampled(frames[number - 1], flow) - frames[number]).square().mean(1)[0]
        squares, areas = squares + float(gap[seen].sum()), areas + int(seen.sum())
    return (squares / areas) ** 0.5


def edges(frames, first=2):
    return float(
        np.mean(
            [
                float(frame.diff(dim=-1).abs().mean() + frame.diff(dim=-2).abs().mean())
                for frame in frames[first:]
            ]
        )
    )


@pytest.mark.slow
def test_a_painting_does_not_flicker(both):
    film, steady, alone = both
    assert warped_rmse(film, steady) <= 0.025
    assert warped_rmse(film, steady) < 0.6 * warped_rmse(film, alone)


@pytest.mark.slow
def test_edges_stay_sharp(both):
    _, steady, alone = both
    assert edges(steady) >= 0.85 * edges(alone)


@pytest.mark.slow
def test_no_ghost_stays_behind_a_square():
    """What was uncovered three frames ago and more has the colours that it would have without the
    frames before. Strokes may be others, so both are blurred.
    """
    film = films.moving_square(10, speed=(12, 0), noise=NOISE)
    last, blur = 9, torch.nn.AvgPool2d(9, 1, 4, count_include_pad=False)
    steady, alone = (blur(painted(film, stability)[last]) for stability in (0.9, 0.0))
    grid = np.stack(np.meshgrid(*map(np.arange, film.size[::-1])), -1).astype(float)
    left = grid[..., 0] * 0 + 1  # how long ago a pixel was covered
    for number in range(last + 1):
        left[film.layers[1].covers(number, grid)] = last - number
    uncovered = torch.from_numpy((left >= 3) & (left <= 6))
    assert uncovered.sum() > 1000
    gap = (steady - alone).abs().mean(1)[0]
    assert gap[uncovered].mean() < 0.025


def test_nothing_of_a_shot_is_in_the_next(look):
    first, second = films.pan(4).frames, films.pan(4, name="chelsea").frames
    joined = list(video.paint(first + second, look))
    alone = list(video.paint(second, look))
    assert all(np.array_equal(*pair) for pair in zip(joined[4:], alone, strict=True))


def test_statistics_are_those_of_the_shot(look):
    """A film that begins in the dark is not painted as if all of it were dark."""
    photo = films.pan(1, size=(48, 64)).frames[0]
    dark = (0.1 * photo).astype("u1")
    usual, fading, night = (
        list(video.paint(film, look, stability=0))[-1].astype(float)
        for film in ([photo], [dark] * 2 + [photo] * 6, [dark] * 30 + [photo])
    )
    assert np.abs(fading - usual).mean() < 0.5 * np.abs(night - usual).mean()


def test_iterators_are_painted_as_they_come(look):
    frames, taken = films.pan(60, size=(48, 64)).frames, []

    def coming():
        for number, frame in enumerate(frames):
            taken.append(number)
            yield frame

    results = video.paint(coming(), look)
    next(results)
    assert len(taken) < 40
    assert len([1, *results]) == 60


def test_resumed_frames_are_the_same(look):
    frames = [ArrayFrame(one) for one in films.pan(5).frames + films.zoom(4).frames]
    painter = FilmPainter(Recipe(), look)
    whole, memories = [], []
    for one in painter.paint(frames, frames):
        whole.append(one)
        memories.append(dict(painter.memory))
    for done in (1, 4, 5, 7):
        rest = list(FilmPainter(Recipe(), look).paint(frames, frames, done, memories[done - 1]))
        assert all(np.array_equal(*pair) for pair in zip(rest, whole[done:], strict=True))


def test_weights_follow_the_keyframes(look, tmp_path):
    other = write_fast(tmp_path / "other.safetensors", {"look": 1 - as_tensor(painting_array())})
    frames = [photo_array()] * 5
    keyframes = Keyframes({0: [1, 0], 0.16: [0, 1]})
    changing = list(video.paint(frames, [look, other], keyframes=keyframes, stability=0))
    first, last = (next(video.paint(frames, one, stability=0)) for one in (look, other))
    middle = (first.astype(float) + last) / 2
    for one, expected in ((changing[0], first), (changing[2], middle), (changing[4], last)):
        # Levels were fitted to what the mean of the weights paints before.
        assert np.abs(one.astype(float) - expected).mean() < 0.1 * np.abs(last - middle).mean()


def write_masks(folder, count, columns):
    """A film of masks that are white in these columns, as a folder of frames."""
    folder.mkdir()
    for number in range(count):
        mask = np.zeros((48, 64), np.uint8)
        mask[:, columns(number)] = 255
        Image.fromarray(mask).save(folder / f"{number}.png")
    return folder


def test_a_mask_may_be_a_film(look, tmp_path):
    """Black, then a half; the last one stays."""
    frames = films.pan(4, size=(48, 64)).frames
    masks = write_masks(tmp_path / "masks", 3, lambda number: slice(32 if number else 64, 64))
    results = list(video.paint(frames, Style(look, mask=masks)))
    assert np.array_equal(results[0], frames[0])
    for number in (1, 2, 3):
        assert np.array_equal(results[number][:, :32], frames[number][:, :32])
        assert np.abs(results[number][:, 40:].astype(int) - frames[number][:, 40:]).mean() > 5


def test_paint_stays_inside_of_a_mask_that_moves(look, tmp_path):
    frames = films.pan(6, size=(48, 64), speed=(4, 0)).frames
    masks = write_masks(tmp_path / "masks", 6, lambda number: slice(8 * number, 8 * number + 16))
    everywhere = list(video.paint(frames, look))
    for number, result in enumerate(video.paint(frames, Style(look, mask=masks))):
        inside = slice(8 * number, 8 * number + 16)
        assert np.abs(result[:, inside].astype(int) - everywhere[number][:, inside]).max() <= 1
        outside = np.delete(result - frames[number], np.r_[inside], axis=1)
        assert not outside.any()


def test_a_mask_that_moves_has_the_size_of_the_film(look, tmp_path):
    masks = write_masks(tmp_path / "masks", 1, lambda _: slice(0, 9))
    with pytest.raises(ImageError, match="masks: it is 64x48, the film is 200x120"):
        next(video.paint(films.pan(1).frames, Style(look, mask=masks)))


def test_alpha_is_kept(look):
    frames = [np.dstack((one, one[..., :1])) for one in films.pan(2, size=(48, 64)).frames]
    results = list(video.paint(frames, look))
    assert [one.shape for one in results] == [(48, 64, 4)] * 2
    assert np.array_equal(results[1][..., 3], frames[1][..., 3])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stability": 2.0}, "stability is 2.0: use 0 to 1"),
        ({"keyframes": Keyframes({0: [1, 2]})}, "number of its weights is 2, not 1"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_bad_values_are_refused(look, options, text):
    with pytest.raises(ControlError, match=text):
        next(iter(video.paint([photo_array()], look, **options)))


def test_the_mask_of_a_film_has_its_size(look):
    cat = Path(films.__file__).parents[2] / "examples/chelsea.jpg"
    with pytest.raises(Exception, match="mask must have the photo's size"):
        next(iter(video.paint([photo_array()], Style(look, mask=cat))))
