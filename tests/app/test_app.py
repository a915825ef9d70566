"""The app without a browser: its wishes and pages. Its jobs are in ``test_job_queue.py``, the
browser's part in ``test_browser.py``.
"""

import base64
import io
import shlex
import socket
import sys
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from impasto.app.wish import Chosen, Upload, Wish, command, python, read_masks
from PIL import Image
from streamlit.testing.v1 import AppTest

import impasto
from impasto import app, images
from impasto.app import batch, paint, pictures, visit, wish
from impasto.app.job_queue import Job
from impasto.controls import Controls
from impasto.errors import TooLargeError
from impasto.methods import METHODS
from impasto.methods.gatys import GatysConfig
from tests.helpers.cli import run
from tests.helpers.pictures import painting_array, photo_array

WAIT_S = 60
EASY: dict[str, Any] = {"encoder": "vgg16", "iterations": 2}


def png(array):
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, "PNG")
    return encoded.getvalue()


def upload(name="photo.png", array=None):
    return Upload(name, png(photo_array() if array is None else array))


# Wishes


def half():
    mask = Image.new("L", (32, 24))
    mask.paste(255, (0, 0, 16, 24))
    return mask


WISHES = {
    "by name": Wish(upload(), (Chosen("udnie"),), {"strength": 0.5}),
    "own": Wish(
        upload("my photo.png"),
        (Chosen(upload("it's.png", painting_array())),),
        {"preserve_color": "luminance", "size": 40, "matching": "wct"},
    ),
    "several": Wish(
        upload(),
        (Chosen("lion-hunt", 2.0), Chosen("bordighera", 0.5)),
        {"method": "styletr", "sharpness": 5.0, "size": 32},
    ),
    "masked": Wish(upload(), (Chosen("udnie", 1.0, half()), Chosen("great-wave")), {}),
    "one mask": Wish(upload(), (Chosen("udnie", 1.0, half()),), {"blending": "outputs"}),
    "optimised": Wish(
        upload(),
        (Chosen("lion-hunt"),),
        {"method": "gatys", **EASY, "coarse_to_fine": False, "seed": 3, "init": "noise"},
        snapshot_every=1,
    ),
    "refined": Wish(upload(), (Chosen("lion-hunt"),), {"refine": 1, "encoder": "vgg16"}),
    "odd names": Wish(
        upload("-x.png"),
        (Chosen(upload("-x.png", painting_array())), Chosen(upload("a b.png"))),
        {},
    ),
    "texture of one": Wish(None, (Chosen(upload("p.png", painting_array())),), {**EASY}),
    "texture": Wish(
        None,
        (Chosen(upload("p.png", painting_array())), Chosen("bordighera")),
        {"width": 40, "height": 32, "style_size": 48, **EASY},
    ),
}


def by_the_app(asked, on_step=lambda _: None):
    if asked.photo is None:
        return wish.paint_texture(asked, on_step)
    settings = {k: v for k, v in asked.options.items() if k not in Controls.__annotations__}
    painter = impasto.Stylizer(settings.pop("method", "auto"), **settings)
    return wish.paint(asked, painter, on_step)


def lay_out(asked, folder):
    """The files that the command line needs."""
    named = [(asked.photo, asked.photo and asked.photo.name)]
    for style, told in zip(asked.styles, asked.recipe_styles, strict=True):
        named.append((style.source, told["source"]))
    for given, name in named:
        if isinstance(given, Upload):
            (folder / name).write_bytes(given.data)
    if asked.masks:
        with zipfile.ZipFile(io.BytesIO(asked.zip_masks())) as archive:
            archive.extractall(folder)


@pytest.mark.parametrize("asked", WISHES.values(), ids=WISHES)
@pytest.mark.slow
def test_command_line_and_python_make_the_same_picture(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_out(asked, tmp_path)
    painted = by_the_app(asked)
    mine = np.asarray(painted.image, int)
    program, *arguments = shlex.split(command(asked))
    assert (program, run(*arguments).code) == ("impasto", 0)
    written = tmp_path / f"{asked.title}.png"
    with Image.open(written) as theirs:
        assert np.abs(mine - np.asarray(theirs, int)).max() <= 1
    assert images.read_recipe(written) == painted.recipe
    written.unlink()
    exec(python(asked), {})
    with Image.open(written) as theirs:
        assert np.abs(mine - np.asarray(theirs, int)).max() <= 1


@pytest.mark.parametrize("name", ["own", "several"])
@pytest.mark.slow
def test_pictures_painted_between_two_steps_disturb_nothing(name):
    between = []
    long, quick = by_the_app(WISHES["optimised"]), by_the_app(WISHES[name])
    again = by_the_app(WISHES["optimised"], lambda _: between.append(by_the_app(WISHES[name])))
    assert again.image == long.image
    assert [painted.image == quick.image for painted in between] == [True] * EASY["iterations"]


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_files_have_their_recipe_inside(extension, tmp_path):
    painted = by_the_app(WISHES["masked"])
    path = tmp_path / f"a{extension}"
    path.write_bytes(painted.encode(extension))
    recipe = images.read_recipe(path)
    assert recipe == painted.recipe
    assert [style["mask"] for style in recipe["styles"]] == ["mask-1.png", None]


def test_a_style_that_is_painted_nowhere_takes_the_rest():
    def drawn(box):
        picture = Image.new("RGBA", (40, 30))
        picture.paste((255, 0, 0, 255), box)
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()

    given = {"a": drawn((0, 0, 10, 30)), "b": drawn((10, 0, 15, 30))}
    masks = [np.asarray(mask) / 255 for mask in read_masks(given, ["a", "rest", "b"])]
    np.testing.assert_array_equal(sum(masks), np.ones((30, 40)))
    assert [int(mask.sum()) for mask in masks] == [300, 750, 150]
    assert read_masks({}, ["a", "b"]) == [None, None]
    assert read_masks(given, ["c"]) == [None]


@pytest.mark.parametrize("url", ["", "x", "data:,", "data:image/png;base64,aGk="])
def test_what_no_brush_paints_is_no_mask(url):
    assert read_masks({"a": url}, ["a"]) == [None]
    encoded = io.BytesIO()
    Image.new("RGBA", (5000, 10)).save(encoded, "PNG")
    huge = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
    assert read_masks({"a": huge}, ["a"]) == [None]


def test_large_pictures_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setenv("IMPASTO_APP_MEGAPIXELS", "0.003")
    with pytest.raises(TooLargeError, match=r"photo.png: 64x48 .* 0.003 megapixels; scale it down"):
        upload().read()
    small = upload(array=photo_array(40, 50))
    with pytest.raises(TooLargeError, match="choose a smaller size"):
        by_the_app(Wish(small, (Chosen("udnie"),), {"size": 80}))
    with pytest.raises(TooLargeError, match="choose a smaller size"):
        by_the_app(Wish(None, (Chosen("lion-hunt"),), {"width": 64, "height": 64}))


def test_many_photos_become_a_zip_whatever_some_are_like():
    photos = [upload("a.png"), Upload("bad.png", b"no"), upload("a.jpg"), upload("b.png")]
    job = Job(lambda job: batch.paint_all(photos, STYLE, {}, impasto.Stylizer(), job), quick=False)
    job.run()
    (failure,) = job.result.failures
    assert failure.startswith("bad.png: not a picture, or of an unknown format; use .avif, ")
    with zipfile.ZipFile(io.BytesIO(job.result.archive)) as archive:
        assert archive.namelist() == ["a.png", "a-2.png", "b.png"]
    bad = Job(
        lambda job: batch.paint_all(photos[1:2], STYLE, {}, impasto.Stylizer(), job), quick=False
    )
    bad.run()
    assert bad.result is None
    assert "bad.png" in bad.error


def test_many_photos_can_be_stopped_and_have_a_limit(monkeypatch):
    photos = [upload(f"{n}.png") for n in range(4)]

    def run(before_second):
        job, painter = Job(None, quick=False), impasto.Stylizer()
        paint_one = wish.paint

        def one(*given):
            if job.step == 1:
                before_second(job)
            return paint_one(*given)

        monkeypatch.setattr(batch, "paint", one)
        done = batch.paint_all(photos, STYLE, {}, painter, job)
        return len(done.thumbnails), done.failures

    assert run(Job.stop) == (1, ("Stopped after 1 of 4 photos.",))
    monkeypatch.setattr(batch, "MOST_BYTES", 10)
    assert run(lambda _: None) == (1, ("The archive is full after 1 photos.",))


STYLE = (Chosen("udnie"),)


# Pages


@pytest.fixture
def visitor():
    """A page with a photo on it."""
    test = AppTest.from_file(str(Path(app.__file__).parent / "main.py"), default_timeout=WAIT_S)
    test.session_state.photo = paint.Photo.of(upload("p_h*o.png"))
    return choose(test, "bordighera")


def choose(test, *names):
    kind = pictures.TRAINED if names[0] in impasto.gallery.trained() else pictures.PAINTINGS
    test.session_state["styles.kind"] = kind
    test.session_state["styles.mix"] = len(names) > 1
    test.session_state[f"styles.{kind}"] = list(names)
    return ran(test)


def ran(test):
    test.run()
    assert not test.exception
    return test


def history(test):
    """What the session keeps, the newest last."""
    return [job.result for job in test.session_state["history"].values()]


def labels(test):
    kinds = (test.slider, test.number_input, test.toggle, test.get("button_group"))
    return {widget.label: widget for kind in kinds for widget in kind}


def press(test, label):
    (button,) = (button for button in test.button if button.label == label)
    button.click()
    return ran(test)


def test_the_first_picture_comes_by_itself(visitor):
    assert not visitor.error
    (kept,) = history(visitor)
    assert kept.painted.image.size == (64, 48)
    codes = [code.value for code in visitor.code]
    assert codes[0] == "impasto stylize 'p_h*o.png' bordighera -o 'p_h*o-bordighera.png'"


@pytest.mark.parametrize("kind", [Controls, GatysConfig])
def test_every_control_has_its_widget_and_its_sentence(visitor, kind):
    left_out = {
        "tile",
        "stop_after",
        "encoder",
        "encoder_weights",
        "pooling",
        "precision",
        "seconds",
        "avg_decay",
    }
    left_out |= {"content_layers", "style_layers"}
    for knob in fields(kind):
        if knob.name not in left_out:
            widget = labels(visitor)[knob.name.replace("_", " ").capitalize()]
            assert widget.help.startswith(knob.metadata["help"])
    assert not visitor.text_input  # which could name a file of the server


def test_a_control_changes_the_picture_and_the_code(visitor):
    visitor.slider(key="paint.strength").set_value(0.5)
    ran(visitor)
    first, second = history(visitor)
    assert second.painted.recipe["strength"] == 0.5
    assert first.painted.image != second.painted.image
    assert "--strength 0.5" in visitor.code[0].value
    assert "strength=0.5" in visitor.code[1].value


@pytest.mark.slow
def test_methods_fit_the_kind_of_style(visitor):
    offered = {"auto", *METHODS} - {"fast"}
    assert set(labels(visitor)["Method"].options) == offered
    visitor.session_state["paint.method"] = "styletr"
    ran(visitor)
    assert history(visitor)[-1].painted.recipe["method"] == "styletr"
    assert "Sharpness" in labels(visitor)
    choose(visitor, "udnie")
    assert set(labels(visitor)["Method"].options) == {"auto", "fast"}
    assert history(visitor)[-1].painted.recipe["method"] == "fast"


@pytest.mark.slow
def test_the_optimiser_waits_for_its_button(visitor):
    visitor.session_state["paint.method"] = "gatys"
    visitor.session_state["paint.gatys.iterations"] = 2
    visitor.session_state["paint.gatys.snapshot_every"] = None
    ran(visitor)
    assert len(history(visitor)) == 1
    press(visitor, "Paint")
    assert history(visitor)[-1].painted.recipe["method"] == "gatys"
    assert next(reversed(visitor.session_state["history"].values())).history.rows


@pytest.mark.slow
def test_what_was_typed_right_before_the_click_counts(visitor):
    visitor.session_state["paint.gatys.iterations"] = 3
    ran(visitor)
    labels(visitor)["Iterations"].set_value(2)
    press(visitor, "Refine")
    assert history(visitor)[-1].painted.recipe["refine"] == 2


@pytest.mark.slow
def test_refining_and_back(visitor):
    visitor.session_state["paint.gatys.iterations"] = 2
    ran(visitor)
    press(visitor, "Refine")
    refined = history(visitor)[-1]
    assert refined.painted.recipe["refine"] == 2
    visitor.session_state["paint.gatys.iterations"] = 7
    visitor.slider(key="paint.strength").set_value(0.2)
    ran(visitor)
    count = len(history(visitor))
    visitor.session_state["pictures"] = ["picture-2"]
    ran(visitor)
    press(visitor, "Use these settings again")
    assert len(history(visitor)) == count  # nothing is painted anew
    assert visitor.number_input(key="paint.gatys.iterations").value == 2
    assert visitor.slider(key="paint.strength").value == 1
    press(visitor, "Another photo")
    press(visitor, "Back to your pictures")
    assert visitor.session_state["pictures"] == [next(reversed(visitor.session_state["history"]))]


@pytest.mark.slow
def test_several_styles_have_weights(visitor):
    choose(visitor, "lion-hunt", "bordighera")
    visitor.slider(key="styles.weight.lion-hunt").set_value(2.0)
    ran(visitor)
    styles = history(visitor)[-1].painted.recipe["styles"]
    assert [(style["source"], style["weight"]) for style in styles] == [
        ("lion-hunt", 2.0),
        ("bordighera", 1.0),
    ]


@pytest.mark.slow
def test_a_session_keeps_so_many_pictures(visitor, monkeypatch):
    monkeypatch.setattr(paint, "KEPT", 3)
    for strength in (0.1, 0.2, 0.3, 0.4):
        visitor.slider(key="paint.strength").set_value(strength)
        ran(visitor)
    kept = [kept.painted.recipe["strength"] for kept in history(visitor)]
    assert kept == [0.2, 0.3, 0.4]
    monkeypatch.setattr(paint, "KEPT_BYTES", 0)
    visitor.slider(key="paint.strength").set_value(0.9)
    ran(visitor)
    assert [kept.painted.recipe["strength"] for kept in history(visitor)] == [0.9]


def test_a_full_queue_says_so(visitor, monkeypatch):
    monkeypatch.setattr(visit.studio(), "places", {True: 0, False: 0})
    visitor.slider(key="paint.strength").set_value(0.3)
    ran(visitor)
    assert [error.value for error in visitor.error] == [
        "Many pictures are being painted right now\\: try again in a minute."
    ]
    monkeypatch.undo()
    press(visitor, "Paint")
    assert not visitor.error
    assert history(visitor)[-1].painted.recipe["strength"] == 0.3


def test_names_are_no_markdown():
    assert visit.sentence("a_*b[c]--d.png: use --size") == r"a\_\*b\[c\]--d.png\: use size"


# The server


def test_a_port_that_is_taken(refused):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}" in refused(
            "app", "--host", "127.0.0.1", "--port", port
        )


def test_bad_arguments(refused):
    assert "cannot listen on" in refused("app", "--host", "no.such.host.invalid")
    assert "--port" in refused("app", "--port", "0")
    assert "--max-megapixels" in refused("app", "--max-megapixels", "0")


def test_without_streamlit(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit.starlette", None)
    assert "pip install 'impasto[app]'" in refused("app")
