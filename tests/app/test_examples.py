"""Examples: half photo, half painting, and never anything else."""

import numpy as np
import pytest

from impasto import Stylizer, gallery
from impasto.app import examples, job_queue
from impasto.app.examples import EXAMPLES, Examples
from impasto.app.job_queue import JobQueue
from impasto.errors import ImpastoError


@pytest.fixture(autouse=True)
def unpainted():
    examples._tiles._tiles.clear()
    yield
    examples._tiles._tiles.clear()


def painted(style):
    tile = Examples().tile(style)()
    while not tile.finished:
        tile.wait(1)
    return tile.result


def test_every_example_is_of_a_photo_and_a_style_that_are_there():
    assert set(EXAMPLES) <= set(gallery.paintings())
    for example in EXAMPLES.values():
        assert example.upload.size == example.upload.shown.size
        assert example.url.endswith(f"/picture/{examples.TOKEN}/{example.style}.webp")


@pytest.mark.parametrize("name", ["", "..", "bordighera", "chelsea.jpg", "starry-night-full"])
def test_there_are_no_others(name):
    assert Examples().tile(name) is None
    assert Examples().picture(name) is None


@pytest.mark.slow
def test_an_example_is_photo_on_the_left_and_painting_on_the_right():
    example = EXAMPLES["great-wave"]
    shown = painted(example.style)
    side, edge = examples._SIDE, round(examples._UNCOVERED * examples._SIDE)
    whole = example.upload.shown
    left, top = (whole.width - min(whole.size)) // 2, (whole.height - min(whole.size)) // 2
    square = whole.crop((left, top, left + min(whole.size), top + min(whole.size)))
    photo = square.resize((side, side))
    painting = Stylizer(device="cpu").stylize(photo, example.style)
    mine, before, after = (np.asarray(one, int) for one in (shown, photo, painting))
    np.testing.assert_array_equal(mine[:, : edge - 2], before[:, : edge - 2])
    np.testing.assert_array_equal(mine[:, edge + 3 :], after[:, edge + 3 :])
    assert painted(example.style) is shown  # it is painted once


def test_an_example_that_failed_is_painted_the_next_time(monkeypatch):
    full = JobQueue({"tile": 0})
    with monkeypatch.context() as patch:
        patch.setattr(job_queue, "queue", lambda: full)
        with pytest.raises(ImpastoError, match="try again"):
            painted("udnie")
    assert full.close()
    assert painted("udnie").size == (examples._SIDE, examples._SIDE)
