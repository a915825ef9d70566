"""Pictures of 16 bits a channel: none is lost, in whatever way a file stores them."""

import io
import itertools
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from impasto import formats, images
from impasto.errors import ImageError
from impasto.images import Picture

from .helpers.files import long_tiff, png, tiff
from .helpers.pictures import photo_array

DEEP = [".png", ".tif"]
NOISE = np.random.default_rng(0).integers(1, 65536, (37, 53, 4)).astype(np.uint16)
"""Whose lower bytes are as random as the higher ones."""
CHANNELS = {"grey": (0,), "grey with alpha": (0, 3), "rgb": (0, 1, 2), "rgba": (0, 1, 2, 3)}
INTERPRETATIONS = {1: "grey16", 2: "grey16", 3: "rgb16", 4: "rgb16"}
TURNS = {1: lambda array: array, 3: lambda array: array[::-1, ::-1], 6: lambda a: np.rot90(a, -1)}


def numbers(picture):
    """The colours of a picture, and its alpha if it has one, as 16 bits; whole or not."""
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    return torch.cat(planes, 1)[0].permute(1, 2, 0).double().numpy() * 65535


def shown(array):
    """(H, W, 1 to 4) as the package sees it: grey is in all three colours."""
    array = array.astype(np.float64)
    if array.shape[-1] < 3:
        array = np.concatenate((array[..., :1].repeat(3, -1), array[..., 1:]), -1)
    return array


def check(data, array):
    """Whether a file is read as 16 bits, all of them, with nothing to say."""
    picture = images.decode(data, "a")
    np.testing.assert_allclose(numbers(picture), shown(array), atol=0.02)
    assert (picture.bits, picture.notes) == (16, ())


def of_libvips(array):
    height, width, channels = array.shape
    made = pyvips.Image.new_from_memory(array.tobytes(), width, height, channels, "ushort")
    return made.copy(interpretation=INTERPRETATIONS[channels])


@pytest.mark.parametrize("channels", CHANNELS)
def test_files_of_another_library(channels):
    array = np.ascontiguousarray(NOISE[..., CHANNELS[channels]])
    image = of_libvips(array)
    for interlace in (False, True):
        check(image.pngsave_buffer(interlace=interlace), array)
    stored = itertools.product(
        ("none", "lzw", "deflate", "packbits"), ("none", "horizontal"), (False, True)
    )
    for compression, predictor, tile in stored:
        options = {"compression": compression, "predictor": predictor, "tile": tile}
        check(image.tiffsave_buffer(**options, tile_width=16, tile_height=16), array)


def tiff_of(array, order, *, separate=False, compressed=False, orientation=1, extra=2, colour=2):
    """A TIFF of 16 bits, of one strip, or of one for each plane."""
    height, width, channels = array.shape
    planes = np.moveaxis(array, -1, 0) if separate else array[None]
    strips = [plane.astype(f"{order}u2").tobytes() for plane in planes]
    if compressed:
        strips = [zlib.compress(strip) for strip in strips]
        strips = [strip.ljust(max(map(len, strips)), b"\0") for strip in strips]
    tags = {256: [width], 257: [height], 258: [16] * channels, 259: [8 if compressed else 1]}
    tags |= {262: [colour], 274: [orientation], 277: [channels], 278: [height]}
    tags |= {284: [2 if separate else 1]}
    tags |= {338: [extra]} if channels in (2, 4) and colour != 5 else {}
    return long_tiff(b"".join(strips), order, len(strips), tags)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("channels", ["grey with alpha", "rgb", "rgba"])
def test_tiffs_as_the_standard_has_them(channels, separate, compressed, order):
    array = NOISE[..., CHANNELS[channels]]
    options = {"separate": separate, "compressed": compressed, "colour": 1 + (array.shape[-1] > 2)}
    for orientation, turn in TURNS.items():
        check(tiff_of(array, order, orientation=orientation, **options), turn(array))


@pytest.mark.parametrize("channels", ["grey with alpha", "rgba"])
@pytest.mark.parametrize("separate", [False, True])
def test_alpha_that_colours_are_multiplied_by(channels, separate):
    array = NOISE[..., CHANNELS[channels]].copy()
    array[0, 0, -1] = 0
    multiplied = (array[..., :-1].astype(float) * array[..., -1:] / 65535).round()
    stored = np.concatenate((multiplied, array[..., -1:]), -1).astype(np.uint16)
    colour = 1 + (array.shape[-1] > 2)
    data = tiff_of(stored, "<", separate=separate, extra=1, colour=colour)
    visible = array[..., -1] > 30_000
    read = numbers(images.decode(data, "a"))
    np.testing.assert_allclose(read[visible], shown(array)[visible], atol=2)


@pytest.mark.parametrize("separate", [False, True])
def test_a_channel_that_is_no_alpha_is_left_out(separate):
    for channels, colour in (("grey with alpha", 1), ("rgba", 2)):
        array = NOISE[..., CHANNELS[channels]]
        check(tiff_of(array, "<", separate=separate, extra=0, colour=colour), array[..., :-1])


def test_tiles_of_planes():
    """Of 16 x 16, the second one half outside of the picture."""
    array = NOISE[:16, :24, :3]
    padded = np.pad(array, ((0, 0), (0, 8), (0, 0)))
    tiles = [padded[:, left : left + 16, plane] for plane in range(3) for left in (0, 16)]
    data = b"".join(zlib.compress(tile.tobytes()).ljust(700, b"\0") for tile in tiles)
    tags = {256: [24], 257: [16], 258: [16] * 3, 259: [8], 262: [2], 277: [3], 284: [2]}
    tags |= {322: [16], 323: [16]}
    check(long_tiff(data, "<", 6, tags, places=(324, 325)), array)


def test_cmyk_of_16_bits():
    light = (65535 - NOISE.astype(float)) / 65535
    expected = light[..., :3] * light[..., 3:] * 65535
    for separate in (False, True):
        check(tiff_of(NOISE, "<", separate=separate, colour=5), expected)


def test_a_png_is_turned_as_exif_says(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    chunk = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    check(png(NOISE[..., :3].astype(">u2"), chunk, depth=16), np.rot90(NOISE[..., :3], -1))


@pytest.mark.parametrize("suffix", DEEP)
@given(seed=st.integers(0, 2**32), alpha=st.booleans(), kind=st.sampled_from(["noise", "flat"]))
@settings(max_examples=15)
def test_what_is_written_is_read(suffix, seed, alpha, kind):
    random = np.random.default_rng(seed)
    height, width = random.integers(16, 48, 2)
    array = random.integers(0, 65536, (height, width, 4 if alpha else 3)).astype(np.uint16)
    array = array // 4096 * 4096 if kind == "flat" else array
    if alpha:
        array[..., 3] = array[..., 3].clip(1)  # where nothing is seen, no colour is kept
    data = images.encode(Path(f"a{suffix}"), images.read(array), {"impasto": "1"})
    check(data, array)
    np.testing.assert_array_equal(pyvips.Image.new_from_buffer(data, "").numpy(), array)


@pytest.mark.parametrize("suffix", DEEP)
def test_floats_are_rounded_to_the_nearest(suffix):
    steps = torch.arange(16 * 16).reshape(1, 1, 16, 16).expand(1, 3, -1, -1) * 200
    for off, up in ((0.4, 0), (0.6, 1), (-0.4, 0)):
        picture = Picture(((steps + off) / 65535).clamp(0, 1), bits=16)
        written = images.encode(Path(f"a{suffix}"), picture)
        check(written, (steps[0] + up).permute(1, 2, 0).numpy())


def test_a_tiff_says_which_of_its_channels_is_alpha():
    with TiffImageFile(io.BytesIO(images.encode(Path("a.tif"), images.read(NOISE)))) as image:
        assert image.tag_v2[ExifTags.Base.ExtraSamples] == (2,)


@pytest.mark.parametrize("suffix", DEEP)
def test_a_file_of_many_strips(suffix, monkeypatch):
    monkeypatch.setattr("impasto.deep._STRIP", 1000)
    data = images.encode(Path(f"a{suffix}"), images.read(NOISE))
    check(data, NOISE)


def test_png_is_filtered_well():
    """As well as libpng does it, which tries the same filters on each row."""
    y, x = np.mgrid[0:200, 0:300]
    waves = np.stack((np.sin(x / 40), np.cos(y / 30), np.sin((x + y) / 50)), -1)
    noise = np.random.default_rng(0).normal(0, 30, waves.shape)
    array = ((waves + 1) * 30_000 + noise).clip(0, 65535).astype(np.uint16)
    ours = len(images.encode(Path("a.png"), images.read(array)))
    assert ours < 1.05 * len(of_libvips(array).pngsave_buffer(filter=0xF8))


@pytest.mark.parametrize("suffix", DEEP)
def test_all_else_is_as_in_a_file_of_8_bits(tmp_path, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "J\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen".encode()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    encoded = io.BytesIO()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    options = {"exif": exif, "xmp": xmp, "dpi": (300, 200), "comment": b"odd"}
    Image.fromarray(photo_array()).save(encoded, "JPEG", **options)
    photo = images.decode(encoded.getvalue(), "a.jpg")
    path, recipe = tmp_path / f"a{suffix}", {"impasto": "1", "name": "\N{SNOWMAN}"}
    metadata, profiles = [], []
    for bits in (8, 16):
        images.write(path, replace(photo, bits=bits), recipe)
        assert images.read_recipe(path) == recipe
        metadata.append(images.read(path).metadata)
        with Image.open(path) as image:
            profiles.append(image.info["icc_profile"])
            assert image.mode == "RGB"
    assert metadata[0] == metadata[1] is not None
    assert profiles[0] == profiles[1]


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        (photo_array(), 8),
        (photo_array().astype(np.uint16) * 257, 16),
        (photo_array().astype(np.int64) * 257, 16),
        (photo_array().astype(np.int64), 8),
        (photo_array() / 255, 8),
        (photo_array() > 127, 8),
        (torch.rand(3, 20, 20), 8),
        (Image.fromarray(photo_array()), 8),
        (Image.fromarray(NOISE[..., 0]), 16),
    ],
)
def test_how_many_bits_are_given(given, bits):
    picture = images.read(given)
    assert picture.bits == picture.resized(20, 20).bits == bits


def test_other_tiffs_of_more_than_8_bits_count_as_deep():
    grey = photo_array()[..., 0]
    for data, bits in (
        (tiff(grey.astype(np.uint16) * 16, 12), 16),
        (tiff(grey.astype(np.uint32) * 16_843_009, 32), 16),
        (tiff((grey / 255).astype(np.float32), 32, sample_format=3), 16),
        (tiff((grey // 2).astype(np.int8), 8, sample_format=2), 8),
        (tiff(grey, 8), 8),
    ):
        assert images.decode(data, "a").bits == bits


@pytest.mark.parametrize("suffix", sorted(formats.FORMATS))
def test_formats_of_8_bits_are_named_before(suffix):
    deep, path = images.read(NOISE[..., :3]), Path(f"a{suffix}")
    notes = images.check_fits(path, deep, *deep.size)
    told = [note for note in notes if "8 bits a channel" in note]
    assert len(told) == (suffix not in {".png", ".tif", ".tiff"})
    assert all("use .png, .tif, .tiff to keep 16" in note for note in told)
    assert images.decode(images.encode(path, deep), "a").bits == (8 if told else 16)
    shallow = replace(deep, bits=8)
    assert len(images.check_fits(path, shallow, *deep.size)) == len(notes) - len(told)


@pytest.mark.parametrize("suffix", DEEP)
@pytest.mark.parametrize("channels", ["grey with alpha", "rgba"])
def test_a_file_that_is_cut_off_is_one_line(suffix, channels):
    image = of_libvips(np.ascontiguousarray(NOISE[..., CHANNELS[channels]]))
    whole = image.write_to_buffer(suffix)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError) as caught:
            images.decode(whole[: int(len(whole) * share)], "a")
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError):
        images.decode(tiff_of(NOISE, "<", separate=True, compressed=True)[:-9000], "a")


def test_lab_of_16_bits_is_refused_in_one_line():
    with pytest.raises(ImageError, match="of a kind that is not read"):
        images.decode(tiff_of(NOISE[..., :3], "<", colour=8), "a")


def test_the_painting_has_what_the_network_computed(run, tmp_path):
    """Of a deep photo, without being asked; not 8 bits in 16."""
    y, x = np.mgrid[0:48, 0:64]
    photo = np.stack((x * 1000, y * 1300, (x + y) * 550), -1).astype(np.uint16)
    of_libvips(photo).tiffsave("deep.tif", compression="deflate")
    call = ("stylize", "deep.tif", "painting.png", "--method", "adain.small", "-o")
    code, out, _ = run(*call, "out.tif", "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert row["notes"] == []
    written = pyvips.Image.new_from_file("out.tif").numpy()
    assert written.dtype == np.uint16
    assert len(np.unique(written)) > 1000
    assert (written % 257 != 0).mean() > 0.9
    assert images.read_recipe(Path("out.tif"))["method"] == row["recipe"]["method"]
    _, _, said = run(*call, "out.jpg")
    assert "out.jpg: JPEG is written with 8 bits a channel" in said
    with Image.open("out.jpg") as image:
        rounded = np.asarray(image).astype(float)
    assert np.abs(rounded - written / 257).mean() < 3
