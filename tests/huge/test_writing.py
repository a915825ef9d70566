"""Files of large pictures hold what files of any painting do."""

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from impasto import images
from impasto.errors import OutputError
from impasto.huge import writing
from impasto.huge.heads import WithHead, jpeg_parts, png_parts
from impasto.huge.resampling import Part
from impasto.huge.store import Store
from impasto.images import Picture
from impasto.metadata import Metadata

pyvips = pytest.importorskip("pyvips")

SIZE = (300, 520)
RECIPE = {"method": "adain", "strength": 0.5, "styles": [{"source": "ü.png"}]}
METADATA = Metadata(
    tags={0x010E: "a description", 0x8298: "somebody"},
    exposure={0x829A: 0.01, 0x9003: "2024:01:02 03:04:05"},
    gps={1: "N", 2: (48.0, 8.0, 0.0)},
    xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>",
    text={"Title": "a title"},
    dpi=(300.0, 300.0),
)


@pytest.fixture
def store(tmp_path):
    return made(tmp_path, 3)


def made(folder, bands):
    store = Store(folder / f"{bands}.raw", SIZE, bands)
    store.create()
    y, x = torch.meshgrid(*(torch.linspace(0, 1, side) for side in SIZE), indexing="ij")
    pixels = torch.stack((x, y, (x + y) / 2, x.round())[:bands])[None]
    store.write(Part((0, SIZE[0]), (0, SIZE[1])), pixels)
    return store


def write(path, store, bits=8, metadata=METADATA, on_fraction=lambda _: None):
    options = {"bits": bits, "metadata": metadata, "on_fraction": on_fraction}
    writing.write(path, store, folder=path.parent, recipe=RECIPE, **options)


def whole(store):
    return store.read(Part((0, store.size[0]), (0, store.size[1])))


@pytest.mark.parametrize("metadata", [METADATA, Metadata(), None])
@pytest.mark.parametrize("name", ["out.tif", "out.png", "out.jpg"])
def test_all_is_kept_as_in_any_painting(tmp_path, store, name, metadata):
    path, ordinary = tmp_path / name, tmp_path / f"ordinary-{name}"
    fractions = []
    write(path, store, metadata=metadata, on_fraction=fractions.append)
    assert fractions == sorted(fractions)
    images.write(ordinary, Picture(whole(store), metadata=metadata), RECIPE)
    assert images.read_recipe(path) == RECIPE
    painted, wanted = images.read(path), images.read(ordinary)
    assert painted.metadata == wanted.metadata
    assert (painted.metadata is None) == (metadata in (None, Metadata()))
    close = 0.06 if name == "out.jpg" else 1e-6
    torch.testing.assert_close(painted.pixels, wanted.pixels, atol=close, rtol=0)
    with Image.open(path) as mine, Image.open(ordinary) as theirs:
        assert mine.info["icc_profile"] == theirs.info["icc_profile"]
        assert mine.info.get("dpi") == theirs.info.get("dpi")
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        ["3.raw", name, f"ordinary-{name}"]
    )


@pytest.mark.parametrize("name", ["out.tif", "out.png"])
def test_16_bits(tmp_path, store, name):
    write(tmp_path / name, store, bits=16)
    image = pyvips.Image.new_from_file(str(tmp_path / name))
    assert image.format == "ushort"
    values = torch.from_numpy(image.numpy().astype(np.float32) / 65_535).permute(2, 0, 1)[None]
    torch.testing.assert_close(values, whole(store), atol=1e-7, rtol=0)
    assert images.read_recipe(tmp_path / name) == RECIPE


@pytest.mark.parametrize("name", ["out.tif", "out.png", "out.jpg"])
def test_transparency(tmp_path, name):
    store = made(tmp_path, 4)
    write(tmp_path / name, store)
    painted, pixels = images.read(tmp_path / name), whole(store)
    if name == "out.jpg":
        white = pixels[:, :3] * pixels[:, 3:] + 1 - pixels[:, 3:]
        torch.testing.assert_close(painted.pixels, white, atol=0.1, rtol=0)
    else:
        assert torch.equal(painted.alpha, pixels[:, 3:])


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_is_a_pyramid_of_tiles(tmp_path, store, monkeypatch, big):
    monkeypatch.setattr(writing, "CLASSIC_BYTES", 0 if big else 2**31)
    path = tmp_path / "out.tif"
    write(path, store)
    assert path.read_bytes()[2] == (43 if big else 42)
    levels = [pyvips.Image.tiffload(str(path), subifd=n) for n in (-1, 0)]
    assert [(image.height, image.width) for image in levels] == [SIZE, (150, 260)]
    with TiffImagePlugin.TiffImageFile(path) as image:
        assert image.tag_v2[322] == 256
        assert image.n_frames == 1
    assert images.read_recipe(path) == RECIPE
    assert images.read(path).metadata == replace(METADATA, text={})  # a TIFF has no keywords


def test_deepzoom_is_a_file_and_a_folder_of_tiles(tmp_path, store):
    for _ in range(2):  # the second replaces the first
        write(tmp_path / "out.dzi", store)
        (size,) = ElementTree.parse(tmp_path / "out.dzi").getroot()
        assert (size.get("Height"), size.get("Width")) == ("300", "520")
        assert (tmp_path / "out_files" / "10" / "2_1.jpg").exists()
        assert {one.name for one in tmp_path.iterdir()} == {"3.raw", "out.dzi", "out_files"}


@pytest.mark.parametrize("name", ["out.tif", "out.png", "out.jpg", "out.dzi"])
def test_what_fails_leaves_nothing(tmp_path, store, name):
    store.path.write_bytes(b"too short")
    with pytest.raises(OutputError, match=f"{name}: cannot be written") as caught:
        write(tmp_path / name, store)
    assert "\n" not in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["3.raw"]


def test_metadata_can_be_read_by_libvips(tmp_path, store):
    for name in ("out.tif", "out.png", "out.jpg"):
        write(tmp_path / name, store)
        image = pyvips.Image.new_from_file(str(tmp_path / name), fail_on="warning")
        assert "icc-profile-data" in image.get_fields()
        assert image.avg() > 0


@pytest.mark.parametrize(("kind", "parts"), [("PNG", png_parts), ("JPEG", jpeg_parts)])
@pytest.mark.parametrize("piece", [1, 7, 10**6])
def test_a_head_goes_before_pixels_however_they_come_in(kind, parts, piece):
    files = [io.BytesIO(), io.BytesIO()]
    pixels = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    pixels.save(files[0], kind)
    exif = Image.Exif()
    exif[0x010E] = "of the head"
    Image.new("RGB", (1, 1)).save(files[1], kind, exif=exif)
    own, head = (file.getvalue() for file in files)
    written = io.BytesIO()
    target = WithHead(written, head, parts)
    for place in range(0, len(own), piece):
        some = own[place : place + piece]
        assert target.write(some) == len(some)
    with Image.open(written) as both, Image.open(files[0]) as alone:
        assert both.getexif()[0x010E] == "of the head"
        np.testing.assert_array_equal(np.asarray(both), np.asarray(alone))


def test_a_head_that_cannot_be_written_is_remembered():
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError("no space")

    head = io.BytesIO()
    Image.new("RGB", (1, 1)).save(head, "PNG")
    target = WithHead(Full(), head.getvalue(), png_parts)
    assert target.write(head.getvalue()) == -1
    assert str(target.error) == "no space"
