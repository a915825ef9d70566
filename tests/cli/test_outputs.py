"""What is written: metadata kept or left out, limits told before, and no painting lost."""

import json
import os
import resource
import subprocess
import sys

import pytest
from PIL import ExifTags, Image

from impasto import images
from tests.helpers.cli import command, run
from tests.helpers.pictures import photo_array

FLAGS = ["--method", "adain.small", "--device", "cpu"]


@pytest.fixture
def told(folder):
    """A photo that tells who took it, photo.jpg."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "Family at the lake"
    exif[ExifTags.Base.Copyright] = "somebody"
    Image.fromarray(photo_array()).save(folder / "photo.jpg", exif=exif, dpi=(300, 300))
    return folder


@pytest.mark.parametrize("strip", [False, True])
def test_metadata_is_kept_unless_asked(told, strip):
    flags = [*FLAGS, *(["--strip-metadata"] if strip else [])]
    done = run("stylize", "photo.jpg", "painting.png", "-o", "out.jpg", *flags)
    assert done.code == 0, done.err
    with Image.open("out.jpg") as image:
        exif, dpi = image.getexif(), image.info.get("dpi")
    expected = (None, None) if strip else ("Family at the lake", "somebody")
    assert tuple(map(exif.get, (ExifTags.Base.ImageDescription, ExifTags.Base.Copyright))) == (
        expected
    )
    assert (dpi == (300, 300)) is not strip
    again = run("stylize", "photo.jpg", "painting.png", "-o", "again.png", "--recipe", "out.jpg")
    assert again.code == 0, again.err


def test_what_a_format_cannot_keep_is_said(told):
    done = run("stylize", "photo.jpg", "painting.png", "-o", "out.bmp", "--json", *FLAGS)
    note = "out.bmp: BMP keeps no metadata, no colour profile and no recipe"
    assert f"note: {note}" in done.err
    assert json.loads(done.out)[0]["notes"] == [note]


@pytest.mark.slow
def test_a_size_that_the_format_cannot_hold_is_refused_before_painting(folder):
    Image.new("RGB", (16_400, 17)).save("wide.png")
    flags = ["--method", "gatys", "--iterations", "100000"]
    done = run("stylize", "wide.png", "painting.png", "-o", "out.webp", *flags)
    assert done.code == 2
    assert "WEBP cannot hold 16400x17, at most 16383 pixels a side; use" in done.err
    assert not (folder / "out.webp").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of this kind are Unix's")
def test_a_painting_that_does_not_fit_on_the_disk_is_rescued(folder):
    noise = os.urandom(200 * 200 * 3)
    Image.frombytes("RGB", (200, 200), noise).save("noise.png")
    flags = ["-o", "out.bmp", "--json", "--strength", "0.2", *FLAGS]
    done = subprocess.run(
        command("stylize", "noise.png", "painting.png", *flags),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (115_000, 115_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    row = json.loads(done.stdout)[0]
    assert row["output"] in ("out-rescued-1.png", "out-rescued-1.jpg")
    assert "out.bmp: cannot be written (File too large)" in row["error"]
    assert f"the painting is in {row['output']}" in done.stderr
    assert images.read(row["output"]).size == (200, 200)
    assert not (folder / "out.bmp").exists()


def test_a_link_keeps_being_one_and_a_protected_file_what_it_is(folder):
    (folder / "there").mkdir()
    (folder / "link.png").symlink_to(folder / "there" / "real.png")
    done = run("stylize", "photo.png", "painting.png", "-o", "link.png", *FLAGS)
    assert done.code == 0, done.err
    assert (folder / "link.png").is_symlink()
    assert images.read(folder / "there" / "real.png").size == (48, 64)
    (folder / "kept.png").write_bytes(b"dear to somebody")
    (folder / "kept.png").chmod(0o444)
    done = run("stylize", "photo.png", "painting.png", "-o", "kept.png", *FLAGS)
    assert done.code == 2
    assert "kept.png: is write-protected; give another name or make it writable" in done.err
    assert (folder / "kept.png").read_bytes() == b"dear to somebody"
