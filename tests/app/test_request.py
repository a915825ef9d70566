"""Requests: the app, the printed command and the Python code paint the same picture."""

import base64
import io
import shlex
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from impasto import images
from impasto.app import request
from impasto.app.job_queue import Job
from impasto.app.job_view import finished
from impasto.app.request import Request, Result, StyleChoice, Upload, read_masks, sized
from impasto.errors import ImageError, TooLargeError
from impasto.images import Picture
from impasto.recipes import Recipe
from tests.helpers.app import upload
from tests.helpers.cli import run
from tests.helpers.files import bomb
from tests.helpers.pictures import painting_array, photo_array

EASY: dict[str, Any] = {"encoder": "vgg16", "iterations": 2}


def half():
    mask = Image.new("L", (32, 24))
    mask.paste(255, (0, 0, 16, 24))
    return mask


REQUESTS = {
    "by name": Request(upload(), (StyleChoice("udnie"),), {"strength": 0.5}),
    "own": Request(
        upload("my photo.png"),
        (StyleChoice(upload("it's.png", painting_array())),),
        {"preserve_color": "luminance", "size": 40, "matching": "wct"},
    ),
    "several": Request(
        upload(),
        (StyleChoice("lion-hunt", 2.0), StyleChoice("bordighera", 0.5)),
        {"method": "styletr", "sharpness": 5.0, "size": 32},
    ),
    "masked": Request(upload(), (StyleChoice("udnie", 1.0, half()), StyleChoice("great-wave")), {}),
    "one mask": Request(upload(), (StyleChoice("udnie", 1.0, half()),), {"blending": "outputs"}),
    "strokes": Request(upload(), (StyleChoice("lion-hunt"),), {"stroke_size": 2.0, "detail": 0.4}),
    "optimised": Request(
        upload(),
        (StyleChoice("lion-hunt"),),
        {"method": "gatys", **EASY, "coarse_to_fine": False, "seed": 3, "init": "noise"},
        snapshot_every=1,
    ),
    "refined": Request(upload(), (StyleChoice("lion-hunt"),), {"refine": 1, "encoder": "vgg16"}),
    "odd names": Request(
        upload("-x.png"),
        (StyleChoice(upload("-x.png", painting_array())), StyleChoice(upload("a b.png"))),
        {},
    ),
    "texture of one": Request(None, (StyleChoice(upload("p.png", painting_array())),), {**EASY}),
    "texture": Request(
        None,
        (StyleChoice(upload("p.png", painting_array())), StyleChoice("bordighera")),
        {"width": 40, "height": 32, "style_size": 48, **EASY},
    ),
}
LONG = {
    "optimised": Request(
        upload(), (StyleChoice("lion-hunt"),), {"method": "gatys", "encoder": "vgg16"}
    ),
    "refined": Request(upload(), (StyleChoice("lion-hunt"),), {"refine": 5, "encoder": "vgg16"}),
    "texture": Request(
        None,
        (StyleChoice("bordighera"),),
        {"width": 40, "height": 32, "style_size": 48, "encoder": "vgg16", "iterations": 5},
    ),
}


def paint(asked, on_step=lambda _: None):
    """As the app paints it."""
    if asked.photo is None:
        return request.paint_texture(asked, on_step)
    return request.paint(asked, Recipe.of(asked.options).stylizer("cpu"), on_step)


def paint_until(asked, step):
    """As the app paints it if the visitor clicks Stop at that step."""

    def work(job):
        def on_step(progress):
            if progress.step == step:
                job.stop()
            job.on_step(progress)

        return finished(paint(asked, on_step), job)

    job = Job(work, quick=False)
    job.run()
    assert job.error is None
    return job.result


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


def assert_painted_by_command_and_code(painted, folder):
    """The command line and Python make the picture, with the same recipe in its file."""
    lay_out(painted.request, folder)
    mine = np.asarray(painted.image, int)
    program, *arguments = shlex.split(painted.command())
    assert (program, run(*arguments).code) == ("impasto", 0)
    written = folder / f"{painted.file}.png"
    with Image.open(written) as theirs:
        assert np.abs(mine - np.asarray(theirs, int)).max() <= 1
    assert images.read_recipe(written) == painted.recipe
    written.unlink()
    exec(painted.python(), {})
    with Image.open(written) as theirs:
        assert np.abs(mine - np.asarray(theirs, int)).max() <= 1


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.slow
def test_command_line_and_python_make_the_same_picture(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_painted_by_command_and_code(paint(asked), tmp_path)


@pytest.mark.parametrize("asked", LONG.values(), ids=LONG)
@pytest.mark.slow
def test_a_stopped_picture_can_be_made_again(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopped = paint_until(asked, 2)
    assert (stopped.stop_after, stopped.recipe["stop_after"]) == (2, 2)
    assert stopped.steps > 2
    assert [row["step"] for row in stopped.losses] == [1, 2]
    assert stopped.name.endswith("stopped at 2")
    assert stopped.request == asked  # so that its controls come back as they were
    assert_painted_by_command_and_code(stopped, tmp_path)


def test_a_stop_at_the_last_step_changes_nothing():
    whole = paint_until(LONG["texture"], 5)
    assert (whole.stop_after, whole.steps) == (None, 0)
    assert whole.recipe["stop_after"] is None


@pytest.mark.parametrize("name", ["own", "several"])
@pytest.mark.slow
def test_pictures_painted_between_two_steps_disturb_nothing(name):
    between = []
    long, quick = paint(REQUESTS["optimised"]), paint(REQUESTS[name])
    again = paint(REQUESTS["optimised"], lambda _: between.append(paint(REQUESTS[name])))
    assert again.image == long.image
    assert [painted.image == quick.image for painted in between] == [True] * EASY["iterations"]


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_files_have_their_recipe_inside(extension, tmp_path):
    painted = paint(REQUESTS["masked"])
    path = tmp_path / f"a{extension}"
    path.write_bytes(painted.encode(extension))
    recipe = images.read_recipe(path)
    assert recipe == painted.recipe
    assert [style["mask"] for style in recipe["styles"]] == ["mask-1.png", None]


def test_styles_encoded_before_paint_the_same():
    asked = REQUESTS["own"]
    painter = Recipe.of(asked.options).stylizer("cpu")
    encoded = painter.encode([style.style() for style in asked.styles])
    result = request.paint(asked, painter, lambda _: None, encoded)
    assert result.image == paint(asked).image


def test_a_look_at_a_style_is_what_the_library_paints():
    small = upload().shown
    for source, method in (("lion-hunt", "adain.small"), ("udnie", "auto")):
        mine = request.paint_small(small, source)
        assert mine == Recipe(method).stylizer("cpu").stylize(small, source)
    painting = upload("p.png", painting_array())
    mine = request.paint_small(small, painting)
    theirs = Recipe("adain.small").stylizer("cpu").stylize(small, Image.fromarray(painting_array()))
    assert mine == theirs


# Names


def made(asked, **more):
    return Result(asked, Image.new("RGB", (4, 3)), {}, **more)


def test_the_names_of_pictures_tell_what_they_are():
    several = REQUESTS["several"]
    assert made(several).name == ("Lion Hunt 2, Bordighera 0.5, method styletr, sharpness 5.0")
    assert made(REQUESTS["own"]).name.startswith("it's.png, colours: photo's, ")
    assert "masks" in made(REQUESTS["masked"]).name
    assert made(several, title="For Ada").name == "For Ada"


def test_files_of_one_photo_and_style_have_different_names():
    asked = REQUESTS["by name"]
    assert [made(asked, id=name).file for name in ("1", "2")] == ["photo-udnie-1", "photo-udnie-2"]
    assert made(asked, id="1", title="For Ada").file == "For Ada-1"
    assert made(REQUESTS["texture"]).file == "texture-p-bordighera"


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a\\..\\x", "-rf", "x\0y\n", "C:x", ".", "..", "x" * 900, "🎨" * 300]
)
def test_no_name_leaves_its_folder_or_is_too_long(name):
    for result in (made(REQUESTS["by name"], id="1", title=name), made(named(name), id="1")):
        file = f"{result.file}.png"
        assert not set(file) & set("/\\:\0\n")
        assert not file.startswith(("-", "."))
        assert len(file.encode()) <= 255
        assert file.endswith("-1.png")


def named(name):
    return Request(upload(f"{name}.png"), (StyleChoice("udnie"),), {})


def test_uploads_of_one_content_and_name_are_one():
    assert upload().id == upload().id
    others = [upload("other.png"), upload(array=painting_array()), Upload("", b"photo.png")]
    assert len({upload().id, *(other.id for other in others)}) == 4
    assert all(one.id.isalnum() for one in others)  # part of an address


# Sizes


def test_pictures_are_shown_at_the_size_of_a_screen():
    large = upload(array=np.zeros((40, 4000, 3), np.uint8))
    assert (large.size, large.shown.size) == ((4000, 40), (request.SHOWN_SIDE, 16))
    image = Image.new("RGB", (3000, 1500))
    assert sized(image, "full").size == (3000, 1500)
    assert sized(image, "").size == (request.SHOWN_SIDE, request.SHOWN_SIDE // 2)
    assert sized(image, "small").size == (288, 144)
    assert sized(upload().shown, "small").size == (64, 48)  # never enlarged
    assert image.size == (3000, 1500)


def test_the_size_is_known_before_it_is_painted():
    for name in ("own", "several", "masked"):
        assert REQUESTS[name].painted_size() == paint(REQUESTS[name]).image.size


def test_large_pictures_are_refused_before_they_are_unpacked(monkeypatch):
    with pytest.raises(TooLargeError, match=r"huge.png: 10000x10000 .* 50 megapixels"):
        Upload("huge.png", bomb(10_000)).open()
    monkeypatch.setenv("IMPASTO_APP_MEGAPIXELS", "0.003")
    with pytest.raises(TooLargeError, match=r"photo.png: 64x48 .* 0.003 megapixels; scale it down"):
        upload().open()
    small = upload(array=photo_array(40, 50))
    with pytest.raises(TooLargeError, match="choose a smaller size"):
        paint(Request(small, (StyleChoice("udnie"),), {"size": 80}))
    with pytest.raises(TooLargeError, match="choose a smaller size"):
        paint(Request(None, (StyleChoice("lion-hunt"),), {"width": 64, "height": 64}))


def test_what_is_no_picture_is_refused_with_a_sentence():
    with pytest.raises(ImageError, match=r"^bad\.png: not a picture, or of an unknown format"):
        Upload("bad.png", b"no").open()


def test_huge_paintings_are_made_smaller(monkeypatch):
    monkeypatch.setattr(request, "_STYLE_PIXELS", 1000)
    source = StyleChoice(upload("p.png", painting_array())).style().source
    assert isinstance(source, Picture)
    height, width = source.size
    assert 900 < height * width <= 1010
    assert height / width == pytest.approx(56 / 40, rel=0.05)


# Masks


def as_url(picture):
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()


def drawn(box):
    picture = Image.new("RGBA", (40, 30))
    picture.paste((255, 0, 0, 255), box)
    return as_url(picture)


def test_a_style_that_is_drawn_nowhere_takes_the_rest():
    given = {"a": drawn((0, 0, 10, 30)), "b": drawn((10, 0, 15, 30))}
    masks = [np.asarray(mask) / 255 for mask in read_masks(given, ["a", "rest", "b"])]
    np.testing.assert_array_equal(sum(masks), np.ones((30, 40)))
    assert [int(mask.sum()) for mask in masks] == [300, 750, 150]
    assert read_masks({}, ["a", "b"]) == [None, None]
    assert read_masks(given, ["c"]) == [None]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "data:,",
        "data:image/png;base64,aGk=",
        as_url(Image.new("RGBA", (5000, 10))),
        as_url(Image.new("RGB", (10, 10))),
        "data:image/png;base64," + base64.b64encode(bomb()).decode(),
        drawn((0, 0, 40, 30))[:-60],
    ],
    ids=["empty", "x", "no picture", "no PNG", "huge", "no alpha", "bomb", "cut off"],
)
def test_what_no_brush_draws_is_no_mask(url):
    assert read_masks({"a": url}, ["a"]) == [None]


def test_masks_come_in_a_zip_at_the_size_of_the_photo():
    with zipfile.ZipFile(io.BytesIO(REQUESTS["masked"].zip_masks())) as archive:
        assert archive.namelist() == ["mask-1.png"]
        with archive.open("mask-1.png") as entry, Image.open(entry) as mask:
            assert mask.size == (64, 48)
            assert (mask.getpixel((5, 5)), mask.getpixel((60, 5))) == (255, 0)
