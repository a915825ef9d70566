"""``impasto video``: what it writes, tells and refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.helpers.cli import command, run_on_terminal
from tests.helpers.film_files import write_film
from tests.helpers.pictures import photo_array

FLAGS = ["--method", "adain.small", "--device", "cpu", "--stroke-size", "0", "--size", "32"]


@pytest.fixture
def film(folder):
    """A film of 20 frames with sound, film.mp4, beside painting.png."""
    frames = [np.roll(photo_array(), 2 * number, 1) for number in range(20)]
    return write_film(folder / "film.mp4", frames, sound=0.8)


@pytest.fixture
def paint(film, run):
    """Runs ``impasto video film.mp4 painting.png ...``."""
    return lambda *flags: run("video", "film.mp4", "painting.png", *flags, *FLAGS)


def test_a_film_is_painted_and_told_of(paint):
    done = paint("-o", "out.mp4")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("out.mp4: 32x24, 20 frames, ")
    with av.open("out.mp4") as container:
        assert len(list(container.decode(video=0))) == 20
        assert len(container.streams.audio) == 1
    assert not Path("out.mp4.parts").exists()


def test_the_report_says_all_about_it(paint):
    done = paint("-o", "out.gif", "--json", "--start", "0.2", "--end", "0.4", "--stability", "0.5")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    recipe = row.pop("recipe")
    assert row.pop("seconds") > 0
    assert row == {
        "content": "film.mp4",
        "output": "out.gif",
        "width": 32,
        "height": 24,
        "frames": 5,
        "duration": 0.2,
        "stopped": False,
        "notes": ["out.gif: has no sound"],
    }
    assert done.err == "impasto: note: out.gif: has no sound\n"
    assert (recipe["method"], recipe["size"], recipe["stability"]) == ("adain", 32, 0.5)
    assert recipe["styles"] == [{"source": "painting.png", "weight": 1.0, "mask": None}]


def test_a_single_frame_is_told_so(paint):
    done = paint("-o", "out.mp4", "--end", "0.04")
    assert done.out.startswith("out.mp4: 32x24, 1 frame, ")


def test_a_recipe_is_kept_in_the_film_and_read_from_it(paint, run):
    assert paint("-o", "out.mp4", "--strength", "0.5", "--end", "0.2").code == 0
    done = run(
        "video",
        "film.mp4",
        "painting.png",
        "-o",
        "again.mp4",
        "--recipe",
        "out.mp4",
        "--end",
        "0.2",
    )
    assert done.code == 0, done.err
    one, other = (Path(name).read_bytes() for name in ("out.mp4", "again.mp4"))
    assert one == other
    done = run("video", "film.mp4", "painting.png", "-o", "b.mp4", "--recipe", "film.mp4")
    assert done.code == 2
    assert "film.mp4: holds no recipe" in done.err


def test_a_folder_of_pictures_goes_in_and_comes_out(folder, run):
    (folder / "in").mkdir()
    for number in range(3):
        Image.fromarray(np.roll(photo_array(), number, 1)).save(folder / f"in/{number}.png")
    done = run("video", "in", "painting.png", "-o", "out/", *FLAGS)
    assert done.code == 0, done.err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "000001.png",
        "000002.png",
        "000003.png",
    ]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["film.mp4"], "no style is given: write FILM STYLE"),
        (["none.mp4", "painting.png"], "none.mp4: no such file"),
        (["film.mp4", "none.png"], "none.png"),
        (["film.mp4", "my.look"], "not painted with saved looks"),
        (["film.mp4", "painting.png", "-o", "film.mp4"], "film.mp4: is also an input"),
        (["film.mp4", "painting.png", "-o", "out.xyz"], "cannot write '.xyz' films; use .mp4"),
        (["film.mp4", "painting.png", "-o", ""], "'.' is no name for a film; give that of"),
        (["film.mp4", "painting.png", "-o", "/"], "'/' is no name for a film"),
        (["film.mp4", "painting.png", "-o", "none/out.mp4"], "there is no folder none"),
        (["film.mp4", "painting.png", "-o", "out.webm"], "(aac); use .mp4 or"),
        (["film.mp4", "painting.png", "-o", "out.webm"], "; with .mkv, --codec vp9 keeps"),
        (["film.mp4", "painting.png", "--recipe", "stop.yaml"], "stop_after is for a single"),
        (["film.mp4", "painting.png", "--stop-after", "3"], "No such option '--stop-after'"),
        (["frames", "painting.png", "-o", "frames/out.mp4"], "is in the folder that is painted"),
        (["frames", "painting.png", "-o", "frames/./out"], "is in the folder that is painted"),
        (["film.mp4", "painting.png", "--start", "9"], "nothing is between second 9"),
        (["film.mp4", "painting.png", "--stability", "2"], "stability is 2"),
        (["film.mp4", "painting.png", "--keyframes", "k.yaml"], "k.yaml"),
        (["film.mp4", "painting.png", "--crf", "99"], "crf is 99: use 0 (best) to 51"),
        (["painting.png", "painting.png"], "painting.png: is a picture and not a film"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(film, refused, flags, text):
    Path("stop.yaml").write_text("stop_after: 3\n")
    Path("frames").mkdir()
    Image.fromarray(photo_array()).save("frames/1.png")
    assert text in refused("video", *([] if "-o" in flags else ["-o", "out.mp4"]), *flags)


@pytest.mark.slow
def test_without_the_extra_it_says_how_to_get_it(film):
    code = "import sys; sys.modules['av'] = None; from impasto import cli; cli.main()"
    call = [sys.executable, "-c", code, "video", "film.mp4", "painting.png", "-o", "out.mp4"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    needed = "`impasto video` needs the package 'av': pip install 'impasto[video]'"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"impasto: error: {needed}\n"


@pytest.mark.slow
def test_ctrl_c_leaves_a_film_and_resume_goes_on(film, run):
    flags = ["video", "film.mp4", "painting.png", "-o", "out.mp4", *FLAGS]
    with subprocess.Popen(command(*flags), stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not Path("out.mp4.parts/film.json").exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130, err
    assert "the film so far is in out.mp4, and --resume goes on from there" in err
    with av.open("out.mp4") as container:
        painted = len(list(container.decode(video=0)))
    assert 1 <= painted < 20
    assert f"stopped after frame {painted};" in err
    done = run(*flags)
    assert done.code == 2
    assert (
        f"out.mp4.parts: holds {painted} frame{'s' * (painted > 1)} of an earlier run; add --resume"
        in done.err
    )
    done = run(*flags, "--resume")
    assert done.code == 0, done.err
    assert "20 frames" in done.out


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_bar_shows_how_fast_it_is_and_how_long_it_takes(film):
    code, shown = run_on_terminal("video", "film.mp4", "painting.png", "-o", "out.mp4", *FLAGS)
    assert code == 0, shown
    assert "20/20" in shown
    assert "frames/s" in shown
