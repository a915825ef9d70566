"""Colours as a colour-managed viewer shows them, against the formulas of the standards."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import pyvips
from PIL import ExifTags, Image, ImageCms, features

from impasto import images, profiles

from .helpers.files import grey_profile, icc_curve, matrix_profile, png
from .helpers.pictures import photo_array

# IEC 61966-2-1, table of the standard: linear sRGB to XYZ of D65.
SRGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
# Adobe RGB (1998), annex B.
ADOBE_TO_XYZ = np.array(
    [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
)
# SMPTE EG 432-1 with D65 (Display P3), as CSS Color 4 gives it.
P3_TO_XYZ = np.array(
    [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0.0, 0.04511, 1.04394]]
)
LEVEL = 1 / 255


def encoded(linear):
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def decoded(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def shown(data):
    picture = images.decode(data, "a.png")
    assert picture.notes == ()
    return picture.pixels[0].permute(1, 2, 0).numpy()


def between(matrix):
    return np.linalg.inv(SRGB_TO_XYZ) @ matrix


def gama(value):
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def chrm(*points):
    return b"cHRM", struct.pack(">8I", *(round(point * 100_000) for point in points))


ADOBE_POINTS = chrm(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([gama(1.0)], encoded),
        ([gama(1 / 1.8)], lambda values: encoded(values**1.8)),
        ([gama(1 / 2.2)], lambda values: values),
        ([ADOBE_POINTS], lambda values: values),
        ([gama(1 / 2.2), ADOBE_POINTS], lambda v: encoded(v**2.2 @ between(ADOBE_TO_XYZ).T)),
        ([(b"sRGB", b"\0"), gama(1.0)], lambda values: values),
        ([(b"cICP", bytes((12, 13, 0, 1)))], lambda v: encoded(decoded(v) @ between(P3_TO_XYZ).T)),
        ([(b"cICP", bytes((1, 8, 0, 1))), gama(0.7)], encoded),
        ([(b"cICP", bytes((1, 13, 0, 0)))], lambda v: np.clip((v * 255 - 16) / 219, 0, 1)),
        ([gama(1.0), chrm(0.3, 0.3, 0, 0, 0, 0, 0, 0)], encoded),
    ],
)
def test_what_chunks_of_png_say(chunks, expected):
    array = photo_array()
    np.testing.assert_allclose(shown(png(array, *chunks)), expected(array / 255), atol=LEVEL)


def test_hdr_is_said_to_be_ignored():
    picture = images.decode(png(photo_array(), (b"cICP", bytes((9, 16, 0, 1)))), "a.png")
    assert picture.notes == ("a.png: its colour space (cICP) is not supported and was ignored",)


@pytest.mark.parametrize("gamma", [1.0, 1.8])
@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "RGB"])
def test_grey_with_a_profile_of_grey(tmp_path, mode, gamma):
    grey = photo_array()[..., 0]
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "grey.png", icc_profile=grey_profile(gamma))
    picture = images.read(tmp_path / "grey.png")
    assert picture.notes == ()
    expected = np.broadcast_to(encoded((grey / 255) ** gamma), (3, *grey.shape))
    np.testing.assert_allclose(picture.pixels[0], expected, atol=LEVEL)


def test_grey_of_16_bits_keeps_them_through_a_profile(tmp_path):
    ramp = np.linspace(20_000, 22_000, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "grey.png", icc_profile=grey_profile(1.8))
    values = images.read(tmp_path / "grey.png").pixels[0, 0].flatten()
    assert values.unique().numel() > 900
    assert (values.diff() >= 0).all()


def test_grey_with_a_profile_of_rgb(tmp_path):
    grey = photo_array()[..., 0]
    profile = profiles.srgb_profile()
    Image.fromarray(grey).save(tmp_path / "grey.png", icc_profile=profile)
    picture = images.read(tmp_path / "grey.png")
    assert picture.notes == ()
    np.testing.assert_allclose(picture.pixels[0, 1], grey / 255, atol=LEVEL)


def test_a_profile_for_pictures_of_another_kind_is_ignored_with_a_note(tmp_path):
    Image.fromarray(photo_array()).save(tmp_path / "a.png", icc_profile=grey_profile(1.8))
    picture = images.read(tmp_path / "a.png")
    assert "profile is unusable" in picture.notes[0]
    np.testing.assert_allclose(picture.pixels[0].permute(1, 2, 0), photo_array() / 255, atol=1e-6)


@pytest.mark.parametrize("by", ["ColorSpace", "InteropIndex"])
def test_adobe_rgb_by_exif_alone(tmp_path, by):
    array, exif = photo_array(), Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    if by == "ColorSpace":
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 2
    else:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 65535
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R03"}
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    expected = encoded((array / 255) ** (563 / 256) @ between(ADOBE_TO_XYZ).T)
    picture = images.read(tmp_path / "a.png")
    np.testing.assert_allclose(picture.pixels[0].permute(1, 2, 0), expected, atol=LEVEL)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_what_is_written_says_that_it_is_srgb(tmp_path, suffix):
    picture = images.read(photo_array())
    data = images.encode(tmp_path / f"a{suffix}", picture)
    assert data == images.encode(tmp_path / f"b{suffix}", picture)
    with Image.open(io.BytesIO(data)) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert ImageCms.isIntentSupported(profile, ImageCms.Intent.PERCEPTUAL, ImageCms.Direction.INPUT)


def test_what_cannot_be_honoured_makes_way_for_what_can():
    array = photo_array()
    profile = b"x\0\0" + zlib.compress(grey_profile(1.8))
    hdr = (b"cICP", bytes((9, 16, 0, 1)))
    picture = images.decode(png(array[..., 0].copy(), hdr, (b"iCCP", profile)), "a.png")
    assert picture.notes == ("a.png: its colour space (cICP) is not supported and was ignored",)
    expected = encoded((array[..., 0] / 255) ** 1.8)
    np.testing.assert_allclose(picture.pixels[0, 0], expected, atol=LEVEL)
    picture = images.decode(png(array, hdr, gama(1.0)), "a.png")
    expected = encoded(array / 255)
    np.testing.assert_allclose(picture.pixels[0].permute(1, 2, 0), expected, atol=LEVEL)


def test_lab_with_its_profile_needs_no_note():
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(Image.fromarray(photo_array()), srgb, lab, outputMode="LAB")
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(lab).tobytes()
    assert images.read(image).notes == ()


def file_of(array, profile):
    """A TIFF of 8 or 16 bits, grey, RGB or CMYK."""
    height, width, channels = array.shape
    kind = "uchar" if array.dtype == np.uint8 else "ushort"
    image = pyvips.Image.new_from_memory(array.tobytes(), width, height, channels, kind)
    spaces = {1: ("b-w", "grey16"), 3: ("srgb", "rgb16"), 4: ("cmyk", "cmyk")}
    image = image.copy(interpretation=spaces[channels][array.itemsize - 1])
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image.tiffsave_buffer()


def colours(channels):
    """All over the cube, and a ramp of dark greys that differ in their lower bytes."""
    array = np.random.default_rng(0).integers(0, 65536, (64, 64, channels)).astype(np.uint16)
    array[:16] = np.linspace(3000, 9000, 16 * 64).reshape(16, 64, 1)
    return array


def adapted(to_xyz):
    """Primaries under D65 as profiles have them, under D50."""
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    d65, d50 = np.array([0.95047, 1, 1.08883]), np.array([0.96422, 1, 0.82521])
    scale = np.diag(bradford @ d50 / (bradford @ d65))
    return np.linalg.inv(bradford) @ scale @ bradford @ to_xyz


def adobe():
    """The profile of Adobe RGB, and what it says by formula."""
    profile = matrix_profile(adapted(ADOBE_TO_XYZ), 563 / 256)
    return profile, lambda v: encoded(v ** (563 / 256) @ between(ADOBE_TO_XYZ).T)


def test_profiles_of_16_bits_keep_them(monkeypatch):
    """With formulas, without libvips, too."""
    profile, formula = adobe()
    array = colours(3)
    data = file_of(array, profile)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    read, expected = shown(data), formula(array / 65535)
    inside = ((expected > 0.02) & (expected < 0.99)).all(-1)
    difference = np.abs(read - expected)[inside]
    assert difference.max() < 0.5 * LEVEL  # the annex has four digits
    assert difference.mean() < 0.03 * LEVEL
    assert len(np.unique(read[:16])) > 900  # of 1024 greys


@pytest.mark.parametrize(
    "trc",
    [
        icc_curve("curv"),
        icc_curve("curv", 512),
        icc_curve("curv", *(round(65535 * (n / 99) ** 1.8) for n in range(100))),
        icc_curve(0, 2.2),
        icc_curve(1, 2.4, 1.1, -0.1),
        icc_curve(2, 2.0, 0.9, 0.1, -0.01),
        icc_curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
        icc_curve(4, 2.0, 0.95, 0.05, 0.3, 0.2, 0.0036, 0.0),
    ],
)
@pytest.mark.parametrize("space", ["p3", "grey"])
def test_curves_of_profiles_are_read_as_pillow_reads_them(trc, space):
    channels = 1 if space == "grey" else 3
    profile = grey_profile(trc) if space == "grey" else matrix_profile(adapted(P3_TO_XYZ), trc)
    few = (colours(3)[..., :channels] >> 8).astype(np.uint8)
    shallow, deep = (shown(file_of(array, profile)) for array in (few, few.astype("u2") * 257))
    np.testing.assert_allclose(deep, shallow, atol=LEVEL)


def test_profiles_with_tables_are_converted_by_libvips():
    """As Pillow converts 8 bits, but for the rounding of both."""
    profile = bytes(pyvips.Operation.call("profile_load", "cmyk"))
    few = (np.random.default_rng(0).integers(0, 256, (64, 64, 4))).astype(np.uint8)
    shallow, deep = (shown(file_of(array, profile)) for array in (few, few.astype("u2") * 257))
    if not features.version("littlecms2").startswith("2.17"):  # which gives others than since then
        assert np.abs(deep - shallow).max() < LEVEL
    both = matrix_profile(adapted(P3_TO_XYZ), 1.8).replace(b"desc", b"A2B0", 1)
    assert profiles._by_formula(profiles.scaled(few[..., :3], 255), both) is None
    ramp = np.zeros((32, 32, 4), np.uint16)
    ramp[..., 0] = np.linspace(20_000, 22_000, 1024).reshape(32, 32)
    assert len(np.unique(shown(file_of(ramp, profile))[..., 0])) > 500


def test_without_libvips_8_bits_are_converted_and_it_is_said(monkeypatch):
    profile = bytes(pyvips.Operation.call("profile_load", "cmyk"))
    data = file_of(colours(4), profile)
    rounded = shown(file_of((colours(4) / 257).round().astype(np.uint8), profile))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    picture = images.decode(data, "a.tif")
    (note,) = picture.notes
    assert note.startswith("a.tif: its colour profile was applied with 8 of 16 bits a channel")
    assert "pip install 'impasto[huge]'" in note
    np.testing.assert_array_equal(picture.pixels[0].permute(1, 2, 0), rounded)
    assert picture.bits == 16


@pytest.mark.parametrize("whose", ["ours", "libvips'"])
def test_a_profile_of_srgb_leaves_16_bits_as_they_are(monkeypatch, whose):
    """Whoever made it, and without libvips, too."""
    made = {
        "ours": profiles.srgb_profile(),
        "libvips'": pyvips.Operation.call("profile_load", "srgb"),
    }
    array = colours(3)
    data = file_of(array, bytes(made[whose]))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    np.testing.assert_allclose(shown(data) * 65535, array, atol=0.02)


def test_an_unusable_profile_of_16_bits_is_ignored_with_a_note():
    array = colours(3)
    primaries = adapted(P3_TO_XYZ)
    for profile in (
        b"nonsense",
        grey_profile(1.8),
        matrix_profile(primaries, b"odd"),
        matrix_profile(primaries, icc_curve("curv", *range(9))[:-8]),
        matrix_profile(primaries, 1.8).replace(b"bXYZ", b"none", 1),
    ):
        chunk = (b"iCCP", b"x\0\0" + zlib.compress(profile))
        picture = images.decode(png(array.astype(">u2"), chunk, depth=16), "a.png")
        assert picture.notes == ("a.png: its colour profile is unusable and was ignored",)
        np.testing.assert_allclose(picture.pixels[0].permute(1, 2, 0) * 65535, array, atol=0.02)
