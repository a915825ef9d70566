"""A picture that ended early can be painted again: ``stop_after`` says where it ended."""

import shlex
from typing import Any

import numpy as np
import pytest
from PIL import Image

import impasto
from impasto import ControlError, Stop, images
from impasto.cli.progress import Watcher
from impasto.recipes import Recipe
from tests.helpers.cli import run
from tests.helpers.pictures import painting_array, photo_array

EASY: dict[str, Any] = {"encoder": "vgg16", "device": "cpu"}
WAYS: dict[str, tuple[dict[str, Any], int]] = {
    "gatys, in its first size": ({"method": "gatys", "iterations": 3, **EASY}, 2),
    "gatys, in its last size": ({"method": "gatys", "iterations": 3, **EASY}, 5),
    "refine": ({"refine": 4, **EASY}, 2),
    "refine by the clock": ({"refine": "600s", **EASY}, 2),
    "adain, in tiles": ({"method": "adain.small", "tile": 64, "size": 200, "device": "cpu"}, 9),
    "adain, in levels": ({"method": "adain.small", "device": "cpu"}, 3),
}


def stopping(number):
    """An ``on_step`` that ends a painting; and the steps that it was told of."""
    told = []

    def on_step(progress):
        told.append(progress)
        if progress.step == number:
            raise Stop

    return on_step, told


@pytest.fixture
def photo():
    return Image.fromarray(photo_array(128, 160))


@pytest.fixture
def style():
    return Image.fromarray(painting_array())


@pytest.mark.parametrize(("options", "number"), WAYS.values(), ids=WAYS)
def test_it_ends_where_a_stop_did(options, number, photo, style):
    on_step, told = stopping(number)
    stopped = impasto.stylize(photo, style, on_step=on_step, **options)
    assert len(told) == number < told[-1].steps
    again = []
    repeated = impasto.stylize(photo, style, stop_after=number, on_step=again.append, **options)
    assert repeated == stopped
    assert [progress.step for progress in again] == list(range(1, number + 1))
    assert again[-1].steps == number
    assert repeated != impasto.stylize(photo, style, stop_after=number - 1, **options)


def test_styles_of_several_methods(photo):
    on_step, told = stopping(7)
    styles = ["lion-hunt", "udnie"]
    stopped = impasto.stylize(photo, styles, on_step=on_step, device="cpu")
    assert told[-1].steps > 7
    assert impasto.stylize(photo, styles, stop_after=7, device="cpu") == stopped


def test_a_texture(style):
    options: dict[str, Any] = {"width": 140, "height": 130, "iterations": 3, **EASY}
    on_step, _ = stopping(4)
    stopped = impasto.texture(style, on_step=on_step, **options)
    assert impasto.texture(style, stop_after=4, **options) == stopped


def test_more_steps_than_there_are_change_nothing(photo, style):
    options: dict[str, Any] = {"method": "gatys", "iterations": 1, **EASY}
    whole = impasto.stylize(photo, style, **options)
    assert impasto.stylize(photo, style, stop_after=1000, **options) == whole
    quick: dict[str, Any] = {"method": "adain.small", "device": "cpu"}
    assert impasto.stylize(photo, style, stop_after=1000, **quick) == impasto.stylize(
        photo, style, **quick
    )


def test_the_clock_does_not_end_it(photo, style):
    """Of two refinements the slower one, which the clock would end at its first step."""
    options: dict[str, Any] = {"coarse_to_fine": False, **EASY}
    by_steps = impasto.stylize(photo, style, refine=3, **options)
    assert impasto.stylize(photo, style, refine="0.001s", stop_after=3, **options) == by_steps


def test_no_step_is_none(photo, style):
    with pytest.raises(ControlError, match="stop_after"):
        impasto.stylize(photo, style, stop_after=0, **EASY)


@pytest.mark.parametrize(
    "options",
    [
        ["--method", "gatys", "--iterations", "3", "--encoder", "vgg16"],
        ["--refine", "3", "--encoder", "vgg16"],
        ["--refine", "600s", "--encoder", "vgg16"],
        ["--method", "adain.small"],
    ],
    ids=" ".join,
)
def test_the_recipe_of_a_stopped_picture_paints_it_again(options, folder, monkeypatch):
    """Ctrl-C at the second step; then by ``--recipe``, by the printed command, and in Python."""
    call = ["stylize", "photo.png", "painting.png", "--device", "cpu"]
    told = Watcher.__call__

    def interrupted(self, progress):
        if progress.step == 2:
            self.stop.set()
        told(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "__call__", interrupted)
        assert run(*call, "-o", "stopped.png", *options).code == 130
    recipe = images.read_recipe(folder / "stopped.png")
    assert recipe["stop_after"] == 2
    stopped = np.asarray(Image.open(folder / "stopped.png"))
    assert run(*call, "-o", "again.png", "--recipe", "stopped.png").code == 0
    assert images.read_recipe(folder / "again.png") == recipe
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "again.png")), stopped)
    flags = dict(zip(options[::2], options[1::2], strict=True))
    given = {name.lstrip("-"): int(v) if v.isdecimal() else v for name, v in flags.items()}
    asked = Recipe.of({**given, "stop_after": 2})
    styles = [{"source": "painting.png", "weight": 1, "mask": None}]
    program, *arguments = shlex.split(asked.command("photo.png", styles, "command.png"))
    assert (program, run(*arguments).code) == ("impasto", 0)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "command.png")), stopped)
    exec(asked.python("photo.png", styles, "python.png"), {})
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "python.png")), stopped)


def test_what_the_clock_ended_says_where(folder):
    call = ["stylize", "photo.png", "painting.png", "--device", "cpu", "--encoder", "vgg16"]
    assert run(*call, "-o", "timed.png", "--refine", "0.5s").code == 0
    assert images.read_recipe(folder / "timed.png")["stop_after"] >= 1
    assert run(*call, "-o", "again.png", "--recipe", "timed.png").code == 0
    timed, again = (np.asarray(Image.open(folder / f"{name}.png")) for name in ("timed", "again"))
    np.testing.assert_array_equal(timed, again)
    assert run(*call, "-o", "whole.png", "--refine", "2").code == 0
    assert images.read_recipe(folder / "whole.png")["stop_after"] is None
