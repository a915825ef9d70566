"""`impasto stylize` paints large pictures on disk, and goes on after whatever ended it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto import images
from impasto.errors import ImageError, SetupError
from impasto.huge import source
from tests.helpers.cli import command
from tests.helpers.pictures import photo_array

pytest.importorskip("pyvips")

pytestmark = pytest.mark.slow

ASKED = ("stylize", "large.png", "painting.png", "--method", "adain.small", "--tile", 128)
"""DeepZoom is always painted on disk, so that small pictures do for the tests."""


@pytest.fixture
def large(folder):
    """A photo of several tiles in the working folder."""
    Image.fromarray(photo_array(300, 330)).save("large.png")
    return folder


def tiles_of(folder):
    """All pixels that a DeepZoom holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))
    }


def wait_for_tiles(folder, process, count):
    """Waits until so many tiles are painted."""
    journal = folder / "journal.txt"
    while process.poll() is None:
        if journal.exists() and journal.read_text().count("\n") >= count:
            return
        time.sleep(0.01)
    pytest.fail("it ended before")


@pytest.mark.skipif(sys.platform == "win32", reason="its signals are others")
def test_a_run_that_is_killed_or_interrupted_is_gone_on_with(large, run):
    code, out, err = run(*ASKED, "-o", "whole.dzi", "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["output"], row["width"], row["height"]) == ("whole.dzi", 330, 300)
    assert row["recipe"]["method"] == "adain"
    asked = command(*ASKED, "-o", "out.dzi", "--resume")
    for number, count in ((signal.SIGKILL, 3), (signal.SIGINT, 6)):
        with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as process:
            wait_for_tiles(Path("out.dzi.parts"), process, count)
            process.send_signal(number)
            _, err = process.communicate()
        assert not Path("out.dzi").exists()
    assert process.returncode == 130
    assert "tiles are painted: add --resume to go on" in err
    line = run(*ASKED, "-o", "out.dzi")
    assert line.code == 2
    assert "of an earlier run; add --resume to go on with them" in line.err
    assert run(*ASKED, "-o", "out.dzi", "--resume").code == 0
    assert tiles_of(Path("out_files")) == tiles_of(Path("whole_files"))
    assert not Path("out.dzi.parts").exists()


def test_a_photo_that_pillow_refuses_is_painted_small(large, run):
    import pyvips

    pyvips.Image.black(19_000, 10_000).pngsave("vast.png")
    with pytest.raises(ImageError, match="too many pixels to be safe"):
        images.read(Path("vast.png"))
    code, _, err = run("stylize", "vast.png", "starry-night", "-o", "out.png", "--size", 64)
    assert code == 0, err
    assert images.read(Path("out.png")).size == (34, 64)


def test_a_mask_of_such_a_photo_is_scaled_with_it(large, run, monkeypatch):
    monkeypatch.setattr("impasto.huge.choice.LARGE_AREA", 50_000)
    half = np.zeros((300, 330), np.uint8)
    half[:, 165:] = 255
    Image.fromarray(half).save("mask.png")
    asked = ("stylize", "large.png", "--style", "starry-night:1:mask.png", "--size", 110)
    code, _, err = run(*asked, "-o", "out.png")
    assert code == 0, err
    painted, photo = (images.read(Path(name)) for name in ("out.png", "large.png"))
    change = (painted.pixels - photo.resized(*painted.size).pixels).abs().amax((0, 1, 2))
    assert change[:50].max() < 0.01
    assert change[60:].mean() > 0.1


def test_a_look_is_not_saved_with_a_picture_on_disk(large, refused):
    line = refused(*ASKED, "-o", "out.dzi", "--save-look", "mine.look")
    assert "--save-look is for pictures that are painted in memory" in line


def test_without_pyvips_the_extra_is_named(large, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(SetupError, match=r"pip install 'impasto\[huge\]'"):
        source.libvips()
