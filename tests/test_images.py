"""Pictures in and out: every kind of file, and nothing lost."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from impasto import files, formats, images
from impasto.errors import ImageError, OutputError, TooLargeError
from tests.helpers.files import bomb
from tests.helpers.pictures import as_tensor, photo_array

RECIPE = {"impasto": "0", "method": "gatys", "name": "Hokusai \u2603"}


def saved(image, path, **options):
    image.save(path, **options)
    return images.read(path)


def assert_same(picture, array, tolerance=1.5):
    assert picture.pixels.shape == (1, 3, *array.shape[:2])
    difference = np.abs(picture.pixels[0].permute(1, 2, 0).numpy() * 255 - array)
    assert difference.mean() < tolerance


@pytest.mark.parametrize("suffix", sorted(formats.FORMATS))
def test_every_format_comes_back(tmp_path, suffix):
    array, path = photo_array(), tmp_path / f"out{suffix}"
    images.write(path, images.Picture(as_tensor(array)), RECIPE)
    assert_same(images.read(path), array, tolerance=3)
    if suffix != ".bmp":
        assert images.read_recipe(path) == RECIPE
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_jpeg_is_of_high_quality_and_full_chroma(tmp_path):
    array = np.zeros((32, 32, 3), np.uint8)
    array[:, ::2] = (255, 0, 0)  # one-pixel stripes: gone with halved chroma
    array[:, 1::2] = (0, 0, 255)
    images.write(tmp_path / "out.jpg", images.Picture(as_tensor(array)))
    with JpegImageFile(tmp_path / "out.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert image.quantization[0][0] <= 2
    assert_same(images.read(tmp_path / "out.jpg"), array, tolerance=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    array, exif = photo_array(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.swapaxes(0, 1),
        6: np.rot90(array, -1),
        7: np.rot90(array, 2).swapaxes(0, 1),
        8: np.rot90(array),
    }[orientation]
    picture = saved(Image.fromarray(array), tmp_path / "photo.png", exif=exif)
    assert_same(picture, turned, tolerance=1e-3)


def test_grey_palette_and_one_bit(tmp_path):
    grey = photo_array()[..., 0]
    expected = np.repeat(grey[..., None], 3, -1)
    assert_same(saved(Image.fromarray(grey), tmp_path / "grey.png"), expected, 1e-3)
    palette = Image.fromarray(photo_array()).quantize(256)
    assert_same(saved(palette, tmp_path / "p.png"), np.asarray(palette.convert("RGB")), 1e-3)
    bits = Image.fromarray(grey).convert("1")
    assert_same(saved(bits, tmp_path / "b.png"), np.asarray(bits.convert("RGB")), 1e-3)


def test_16_bits_are_scaled_not_cut(tmp_path):
    ramp = np.linspace(0, 65535, 40 * 50).reshape(40, 50).astype(np.uint16)
    for suffix in (".png", ".tif"):
        picture = saved(Image.fromarray(ramp), tmp_path / f"deep{suffix}")
        np.testing.assert_allclose(picture.pixels[0, 1], ramp / 65535, atol=1e-4)


def test_cmyk_with_and_without_profile(tmp_path):
    image = Image.fromarray(photo_array()).convert("CMYK")
    assert_same(saved(image, tmp_path / "photo.tif"), np.asarray(image.convert("RGB")), 1e-3)
    assert images.read(image).notes == ()


def test_a_profile_is_converted_to_srgb():
    array = photo_array()
    lab_profile, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    lab = ImageCms.profileToProfile(Image.fromarray(array), srgb, lab_profile, outputMode="LAB")
    assert_same(images.read(lab), array, tolerance=6)
    lab.info["icc_profile"] = ImageCms.ImageCmsProfile(lab_profile).tobytes()
    assert_same(images.read(lab), array, tolerance=6)


def test_an_unusable_profile_is_ignored_with_a_note(tmp_path):
    array = photo_array()
    picture = saved(Image.fromarray(array), tmp_path / "odd.png", icc_profile=b"nonsense")
    assert_same(picture, array, 1e-3)
    assert "profile" in picture.notes[0]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept(tmp_path, suffix):
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 20:] = 255
    alpha[:, 20:24] = 100
    image = Image.fromarray(np.dstack((photo_array(), alpha)))
    image.putpixel((3, 3), (255, 0, 255, 0))
    picture = images.read(image)
    np.testing.assert_allclose(picture.alpha[0, 0], alpha / 255, atol=1e-6)
    hidden = picture.pixels[0][:, alpha == 0]
    assert hidden.std(1).max() < 1e-6  # invisible pixels hold nothing of their own
    images.write(tmp_path / f"out{suffix}", picture)
    np.testing.assert_allclose(
        images.read(tmp_path / f"out{suffix}").alpha[0, 0], alpha / 255, atol=0.02
    )


def test_palette_transparency_is_alpha(tmp_path):
    image = Image.fromarray(photo_array()).quantize(16)
    picture = saved(image, tmp_path / "p.png", transparency=image.getpixel((0, 0)))
    assert picture.alpha is not None
    assert picture.alpha[0, 0, 0, 0] == 0


def test_opaque_alpha_is_none():
    opaque = np.dstack((photo_array(), np.full((48, 64), 255, np.uint8)))
    assert images.read(opaque).alpha is None


def test_formats_without_alpha_show_white(tmp_path):
    alpha = torch.ones(1, 1, 48, 64)
    alpha[..., :32] = 0
    images.write(tmp_path / "out.jpg", images.Picture(as_tensor(photo_array()), alpha))
    assert (images.read(tmp_path / "out.jpg").pixels[..., :24] > 0.98).all()


def test_an_animation_gives_its_first_frame_and_a_note(tmp_path):
    first, second = Image.fromarray(photo_array()), Image.new("RGB", (64, 48))
    path = tmp_path / "moving.webp"
    first.save(path, save_all=True, append_images=[second], lossless=True)
    picture = images.read(path)
    assert_same(picture, photo_array(), 1e-3)
    assert "first of 2 frames" in picture.notes[0]


@pytest.mark.parametrize(
    "convert",
    [
        Image.fromarray,
        lambda array: array,
        lambda array: (array / 255).astype(np.float32),
        lambda array: array.astype(np.uint16) * 257,
        lambda array: (array.astype(np.uint16) * 257).astype(">u2"),
        lambda array: (array / 255).astype(">f4"),
        lambda array: (array / 255).astype(np.float16),
        lambda array: array.astype(np.int64),
        lambda array: array.astype(np.int32) * 257,
        lambda array: array.astype(np.int16) * 128,
        lambda array: (array // 2).astype(np.int8),
        lambda array: array.astype(np.uint32) * 16_843_009,
        lambda array: array.astype(">i4") * 8_421_504,
        lambda array: array > 127,
        as_tensor,
        lambda array: as_tensor(array)[0],
    ],
)
def test_same_type_in_same_type_out(convert):
    given = convert(photo_array())
    back = images.like(images.read(given), given)
    assert type(back) is type(given)
    if isinstance(given, (np.ndarray, torch.Tensor)):
        assert back.dtype == given.dtype
        assert back.shape == given.shape
    np.testing.assert_allclose(
        np.asarray(back, dtype=float), np.asarray(given, dtype=float), rtol=1e-3, atol=0.51 / 255
    )


@pytest.mark.parametrize(
    "kind", ["uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64", ">u2", ">i4", "<u4"]
)
@pytest.mark.parametrize("white", [255, 65535])
def test_integers_mean_the_same_in_all_types(kind, white):
    array = photo_array()
    kind = np.dtype(kind)
    if white > np.iinfo(kind).max or (white == 255 and kind.kind == "u" and kind.itemsize == 2):
        return  # does not fit; or is dark, as uint16
    numbers = (array.astype(np.int64) * (white // 255)).astype(kind)
    np.testing.assert_allclose(images.read(numbers).pixels, as_tensor(array), atol=1e-6)


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "F"])
def test_deep_images_of_pillow(mode):
    grey = photo_array()[..., 0]
    deep = {
        "I": grey.astype(np.int32) * 257,
        "I;16": grey.astype("<u2") * 257,
        "I;16B": (grey.astype(np.uint16) * 257).astype(">u2"),
        "F": grey.astype(np.float32),
    }[mode]
    image = Image.fromarray(deep)
    assert image.mode == mode
    np.testing.assert_allclose(images.read(image).pixels[0, 2], grey / 255, atol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        torch.rand(2, 3, 20, 20),
        torch.zeros(3, 20, 20, dtype=torch.uint8),
        torch.rand(3, 20, 20) * 255,
        torch.full((3, 20, 20), torch.nan),
        torch.rand(3, 0, 20),
        np.zeros((20, 20, 2)),
        np.full((20, 20, 3), 1.5),
        np.zeros((0, 20, 3), np.uint8),
        np.full((20, 20), -1),
        np.arange(400).reshape(20, 20) * 10,  # 12 bits, or dark ones of 16
        np.eye(20, dtype=np.int64),  # of 255, or of 1
        np.full((20, 20), 2**40),
        np.ones((20, 20), complex),
        np.full((20, 20), "x"),
    ],
)
def test_what_is_no_picture_is_refused(given):
    with pytest.raises(ImageError):
        images.read(given)


def bad_file(tmp_path, kind):
    path = tmp_path / f"{kind}.jpg"
    if kind == "text":
        path.write_text("once upon a time")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        whole = io.BytesIO()
        Image.fromarray(photo_array(200, 200)).save(whole, "JPEG")
        path.write_bytes(whole.getvalue()[:900])
    elif kind == "folder":
        path.mkdir()
    elif kind == "tiny":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "bomb":
        path.write_bytes(bomb())
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "text", "empty", "truncated", "folder", "tiny", "bomb"]
)
def test_bad_files_are_named_in_one_line(tmp_path, kind):
    path = bad_file(tmp_path, kind)
    with pytest.raises(ImageError) as caught:
        images.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_masks_are_lightness_times_alpha(tmp_path):
    grey = np.zeros((48, 64), np.uint8)
    grey[:, 32:] = 255
    Image.fromarray(grey).save(tmp_path / "mask.png")
    mask = images.read_mask(tmp_path / "mask.png", 48, 64)
    np.testing.assert_array_equal(mask, grey / 255)
    shape = np.dstack((np.full((48, 64, 3), 255, np.uint8), grey))
    np.testing.assert_allclose(images.read_mask(shape, 48, 64), grey / 255)
    with pytest.raises(ImageError, match=r"mask.png: it is 64x48, the photo is 65x48"):
        images.read_mask(tmp_path / "mask.png", 48, 65)


@pytest.mark.parametrize("name", ["out.xyz", "out", "nowhere/out.png", "."])
def test_unwritable_places_are_found_before_work_begins(tmp_path, name):
    with pytest.raises(OutputError):
        images.check_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"the old one")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match=r"out.png: .*No space left"):
        images.write(path, images.Picture(as_tensor(photo_array())))
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_pictures_without_recipe_say_so(tmp_path):
    Image.fromarray(photo_array()).save(tmp_path / "photo.png")
    with pytest.raises(ImageError, match=r"photo.png: holds no recipe"):
        images.read_recipe(tmp_path / "photo.png")


def test_the_recipe_is_plain_json(tmp_path):
    images.write(tmp_path / "out.png", images.Picture(as_tensor(photo_array())), RECIPE)
    with PngImageFile(tmp_path / "out.png") as image:
        assert json.loads(image.text["impasto"]) == RECIPE


def test_resizing_keeps_range_and_mean():
    photo = as_tensor(photo_array())
    small = images.resize(photo, 24, 32)
    assert small.shape == (1, 3, 24, 32)
    assert small.min() >= 0
    assert small.max() <= 1
    torch.testing.assert_close(small.mean((2, 3)), photo.mean((2, 3)), atol=0.02, rtol=0)
    assert images.resize(photo, 48, 64) is photo


def test_a_picture_too_wide_for_its_format_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="WEBP cannot hold 17000x16, at most 16383 pixels a side"):
        images.write(tmp_path / "wide.webp", images.Picture(torch.zeros(1, 3, 16, 17_000)))
    assert not list(tmp_path.iterdir())


def png_with(kind, data, at=33):
    """A good PNG with a chunk of that data behind its header."""
    encoded = io.BytesIO()
    Image.new("RGB", (20, 20)).save(encoded, "PNG")
    chunk = kind + data
    chunk = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return encoded.getvalue()[:at] + chunk + encoded.getvalue()[at:]


def test_whatever_decoders_stumble_over_is_one_line(tmp_path):
    data = png_with(b"tRNS", b"")
    path = tmp_path / "odd.png"
    path.write_bytes(data)
    for read in (lambda: images.decode(data, "odd.png"), lambda: images.read(path)):
        with pytest.raises(ImageError, match=r"odd.png: cannot be read, perhaps damaged"):
            read()


@pytest.mark.parametrize("kind", ["ICO", "PPM", "EPS"])
def test_bytes_of_anybody_are_of_usual_formats(kind):
    encoded = io.BytesIO()
    Image.new("RGB", (32, 32)).save(encoded, kind)
    with pytest.raises(ImageError, match=r"x.png: not a picture, or of an unknown format"):
        images.decode(encoded.getvalue(), "x.png")


@pytest.mark.parametrize("extension", formats.FORMATS)
def test_what_is_encoded_is_decoded(extension, photo):
    data = images.encode(Path(f"a{extension}"), images.Picture(photo))
    read = images.decode(data, "a", most=48 * 64)
    assert (read.pixels - photo).abs().mean() < 0.05
    with pytest.raises(TooLargeError, match=r"64x48 are more than 0.003 megapixels"):
        images.decode(data, "a", most=3000)


@pytest.mark.parametrize("kind", [np.uint64, np.int64])
def test_white_of_64_bits_stays_white(kind):
    white = np.full((20, 20, 3), np.iinfo(kind).max, kind)
    back = images.like(images.read(white), white)
    assert back.dtype == kind
    np.testing.assert_allclose(back.astype(float), white.astype(float), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_a_picture():
    grey = photo_array()[..., 0]
    np.testing.assert_allclose(images.read(np.matrix(grey)).pixels[0, 0], grey / 255, atol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, torch.tensor])
def test_rounding_is_no_reason_to_refuse_floats(kind):
    array = photo_array() / 255
    array[:4], array[4:8] = 1 + 9e-4, -1e-9
    given = torch.tensor(array).permute(2, 0, 1) if kind is torch.tensor else array.astype(kind)
    pixels = images.read(given).pixels
    assert pixels.min() == 0
    assert pixels.max() == 1
    with pytest.raises(ImageError, match=r"values from .* to 1\.002; floats must be in"):
        images.read(np.where(array > 1, 1.002, array))


def test_masks_of_zeros_and_ones_are_refused(tmp_path):
    mask = (photo_array()[..., 0] > 127).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for given in (mask, tmp_path / "mask.png"):
        with pytest.raises(ImageError, match=r"it is almost black, 0.4% of white at most; paint"):
            images.read_mask(given, *mask.shape)
    images.read_mask(mask * 0, *mask.shape)
    images.read_mask(mask * 255, *mask.shape)


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a\0b.png", "a\ud800.png"])
def test_names_that_no_file_can_have_are_one_line(tmp_path, name):
    with pytest.raises(ImageError, match="cannot be read"):
        images.read(tmp_path / name)
    with pytest.raises(OutputError, match="cannot be written"):
        images.check_writable(tmp_path / name)
    with pytest.raises(OutputError, match="cannot be written"):
        files.replace(tmp_path / name, b"")
    assert list(tmp_path.iterdir()) == []


def test_paths_of_bytes_are_paths(tmp_path):
    class OfBytes:
        def __fspath__(self):
            return bytes(tmp_path / "a.png")

    Image.fromarray(photo_array()).save(tmp_path / "a.png")
    assert_same(images.read(OfBytes()), photo_array(), 1e-3)
