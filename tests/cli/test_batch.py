"""Many pictures in one call: what is wrong with one is said, and the others are done."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

from impasto import images
from impasto.errors import ImageError, OutputError
from tests.helpers.cli import command
from tests.helpers.pictures import painting_array, photo_array

NETWORK = ["--method", "adain.small", "--precision", "float32"]
OPTIMISER = ["--method", "gatys", "--encoder", "vgg16", "--iterations", "2"]


@pytest.fixture
def photos(folder):
    """Three photos, of which tests spoil the second."""
    for n in range(3):
        Image.fromarray(photo_array(40 + 8 * n, 64)).save(f"{n}.jpg")
    return folder


BATCH = ["stylize", "0.jpg", "1.jpg", "2.jpg", "painting.png", "-o", "painted", *NETWORK]


def others_are_painted(result, folder):
    """Checks a batch whose second photo failed; returns what was said of it."""
    code, out, err = result
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("impasto: error: 1.jpg: ")
    assert line.count("1.jpg") == 1
    assert sorted(path.name for path in (folder / "painted").iterdir()) == ["0.png", "2.png"]
    rows = json.loads(out)
    assert [row["content"] for row in rows] == ["0.jpg", "1.jpg", "2.jpg"]
    assert ["error" in row for row in rows] == [False, True, False]
    assert [row.get("output") for row in rows] == ["painted/0.png", None, "painted/2.png"]
    assert line == f"impasto: error: {rows[1]['error']}"
    return line


def no_picture(path):
    path.write_text("no picture")


def panorama(path):
    Image.new("RGB", (5000, 17)).save(path)


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_picture, "not a picture"),
        (panorama, "at least 16 pixels a side are needed"),
        (a_folder, "is a folder"),
        (os.unlink, "no such file"),
    ],
)
def test_the_others_are_painted(run, photos, spoil, message):
    spoil(photos / "1.jpg")
    result = run(*BATCH, "--size", "64", "--json")
    assert message in others_are_painted(result, photos)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("Given groups=1\nweight of size [8]"), "RuntimeError: Given groups=1"),
        (MemoryError(), "there is not enough memory for this; give a smaller size"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "1.jpg"), "Input/output error"),
        (ImageError("1.jpg: too odd"), "too odd"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_whatever_goes_wrong_is_one_line(run, photos, monkeypatch, error, message):
    read = images.read

    def failing(image):
        if str(image) == "1.jpg":
            raise error
        return read(image)

    monkeypatch.setattr(images, "read", failing)
    line = others_are_painted(run(*BATCH, "--json"), photos)
    assert line.endswith(f"1.jpg: {message}")


def test_a_single_photo_is_reported_as_many_are(run, folder):
    no_picture(folder / "bad.jpg")
    code, out, err = run("stylize", "bad.jpg", "painting.png", "-o", "out.png", *NETWORK, "--json")
    (row,) = json.loads(out)
    assert (code, row["content"]) == (2, "bad.jpg")
    assert err == f"impasto: error: {row['error']}\n"


@pytest.mark.slow
def test_a_broken_style_is_said_once(refused, photos):
    """Before anything is painted, and the folder that was to be made is not there."""
    no_picture(photos / "bad.png")
    batch = ["stylize", "0.jpg", "1.jpg", "2.jpg", "-o", "painted/deep"]
    said = {
        ("bad.png",): "error: bad.png: not a picture",
        ("none.png",): "error: none.png: no such file",
        ("painting.png:1:bad.png",): "error: bad.png: not a picture",
        ("painting.png:0",): "error: the style weights sum to zero",
        ("none.safetensors",): "error: none.safetensors: no such weights file",
        ("painting.png", "--strength", "2"): "error: strength is 2.0",
        ("starry-night", "--refine", "2"): "error: 'starry-night' is a trained style",
        ("starry-night", "--style-size", "64"): "error: strokes of trained styles",
        ("painting.png", *OPTIMISER, "--detail", "0"): "error: detail is for networks",
        ("painting.png", "--method", "gatys", "--encoder-weights", "bad.png"): "error: bad.png",
    }
    for style, message in said.items():
        assert message in refused(*batch, "--style", *style)


def test_what_systems_leave_among_photos_is_left_out(run, refused, photos):
    no_picture(photos / "._0.jpg")
    no_picture(photos / "Thumbs.db")
    call = ["stylize", "._0.jpg", "0.jpg", "1.jpg", "Thumbs.db", "painting.png"]
    code, out, err = run(*call, "-o", "painted", *NETWORK, "--json")
    assert (code, err) == (0, "")
    assert [row["content"] for row in json.loads(out)] == ["0.jpg", "1.jpg"]
    assert "name the photo itself" in refused("stylize", "._0.jpg", "painting.png", "-o", "o.png")


def test_files_of_a_photo_that_failed_stay(run, photos, monkeypatch):
    """Snapshots are all that is left of what was painted."""
    write = images.write

    def failing(path, *arguments):
        if path.name == "1.png":
            raise OutputError("painted/1.png: cannot be written")
        return write(path, *arguments)

    monkeypatch.setattr(images, "write", failing)
    monkeypatch.setattr(images, "rescue", lambda *_: None)
    call = ["stylize", "0.jpg", "1.jpg", "painting.png", "-o", "painted", "--snapshot-every", "1"]
    code, out, err = run(*call, *OPTIMISER, "--json")
    assert code == 2
    assert "error: 1.jpg: painted/1.png: cannot be written\n" in err
    assert ["error" in row for row in json.loads(out)] == [False, True]
    snapshots = {f"{n}-0000{step}.png" for n in (0, 1) for step in (1, 2)}
    assert {path.name for path in (photos / "painted").iterdir()} == {"0.png", *snapshots}


def test_what_cannot_be_kept_beside_a_picture_does_not_cost_it(run, folder, monkeypatch):
    write = images.write

    def failing(path, *arguments):
        if path.name != "out.png":
            raise OutputError(f"{path}: cannot be written")
        return write(path, *arguments)

    def full(_history, path):
        raise OutputError(f"{path}: cannot be written")

    monkeypatch.setattr(images, "write", failing)
    monkeypatch.setattr("impasto.history.History.write_csv", full)
    call = ["stylize", "photo.png", "painting.png", "-o", "out.png", *OPTIMISER, "--json"]
    code, out, err = run(*call, "--snapshot-every", "1", "--history", "l.csv")
    assert code == 2
    (row,) = json.loads(out)
    assert row["output"] == "out.png"
    assert row["error"] == "out-00001.png: cannot be written; l.csv: cannot be written"
    assert [line for line in err.splitlines() if "error" in line] == [
        "impasto: error: out-00001.png: cannot be written",
        "impasto: error: l.csv: cannot be written",
    ]
    assert images.read(folder / "out.png").size == (48, 64)


@pytest.fixture
def painted(folder):
    """Three pictures, by two paintings."""
    for name in ("painted", "photos", "paintings"):
        (folder / name).mkdir()
    for name in ("cat", "dog"):
        Image.fromarray(photo_array()).save(f"photos/{name}.png")
    for name in ("monet", "seurat"):
        Image.fromarray(painting_array()).save(f"paintings/{name}.png")
    for name in ("cat_monet", "cat_seurat", "dog_monet"):
        Image.fromarray(painting_array(48, 64)).save(f"painted/{name}.png")
    return folder


EVALUATE = ["evaluate", "painted", "--content", "photos", "--style", "paintings"]


@pytest.mark.slow
def test_evaluate_tells_of_a_broken_painting_once(run, painted):
    no_picture(painted / "paintings/monet.png")
    code, out, err = run(*EVALUATE)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("impasto: error: paintings/monet.png: not a picture")
    assert out.splitlines()[-1] == "1 judged, 2 failed"


@pytest.mark.slow
def test_evaluate_goes_on_whatever_happens(run, painted, monkeypatch):
    read = images.read

    def failing(image):
        if str(image) == "photos/dog.png":
            raise RuntimeError("odd\nvery")
        return read(image)

    monkeypatch.setattr(images, "read", failing)
    code, out, err = run(*EVALUATE, "--csv", "e.csv")
    assert code == 2
    assert err == "impasto: error: photos/dog.png: RuntimeError: odd\n"
    assert out.splitlines()[-1] == "2 judged, 1 failed"
    assert len((painted / "e.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_evaluate_leaves_out_what_systems_leave(run, painted):
    no_picture(painted / "painted/._cat_monet.png")
    no_picture(painted / "photos/._cat.png")
    shutil.copy("painted/cat_monet.png", "painted/._stray.png")
    code, out, err = run(*EVALUATE)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "3 judged"


@pytest.mark.slow
def test_a_report_that_cannot_be_written_does_not_cost_the_others(run, painted, monkeypatch):
    def full(_report, path):
        raise OutputError(f"{path}: cannot be written")

    monkeypatch.setattr("impasto.report.Report.write_csv", full)
    code, out, err = run(*EVALUATE, "--csv", "e.csv", "--json", "e.json")
    assert (code, err) == (2, "impasto: error: e.csv: cannot be written\n")
    assert out.splitlines()[-1] == "3 judged"
    assert len(json.loads((painted / "e.json").read_text())["pairs"]) == 3


def test_each_photo_is_painted_as_alone(run, photos):
    """With the styles read once for all."""
    assert run(*BATCH)[0] == 0
    assert run("stylize", "2.jpg", "painting.png", "-o", "alone.png", *NETWORK)[0] == 0
    together, alone = images.read("painted/2.png"), images.read("alone.png")
    np.testing.assert_array_equal(together.pixels, alone.pixels)


@pytest.mark.slow
def test_ctrl_c_ends_a_batch_and_reports_it(photos):
    """What is painted by then is kept; each of the others is in the report."""
    call = ["stylize", "0.jpg", "1.jpg", "2.jpg", "painting.png", "-o", "painted", "--json"]
    call += ["--method", "gatys", "--encoder", "vgg16", "--iterations", "1000"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command(*call), stdout=pipe, stderr=pipe, text=True) as process:
        assert re.match(r"impasto: 0.jpg: step \d+ of 1000", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "impasto: stopped; 2 of 3 photos are not painted"
    rows = json.loads(out)
    assert [row["content"] for row in rows] == ["0.jpg", "1.jpg", "2.jpg"]
    assert all(row["stopped"] for row in rows)
    assert [path.name for path in (photos / "painted").iterdir()] == ["0.png"]


def test_a_loop_of_links_is_one_bad_photo(run, photos):
    (photos / "1.jpg").unlink()
    (photos / "1.jpg").symlink_to("1.jpg")
    others_are_painted(run(*BATCH, "--json"), photos)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_is_no_photo_to_wait_for(run, photos):
    (photos / "1.jpg").unlink()
    os.mkfifo(photos / "1.jpg")
    assert "1.jpg: is no ordinary file" in others_are_painted(run(*BATCH, "--json"), photos)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["photo.png", "painting.png", "-o", "painted"],
            "painted: names no format; use .*, or write painted/ for a folder",
        ),
        (["photo.png", "photos", "-o", "a.png"], "style 'photos': is a folder; name a picture in"),
        (["photo.png", "", "-o", "a.png"], "a picture has no name"),
        (["photo.png", "painting.png", "-o", "a.png", "--refine", "0"], "refine is '0': write a"),
        (
            ["photo.png", "painting.png", "-o", "a.png", "--method", "adain.smal"],
            "unknown weights 'adain.smal': did you mean adain.small",
        ),
    ],
)
def test_mistakes_of_a_first_day_are_told_with_their_fix(refused, folder, arguments, says):
    (folder / "photos").mkdir()
    assert re.search(says, refused("stylize", *arguments))
