"""What a photo's file tells is kept through the painting, in all formats that can hold it."""

import io
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from impasto import images
from impasto.errors import ImageError
from impasto.formats import FORMATS
from impasto.huge.source import read_scaled
from impasto.metadata import Metadata, recipe_text

from .helpers.pictures import photo_array

Tag, IFD = ExifTags.Base, ExifTags.IFD
KEEPING = sorted(suffix for suffix, known in FORMATS.items() if known.metadata)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6">'
    b"<dc:title>Lake</dc:title><xmp:Thumbnails>AAAA</xmp:Thumbnails></rdf:Description></rdf:RDF>"
    b"</x:xmpmeta>"
)
COPYRIGHT = "\N{COPYRIGHT SIGN} J\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen"


def photo_exif():
    exif = Image.Exif()
    exif[Tag.ImageDescription] = "Family at the lake"
    exif[Tag.Orientation] = 6
    exif[Tag.DateTime] = "2019:07:04 10:11:12"
    exif[Tag.Copyright] = COPYRIGHT.encode()
    exif.get_ifd(IFD.Exif).update(
        {
            Tag.DateTimeOriginal: "2019:07:04 10:11:12",
            Tag.ExposureTime: 0.01,
            Tag.MakerNote: b"of the camera's own",
            Tag.ColorSpace: 65535,
            Tag.ExifImageWidth: 4000,
        }
    )
    exif.get_ifd(IFD.GPSInfo).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    return exif


@pytest.fixture
def photo_file(tmp_path):
    path = tmp_path / "photo.jpg"
    image = Image.fromarray(photo_array())
    image.save(path, exif=photo_exif(), dpi=(300, 300), xmp=XMP, comment=b"a comment")
    return path


def written(picture, suffix, recipe=None):
    return Image.open(io.BytesIO(images.encode(Path(f"a{suffix}"), picture, recipe)))


@pytest.mark.parametrize("suffix", KEEPING)
def test_what_a_photo_tells_is_kept(photo_file, suffix):
    image = written(images.read(photo_file), suffix, {"impasto": "1"})
    exif = image.getexif()
    assert exif[Tag.ImageDescription] == "Family at the lake"
    assert exif[Tag.DateTime] == "2019:07:04 10:11:12"
    assert exif[Tag.Copyright].encode("latin-1").decode() == COPYRIGHT
    assert exif.get(Tag.Orientation, 1) == 1
    exposure = exif.get_ifd(IFD.Exif)
    assert exposure[Tag.DateTimeOriginal] == "2019:07:04 10:11:12"
    assert float(exposure[Tag.ExposureTime]) == pytest.approx(0.01)
    assert exposure[Tag.ExifImageWidth] == image.width == 48  # it was turned
    assert exposure[Tag.ColorSpace] == 1
    assert Tag.MakerNote not in exposure
    assert exif.get_ifd(IFD.GPSInfo)[2] == (52.0, 30.0, 0.0)
    xmp = image.info.get("xmp") or exif.get(700)
    assert b"<dc:title>Lake" in xmp
    assert b'Orientation="1"' in xmp
    assert b"Thumbnails" not in xmp
    across, down = image.info.get("dpi") or (exif[Tag.XResolution], exif[Tag.YResolution])
    assert (float(across), float(down)) == pytest.approx((300, 300), abs=0.1)
    assert not exif.get_ifd(IFD.IFD1)


@pytest.mark.parametrize("suffix", KEEPING)
def test_it_survives_being_painted_twice(tmp_path, photo_file, suffix):
    first, path = images.read(photo_file), tmp_path / f"once{suffix}"
    images.write(path, first, {"impasto": "1", "method": "fast"})
    second = images.read(path)
    for part in ("tags", "gps", "xmp"):
        assert getattr(second.metadata, part) == getattr(first.metadata, part)
    assert images.read_recipe(path) == {"impasto": "1", "method": "fast"}
    images.write(path, second, {"impasto": "2"})
    assert images.read_recipe(path) == {"impasto": "2"}


@pytest.mark.parametrize("part", ["tags", "exposure", "gps", "xmp", "text", "dpi"])
@pytest.mark.parametrize("suffix", KEEPING)
def test_each_part_is_kept_without_the_others(photo_file, suffix, part):
    """TIFF has a directory of its own for some of them, in which comments are, too."""
    photo = images.read(photo_file)
    alone = replace(Metadata(), **{part: getattr(photo.metadata, part)})
    image = written(replace(photo, metadata=alone), suffix, {"impasto": "1"})
    kept = Metadata.of(image)
    if part == "text":
        told = [*kept.text.values(), kept.exposure.get(Tag.UserComment, b"").decode("utf-16-be")]
        assert any("a comment" in one for one in told)
    else:
        wanted = getattr(alone, part)
        found = getattr(kept, part)
        assert wanted.keys() <= found.keys() if isinstance(wanted, dict) else found


@pytest.mark.parametrize("size", [None, 24])
def test_what_a_png_says_behind_its_pixels_is_kept(tmp_path, size):
    """Where ExifTool writes; also of photos that are read row by row."""
    path, file = tmp_path / "photo.png", io.BytesIO()
    Image.fromarray(photo_array(32, 48)).save(file, "PNG")
    exif = photo_exif().tobytes().removeprefix(b"Exif\0\0")
    chunks = {b"eXIf": exif, b"tEXt": b"Author\0Anna", b"zTXt": packed(XMP)}
    behind = b"".join(
        len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)
        for name, data in chunks.items()
    )
    path.write_bytes(file.getvalue()[:-12] + behind + file.getvalue()[-12:])
    if size is not None:
        pytest.importorskip("pyvips")
    photo = images.read(path) if size is None else read_scaled(path, size)
    assert photo.size == ((48, 32) if size is None else (24, 16))  # it was turned
    assert photo.metadata.tags[Tag.ImageDescription] == "Family at the lake"
    assert photo.metadata.text == {"Author": "Anna"}
    assert b"<dc:title>Lake" in photo.metadata.xmp


def packed(xmp):
    return b"XML:com.adobe.xmp\0\0" + zlib.compress(xmp)


def test_iptc_that_is_lost_is_told(photo_file):
    photo = replace(images.read(photo_file), metadata=Metadata(iptc=b"\x1c\x02\x78\0\x01a"))
    for suffix in (".png", ".webp"):
        (note,) = images.check_fits(Path(f"a{suffix}"), photo, *photo.size)
        assert "keeps no IPTC fields" in note
    for suffix in (".jpg", ".tif"):
        assert images.check_fits(Path(f"a{suffix}"), photo, *photo.size) == ()


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_without_metadata_there_is_none(photo_file, suffix):
    bare = replace(images.read(photo_file), metadata=None)
    image = written(bare, suffix)
    assert not image.getexif().get_ifd(IFD.GPSInfo)
    assert Tag.Copyright not in image.getexif()
    assert "xmp" not in image.info
    assert "comment" not in image.info


def test_a_recipe_where_it_once_was_is_read_and_is_no_description(tmp_path):
    path, exif = tmp_path / "old.jpg", Image.Exif()
    exif[Tag.ImageDescription] = '{"impasto": "0.1", "method": "adain"}'
    Image.fromarray(photo_array()).save(path, exif=exif)
    assert images.read_recipe(path)["method"] == "adain"
    assert images.read(path).metadata is None


@pytest.mark.parametrize("suffix", KEEPING)
def test_titles_of_png_go_into_other_formats(tmp_path, suffix):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("Title", "S\N{LATIN SMALL LETTER E WITH ACUTE}ance")
    info.add_text("Copyright", "somebody")
    Image.fromarray(photo_array()).save(tmp_path / "a.png", pnginfo=info)
    image = written(images.read(tmp_path / "a.png"), suffix)
    if suffix == ".png":
        assert image.text["Title"] == "S\N{LATIN SMALL LETTER E WITH ACUTE}ance"
    else:
        title = image.getexif()[Tag.ImageDescription].encode("latin-1").decode()
        assert title == "S\N{LATIN SMALL LETTER E WITH ACUTE}ance"
        assert image.getexif()[Tag.Copyright] == "somebody"


def test_iptc_is_kept_by_jpeg_and_tiff(tmp_path):
    record = b"\x1c\x02\x74\x00\x08somebody"  # 2:116, copyright
    block = (
        b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(record).to_bytes(4, "big") + record + b"\0"
    )
    app13 = b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block
    Image.fromarray(photo_array()).save(tmp_path / "a.jpg", extra=app13)
    picture = images.read(tmp_path / "a.jpg")
    assert picture.metadata.iptc == record
    for suffix in (".jpg", ".tif"):
        images.write(tmp_path / f"b{suffix}", picture)
        assert images.read(tmp_path / f"b{suffix}").metadata.iptc == record


def test_what_is_too_long_for_jpeg_is_left_out_and_said():
    long = Metadata(tags={Tag.Artist: "somebody"}, xmp=b"<x>" + b"a" * 70_000)
    picture = images.Picture(images.read(photo_array()).pixels, metadata=long)
    height, width = picture.size
    notes = images.check_fits(Path("a.jpg"), picture, height, width)
    assert notes == ("a.jpg: some of the metadata is too long for JPEG and is left out",)
    image = written(picture, ".jpg")
    assert image.getexif()[Tag.Artist] == "somebody"
    assert images.check_fits(Path("a.png"), picture, height, width) == ()
    assert written(picture, ".png").info["xmp"] == long.xmp


def test_exif_that_leaves_no_room_for_the_recipe_is_too_long_for_jpeg():
    metadata = Metadata(exposure={Tag.UserComment: b"ASCII\0\0\0" + b"a" * 64_000})
    picture = images.Picture(images.read(photo_array()).pixels, metadata=metadata)
    (note,) = images.check_fits(Path("a.jpg"), picture, *picture.size)
    assert "too long for JPEG" in note
    recipe = {"impasto": "1", "styles": ["a" * 3_000]}
    assert json.loads(recipe_text(written(picture, ".jpg", recipe))) == recipe


def test_bmp_says_that_it_keeps_nothing():
    picture = images.read(photo_array())
    notes = images.check_fits(Path("a.bmp"), picture, *picture.size)
    assert notes == ("a.bmp: BMP keeps no metadata, no colour profile and no recipe",)


def test_odd_tags_do_not_keep_a_photo_from_being_painted(tmp_path):
    exif = Image.Exif()
    exif[Tag.Artist] = "somebody"
    exif.get_ifd(IFD.Exif)[Tag.ExposureTime] = (0, 0, 7)
    image = Image.fromarray(photo_array())
    image.info["dpi"] = ("many", 3)
    image.getexif().update(exif)
    assert images.read(image).metadata.tags == {Tag.Artist: "somebody"}


def exif_segment(*directories):
    """EXIF of JPEG: tag, type, count and 4 bytes each, of the first directory, then that of GPS."""
    data = b"II*\0" + struct.pack("<I", 8)
    for number, entries in enumerate(directories):
        following = len(data) + 2 + 12 * (len(entries) + 1) + 4
        link = [(IFD.GPSInfo, 4, 1, struct.pack("<I", following))]
        linked = entries + (link if number + 1 < len(directories) else [])
        data += struct.pack("<H", len(linked))
        data += b"".join(struct.pack("<HHI4s", *entry) for entry in linked) + b"\0" * 4
    data = b"Exif\0\0" + data
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data


@pytest.mark.parametrize("suffix", KEEPING)
def test_tags_of_a_wrong_type_are_left_out(suffix):
    number = (4, 1, struct.pack("<I", 24))
    segment = exif_segment(
        [(Tag.DocumentName, *number), (Tag.Model, *number), (Tag.Artist, 2, 4, b"Joe\0")],
        [(1, 2, 2, b"N\0\0\0"), (2, *number), (6, 2, 4, b"far\0"), (29, *number)],
    )
    encoded = io.BytesIO()
    Image.fromarray(photo_array()).save(encoded, "JPEG")
    data = encoded.getvalue()[:2] + segment + encoded.getvalue()[2:]
    picture = images.decode(data, "a.jpg")
    assert picture.metadata.tags == {Tag.Artist: "Joe"}
    assert picture.metadata.gps[1] == "N"
    assert written(picture, suffix, {"impasto": "1"}).getexif()[Tag.Artist] == "Joe"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_garbage_instead_of_exif_is_left_out(tmp_path, kind):
    path = tmp_path / "a"
    Image.fromarray(photo_array()).save(path, kind, exif=b"garbage", quality=100)
    with pytest.raises(ImageError, match="holds no recipe"):
        images.read_recipe(path)
    assert images.read(path).metadata is None


THUMBNAIL = "<{0}:Thumbnails{1}><rdf:Alt>AAAA</rdf:Alt></{0}:Thumbnails>"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "thumbnail", [THUMBNAIL.format("xmp", ""), THUMBNAIL.format("xap", ' rdf:parseType="x"')]
)
def test_xmp_says_nothing_that_is_true_of_the_photo_alone(encoding, thumbnail):
    xmp = (
        "<rdf:Description tiff:ImageWidth='4000' exif:PixelXDimension=\"4000\"\n"
        ' photoshop:ICCProfile="Adobe RGB (1998)" dc:rights="Joe">'
        "<tiff:ImageLength>3000</tiff:ImageLength><exif:ColorSpace>65535</exif:ColorSpace>"
        f"<tiff:Orientation>6</tiff:Orientation>{thumbnail}</rdf:Description>"
    )
    image = Image.fromarray(photo_array())
    image.info["xmp"] = xmp.encode(encoding)
    assert images.read(image).metadata.xmp == (
        b'<rdf:Description dc:rights="Joe"><tiff:Orientation>1</tiff:Orientation></rdf:Description>'
    )
