"""Pictures of 16 bits a channel in PNG and TIFF, of which Pillow reads and writes the higher 8.

Whatever else such a file holds is left to Pillow: metadata, colour profile, resolution. A file that
is written is one that Pillow wrote for a single pixel, with other pixels in its place.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from impasto.tiff import LONG, SHORT, Tiff

Pixels: TypeAlias = NDArray[np.uint16]
"""(H, W, channels)."""

WHITE = 65_535
_OPPOSITE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
"""The order of bytes (little, big, native) in which the lower byte is taken for the higher one."""
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_STRIPS, _STRIP_BYTES, _ROWS_PER_STRIP, _PLANAR, _PREDICTOR, _EXTRA = 273, 279, 278, 284, 317, 338
_TILES, _TILE_BYTES = 324, 325
_COPIED = (_WIDTH, _HEIGHT, _COMPRESSION, 266, 274, _ROWS_PER_STRIP, _PREDICTOR, 322, 323)
"""Tags of TIFF; these are the ones that hold for each plane, too."""
_LONGS = {_WIDTH, _HEIGHT, _ROWS_PER_STRIP, _STRIPS, _STRIP_BYTES}
_GREY, _RGB = 1, 2
_UNSPECIFIED, _PREMULTIPLIED, _ALPHA = 0, 1, 2
_HORIZONTAL, _DEFLATE = 2, 8
_STRIP = 2**20
"""Bytes of pixels that are filtered and compressed at once."""


def samples(image: Image.Image, source: BinaryIO) -> NDArray[Any] | None:
    """All 16 bits of a PNG or TIFF in colour or with alpha; None of any other, which Pillow reads.

    Args:
        image: as Pillow, or `grey_with_alpha`, opened it.
        source: its file.

    Returns:
        (H, W, channels): grey, RGB or CMYK, and alpha if there is one; turned as EXIF says.
    """
    if image.format == "PNG":
        image.load()
        return _of_png(image, source)
    if image.format == "TIFF":
        return _of_tiff(image, source)
    return None


def grey_with_alpha(source: BinaryIO) -> Image.Image | None:
    """Opens a TIFF of grey with alpha, of 16 bits, which Pillow does not; None of anything else."""
    source.seek(0)
    try:
        return _GreyWithAlpha(source)
    except SyntaxError:
        return None


def png(container: bytes, pixels: Pixels) -> bytes:
    """A PNG of pixels, RGB or RGBA, with all else that another PNG holds."""
    height, width, channels = pixels.shape
    written, place = io.BytesIO(), 8
    written.write(container[:place])
    while place < len(container):
        (length,) = struct.unpack_from(">I", container, place)
        kind, end = container[place + 4 : place + 8], place + 12 + length
        if kind == b"IHDR":
            colour = 2 if channels == 3 else 6
            header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
            written.write(_chunk(kind, header))
        elif kind == b"IDAT":
            for part in _compressed(pixels):
                written.write(_chunk(kind, part))
        else:
            written.write(container[place:end])
        place = end
    return written.getvalue()


def tiff(container: bytes, pixels: Pixels) -> bytes:
    """A TIFF of pixels, RGB or RGBA, with all else that another, little-endian TIFF holds."""
    height, width, channels = pixels.shape
    file = io.BytesIO(b"II*\0" + bytes(4))
    written = Tiff(file, big=False, order="<")
    rows, offsets, lengths = _rows_at_once(pixels), [], []
    for top in range(0, height, rows):
        strip = pixels[top : top + rows].copy()
        strip[:, 1:] -= pixels[top : top + rows, :-1]
        data = zlib.compress(strip.astype("<u2").tobytes())
        offsets.append(written.append(data))
        lengths.append(len(data))
    numbers = {
        _WIDTH: [width],
        _HEIGHT: [height],
        _BITS: [16] * channels,
        _COMPRESSION: [_DEFLATE],
        _PHOTOMETRIC: [_RGB],
        _STRIPS: offsets,
        _SAMPLES: [channels],
        _ROWS_PER_STRIP: [rows],
        _STRIP_BYTES: lengths,
        _PREDICTOR: [_HORIZONTAL],
        **({_EXTRA: [_ALPHA]} if channels == 4 else {}),
    }
    entries = {}
    for tag, values in numbers.items():
        kind, form = (LONG, "I") if tag in _LONGS else (SHORT, "H")
        data = struct.pack(f"<{len(values)}{form}", *values)
        entries[tag] = written.entry(tag, kind, len(values), data)
    written.finish(entries, container)
    return file.getvalue()


def _of_png(image: Image.Image, source: BinaryIO) -> NDArray[Any] | None:
    source.seek(0)
    head = bytearray(source.read(33))
    depth, colour = head[24:26]
    if depth != 16 or colour == 0:
        return None
    if colour == 4:  # grey with alpha: as many bytes as RGBA of 8 bits
        head[24:26] = 8, 6
        head[29:33] = zlib.crc32(head[12:29]).to_bytes(4)
        with Image.open(io.BytesIO(bytes(head) + source.read())) as disguised:
            return np.asarray(ImageOps.exif_transpose(disguised)).view(">u2")
    return _joined(image, source)


def _of_tiff(image: Any, source: BinaryIO) -> NDArray[Any] | None:
    tags, bands = image.tag_v2, image.getbands()
    separate = tags.get(_PLANAR) == 2 and tags.get(_SAMPLES, 1) > 1
    if set(tags.get(_BITS, (1,))) != {16} or (image.mode.startswith("I") and not separate):
        return None
    image.tile = [tile._replace(args=_undivided(tile.args)) for tile in image.tile]
    if separate:
        deep = np.stack([_plane(tags, source, number) for number in range(len(bands))], -1)
    elif isinstance(image, _GreyWithAlpha):
        order = "=" if image.info["compression"] != "raw" else ">" if tags.prefix == b"MM" else "<"
        deep = np.asarray(image).view(f"{order}u2")
    else:
        deep = _joined(image, source)
    if isinstance(image, _GreyWithAlpha) and tags.get(_EXTRA) == (_UNSPECIFIED,):
        return deep[..., :1]
    if _PREMULTIPLIED in tags.get(_EXTRA, ()):
        alpha = np.maximum(deep[..., -1:].astype(np.float32), 1)
        colours = np.minimum(deep[..., :-1] * (WHITE / alpha), WHITE).round().astype(np.uint16)
        return np.concatenate((colours, deep[..., -1:]), -1)
    return deep


def _joined(image: Image.Image, source: BinaryIO) -> NDArray[Any]:
    """The higher bytes, with the lower ones as Pillow reads them in the opposite order."""
    source.seek(0)
    with Image.open(source, formats=[str(image.format)]) as lower:
        lower.tile = [tile._replace(args=_opposite(tile.args)) for tile in lower.tile]
        lower.load()
        turned = (ImageOps.exif_transpose(one) for one in (image, lower))
        high, low = (np.asarray(one) for one in turned)
    joined: NDArray[Any] = high.astype(np.uint16) << 8 | low
    return joined


def _undivided(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What Pillow's decoder is told, so that it leaves colours multiplied by alpha: it would divide
    one byte by one byte.
    """
    return (args[0].replace("RGBa;16", "RGBA;16"), *args[1:])


def _opposite(args: Any) -> tuple[Any, ...]:
    """What Pillow's decoder is told, so that it gives the lower bytes."""
    mode, *others = _undivided(args if isinstance(args, tuple) else (args,))
    return (mode[:-1] + _OPPOSITE[mode[-1]], *others)


def _plane(tags: Any, source: BinaryIO, number: int) -> NDArray[Any]:
    """One of the planes that a TIFF stores one after the other: a grey picture, if the file gets a
    directory that says so before its own.
    """
    source.seek(0)
    data, file = source.read(), io.BytesIO()
    own = ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8])  # the former in BigTIFF
    own.update({tag: tags[tag] for tag in _COPIED if tag in tags})
    own.update({_BITS: 16, _SAMPLES: 1, _PHOTOMETRIC: _GREY})
    for tag in tags.keys() & {_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}:
        count = len(tags[tag]) // tags[_SAMPLES]
        own[tag] = tags[tag][number * count : (number + 1) * count]
    if _TILES in own:  # of strips, Pillow knows that they come later now
        behind = own.save(io.BytesIO())
        own[_TILES] = tuple(place + behind for place in own[_TILES])
    own.save(file)
    file.write(data)
    with Image.open(file, formats=["TIFF"]) as grey:
        return np.asarray(grey)


def _compressed(pixels: Pixels) -> Iterator[bytes]:
    """The rows of a PNG, filtered and compressed, in parts."""
    height, width, channels = pixels.shape
    above = np.zeros((1, 2 * width * channels), np.uint8)
    compressor, rows = zlib.compressobj(), _rows_at_once(pixels)
    for top in range(0, height, rows):
        part = (
            pixels[top : top + rows].astype(">u2", order="C").view(np.uint8).reshape(-1, above.size)
        )
        yield compressor.compress(_filtered(part, above, 2 * channels).tobytes())
        above = part[-1:]
    yield compressor.flush()


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Rows of a PNG, each behind the number of its filter: the one that leaves the least.

    Args:
        rows: (N, bytes).
        above: the row before them.
        step: bytes of a pixel.
    """
    up = np.concatenate((above, rows[:-1]))
    left, corner = (np.pad(one[:, :-step], ((0, 0), (step, 0))) for one in (rows, up))
    a, b, c = (one.astype(np.int16) for one in (left, up, corner))
    to_left, to_up, to_corner = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    nearest = np.where(to_up <= to_corner, up, corner)
    nearest = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    mean = ((a + b) >> 1).astype(np.uint8)
    results = np.stack((rows, rows - left, rows - up, rows - mean, rows - nearest))
    left_over = np.minimum(results, -results).sum(-1, dtype=np.int64)  # bytes with a sign
    best = left_over.argmin(0)
    return np.column_stack((best.astype(np.uint8), results[best, np.arange(len(rows))]))


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of PNG."""
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def _rows_at_once(pixels: Pixels) -> int:
    return max(_STRIP // int(pixels[0].nbytes), 1)


class _GreyWithAlpha(TiffImageFile):
    """A TIFF of grey with alpha, of 16 bits: as many bytes as RGBA of 8 bits, as which Pillow
    loads it; or two planes.
    """

    def _setup(self) -> None:
        tags: Any = self.tag_v2
        if tags.get(_PHOTOMETRIC) != _GREY or tags.get(_BITS) not in ((16, 16),):
            raise SyntaxError("not grey with alpha of 16 bits")
        true = {tag: tags[tag] for tag in (_PHOTOMETRIC, _BITS, _SAMPLES, _EXTRA) if tag in tags}
        if tags.get(_PLANAR) == 2:
            tags.update({_BITS: (8, 8), _EXTRA: (_ALPHA,)})
        else:
            tags.update({_PHOTOMETRIC: _RGB, _BITS: (8,) * 4, _SAMPLES: 4, _EXTRA: (_ALPHA,)})
        super()._setup()
        tags.update(true)
