"""Files of pictures: the formats, what each can hold, how they are opened and written."""

from __future__ import annotations

import ctypes
import io
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image, ImagePalette, UnidentifiedImageError
from PIL import features as pillow_features

from impasto import deep
from impasto.errors import (
    ImageError,
    ImpastoError,
    OutputError,
    TooLargeError,
    is_want_of_memory,
)
from impasto.metadata import Metadata
from impasto.profiles import srgb_profile


@dataclass(frozen=True)
class Format:
    """A format that pictures are written in."""

    kind: str
    """Pillow's name."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For Pillow's `save`."""
    longest: int = 2**31 - 1
    """Pixels that a side can have."""
    alpha: bool = True
    """Whether it can be transparent."""
    metadata: bool = True
    """Whether it holds metadata, a colour profile and the recipe."""
    bytes_per_pixel: float = 0.05
    """What a painted picture takes at the very least."""
    deep: Callable[[bytes, deep.Pixels], bytes] | None = None
    """Writes 16 bits a channel into a file of a single pixel; None if the format holds 8."""


_JPEG = Format(
    "JPEG", {"quality": 95, "subsampling": "4:4:4"}, 65_500, alpha=False, bytes_per_pixel=0.1
)
_TIFF = Format("TIFF", {"compression": "tiff_lzw"}, bytes_per_pixel=0.5, deep=deep.tiff)
FORMATS: dict[str, Format] = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": Format("PNG", bytes_per_pixel=0.5, deep=deep.png),
    ".webp": Format("WEBP", {"quality": 95}, 16_383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", alpha=False, metadata=False, bytes_per_pixel=3),
}
"""What can be written, by extension; all of it can be read."""
if pillow_features.check("avif"):
    FORMATS[".avif"] = Format("AVIF", {"quality": 90, "subsampling": "4:4:4"}, 32_768)

DEEPZOOM = ".dzi"
"""Extension of pictures that are a folder of tiles for viewers on web pages: `impasto.huge` writes
them."""

_PLUGINS = {"HEIF": ("pillow_heif", "heic"), "JXL": ("pillow_jxl", "jxl")}
"""Modules that teach Pillow to read another format, and the extras of impasto that bring them."""
_READ_ONLY = {"GIF": (".gif",), "HEIF": (".heic", ".heif", ".hif"), "JXL": (".jxl",)}
_RAW = {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"}
"""Of cameras. Pillow takes some of them for TIFF and would open the thumbnail."""
_COLOURS = 320
"""A tag of TIFF."""
_HEAD = 16
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}


@cache
def plugins() -> frozenset[str]:
    """The formats of `_PLUGINS` that can be read here; the first call loads their modules."""
    found = set()
    for kind, (module, _) in _PLUGINS.items():
        try:
            plugin = import_module(module)
            if kind == "HEIF":
                plugin.register_heif_opener()
        except (ImportError, OSError):  # not installed, or for another system
            continue
        found.add(kind)
    return frozenset(found)


def readable() -> list[str]:
    """Extensions of the pictures that are found in folders, in alphabetical order."""
    read_only = [s for kind in plugins() | {"GIF"} for s in _READ_ONLY[kind]]
    return sorted({*FORMATS, *read_only})


def usual_kinds() -> list[str]:
    """Pillow's names of the formats that files of anybody may be in."""
    return sorted({known.kind for known in FORMATS.values()} | {"GIF"} | plugins())


def format_of(path: Path) -> Format:
    """The format of a file to be written, by its extension.

    Raises:
        OutputError: no format has this extension.
    """
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        wrong = f"cannot write '{path.suffix}' pictures" if path.suffix else "names no format"
        raise OutputError(f"{path}: {wrong}; use {', '.join(sorted(FORMATS))}")
    return known


def check_extension(path: Path) -> None:
    """Raises `OutputError` if pictures with the extension of a file cannot be written."""
    if path.suffix.lower() != DEEPZOOM:
        format_of(path)


def check_size(path: Path, height: int, width: int) -> None:
    """Raises `OutputError` if the format of a file cannot hold so many pixels a side."""
    kind = format_of(path)
    if max(height, width) > kind.longest:
        roomier = sorted(s for s, f in FORMATS.items() if f.longest >= max(height, width))
        raise OutputError(
            f"{path}: {kind.kind} cannot hold {width}x{height}, at most {kind.longest} pixels a "
            f"side; use {', '.join(roomier)}, or a smaller size"
        )


def left_out(
    path: Path, metadata: Metadata | None, *, transparent: bool, bits: int
) -> tuple[str, ...]:
    """What the format of a file cannot keep, a line each."""
    kind, notes = format_of(path), []
    if bits > 8 and not kind.deep:
        deeper = ", ".join(sorted(suffix for suffix, known in FORMATS.items() if known.deep))
        notes.append(
            f"{path}: {kind.kind} is written with 8 bits a channel, the photo has more; use "
            f"{deeper} to keep 16"
        )
    if transparent and not kind.alpha:
        notes.append(f"{path}: {kind.kind} has no transparency; transparent parts become white")
    if not kind.metadata:
        notes.append(f"{path}: {kind.kind} keeps no metadata, no colour profile and no recipe")
    elif metadata is not None:
        if metadata.iptc and kind.kind not in ("JPEG", "TIFF"):
            notes.append(f"{path}: {kind.kind} keeps no IPTC fields; JPEG and TIFF do")
        if metadata.fitting(kind.kind) != metadata:
            notes.append(
                f"{path}: some of the metadata is too long for {kind.kind} and is left out"
            )
    return tuple(notes)


def encode(
    path: Path,
    image: Image.Image | deep.Pixels,
    metadata: Metadata | None,
    recipe: Mapping[str, Any] | None,
) -> bytes:
    """What the file of a picture holds: the picture, an sRGB profile, metadata and recipe.

    Args:
        path: its name.
        image: of 8 bits a channel; or (H, W, 3 or 4) of 16, if the format has them.
        metadata: kept in it.
        recipe: kept in it.

    Raises:
        OutputError: the format cannot hold this picture.
    """
    kind = format_of(path)
    width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    check_size(path, height, width)
    try:
        if isinstance(image, Image.Image):
            return _saved(image, kind, (height, width), metadata, recipe)
        assert kind.deep is not None
        return kind.deep(head_of(kind, (height, width), metadata, recipe), image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's writers raise nearly everything
        raise OutputError(f"{path}: {kind.kind} cannot hold this picture ({error})") from error


def head_of(
    kind: Format,
    size: tuple[int, int],
    metadata: Metadata | None,
    recipe: Mapping[str, Any] | None,
) -> bytes:
    """The file of a picture of one pixel that holds all else that a painting's file does: Pillow
    writes it, and other pixels are put into it.

    Args:
        kind: format of the file.
        size: height and width of the painting.
        metadata: kept in it.
        recipe: kept in it.
    """
    return _saved(Image.new("RGB", (1, 1)), kind, size, metadata, recipe)


def _saved(
    image: Image.Image,
    kind: Format,
    size: tuple[int, int],
    metadata: Metadata | None,
    recipe: Mapping[str, Any] | None,
) -> bytes:
    options = dict(kind.options)
    if kind.metadata:
        options["icc_profile"] = srgb_profile()
        kept = (metadata or Metadata()).fitting(kind.kind)
        options |= kept.save_options(kind.kind, size, recipe)
    encoded = io.BytesIO()
    image.save(encoded, kind.kind, **options)
    return encoded.getvalue()


@contextmanager
def opened_file(path: Path) -> Iterator[Image.Image]:
    """Opens a picture, all of it read.

    Raises:
        ImageError: naming the file and the fix.
        TooLargeError: it does not fit into memory.
    """
    with _ordinary_file(path) as file, opened(file, str(path)) as image:
        yield image


@contextmanager
def opened_head(path: Path) -> Iterator[Image.Image]:
    """Opens a picture of any size for what its file says of it; its pixels are not read.

    Raises:
        ImageError: naming the file and the fix.
    """
    with (
        _ordinary_file(path) as file,
        decoding(str(path)),
        _opened_head(file, str(path)) as image,
    ):
        yield image


def size_of(path: Path) -> tuple[int, int]:
    """The sides of a picture of any size, as they are in its file: height and width, unless it is
    turned.

    Raises:
        ImageError: naming the file and the fix.
    """
    with _ordinary_file(path) as file, decoding(str(path)):
        if file.read(len(_PNG_SIGNATURE)) == _PNG_SIGNATURE:
            (_, header), *_ = _chunks(file)
            return int.from_bytes(header[4:8]), int.from_bytes(header[:4])
        with _opened_head(file, str(path)) as image:
            return image.height, image.width


@contextmanager
def _opened_head(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """A picture without its pixels; of PNG, whose texts Pillow looks for behind the pixels, with
    a single one.
    """
    plugins()
    file.seek(0)
    head = file.read(_HEAD)
    if head[:8] == _PNG_SIGNATURE:
        with opened(io.BytesIO(_one_pixel(_chunks(file))), name) as image:
            yield image
        return
    Image.init()
    for kind in usual_kinds():
        factory, accept = Image.OPEN[kind]
        if accept is None or accept(head) is True:
            file.seek(0)
            with factory(file, name) as image:  # not `Image.open`, which refuses large ones
                yield image
            return
    raise ImageError(f"{name}: {_why_not(head)}")


@contextmanager
def _ordinary_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that may be a picture, for reading."""
    if path.suffix.lower() in _RAW:
        raise ImageError(
            f"{path}: raw photographs are not read; develop it to TIFF or JPEG in another program"
        )
    try:
        if path.is_dir():
            raise ImageError(f"{path}: is a folder, not a picture; name the files in it")
        if path.exists() and not path.is_file():  # of a pipe, reading might never end
            raise ImageError(f"{path}: is no ordinary file; save the picture to one")
        file = path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be read ({reason})") from error
    with file:
        yield file


@contextmanager
def opened(
    source: BinaryIO, name: str, most: int | None = None, kinds: list[str] | None = None
) -> Iterator[Image.Image]:
    """Opens a picture, all of it read.

    What has 16 bits a channel that Pillow gives 8 of is also given whole as ``info["deep"]``, as
    `deep.samples` returns it.

    Args:
        source: what its file holds.
        name: how messages call it.
        most: pixels that it may have, looked at before they are unpacked.
        kinds: Pillow's names of the formats that it may be in; None for all.

    Raises:
        ImageError: naming the picture and the fix.
        TooLargeError: it has more pixels, or does not fit into memory.
    """
    with decoding(name):
        plugins()
        head = source.read(_HEAD)
        source.seek(0)
        if head[:4] in (b"II*\0", b"MM\0*"):
            _silence_libtiff()
        try:
            image: Image.Image = Image.open(source, formats=kinds)
        except UnidentifiedImageError as error:
            unknown = deep.grey_with_alpha(source)
            if unknown is None:
                raise ImageError(f"{name}: {_why_not(head)}") from error
            image = unknown
        with image:
            if most is not None and image.width * image.height > most:
                raise TooLargeError(
                    f"{name}: {image.width}x{image.height} are more than {most / 1e6:g} "
                    "megapixels; scale it down"
                )
            if image.format == "TIFF":
                _put_right_tiff(image)
            image.info["deep"] = deep.samples(image, source)
            if image.info["deep"] is None:
                image.load()
            yield _completed(image, source) if head[:8] == _PNG_SIGNATURE else image


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns whatever decoders stumble over into one line."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of odd metadata; too large is an error by itself.
            warnings.simplefilter("ignore")
            yield
    except ImpastoError:
        raise
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ImageError(
            f"{name}: too many pixels to be safe to open, at most {most:.0f} megapixels; scale it "
            "down"
        ) from error
    except Exception as error:  # damaged files raise nearly everything
        if is_want_of_memory(error):
            raise TooLargeError(
                f"{name}: does not fit into the memory that is free; scale it down"
            ) from error
        raise ImageError(f"{name}: cannot be read, perhaps damaged or cut off ({error})") from error


def _why_not(head: bytes) -> str:
    """What is to be done about a file that begins so and that nothing here can read."""
    if not head:
        return "the file is empty; copy it anew"
    heif = head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS
    jxl = head[:2] == b"\xff\x0a" or head[4:8] == b"JXL "
    for kind, is_it in (("HEIF", heif), ("JXL", jxl)):
        module, extra = _PLUGINS[kind]
        if is_it and kind not in plugins():
            return (
                f"pictures of this kind need the package '{module}': pip install 'impasto[{extra}]'"
            )
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return (
            "a TIFF that is cut off, or of a kind that is not read, such as colours as floats; "
            "save it anew as TIFF or PNG with 8 or 16 bits a channel"
        )
    return f"not a picture, or of an unknown format; use {', '.join(readable())}"


@cache
def _silence_libtiff() -> None:
    """Keeps libtiff from printing its warnings: what matters comes as an error as well."""
    home = Path(PIL.__file__).parent
    for folder in (home.parent / "pillow.libs", home / ".dylibs"):
        for library in folder.glob("libtiff*"):
            loaded = ctypes.CDLL(str(library))
            for which in (loaded.TIFFSetWarningHandler, loaded.TIFFSetErrorHandler):
                which.argtypes, which.restype = [ctypes.c_void_p], ctypes.c_void_p
                which(None)


def _put_right_tiff(image: Any) -> None:
    """Tells Pillow before it loads a TIFF that its palette is of 8 bits, if it is not of 16."""
    if image.mode == "P" and max(image.tag_v2[_COLOURS]) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(image.tag_v2[_COLOURS]))


def _completed(image: Image.Image, source: BinaryIO) -> Image.Image:
    """A PNG with what Pillow leaves out: the chunk cICP as ``info["cicp"]``, and as alpha the
    transparent colour (tRNS) where its depth is not that of the pixels as Pillow gives them.
    """
    chunks = dict(_chunks(source))
    depth = chunks[b"IHDR"][8]
    if b"cICP" in chunks:
        image.info["cicp"] = chunks[b"cICP"]
    if "transparency" not in image.info or image.mode not in ("1", "L", "RGB") or depth == 8:
        return image
    transparent = np.frombuffer(chunks[b"tRNS"], ">u2")
    values = image.info["deep"]
    if values is None:  # 1, 2 or 4 bits, which Pillow spreads to 8
        values = np.asarray(image.convert("L"))[..., None] // (255 // (2**depth - 1))
    opaque = (values != transparent).any(-1)
    del image.info["transparency"]
    if image.info["deep"] is not None:
        image.info["deep"] = np.dstack((values, np.where(opaque, deep.WHITE, 0).astype(np.uint16)))
        return image
    image = image.convert("L") if image.mode == "1" else image  # older Pillow adds it no alpha
    image.putalpha(Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8)))
    return image


def _one_pixel(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG with these chunks, but of one pixel."""
    (_, header), *others = chunks
    header = bytes([0, 0, 0, 1] * 2) + header[8:12] + b"\0"
    end = [(b"IDAT", zlib.compress(bytes(9))), (b"IEND", b"")]
    written = [_PNG_SIGNATURE]
    for name, data in [(b"IHDR", header), *others, *end]:
        check = zlib.crc32(name + data).to_bytes(4)
        written.append(len(data).to_bytes(4) + name + data + check)
    return b"".join(written)


def _chunks(source: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG before its pixels, and those behind them that say something of it."""
    source.seek(len(_PNG_SIGNATURE))
    behind = False
    while len(header := source.read(8)) == 8 and header[4:] != b"IEND":
        length, name = int.from_bytes(header[:4]), header[4:]
        behind = behind or name == b"IDAT"
        if behind and name not in _PNG_TEXTS:
            source.seek(length, io.SEEK_CUR)
        else:
            yield name, source.read(length)
        source.seek(4, io.SEEK_CUR)
