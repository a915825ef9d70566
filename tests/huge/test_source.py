"""A photo read row by row by libvips is the one that is read as a whole."""

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import formats, images
from impasto.errors import ImageError
from impasto.huge.resampling import Canvas
from impasto.huge.source import open_source, read_scaled
from impasto.profiles import srgb_profile

pytest.importorskip("pyvips")

SIZE = (61, 83)


@pytest.fixture(autouse=True)
def several_strips(monkeypatch):
    monkeypatch.setattr("impasto.huge.store.STRIP_PIXELS", 20 * SIZE[1])


def noise(bands=3, kind=np.uint8):
    shape = (*SIZE, bands) if bands > 1 else SIZE
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def colour():
    return Image.fromarray(noise())


def transparent():
    picture = colour()
    alpha = np.random.default_rng(1).integers(0, 3, SIZE).astype(np.uint8) * 127
    picture.putalpha(Image.fromarray(alpha))
    return picture


def check_same(path):
    whole = images.read(path)
    with open_source(path) as source:
        assert source.size == whole.size
        assert source.metadata == whole.metadata
        assert source.notes == whole.notes
        pixels, alpha = Canvas(source.size), Canvas(source.size, 1)
        source.read(source.size, pixels.write, alpha.write)
    torch.testing.assert_close(pixels.pixels, whole.pixels, atol=1e-6, rtol=0)
    if whole.alpha is not None:
        assert torch.equal(alpha.pixels, whole.alpha)
    small = read_scaled(path, 40)
    wanted = whole.resized(*small.size)
    torch.testing.assert_close(small.pixels, wanted.pixels, atol=1e-5, rtol=0)
    assert (small.alpha is None) == (wanted.alpha is None)
    if wanted.alpha is not None:
        torch.testing.assert_close(small.alpha, wanted.alpha, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("p.png", "RGB", {}),
        ("p.png", "RGB", {"icc_profile": srgb_profile()}),
        ("p.png", "L", {}),
        ("p.png", "1", {}),
        ("p.png", "P", {}),
        ("p.jpg", "RGB", {}),
        ("p.jpg", "RGB", {"progressive": True}),
        ("p.jpg", "CMYK", {}),
        ("p.tif", "RGB", {}),
        ("p.tif", "CMYK", {"compression": "tiff_lzw"}),
        ("p.webp", "RGB", {}),
    ],
)
def test_colours_are_those_of_the_whole(tmp_path, name, mode, options):
    colour().convert(mode).save(tmp_path / name, **options)
    check_same(tmp_path / name)


@pytest.mark.parametrize("name", ["p.png", "p.tif", "p.webp"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_and_what_it_hides_is_filled(tmp_path, name, mode):
    options = {"lossless": True, "exact": True} if name == "p.webp" else {}
    transparent().convert("RGBA" if name == "p.webp" else mode).save(tmp_path / name, **options)
    check_same(tmp_path / name)


def test_alpha_that_hides_nothing_is_none(tmp_path):
    picture = colour()
    picture.putalpha(255)
    picture.save(tmp_path / "p.png")
    check_same(tmp_path / "p.png")


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_16_bits_are_kept(tmp_path, name):
    Image.fromarray(noise(1, np.uint16)).save(tmp_path / name)
    check_same(tmp_path / name)


def test_values_of_8_bits_are_exact(tmp_path):
    colour().save(tmp_path / "p.png")
    small = read_scaled(tmp_path / "p.png", max(SIZE))
    assert np.array_equal(np.asarray(images.to_pil(small)), noise())
    assert torch.equal(
        small.pixels[0], torch.from_numpy(noise() / np.float32(255)).permute(2, 0, 1)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["p.jpg", "p.tif", "p.png"])
def test_photos_are_turned_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    colour().save(tmp_path / name, exif=exif)
    check_same(tmp_path / name)


def test_metadata_is_that_of_the_whole(tmp_path):
    exif = Image.Exif()
    exif[0x010E], exif[0x8298] = "a description", "somebody"
    for name in ("p.jpg", "p.tif", "p.png"):
        colour().save(tmp_path / name, exif=exif, dpi=(300, 300))
        check_same(tmp_path / name)


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.tif"])
def test_a_photo_that_is_cut_off_is_named_in_one_line(tmp_path, name):
    path = tmp_path / name
    colour().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ImageError, match=f"{name}: .*(cut off|damaged|not a picture)") as caught:
        read_scaled(path, 40)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_photo_is_refused(tmp_path, content):
    path = tmp_path / "p.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"p.png"):
        read_scaled(path, 40)


def test_colours_that_libvips_takes_for_others_are_refused(tmp_path):
    for mode in ("YCbCr", "LAB"):
        path = tmp_path / f"{mode}.tif"
        Image.new(mode, (40, 30)).save(path)
        with pytest.raises(ImageError, match=rf"{mode}.tif: colours of this kind are not read"):
            read_scaled(path, 20)


def test_a_format_that_libvips_does_not_know_is_told_apart_from_damage(tmp_path):
    path = tmp_path / "p.bmp"
    colour().save(path)
    with pytest.raises(ImageError, match=r"p.bmp: is not read from so large .* save it as TIFF"):
        read_scaled(path, 40)


def test_only_the_first_of_several_pictures_is_read_and_told(tmp_path):
    path = tmp_path / "pages.tif"
    colour().save(path, save_all=True, append_images=[Image.new("RGB", SIZE[::-1])])
    check_same(path)
    assert read_scaled(path, 40).notes == (f"{path}: only the first of 2 frames is painted",)


def test_brackets_in_names_are_no_options(tmp_path):
    path = tmp_path / "p[page=2].tif"
    colour().save(path)
    check_same(path)


def test_sizes_are_told_without_reading(tmp_path):
    for name in ("p.png", "p.jpg", "p.tif", "p.webp", "p.bmp"):
        colour().save(tmp_path / name)
        assert formats.size_of(tmp_path / name) == SIZE
