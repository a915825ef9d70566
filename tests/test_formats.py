"""Files of pictures: odd ones are read right or refused in a line, limits are known before."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from impasto import formats, images
from impasto.cli.targets import write_or_rescue
from impasto.errors import ImageError, OutputError, TooLargeError

from .helpers.files import long_tiff, png, tiff
from .helpers.pictures import photo_array

GREY = photo_array()[..., 0]
DEEP = GREY.astype(np.uint16) * 257


def values(data):
    return images.decode(data, "a").pixels[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (tiff(DEEP, 16), 1e-4),
        (tiff(65535 - DEEP, 16, white_is_zero=True), 1e-4),
        (tiff(GREY.astype(np.uint16) * 16, 12), 1 / 200),
        (tiff(GREY.astype(np.uint32) * 16_843_009, 32), 1e-4),
        (tiff(GREY.astype(np.int16) * 128, 16, sample_format=2), 1 / 200),
        (tiff((GREY // 2).astype(np.int8), 8, sample_format=2), 1 / 100),
        (tiff((GREY / 255).astype(np.float32), 32, sample_format=3), 1e-4),
        (tiff((1 - GREY / 255).astype(np.float32), 32, white_is_zero=True, sample_format=3), 1e-4),
        (tiff(GREY.astype(np.float32), 32, sample_format=3), 1e-4),
        (tiff(photo_array().astype(np.uint16) * 257, 16), 1e-4),
    ],
)
def test_tiffs_of_all_depths(data, tolerance):
    read = values(data)
    expected = photo_array() / 255 if read.std(-1).max() > 0.01 else (GREY / 255)[..., None]
    np.testing.assert_allclose(read, np.broadcast_to(expected, read.shape), atol=tolerance)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(photo_array().astype(np.float32), 32, sample_format=3), "of a kind that is not"),
        (tiff(GREY / np.float32(100), 32, sample_format=3), "floats go from 0 to 2.5"),
        (tiff(GREY.astype(np.int16) - 100, 16, sample_format=2), "values go from -100 to"),
        (tiff((GREY - 100).astype(np.int8), 8, sample_format=2), "values go from -"),
    ],
)
def test_tiffs_whose_white_is_not_known_are_refused(data, says):
    with pytest.raises(ImageError, match=rf"^a.tif: .*{says}") as caught:
        images.decode(data, "a.tif")
    assert "8 or 16 bits" in str(caught.value) or "uint8" in str(caught.value)


def test_floats_of_tiff_may_be_rounded():
    floats = (GREY / 255).astype(np.float32)
    floats[0] = 1.0001
    assert values(tiff(floats, 32, sample_format=3)).max() == 1


def test_transparent_colours_of_16_bits():
    deep = np.random.default_rng(0).integers(0, 65536, (20, 24, 3)).astype(">u2")
    deep[5, 5] = deep[3, 3]
    deep[6, 6] = deep[3, 3] + np.array([1, 0, 0], ">u2")  # the same higher bytes
    picture = images.decode(png(deep, (b"tRNS", deep[3, 3].tobytes()), depth=16), "a")
    expected = np.ones((20, 24))
    expected[3, 3] = expected[5, 5] = 0
    np.testing.assert_array_equal(picture.alpha[0, 0], expected)
    grey = np.where(expected == 1, deep[..., 0], 300).astype(">u2")
    picture = images.decode(png(grey, (b"tRNS", (300).to_bytes(2, "big")), depth=16), "a")
    np.testing.assert_array_equal(picture.alpha[0, 0], grey != 300)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_transparent_greys_of_few_bits(depth):
    packed = np.random.default_rng(0).integers(0, 256, (20, 24 * depth // 8), dtype=np.uint8)
    bits = np.unpackbits(packed, axis=1).reshape(20, 24, depth)
    numbers = bits @ (1 << np.arange(depth))[::-1]
    data = png(packed, (b"tRNS", b"\0\1"), depth=depth)
    picture = images.decode(data, "a")
    np.testing.assert_array_equal(picture.alpha[0, 0], numbers != 1)
    shown = numbers != 1
    expected = np.broadcast_to(numbers / (2**depth - 1), (3, 20, 24))
    np.testing.assert_allclose(picture.pixels[0][:, shown], expected[:, shown], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("a.webp", 16, 16_384), ("a.jpg", 65_501, 16), ("a.avif", 16, 32_769)],
)
def test_what_a_format_cannot_hold_is_known_before(tmp_path, name, height, width):
    picture = images.read(photo_array())
    with pytest.raises(OutputError, match=rf"{name}: .*{width}x{height}.*use .*\.png"):
        images.check_fits(tmp_path / name, picture, height, width)
    images.check_fits(tmp_path / name, picture, min(height, 16_383), min(width, 16_383))


@pytest.mark.parametrize(("name", "side"), [("a.webp", 16_383), ("a.jpg", 65_500)])
def test_what_a_format_is_said_to_hold_it_holds(name, side):
    image = Image.new("RGB", (side, 16))
    data = formats.encode(Path(name), image, None, None)
    assert Image.open(io.BytesIO(data)).size == (side, 16)


def test_lost_transparency_is_said_before():
    clear = np.dstack((photo_array(), GREY))
    notes = images.check_fits(Path("a.jpg"), images.read(clear), 48, 64)
    assert notes == ("a.jpg: JPEG has no transparency; transparent parts become white",)
    assert images.check_fits(Path("a.png"), images.read(clear), 48, 64) == ()


def test_a_full_disk_is_foreseen(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2_000_000))
    picture = images.read(photo_array())
    images.check_fits(tmp_path / "a.bmp", picture, 800, 800)
    with pytest.raises(OutputError, match=r"a.bmp: needs at least 3 MB and 2 MB are free"):
        images.check_fits(tmp_path / "a.bmp", picture, 1000, 1000)


def test_a_painting_that_cannot_be_written_is_rescued(tmp_path, monkeypatch):
    (tmp_path / "a.png").mkdir()
    picture = images.read(photo_array())
    for number in (1, 2):
        place = images.rescue(tmp_path / "a.png", picture, {"impasto": "1"})
        assert place == tmp_path / f"a-rescued-{number}.png"
    assert images.read_recipe(place) == {"impasto": "1"}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = images.rescue(tmp_path / "missing" / "b.webp", picture)
    assert place == tmp_path / "b-rescued-1.png"


def test_a_painting_with_a_long_name_is_rescued(tmp_path):
    (tmp_path / "a").touch()
    for folder in (tmp_path, tmp_path / "a"):  # the latter is none
        place = images.rescue(folder / ("\N{CAT FACE}" * 62 + ".webp"), images.read(photo_array()))
        assert place is not None
        assert "\N{CAT FACE}-rescued-" in place.name
        place.unlink()


def test_whatever_keeps_a_painting_from_being_written_it_is_rescued(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("whatever it is")

    picture = images.read(photo_array())
    monkeypatch.setattr("impasto.images.write", fail)
    with pytest.raises(RuntimeError, match="whatever it is"):
        write_or_rescue(tmp_path / "a.png", picture, {})
    monkeypatch.undo()
    monkeypatch.setattr(
        "impasto.formats.check_size", lambda path, *_: path.suffix == ".webp" and fail()
    )
    place, (error,) = write_or_rescue(tmp_path / "a.webp", picture, {})
    assert place == tmp_path / "a-rescued-1.png"
    assert "whatever it is; the painting is in" in error


@pytest.mark.parametrize("where", ["pathlib.Path.cwd", "tempfile.gettempdir"])
def test_a_painting_is_rescued_where_there_is_a_place(tmp_path, monkeypatch, where):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(where, gone)
    other = "tempfile.gettempdir" if "cwd" in where else "pathlib.Path.cwd"
    monkeypatch.setattr(other, lambda: tmp_path)
    place = images.rescue(tmp_path / "missing" / "b.webp", images.read(photo_array()))
    assert place == tmp_path / "b-rescued-1.png"


@pytest.mark.parametrize("name", ["IMG.nef", "IMG.CR2", "IMG.dng"])
def test_raw_photographs_are_no_thumbnails(tmp_path, name):
    Image.fromarray(photo_array()).save(tmp_path / name, "TIFF")
    with pytest.raises(ImageError, match=rf"{name}: raw photographs are not read; develop"):
        images.read(tmp_path / name)


def test_what_cannot_be_read_says_which_formats_can(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match=r"unknown format; use .*\.avif.*\.gif.*\.jpg.*\.png"):
        images.decode(b"%PDF-1.7 and so on, for a while", "a.pdf")
    monkeypatch.setattr(formats, "plugins", frozenset)
    for data, extra in ((b"\0\0\0\x1cftypheic" + b"\0" * 20, "heic"), (b"\xff\x0a" * 20, "jxl")):
        with pytest.raises(ImageError, match=rf"pip install 'impasto\[{extra}\]'"):
            images.decode(data, "a")


@pytest.mark.parametrize("kind", ["HEIF", "JXL"])
def test_formats_of_phones_are_read_where_their_package_is(tmp_path, kind):
    if kind not in formats.plugins():
        pytest.skip(f"no package for {kind}")
    encoded = io.BytesIO()
    Image.fromarray(photo_array(64, 64)).save(encoded, kind, quality=95)
    picture = images.decode(encoded.getvalue(), "a")
    difference = picture.pixels[0].permute(1, 2, 0).numpy() - photo_array(64, 64) / 255
    assert np.abs(difference).mean() < 0.05
    assert picture.notes == ()


def test_several_pictures_of_a_phone_print_no_note(tmp_path):
    path = tmp_path / "phone.jpg"
    first, second = Image.fromarray(photo_array()), Image.new("RGB", (64, 48))
    first.save(path, "MPO", save_all=True, append_images=[second])
    picture = images.read(path)
    assert picture.notes == ()
    difference = picture.pixels[0].permute(1, 2, 0).numpy() - photo_array() / 255
    assert np.abs(difference).mean() < 0.05


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: you")])
def test_want_of_memory_is_called_by_its_name(tmp_path, monkeypatch, error):
    path = tmp_path / "a.png"
    Image.fromarray(photo_array()).save(path)

    def full(self):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", full)
    with pytest.raises(TooLargeError, match=r"a.png: does not fit into the memory that is free"):
        images.read(path)


def test_want_of_permission_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(photo_array()).save(path)

    def denied(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", denied)
    with pytest.raises(ImageError, match=r"a.png: cannot be read \(Permission denied\)"):
        images.read(path)


@pytest.mark.slow
def test_libtiff_prints_nothing(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(photo_array(200, 200)).save(path, compression="tiff_lzw")
    damaged = bytearray(path.read_bytes())
    damaged[200:2000] = b"\xff" * 1800
    path.write_bytes(damaged)
    code = (
        "import contextlib, sys; from impasto import images\n"
        "with contextlib.suppress(Exception): images.read(sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
    assert done.stderr == b""


def test_hidden_files_in_a_folder_are_left_out(tmp_path):
    for name in ("b.jpg", "a.gif", "._b.jpg", ".hidden.png"):
        Image.fromarray(photo_array()).save(tmp_path / name)
    assert [path.name for path in images.find(tmp_path)] == ["a.gif", "b.jpg"]


@pytest.mark.parametrize("order", "<>")
def test_planes_of_16_bits(order):
    deep = photo_array().astype(np.uint16) * 256 + 255 - photo_array()
    planes, (height, width) = deep.transpose(2, 0, 1), deep.shape[:2]
    tags = {256: [width], 257: [height], 258: [16] * 3, 259: [1], 262: [2], 277: [3], 284: [2]}
    data = long_tiff(planes.astype(f"{order}u2").tobytes(), order, 3, tags | {278: [height]})
    np.testing.assert_allclose(values(data), deep / 65535, atol=1e-6)


def test_palettes_of_8_bits_are_not_black():
    greys = np.arange(256)[::-1].tolist()
    tags = {256: [64], 257: [48], 258: [8], 259: [1], 262: [3], 277: [1], 278: [48]}
    read = values(long_tiff(GREY.tobytes(), "<", 1, tags | {320: greys * 3}))
    np.testing.assert_allclose(read[..., 0], 1 - GREY / 255, atol=1e-6)
