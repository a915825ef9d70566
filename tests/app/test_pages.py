"""The pages without a browser: Streamlit runs them, and says which widgets they would have."""

import base64
import io
import time
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import impasto
from impasto import Stylizer
from impasto.app import job_queue, pages, request, session, widgets
from impasto.app.components import Event
from impasto.app.examples import EXAMPLES
from impasto.app.job_queue import Job
from impasto.app.pages import batch, history, paint
from impasto.app.request import Request, Result, StyleChoice, Upload
from impasto.app.session import Session
from impasto.controls import Controls
from impasto.methods import METHODS
from impasto.methods.gatys import GatysConfig
from tests.helpers.app import upload
from tests.helpers.pictures import painting_array

WAIT_S = 60


def new_page(monkeypatch, path=""):
    """A page as a new visitor sees it."""
    monkeypatch.setattr(Session, "is_connected", lambda self: True)
    test = AppTest.from_file(str(Path(pages.__file__).parent / "main.py"), default_timeout=WAIT_S)
    return turn_to(ran(test), path) if path else ran(test)


def turn_to(test, path):
    """Another page, by its address; empty for the first."""
    known = test._registered_pages.items()
    test._page_hash = next(page for page, told in known if told["url_pathname"] == path)
    return ran(test)


@pytest.fixture
def page(monkeypatch):
    """The page with a photo on it, painted."""
    test = new_page(monkeypatch)
    mine(test).photo = upload("p_h*o.png")
    return choose(test, "bordighera")


@pytest.fixture
def refinable(page):
    """The same, where refining takes two steps of a small network."""
    page.session_state["paint.gatys.iterations"] = 2
    return ran(page)


def mine(test):
    """The visitor's session."""
    return test.session_state["session"]


def ran(test):
    test.run()
    assert not test.exception
    return test


def waited(test):
    """The page after its job is done."""
    job = mine(test).job
    end = time.monotonic() + WAIT_S
    while job and not job.finished and time.monotonic() < end:
        job.wait(1)
    return ran(test)


def choose(test, *names, key="styles"):
    test.session_state[f"{key}.mix"] = len(names) > 1
    test.session_state[key] = list(names)
    return ran(test)


def last(test):
    return next(reversed(mine(test).results.values()))


def labels(test):
    kinds = (test.slider, test.number_input, test.toggle, test.get("button_group"))
    return {widget.label: widget for kind in kinds for widget in kind}


def buttons(test):
    return {button.label: button for button in test.button}


def press(test, label):
    buttons(test)[label].click()
    return waited(ran(test))


def look_at(test, name):
    """Clicks on a picture of the history."""
    test.session_state["history"] = [name]
    return ran(test)


def errors(test):
    return [error.value for error in test.error]


# The first page


def test_the_first_page_offers_examples_and_takes_a_photo(monkeypatch):
    test = new_page(monkeypatch)
    assert [title.value for title in test.title] == ["Turn your photo into a painting"]
    assert [one.label for one in test.get("file_uploader")] == ["Your photo"]
    test.session_state["example"] = ["great-wave"]
    waited(ran(test))
    assert mine(test).photo.name == "coffee.jpg"
    assert last(test).request.styles == (StyleChoice("great-wave"),)
    assert last(test).image == Stylizer(device="cpu").stylize(
        Image.open(io.BytesIO(EXAMPLES["great-wave"].upload.data)), "great-wave"
    )


def test_a_photo_is_uploaded(monkeypatch):
    test = new_page(monkeypatch)
    test.get("file_uploader")[0].upload("beach.png", upload().data, "image/png")
    ran(test)
    assert mine(test).photo == upload("beach.png")
    assert "Choose a style" in " ".join(caption.value for caption in test.caption)
    assert not mine(test).results


def test_a_bad_photo_is_told_and_a_good_one_is_taken_after_it(monkeypatch):
    test = new_page(monkeypatch)
    test.get("file_uploader")[0].upload("b_d.png", b"no", "image/png")
    ran(test)
    (told,) = errors(test)
    assert told.startswith(r"b\_d.png\: not a picture")
    assert mine(test).photo is None
    test.get("file_uploader")[0].upload("good.png", upload().data, "image/png")
    ran(test)
    assert (mine(test).photo.name, errors(test)) == ("good.png", [])


# The picture


def test_the_first_picture_comes_by_itself(page):
    assert not page.error
    (result,) = mine(page).results.values()
    assert result.image == Stylizer(device="cpu").stylize(upload("").shown, "bordighera")
    codes = [code.value for code in page.code]
    assert codes[0] == "impasto stylize 'p_h*o.png' bordighera -o p_h-o-bordighera-1.png"
    assert "Paint" not in buttons(page)
    ran(page)
    assert list(mine(page).results) == ["1"]


@pytest.mark.parametrize("kind", [Controls, GatysConfig])
def test_every_control_has_its_widget_and_its_sentence(page, kind):
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
            label = widgets.LABELS.get(knob.name, knob.name.replace("_", " ").capitalize())
            told = widgets.HELP.get(knob.name, knob.metadata["help"])
            assert labels(page)[label].help.startswith(told)
    assert not page.text_input  # which could name a file of the server


def test_a_control_changes_the_picture_and_the_code(page):
    page.slider(key="paint.strength").set_value(0.5)
    ran(page)
    first, second = mine(page).results.values()
    assert second.recipe["strength"] == 0.5
    assert first.image != second.image
    assert "--strength 0.5" in page.code[0].value
    assert "strength=0.5" in page.code[1].value


@pytest.mark.parametrize("name", widgets.PRESETS)
def test_presets_set_the_controls_that_everybody_sees(page, name):
    page.slider(key="paint.detail").set_value(0.3)
    ran(page)
    assert labels(page)["How it is painted"].value is None
    labels(page)["How it is painted"].set_value(name)
    ran(page)
    given = {knob: last(page).recipe[knob] for knob in widgets.FIRST}
    defaults = {knob.name: knob.default for knob in fields(Controls) if knob.name in widgets.FIRST}
    assert given == {**defaults, **widgets.PRESETS[name]}
    assert labels(page)["How it is painted"].value == name


@pytest.mark.slow
def test_methods_fit_the_kind_of_style(page):
    offered = {"auto", *METHODS} - {"fast"}
    assert set(labels(page)["Method"].options) == offered
    labels(page)["Method"].set_value("styletr")
    ran(page)
    assert last(page).recipe["method"] == "styletr"
    assert "Sharpness" in labels(page)
    choose(page, "udnie")
    assert set(labels(page)["Method"].options) == {"auto", "fast"}
    assert last(page).recipe["method"] == "fast"
    assert "Longer side of the painting" not in labels(page)  # there is no painting
    assert "Quick" not in buttons(page)  # nothing to come closer to


@pytest.mark.slow
def test_controls_that_the_optimiser_refuses_are_left_out(refinable):
    page = refinable
    page.slider(key="paint.detail").set_value(0.3)
    labels(page)["Method"].set_value("gatys")
    ran(page)
    assert len(mine(page).results) == 1  # it waits for its button
    page.session_state["paint.snapshot_every"] = 1
    press(page, "Paint")
    result = last(page)
    assert (result.recipe["method"], result.kept) == ("gatys", True)
    assert "detail" not in result.request.options
    assert [row["step"] for row in result.losses] == [1, 2]
    assert list(result.snapshots) == [1, 2]
    assert {expander.label for expander in page.expander} >= {"How it came closer", "Snapshots"}
    assert "Quick" not in buttons(page)  # it is not refined once more
    assert not page.error


@pytest.mark.slow
def test_what_was_typed_right_before_the_click_counts(page):
    page.session_state["paint.gatys.iterations"] = 3
    ran(page)
    assert {"Quick", "Good", "Best", "3 steps"} <= set(buttons(page))
    labels(page)["Iterations"].set_value(2)
    page.slider(key="paint.strength").set_value(0.4)
    press(page, "3 steps")  # whose label is from before
    assert last(page).recipe["strength"] == 0.4


@pytest.mark.slow
def test_refining_and_back(refinable):
    page = refinable
    press(page, "2 steps")
    refined = last(page)
    assert (refined.id, refined.recipe["refine"], refined.kept) == ("2", 2, True)
    assert "Paint" not in buttons(page)  # it is what the controls say
    page.session_state["paint.gatys.iterations"] = 7
    page.slider(key="paint.strength").set_value(0.2)
    ran(page)
    assert len(mine(page).results) == 3
    look_at(page, "2")
    assert mine(page).shown == "2"
    assert len(mine(page).results) == 3  # nothing is painted anew
    assert page.number_input(key="paint.gatys.iterations").value == 2
    assert page.slider(key="paint.strength").value == 1
    assert "Paint" not in buttons(page)
    press(page, "Undo")
    assert mine(page).shown == "1"
    assert page.number_input(key="paint.gatys.iterations").value != 2
    assert buttons(page)["Undo"].disabled
    assert len(mine(page).results) == 3


@pytest.mark.slow
def test_a_stopped_picture_can_be_told_and_painted_again(refinable):
    page = refinable
    page.session_state["paint.gatys.iterations"] = 400
    ran(page)
    buttons(page)["400 steps"].click()
    ran(page)
    job = mine(page).job
    while job.step < 2:
        job.wait(1)
    press(page, "Stop")
    result = last(page)
    assert result.recipe["stop_after"] == result.stop_after >= 2
    assert f"--stop-after {result.stop_after}" in page.code[0].value
    assert f"stop_after={result.stop_after}" in page.code[1].value
    steps = result.steps
    assert any(
        caption.value == f"Stopped after step {result.stop_after} of {steps}."
        for caption in page.caption
    )
    assert page.number_input(key="paint.gatys.iterations").value == 400


@pytest.mark.slow
def test_settings_are_those_of_the_picture_after_a_reload(refinable, monkeypatch):
    page = refinable
    choose(page, "lion-hunt", "bordighera")
    page.slider(key="styles.weight.lion-hunt").set_value(2.0)
    page.slider(key="paint.detail").set_value(0.3)
    page.session_state["paint-64.size"] = 48
    ran(page)
    before = mine(page)
    reloaded = new_page(monkeypatch)
    assert [title.value for title in reloaded.title] == ["Turn your photo into a painting"]
    with monkeypatch.context() as patch:
        patch.setattr("impasto.app.components.page", lambda *_, **__: before.token)  # no secret
        assert mine(ran(reloaded)) is not before
        patch.setattr("impasto.app.components.page", lambda *_, **__: before.key)
        assert mine(ran(reloaded)) is before
    ran(reloaded)
    assert reloaded.slider(key="styles.weight.lion-hunt").value == 2
    assert reloaded.slider(key="paint.detail").value == 0.3
    assert reloaded.number_input(key="paint-64.size").value == 48
    assert reloaded.session_state["styles"] == ["lion-hunt", "bordighera"]
    assert list(before.results) == list(mine(page).results)  # and nothing was painted


@pytest.mark.slow
def test_several_styles_have_weights(page):
    choose(page, "lion-hunt", "bordighera")
    page.slider(key="styles.weight.lion-hunt").set_value(2.0)
    ran(page)
    styles = last(page).recipe["styles"]
    assert [(style["source"], style["weight"]) for style in styles] == [
        ("lion-hunt", 2.0),
        ("bordighera", 1.0),
    ]


def test_a_full_queue_says_so_and_is_tried_again(page, monkeypatch):
    monkeypatch.setattr(job_queue.queue(), "places", dict.fromkeys(("quick", "long", "tile"), 0))
    page.slider(key="paint.strength").set_value(0.3)
    ran(page)
    assert errors(page) == ["Many pictures are being painted right now\\: try again in a minute."]
    assert len(mine(page).results) == 1
    monkeypatch.undo()
    monkeypatch.setattr(Session, "is_connected", lambda self: True)
    assert not ran(page).error
    assert last(page).recipe["strength"] == 0.3


def test_no_room_for_more_that_takes_long(refinable, monkeypatch):
    page = refinable
    monkeypatch.setattr(session, "MOST_KEPT", 0)
    press(page, "2 steps")
    assert errors(page) == ["There is no room for more pictures\\: delete some of yours"]
    assert list(mine(page).results) == ["1"]


def test_refining_has_a_limit_since_it_takes_much_memory(refinable, monkeypatch):
    page = refinable
    monkeypatch.setattr(paint, "OPTIMISED_PIXELS", 48 * 36)
    press(page, "2 steps")
    assert errors(page) == ["This would take too much memory at 64 x 48\\: set Size to 48"]
    page.session_state["paint-64.size"] = 48
    ran(page)
    press(page, "2 steps")
    assert (errors(page), last(page).recipe["refine"]) == ([], 2)


def test_large_pictures_wait_for_their_button(page, monkeypatch):
    monkeypatch.setattr(paint, "_QUICK_PIXELS", 2000)
    page.slider(key="paint.strength").set_value(0.3)
    ran(page)
    assert list(mine(page).results) == ["1"]
    assert any("other settings than those shown" in caption.value for caption in page.caption)
    press(page, "Paint")
    assert (last(page).recipe["strength"], last(page).kept) == (0.3, True)


def test_all_pixels_can_be_painted(page):
    page.session_state["paint-64.size"] = 32
    ran(page)
    assert last(page).image.size == (32, 24)
    press(page, "Paint at full size, 64 × 48")
    assert last(page).image.size == (64, 48)
    assert "size" not in last(page).request.options


def test_names_are_no_markdown(page):
    own = upload("a_*b[c].png", painting_array())
    mine(page).own[own.id] = own
    choose(page, own.id)
    assert r"a\_\*b\[c\].png · 64 × 48 pixels" in [caption.value for caption in page.caption]


def test_masks_are_those_of_the_picture(page):
    data = io.BytesIO()
    picture = Image.new("RGBA", (64, 48))
    picture.paste((255, 0, 0, 255), (0, 0, 20, 48))
    picture.save(data, "PNG")
    drawn = {"bordighera": as_url(data.getvalue())}
    labels(page)["Paint only where I draw"].set_value(True)
    ran(page)
    assert list(mine(page).results) == ["1"]  # nothing is drawn yet
    mine(page).drawn = drawn
    ran(page)
    result = last(page)
    assert result.recipe["styles"][0]["mask"] == "mask-1.png"
    whole = mine(page).results["1"].image
    assert result.image.crop((40, 0, 64, 48)) == upload().shown.crop((40, 0, 64, 48))
    assert result.image.crop((0, 0, 10, 48)) != upload().shown.crop((0, 0, 10, 48))
    number = mine(page).drawing
    look_at(page, "1")
    assert (mine(page).drawn, labels(page)["Paint only where I draw"].value) == ({}, False)
    assert mine(page).drawing > number  # so that the brush takes over what Python says
    look_at(page, "2")
    assert mine(page).drawn == drawn
    assert mine(page).results["1"].image == whole
    assert list(mine(page).results) == ["1", "2"]


def as_url(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_pictures_are_renamed_pinned_and_deleted():
    visitor = Session()
    for _ in range(2):
        asked = Request(upload(), (StyleChoice("udnie"),), {})
        visitor.add(Result(asked, Image.new("RGB", (20, 16)), {}))
    history.edit(visitor, Event(1, "rename", "1", "For Ada"))
    history.edit(visitor, Event(1, "pin", "1", True))
    assert (visitor.results["1"].name, visitor.results["1"].kept) == ("For Ada", True)
    history.edit(visitor, Event(1, "rename", "1", "x" * 1_000_000))
    assert len(visitor.results["1"].title) == 100
    history.edit(visitor, Event(1, "rename", "1", ""))
    assert visitor.results["1"].name.startswith("Udnie")
    with zipfile.ZipFile(io.BytesIO(history.archive(visitor))) as archive:
        assert archive.namelist() == ["photo-udnie-1.png", "photo-udnie-2.png"]
    history.edit(visitor, Event(1, "remove", "2"))
    history.edit(visitor, Event(2, "remove", "2"))  # in another tab
    assert list(visitor.results) == ["1"]


# Textures


@pytest.mark.slow
def test_a_texture(monkeypatch):
    page = new_page(monkeypatch, "texture")
    assert buttons(page)["Paint"].disabled
    choose(page, "bordighera", key="texture")
    for side in ("width", "height"):
        page.number_input(key=f"texture.{side}").set_value(64)
    page.number_input(key="texture.gatys.iterations").set_value(2)
    press(page, "Paint")
    theirs = impasto.texture("bordighera", width=64, height=64, iterations=2, device="cpu")
    assert mine(page).texture.image == theirs
    assert page.code[0].value == (
        "impasto texture bordighera --size 64x64 --iterations 2 -o texture-bordighera-1.png"
    )
    assert {expander.label for expander in page.expander} >= {"How it came closer"}


def test_textures_have_a_limit_since_they_take_much_memory(monkeypatch):
    page = choose(new_page(monkeypatch, "texture"), "bordighera", key="texture")
    for side in ("width", "height"):
        page.number_input(key=f"texture.{side}").set_value(1300)
    press(page, "Paint")
    assert errors(page) == [
        "This would take too much memory at 1300 x 1300\\: 1224 x 1224 would not"
    ]
    assert mine(page).job is None
    monkeypatch.setattr("impasto.app.pages.texture.OPTIMISED_PIXELS", 100)
    page.number_input(key="texture.width").set_value(None)
    press(page, "Paint")
    (told,) = errors(page)
    assert "too much memory" in told
    assert "1300" not in told  # but the painting's own size


def test_textures_are_of_paintings_alone(monkeypatch):
    page = choose(new_page(monkeypatch, "texture"), "udnie", key="texture")
    assert buttons(page)["Paint"].disabled


# Many photos


STYLE = Request(None, (StyleChoice("udnie"),), {})


def test_many_photos_on_the_page(monkeypatch):
    page = new_page(monkeypatch, "batch")
    assert buttons(page)["Paint"].disabled
    page.get("file_uploader")[0].set_value(
        [("a.png", upload().data, "image/png"), ("bad.png", b"no", "image/png")]
    )
    ran(page)
    assert [photo.name for photo in mine(page).photos.values()] == ["a.png", "bad.png"]
    choose(page, "udnie", key="batch")
    press(page, "Paint 2 photos")
    (told,) = errors(page)
    assert told.startswith(r"bad.png\: not a picture")
    assert list(mine(page).batch.pictures) == ["a.png"]
    assert page.code[0].value == "impasto stylize photos udnie -o painted"


def test_many_photos_have_an_end(monkeypatch):
    monkeypatch.setattr(batch, "MOST_PHOTOS", 1)
    page = new_page(monkeypatch, "batch")
    files = [(f"{n}.png", upload(f"{n}.png").data, "image/png") for n in range(2)]
    page.get("file_uploader")[0].set_value(files)
    ran(page)
    assert len(mine(page).photos) == 1
    assert "There is room for 1 photo" in errors(page)[0]


@pytest.mark.parametrize("extension", batch.FORMATS.values())
def test_many_photos_become_a_zip_whatever_some_are_like(extension):
    photos = [upload("a.png"), Upload("bad.png", b"no"), upload("a.jpg"), upload("b.png")]

    def work(photos):
        return lambda job: batch.paint_all(photos, STYLE, Stylizer(), job, extension)

    job = Job(work(photos), quick=False)
    job.run()
    (failure,) = job.result.failures
    assert failure.startswith("bad.png: not a picture, or of an unknown format; use .avif, ")
    names = [f"{stem}{extension}" for stem in ("a", "a-2", "b")]
    with zipfile.ZipFile(io.BytesIO(job.result.archive)) as archive:
        assert archive.namelist() == names == list(job.result.pictures)
        with archive.open(names[2]) as entry, Image.open(entry) as picture:
            assert picture.format == {".png": "PNG", ".jpg": "JPEG"}[extension]
            if extension == ".png":
                theirs = Stylizer(device="cpu").stylize(upload().shown, "udnie")
                assert picture.tobytes() == theirs.tobytes()
    bad = Job(work(photos[1:2]), quick=False)
    bad.run()
    assert bad.result is None
    assert "bad.png" in bad.error


def test_many_photos_can_be_stopped_and_have_a_limit(monkeypatch):
    photos = [upload(f"{n}.png") for n in range(4)]
    paint_one = request.paint

    def run(before_second):
        job = Job(None, quick=False)

        def one(*given):
            if job.step == 1:
                before_second(job)
            return paint_one(*given)

        monkeypatch.setattr("impasto.app.pages.batch.paint", one)
        done = batch.paint_all(photos, STYLE, Stylizer(), job)
        return len(done.pictures), done.stopped, done.failures

    assert run(Job.stop) == (1, "Stopped after 1 of 4 photos.", ())
    monkeypatch.setattr(batch, "MOST_BYTES", 10)
    assert run(lambda _: None) == (1, "The archive is full after 1 photos.", ())


# Several pages


def test_a_job_is_seen_from_other_pages_and_nobody_waits_there(refinable):
    page = refinable
    page.session_state["paint.gatys.iterations"] = 400
    ran(page)
    buttons(page)["400 steps"].click()
    ran(page)
    turn_to(page, "texture")
    assert [info.value.partition(":")[0] for info in page.info] == ["On the page Paint"]
    assert "Stop" not in buttons(page)
    mine(page).job.stop()
    waited(page)
    assert last(page).kept


def test_own_paintings_are_at_hand_on_every_page(monkeypatch):
    page = new_page(monkeypatch, "texture")
    page.get("file_uploader")[0].set_value([("p.png", upload().data, "image/png")])
    ran(page)
    (own,) = mine(page).own.values()
    assert page.session_state["texture"] == [own.id]
    mine(page).photo = upload()
    turn_to(page, "")
    choose(page, own.id)
    assert last(page).request.styles == (StyleChoice(own),)
