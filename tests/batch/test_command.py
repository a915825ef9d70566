"""``impasto batch`` on this machine."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from impasto import batch, images
from impasto.batch.plan import drawn
from impasto.pairs import find_pairs
from tests.helpers.cli import command
from tests.helpers.pictures import photo_array

NETWORK = ["--method", "adain.small", "--workers", "1"]
BATCH = ["batch", "photos", "painting.png", "-o", "out", *NETWORK]
CROSS = ["batch", "photos", "painting.png", "other.png", "-o", "out", *NETWORK]


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder) if name.endswith("png")}


def test_a_cross_paints_what_stylize_paints(photos, run):
    code, out, err = run(*CROSS, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["painted"], told["skipped"], told["failed"], told["total"]) == (6, 0, 0, 6)
    assert json.loads((photos / "out" / "report.json").read_text()) == told
    cross = [
        f"{name}_{style}.png" for name in ("a", "b", "trip/c") for style in ("other", "painting")
    ]
    assert files(photos / "out") == sorted([*cross, "report.json"])
    run("stylize", "photos/trip/c.jpg", "other.png", "-o", "one.png", "--method", "adain.small")
    assert (photos / "one.png").read_bytes() == (photos / "out/trip/c_other.png").read_bytes()
    pairs, left = find_pairs(photos / "out", photos / "photos", photos)
    assert (len(pairs), left) == (6, [])
    assert all(p.painted.stem == f"{p.photo.stem}_{p.painting.stem}" for p in pairs)


def test_a_large_photo_is_painted_in_a_look_that_was_measured_once(photos, run, monkeypatch):
    Image.fromarray(photo_array(520, 512)).save(photos / "large.png")
    run("stylize", "large.png", "painting.png", "-o", "one.png", "--method", "adain.small")

    def measured_anew(self, style):
        raise AssertionError

    monkeypatch.setattr("impasto.batch.painter.Painter._encode", measured_anew)
    code, _, err = run("batch", "large.png", "painting.png", "-o", "out", *NETWORK)
    assert code == 0, err
    assert (photos / "one.png").read_bytes() == (photos / "out/large.png").read_bytes()


@pytest.mark.slow
def test_two_processes_paint_the_same_bits(photos, run):
    run(*CROSS)
    code, _, err = run(*CROSS[:5], "two", "--method", "adain.small", "--workers", "2")
    assert code == 0, err
    assert contents(photos / "two") == contents(photos / "out")


def test_strengths_are_drawn_and_told(photos, run):
    assert run(*CROSS, "--strength", "0.2..0.6", "--seed", "5").code == 0
    strengths = {
        name: images.read_recipe(photos / "out" / f"{name}_other.png")["strength"]
        for name in ("a", "trip/c")
    }
    assert strengths == {
        "a": drawn((0.2, 0.6), 5, "a.jpg", "other"),
        "trip/c": drawn((0.2, 0.6), 5, "trip/c.jpg", "other"),
    }
    assert all(0.2 <= one <= 0.6 for one in strengths.values())
    painted = photos / "out" / "a_other.png"
    recipe = ["--recipe", "out/a_other.png"]
    run("stylize", "photos/a.jpg", "other.png", "-o", "again.png", *recipe)
    assert painted.read_bytes() == (photos / "again.png").read_bytes()


def test_the_same_command_paints_what_is_missing_and_nothing_else(photos, run):
    run(*CROSS)
    before = contents(photos / "out")
    (photos / "out" / "b_other.png").unlink()
    (photos / "out" / "a_other.png").write_text("kept")
    code, out, _ = run(*CROSS)
    assert (code, out.split(":")[1].split(",")[:2]) == (0, [" 1 painted", " 5 there already"])
    assert contents(photos / "out") == {**before, "a_other.png": b"kept"}


def test_broken_files_are_lines_of_a_table_until_they_are_whole(photos, run):
    (photos / "photos" / "bad, really.jpg").write_text("no picture")
    Image.new("RGB", (5000, 8)).save(photos / "photos" / "thin.png")
    code, out, err = run(*CROSS)
    assert code == 2
    assert "6 painted, 4 failed" in out
    assert err.count("impasto: error: ") == 2
    rows = list(csv.DictReader((photos / "out/failed.csv").read_text().splitlines()))
    assert [(row["photo"], row["style"]) for row in rows] == [
        ("bad, really.jpg", ""),
        ("thin.png", ""),
    ]
    assert "not a picture" in rows[0]["error"]
    assert "too small" in rows[1]["error"]
    for name in ("bad, really.jpg", "thin.png"):
        (photos / "photos" / name).unlink()
    assert run(*CROSS).code == 0
    assert "failed.csv" not in files(photos / "out")


def test_a_photo_that_fails_in_one_style_is_painted_in_the_others(photos, run, monkeypatch):
    from impasto.batch.painter import Painter

    paint = Painter.paint

    def failing(self, task, photo, style, stopped):
        if (task.photo, style) == ("b.png", 1):
            raise MemoryError
        return paint(self, task, photo, style, stopped)

    monkeypatch.setattr(Painter, "paint", failing)
    assert run(*CROSS).code == 2
    (row,) = csv.DictReader((photos / "out/failed.csv").read_text().splitlines())
    assert (row["photo"], row["style"]) == ("b.png", "other")
    assert len(contents(photos / "out")) == 5


def test_other_settings_need_another_folder(photos, refused, run):
    run(*BATCH)
    assert "another stroke_size" in refused(*BATCH, "--stroke-size", "0.5")
    assert "another style" in refused("batch", "photos", "other.png", "-o", "out", *NETWORK)
    assert "another strip_metadata" in refused(*BATCH, "--strip-metadata")
    (photos / "out" / "a.png").unlink()
    assert "unknown method 'magic'" in refused(*BATCH[:5], "--method", "magic")


def test_other_photos_and_paintings_of_the_same_names_need_another_folder(photos, refused, run):
    (photos / "mine").mkdir()
    Image.fromarray(photo_array(40, 64)).save(photos / "mine" / "a.jpg")
    run(*CROSS)
    line = refused("batch", "mine", *CROSS[2:])
    assert f"out: holds paintings of the photos in {photos / 'photos'}" in line
    assert f"for those in {photos / 'mine'}" in line
    (photos / "other.png").write_bytes((photos / "painting.png").read_bytes())
    assert "another style" in refused(*CROSS)
    for painting in (photos / "out").rglob("*.png"):
        painting.unlink()
    assert run("batch", "mine", *CROSS[2:]).code == 0  # nothing is there to be taken for its own


def test_styles_of_runs_before_the_last_are_remembered(photos, refused, run):
    lone = ["batch", "photos", "other.png", "-o", "out", *NETWORK]
    run(*BATCH)
    assert run(*CROSS).code == 0
    assert "another style" in refused(*lone)
    (photos / "third.png").write_bytes((photos / "other.png").read_bytes())
    assert run("batch", "photos", "third.png", *CROSS[3:]).code == 0
    (photos / "painting.png").write_bytes((photos / "other.png").read_bytes())
    assert "another style" in refused(*CROSS)


def test_a_folder_is_the_same_however_it_is_spelled(photos, refused, run):
    run(*BATCH)
    (photos / "link").symlink_to("photos")
    for source in ("photos/", "link", "photos/../photos", str(photos / "photos")):
        code, out, err = run("batch", source, *BATCH[2:])
        assert (code, "0 painted, 3 there already" in out) == (0, True), err
    (photos / "here").symlink_to("photos")
    for output in ("link", "photos/../here"):
        asked = ["batch", "photos/b.png", "painting.png", "-o", output, *NETWORK]
        assert "b.png: would be painted over" in refused(*asked)


def test_pictures_of_unknown_origin_are_not_taken_for_paintings(photos, refused, run):
    run(*BATCH)
    (photos / "out/report.json").unlink()
    assert "out: holds 3 pictures of these names, and no report.json" in refused(*BATCH)
    (photos / "out/report.json").write_text(
        '{"input": "x", "styles": [], "recipe": 3, "stopped": 0}'
    )
    assert "report.json: is not of a batch" in refused(*BATCH)


def test_a_style_that_is_named_twice_is_painted_once_and_may_be_a_url(photos, run):
    url = (photos / "painting.png").as_uri()
    asked = ["batch", "photos/a.jpg", url, "painting.png", url, "-o", "out", *NETWORK]
    assert run(*asked[:3], *asked[4:]).code == 0
    assert files(photos / "out") == ["a.png", "report.json"]


def test_evaluate_finds_all_of_a_batch(photos, run):
    (photos / "paintings/old").mkdir(parents=True)
    for name in ("painting.png", "old/painting.png", "other.png"):
        (photos / "paintings" / name).write_bytes((photos / Path(name).name).read_bytes())
    (photos / "photos/b.jpg").write_bytes((photos / "photos/a.jpg").read_bytes())
    run("batch", "photos", "--styles", "paintings", "-o", "out", *NETWORK)
    pairs, left = find_pairs(photos / "out", photos / "photos", photos / "paintings")
    found = {(p.photo.relative_to(photos / "photos").as_posix(), p.painting.name) for p in pairs}
    names = ("a.jpg", "b.jpg", "b.png", "trip/c.jpg")
    assert found >= {(name, "other.png") for name in names}
    assert all("painting-2" in path.name for path in left)
    assert len(pairs) + len(left) == 12
    told = run("evaluate", "out", "--content", "photos", "--style", "paintings").out
    assert "\ntrip/c_other.png " in told


def test_a_photo_of_the_same_folder_may_follow(photos, run):
    for name in ("a.jpg", "b.png", "a.jpg"):
        assert run("batch", f"photos/{name}", *BATCH[2:]).code == 0
    assert sorted(contents(photos / "out")) == ["a.png", "b.png"]


def test_what_is_nobodys_report_is_left_alone(photos, refused):
    for name in ("failed.csv", "report.json"):
        (photos / "out").mkdir(exist_ok=True)
        (photos / "out" / name).write_text('{"mine": 1}')
        assert f"out/{name}: is not of a batch" in refused(*BATCH)
        assert (photos / "out" / name).read_text() == '{"mine": 1}'


def test_a_report_outlives_a_run_that_had_nothing_to_do(photos, run):
    run(*BATCH)
    before = (photos / "out/report.json").read_bytes()
    assert "0 painted, 3 there already" in run(*BATCH).out
    assert (photos / "out/report.json").read_bytes() == before


def test_no_photo_is_taken_for_its_painting(photos, refused):
    line = refused("batch", "photos/b.png", "painting.png", "-o", "photos", *NETWORK)
    assert "photos/b.png: would be painted over" in line


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want names in UTF-8")
def test_names_that_are_not_utf8(photos, run):
    odd = os.fsdecode(b"bad\xff.jpg")
    (photos / "photos" / "a.jpg").rename(photos / "photos" / odd)
    code, _, err = run(*CROSS, "--strength", "0.5..1")
    assert code == 0, err
    assert os.fsdecode(b"bad\xff_other.png") in contents(photos / "out")


def test_ctrl_c_is_heard_while_styles_are_measured(photos):
    report = batch.paint(
        "photos",
        [photos / "painting.png", photos / "other.png"],
        photos / "out",
        method="adain.small",
        workers=1,
        stopped=lambda: True,
    )
    assert (report.stopped, report.painted) == (True, 0)


def test_want_of_memory_is_told_in_our_words(photos, run, monkeypatch):
    def large(*_, **__):
        raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr("impasto.batch.painter.Painter.paint", large)
    assert "there is not enough memory for this; give a smaller size" in run(*BATCH).err


@pytest.mark.slow
def test_a_program_without_a_guard_is_told_so(photos):
    (photos / "program.py").write_text(
        "import impasto.batch\n"
        "impasto.batch.paint('photos', 'painting.png', 'out', method='adain.small', workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"], check=False, capture_output=True, text=True
    )
    assert "SetupError: the processes that paint cannot be started" in done.stderr
    assert not contents(photos / "out")


def test_looks_and_trained_styles_are_styles_too(photos, run):
    run(
        "stylize",
        "photos/a.jpg",
        "painting.png",
        "-o",
        "a.png",
        *NETWORK[:2],
        "--save-look",
        "p.look",
    )
    styles = ["p.look", "starry-night", "other.png"]
    code, _, err = run("batch", "photos", *styles, "-o", "out", *NETWORK)
    assert code == 0, err
    run("stylize", "photos/b.png", "p.look", "-o", "b.png")
    assert (photos / "b.png").read_bytes() == (photos / "out/b_p.png").read_bytes()
    run("stylize", "photos/b.png", "starry-night", "-o", "s.png")
    assert (photos / "s.png").read_bytes() == (photos / "out/b_starry-night.png").read_bytes()


def test_styles_of_a_folder_and_other_formats(photos, run):
    (photos / "paintings").mkdir()
    for name in ("painting.png", "other.png"):
        (photos / name).rename(photos / "paintings" / name)
    asked = ["batch", "photos/a.jpg", "--styles", "paintings", "-o", "out", *NETWORK]
    assert run(*asked, "--format", "jpg", "--size", "32").code == 0
    assert files(photos / "out") == ["a_other.jpg", "a_painting.jpg", "report.json"]
    with Image.open(photos / "out" / "a_other.jpg") as image:
        assert image.size == (32, 20)


def test_what_depends_on_the_photo_is_painted_from_the_picture(photos, run):
    keep = ["--preserve-color", "coral"]
    assert run(*BATCH, *keep).code == 0
    run("stylize", "photos/a.jpg", "painting.png", "-o", "a.png", *NETWORK[:2], *keep)
    assert (photos / "a.png").read_bytes() == (photos / "out/a.png").read_bytes()


def test_hidden_files_are_no_photos(photos, run):
    for name in ("._a.jpg", ".b.jpg", "notes.txt", "trip/Thumbs.db"):
        (photos / "photos" / name).write_text("x")
    assert run(*BATCH).code == 0
    assert sorted(contents(photos / "out")) == ["a.png", "b.png", "trip/c.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["batch", "photos", "-o", "out"], "no style is given"),
        (["batch", "none", "painting.png", "-o", "out"], "no such folder"),
        (["batch", "photos", "nothing", "-o", "out"], "no style of this name"),
        (["batch", "photos", "missing.jpg", "-o", "out"], "missing.jpg"),
        (["batch", "photos", "painting.png", "-o", "photos/out"], "is in the folder"),
        (["batch", "photos", "painting.png", "-o", ""], "no name"),
        ([*BATCH, "--strength", "0.9..0.1"], "smaller number first"),
        ([*BATCH, "--strength", "0..2"], "strength is 2"),
        ([*BATCH, "--strength", "much"], "strength is 'much'"),
        ([*BATCH, "--size", "3"], "size is 3"),
        ([*BATCH, "--workers", "0"], "at least 1"),
        ([*BATCH, "--workers", "2..3"], "--ray"),
        ([*BATCH, "--gpus-per-worker", "1"], "--ray"),
        ([*BATCH, "--format", "xyz"], "xyz"),
        ([*BATCH, "--device", "cuda:7"], "cuda:7"),
        ([*BATCH, "--refine", "5", "--iterations", "3"], "leave out iterations"),
        (["batch", "x://y", "painting.png", "-o", "out"], "x"),
        (["batch", "photos", "painting.png", "-o", "file.txt/out"], "file.txt"),
    ],
)
def test_bad_calls_are_one_line_before_any_work(photos, refused, arguments, words):
    (photos / "file.txt").write_text("x")
    assert words in refused(*arguments)


@pytest.mark.parametrize(("package", "call"), [("ray", ["--ray", "local"]), ("pyarrow", [])])
def test_what_needs_the_extra_says_so(photos, refused, monkeypatch, package, call):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    for name in (package, f"{package}.fs"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "impasto.batch.cluster", raising=False)
    source = "photos" if call else "s3://bucket/photos"
    line = refused("batch", source, "painting.png", "-o", "out", *NETWORK, *call)
    assert package in line
    assert "pip install 'impasto[cluster]'" in line


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(photos, run):
    for number in range(20):
        Image.fromarray(photo_array(64, 64)).save(photos / "photos" / f"{number:02}.png")
    asked = ["batch", "photos", "painting.png", "-o", "out", "--method", "adain.small"]
    with subprocess.Popen(command(*asked), stderr=subprocess.PIPE, text=True) as process:
        while not contents_of_whole(photos / "out"):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    done = contents_of_whole(photos / "out")
    assert 0 < len(done) < 23
    assert not [name for name in files(photos / "out") if name.startswith(".")]
    assert run(*asked[:5], *asked[5:], "--workers", "1").code == 0
    assert len(contents_of_whole(photos / "out")) == 23


def contents_of_whole(folder):
    for name in contents(folder) if folder.exists() else ():
        images.read(folder / name)
    return contents(folder) if folder.exists() else {}


@pytest.mark.slow
def test_a_photo_that_kills_its_process_is_one_failure(photos, run, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(photos), *sys.path]))
    (photos / "sitecustomize.py").write_text(KILLER)
    asked = ["batch", "photos", "painting.png", "-o", "out", "--method", "adain.small"]
    code, _, err = run(*asked, "--workers", "2")
    assert code == 2, err
    (row,) = csv.DictReader((photos / "out/failed.csv").read_text().splitlines())
    assert row["photo"] == "b.png"
    assert "killed" in row["error"]
    assert sorted(contents(photos / "out")) == ["a.png", "trip/c.png"]


KILLER = """
import os, signal, sys
if "multiprocessing.spawn" in " ".join(sys.orig_argv):
    from impasto.batch.painter import Kit
    read = Kit.read
    def killing(self, photo):
        if photo == "b.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, photo)
    Kit.read = killing
"""
