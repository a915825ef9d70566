"""What a photo's file tells besides the picture: when, where and by whom it was taken.

It is kept through the painting, but for what is true of the photo's pixels alone: its thumbnail,
orientation, size, colour space, and what a maker noted about the camera's own rendering.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

_Tag, _IFD = ExifTags.Base, ExifTags.IFD
_KEPT = {
    _Tag.DocumentName,
    _Tag.ImageDescription,
    _Tag.Make,
    _Tag.Model,
    _Tag.PageName,
    _Tag.DateTime,
    _Tag.Artist,
    _Tag.HostComputer,
    _Tag.Copyright,
    _Tag.Rating,
    _Tag.RatingPercent,
    _Tag.XPTitle,
    _Tag.XPComment,
    _Tag.XPAuthor,
    _Tag.XPKeywords,
    _Tag.XPSubject,
}
"""Of the first directory of EXIF, which in TIFF also says how the pixels are stored."""
_NUMBERS = {_Tag.Rating, _Tag.RatingPercent}
"""Those of `_KEPT` that are no text."""
_DROPPED = {
    _Tag.MakerNote,
    _Tag.ColorSpace,
    _Tag.ExifImageWidth,
    _Tag.ExifImageHeight,
    _Tag.ExifInteroperabilityOffset,
    _Tag.ComponentsConfiguration,
    _Tag.CompressedBitsPerPixel,
    0x9214,  # SubjectArea: where on the photo, as SubjectLocation
    _Tag.SubjectLocation,
    _Tag.FlashPixVersion,
    _Tag.RelatedSoundFile,
}
"""Of the second one, about the exposure."""
_SRGB = 1
_INCHES, _CM_PER_INCH = 2, 2.54
_XMP_TAG, _IPTC_TAG = 700, 33723
_IPTC_RECORD = 0x0404
_XMP_THUMBNAILS = rb"<(\w+):Thumbnails(?:\s[^>]*)?(?<!/)>.*?</\1:Thumbnails>"
"""Adobe calls their name space xmp, and xap in older files."""
_XMP_OF_PIXELS = (
    rb"(?:tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension|exif:ColorSpace|photoshop:ICCProfile)"
)
_PHOTOSHOP = b"Photoshop 3.0\0"
_XMP_IN_PNG = "XML:com.adobe.xmp"
RECIPE = "impasto"
"""Keyword of the recipe in PNG, and the software that EXIF names."""
_RECIPE_TAG = _Tag.ImageHistory
"""Where EXIF keeps the recipe; the description stays the photographer's."""
_FROM_TEXT = {
    "Title": _Tag.ImageDescription,
    "Author": _Tag.Artist,
    "Copyright": _Tag.Copyright,
    "Creation Time": _Tag.DateTime,
    "Comment": _Tag.UserComment,
}
"""Where EXIF has what keywords of PNG say."""
_MOST_DPI = 65_535
"""What JPEG can say."""
_LONGEST_SEGMENT = 60_000
"""Bytes that a segment of JPEG can hold, with room for the recipe."""


class _Text(str):
    """Text of EXIF, which Pillow reads as Latin-1, whatever it is, but would write as ASCII."""

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:  # noqa: ARG002
        return super().encode("latin-1", errors)


@dataclass(frozen=True)
class Metadata:
    """What is kept of a file's metadata; each part is empty if the file has none of it."""

    tags: Mapping[int, Any] = field(default_factory=dict)
    """EXIF by number of the tag."""
    exposure: Mapping[int, Any] = field(default_factory=dict)
    gps: Mapping[int, Any] = field(default_factory=dict)
    xmp: bytes = b""
    iptc: bytes = b""
    text: Mapping[str, str] = field(default_factory=dict)
    """By the keywords of PNG."""
    dpi: tuple[float, float] | None = None

    @classmethod
    def of(cls, image: Image.Image) -> Metadata:
        """What is to be kept of an image as Pillow opened it."""
        exif = _exif_of(image)
        info = image.info
        tags = {
            tag: value
            for tag, value in _storable(exif)
            # libtiff crashes if it finds a number where there should be text.
            if tag in _KEPT and (isinstance(value, (str, bytes)) or tag in _NUMBERS)
        }
        if _is_recipe(tags.get(_Tag.ImageDescription)):  # where it once was
            del tags[_Tag.ImageDescription]
        exposure = {
            tag: value
            for tag, value in _storable(exif.get_ifd(_IFD.Exif), _IFD.Exif)
            if tag not in {*_DROPPED, _RECIPE_TAG}
        }
        gps = dict(_storable(exif.get_ifd(_IFD.GPSInfo), _IFD.GPSInfo))
        texts = getattr(image, "text", {})  # of PNG; what is not international is Latin-1
        in_png = texts.get(_XMP_IN_PNG, "").encode("latin-1", "replace")
        xmp = info.get("xmp") or in_png or exif.get(_XMP_TAG) or b""
        text = {
            str(key): str(value)
            for key, value in texts.items()
            if key not in (RECIPE, _XMP_IN_PNG, "Software") and "profile" not in key.lower()
        }
        if isinstance(info.get("comment"), bytes):  # JPEG's
            text["Comment"] = info["comment"].decode("utf-8", "replace")
        xmp = xmp.encode() if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b""
        return cls(tags, exposure, gps, _put_right(xmp), _iptc(image, exif), text, _dpi(info, exif))

    def save_options(
        self, kind: str, size: tuple[int, int], recipe: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """What Pillow's `save` is to be told to write all this, and a recipe, into a file.

        Args:
            kind: Pillow's name of the format.
            size: height and width of what is written.
            recipe: what made the picture.
        """
        text = None if recipe is None else json.dumps(recipe)
        exif = self._exif(kind, size, text)
        options: dict[str, Any] = {} if exif is None else {"exif": exif}
        if self.dpi:
            options["dpi"] = self.dpi
        if kind == "PNG":
            info = PngImagePlugin.PngInfo()
            if text is not None:
                info.add_text(RECIPE, text)
            for key, value in self.text.items():
                info.add_itxt(key, value)
            if self.xmp:
                info.add_itxt(_XMP_IN_PNG, self.xmp.decode("utf-8", "replace"))
            options["pnginfo"] = info
        elif self.xmp and kind != "TIFF":
            options["xmp"] = self.xmp
        if kind == "TIFF" and exif is not None and {_IFD.Exif, _IFD.GPSInfo} & exif.keys():
            options["compression"] = None  # libtiff, which compresses, writes no second directory
        if kind == "JPEG" and "Comment" in self.text:
            options["comment"] = self.text["Comment"].encode()
        if kind == "JPEG" and self.iptc:
            options["extra"] = _segment_of(self.iptc)
        return options

    def fitting(self, kind: str) -> Metadata:
        """Without the parts that are too long for JPEG; for other formats, all of it."""
        if kind != "JPEG":
            return self
        short = {
            name: type(getattr(self, name))()
            for name in ("xmp", "iptc", "text")
            if len(str(getattr(self, name))) > _LONGEST_SEGMENT
        }
        exif = self._exif(kind, (1, 1), None)
        if exif is not None and len(exif.tobytes()) > _LONGEST_SEGMENT:
            short |= {"exposure": {}, "tags": {}, "gps": {}}
        return replace(self, **short) if short else self

    def _exif(self, kind: str, size: tuple[int, int], recipe: str | None) -> Image.Exif | None:
        """EXIF for a picture of that size; None if there is nothing to store."""
        tags: dict[int, Any] = dict(self.tags)
        exposure: dict[int, Any] = dict(self.exposure)
        if kind != "PNG":
            for keyword, tag in _FROM_TEXT.items():
                if keyword in self.text and not (kind == "JPEG" and keyword == "Comment"):
                    _say(tags, exposure, tag, self.text[keyword])
            if recipe is not None:
                tags |= {_RECIPE_TAG: recipe, _Tag.Software: RECIPE}
        if kind == "TIFF":
            parts = {_XMP_TAG: self.xmp, _IPTC_TAG: self.iptc}
            tags |= {tag: part for tag, part in parts.items() if part}
        if kind in ("WEBP", "AVIF") and self.dpi:
            tags |= {_Tag.XResolution: self.dpi[0], _Tag.YResolution: self.dpi[1]}
            tags[_Tag.ResolutionUnit] = _INCHES
        if not (tags or exposure or self.gps):
            return None
        exif = Image.Exif()
        tags[_Tag.Orientation] = 1
        for number, value in tags.items():
            exif[number] = value
        if exposure:
            exposure |= {_Tag.ColorSpace: _SRGB}
            exposure |= {_Tag.ExifImageWidth: size[1], _Tag.ExifImageHeight: size[0]}
        for part, directory in ((_IFD.Exif, exposure), (_IFD.GPSInfo, self.gps)):
            if directory:
                exif.get_ifd(part).update(directory)
                exif[part] = dict(directory)  # where Pillow looks for it when it writes TIFF
        return exif


def recipe_text(image: Image.Image) -> str:
    """The recipe that `Metadata.save_options` wrote, as text; "" if there is none."""
    exif = _exif_of(image)
    places = (image.info.get(RECIPE), exif.get(_RECIPE_TAG), exif.get(_Tag.ImageDescription))
    return next((str(text) for text in places if _is_recipe(text)), "")


def _exif_of(image: Image.Image) -> Image.Exif:
    """EXIF of an image; empty if it is garbage."""
    with suppress(Exception):  # garbage raises nearly everything
        return image.getexif()
    return image.getexif()  # which Pillow takes for read by now


def _is_recipe(text: Any) -> bool:
    """Whether it is the JSON of an object."""
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError):
        return False


def _say(tags: dict[int, Any], exposure: dict[int, Any], tag: int, text: str) -> None:
    """Adds what a keyword of PNG says, unless EXIF says something already."""
    if tag == _Tag.UserComment:
        exposure.setdefault(tag, b"UNICODE\0" + text.encode("utf-16-be"))
    else:
        tags.setdefault(tag, _Text(text.encode().decode("latin-1")))


def _storable(directory: Mapping[int, Any], part: int | None = None) -> Iterator[tuple[int, Any]]:
    """Tags that can be written again.

    Args:
        directory: of EXIF.
        part: which one, if it is not the first: the same number may mean another tag there.
    """
    for tag, value in directory.items():
        kept = _Text(value) if isinstance(value, str) else value
        trial = Image.Exif()
        try:
            (trial if part is None else trial.get_ifd(part))[tag] = kept
            trial.tobytes()
        except Exception:  # odd values raise nearly everything
            continue
        yield int(tag), kept


def _put_right(xmp: bytes) -> bytes:
    """XMP in UTF-8, with the orientation that a painting has, without thumbnail, size and colour
    space.
    """
    if xmp[:2] in (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE):
        xmp = xmp.decode("utf-16", "replace").encode()
    xmp = re.sub(_XMP_THUMBNAILS, b"", xmp, flags=re.DOTALL)
    xmp = re.sub(rb"""\s+%b\s*=\s*("[^"]*"|'[^']*')""" % _XMP_OF_PIXELS, b"", xmp)
    xmp = re.sub(rb"<(%b)>[^<]*</\1>" % _XMP_OF_PIXELS, b"", xmp)
    xmp = re.sub(rb"""(tiff:Orientation\s*=\s*["'])\d+""", rb"\g<1>1", xmp)
    return re.sub(rb"(<tiff:Orientation>)\d+", rb"\g<1>1", xmp)


def _iptc(image: Image.Image, exif: Image.Exif) -> bytes:
    """IPTC's records, from JPEG or TIFF."""
    data = (image.info.get("photoshop") or {}).get(_IPTC_RECORD) or exif.get(_IPTC_TAG)
    return data if isinstance(data, bytes) else b""


def _segment_of(iptc: bytes) -> bytes:
    """The segment APP13 of JPEG, as Photoshop writes it."""
    resource = b"8BIM" + _IPTC_RECORD.to_bytes(2) + b"\0\0" + len(iptc).to_bytes(4) + iptc
    data = _PHOTOSHOP + resource + b"\0" * (len(iptc) % 2)
    return b"\xff\xed" + (len(data) + 2).to_bytes(2) + data


def _dpi(info: Mapping[Any, Any], exif: Image.Exif) -> tuple[float, float] | None:
    """Dots per inch, if the file says them."""
    try:
        across, down = map(float, info.get("dpi") or _resolution(exif))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if (across, down) in ((1, 1), (72, 72)):  # what Pillow says for a file that says nothing
        return None
    return (across, down) if min(across, down) > 0 and max(across, down) <= _MOST_DPI else None


def _resolution(exif: Image.Exif) -> tuple[float, float]:
    scale = _CM_PER_INCH if exif.get(_Tag.ResolutionUnit) == 3 else 1
    return float(exif[_Tag.XResolution]) * scale, float(exif[_Tag.YResolution]) * scale
