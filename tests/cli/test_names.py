"""File names of all kinds: where pictures go, and what photos and styles may be called."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from impasto import images
from impasto.cli.paint import parse_style
from impasto.cli.targets import targets_of
from tests.helpers.cli import run_apart, run_on_terminal
from tests.helpers.pictures import photo_array

NETWORK = ["--method", "adain.small", "--precision", "float32"]
OPTIMISER = ["--method", "gatys", "--encoder", "vgg16", "--iterations", "2"]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def same_names(folder):
    """Photos of one name in two folders, and others that come near; returns them by their path."""
    photos = {
        "100CANON/IMG_1.png": photo_array(32, 40),
        "101CANON/IMG_1.png": photo_array(40, 32),
        "101CANON/IMG_2.png": photo_array(24, 24),
        "101CANON/img_2.png": photo_array(24, 32),
        "102CANON/IMG_1.bmp": photo_array(32, 24),
    }
    for path, array in photos.items():
        (folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(path)
    return photos


def test_the_same_names_are_told_apart(run, folder):
    """With strength 0 each is its own photo, so that none can be taken for another."""
    photos = same_names(folder)
    call = ["stylize", *photos, "--style", "painting.png", "-o", "painted", *NETWORK]
    code, _, err = run(*call, "--strength", "0")
    assert (code, err) == (0, "")
    painted = ["IMG_1.png", "IMG_1-2.png", "IMG_2.png", "img_2-2.png", "IMG_1-3.png"]
    assert {path.name for path in (folder / "painted").iterdir()} == set(painted)
    for name, array in zip(painted, photos.values(), strict=True):
        np.testing.assert_array_equal(pixels(f"painted/{name}"), array)


@pytest.mark.parametrize(
    ("photos", "output", "written"),
    [
        (["photo.png", "second.png"], "painted", ["painted/photo.png", "painted/second.png"]),
        (["photo.png", "second.png"], "painted/", ["painted/photo.png", "painted/second.png"]),
        (["photo.png", "second.png"], "a.png/", ["a.png/photo.png", "a.png/second.png"]),
        (["photo.png", "second.png"], "26.06.01", ["26.06.01/photo.png", "26.06.01/second.png"]),
        (["photo.png", "second.png"], "a/b/c", ["a/b/c/photo.png", "a/b/c/second.png"]),
        (["photo.png", "second.png"], "there", ["there/photo.png", "there/second.png"]),
        (["photo.png"], "there", ["there/photo.png"]),
        (["photo.png"], "painted/", ["painted/photo.png"]),
        (["photo.png"], "a/b.c/", ["a/b.c/photo.png"]),
        (["photo.png"], "there/new.webp", ["there/new.webp"]),
    ],
)
def test_where_pictures_go(run, folder, photos, output, written):
    Image.fromarray(photo_array(32, 32)).save("second.png")
    (folder / "there").mkdir()
    before = {path for path in folder.rglob("*") if path.is_file()}
    code, _, err = run("stylize", *photos, "--style", "painting.png", "-o", output, *NETWORK)
    assert (code, err) == (0, "")
    new = {path for path in folder.rglob("*") if path.is_file()} - before
    assert new == {folder / path for path in written}


def test_a_texture_goes_into_a_folder_too(run, folder):
    code, _, err = run("texture", "painting.png", "--size", "32x32", "-o", "new/", *NETWORK[:2])
    assert (code, err) == (0, "")
    assert images.read(folder / "new/painting.png").size == (32, 32)


def test_folders_that_are_not_made(refused, folder):
    """Nothing is left behind by a call that is refused."""
    (folder / "notes").write_text("a file")
    (folder / "bad.jpg").write_text("no picture")
    call = ["stylize", "photo.png", "photo.png", "--style", "painting.png", *NETWORK]
    assert "several photos need a folder" in refused(*call, "-o", "out.jpg")
    assert "several photos need a folder" in refused(*call, "-o", "notes")
    assert "notes/deep: cannot be created" in refused(*call, "-o", "notes/deep")
    assert "notes: cannot be created" in refused(*call[:2], *call[3:], "-o", "notes/")
    assert "also an input" in refused(*call, "-o", ".")
    one = ["stylize", "photo.png", "painting.png"]
    assert "cannot write '.01' pictures; use " in refused(*one, "-o", "2024.06.01")
    assert "there is no folder no" in refused(*one, "-o", "no/out.png")
    assert "the output has no name" in refused(*one, "-o", "")
    # Nor is one that nothing was painted into.
    assert "bad.jpg: not a picture" in refused("stylize", "bad.jpg", "painting.png", "-o", "a/b/")


def test_long_names_are_cut_to_what_disks_take(folder):
    photos = [folder / name for name in ("é" * 125 + ".jpg", "é" * 125 + ".png", "a" * 255)]
    names = [path.name for path in targets_of(photos, "out/")[1]]
    assert names == ["é" * 125 + ".png", "é" * 124 + "-2.png", "a" * 251 + ".png"]


def test_a_name_that_no_disk_takes_is_one_line(refused, run, folder):
    name = "a" * 256 + ".png"
    assert "File name too long" in refused("stylize", "photo.png", "painting.png", "-o", name)
    assert "File name too long" in refused("stylize", "photo.png", name, "-o", "out.png")
    code, _, err = run("stylize", name, "photo.png", "--style", "painting.png", "-o", "o", *NETWORK)
    assert (code, err.count("\n")) == (2, 1)
    assert images.read(folder / "o/photo.png").size == (48, 64)


@pytest.fixture
def latin(folder):
    """A photo and a style whose names are not UTF-8, as old disks and archives hold them."""
    photo, style = (os.fsdecode(name) for name in (b"caf\xe9.png", b"st\xe9yle.png"))
    try:
        (folder / "photo.png").rename(folder / photo)
        (folder / "painting.png").rename(folder / style)
    except OSError:
        pytest.skip("this disk takes UTF-8 alone")
    return photo, style


@pytest.mark.slow
def test_names_that_are_not_utf8(latin, folder):
    photo, style = latin
    call = ["stylize", photo, style, "-o", "out/", *OPTIMISER]
    result = run_apart(*call, "--json")
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert (row["content"], row["output"]) == (photo, f"out/{photo}")
    assert "impasto: caf\\udce9.png: step 2 of 2" in result.stderr
    assert images.read_recipe(folder / f"out/{photo}")["styles"][0]["source"] == style
    result = run_apart("stylize", photo, style, "-o", "out/", "--recipe", f"out/{photo}")
    assert result.stdout.startswith("out/caf\\udce9.png: 64x48")
    (folder / photo).write_text("no picture")
    result = run_apart(*call)
    assert result.stderr.startswith("impasto: error: caf\\udce9.png: not a picture")


@pytest.mark.slow
def test_names_that_the_terminal_cannot_show(folder):
    (folder / "photo.png").rename(folder / "猫.png")
    call = ["stylize", "猫.png", "painting.png", "-o", "out/", *NETWORK]
    result = run_apart(*call, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("out/\\u732b.png: 64x48")


@pytest.mark.slow
def test_brackets_are_shown_on_a_terminal(folder):
    """Where a bar is drawn by a library that takes ``[b]`` for an instruction."""
    (folder / "photo.png").rename(folder / "[b]x[red].png")
    code, shown = run_on_terminal(
        "stylize", "[b]x[red].png", "painting.png", "-o", "[o].png", *OPTIMISER
    )
    assert code == 0
    assert "[b]x[red].png" in shown


def test_a_name_cannot_command_the_terminal(run, folder):
    (folder / "a\n\x1b[31mb.png").write_text("no picture")
    _, _, err = run("stylize", "a\n\x1b[31mb.png", "painting.png", "-o", "out.png")
    assert err.startswith("impasto: error: a\\n\\x1b[31mb.png: not a picture")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024:06:01 12:30.png", ("2024:06:01 12:30.png", 1, None)),
        ("2024:06:01 12:30.png:2", ("2024:06:01 12:30.png", 2, None)),
        ("a:b.png:0.5:m:1.png", ("a:b.png", 0.5, "m:1.png")),
        ("a:b.png::m:1.png", ("a:b.png", 1, "m:1.png")),
        ("a:b.png:2:", ("a:b.png", 2, None)),
        ("odd:2", ("odd:2", 1, None)),
        ("odd:2:3", ("odd:2", 3, None)),
        ("odd:4", ("odd", 4, None)),
        ("my:net.safetensors:2", ("my:net.safetensors", 2, None)),
        ("my:net.safetensors#great:2:m", ("my:net.safetensors#great", 2, "m")),
        ("folder:2", ("folder", 2, None)),
        ("starry-night:2", ("starry-night", 2, None)),
    ],
)
def test_the_longest_name_that_there_is_wins(folder, text, expected):
    for name in ("2024:06:01 12:30.png", "a:b.png", "odd", "odd:2", "my:net.safetensors"):
        (folder / name).write_text("")
    for name in ("2024", "folder:2"):
        (folder / name).mkdir()
    style = parse_style(text)
    assert (style.source, style.weight, style.mask) == expected


def test_a_style_that_is_not_there_is_told_by_its_whole_name(refused):
    said = refused("stylize", "photo.png", "--style", "my style:new.png", "-o", "out.png")
    assert "style 'my style:new.png': there is no file of this name, and 'new.png' is no" in said


def test_a_style_of_colons_paints(run, folder):
    (folder / "painting.png").rename(folder / "2024:06:01 12:30.png")
    Image.new("L", (64, 48), 255).save("m:1.png")
    style = "2024:06:01 12:30.png:2:m:1.png"
    code, _, err = run("stylize", "photo.png", "--style", style, "-o", "out.png", *NETWORK)
    assert (code, err) == (0, "")
    assert images.read_recipe(folder / "out.png")["styles"] == [
        {"source": "2024:06:01 12:30.png", "weight": 2.0, "mask": "m:1.png"}
    ]
