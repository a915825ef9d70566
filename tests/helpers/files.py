"""Files of pictures made by hand, as Pillow would not write them."""

import struct
import zlib

import numpy as np


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array, *chunks, depth=8):
    """A PNG of (H, W) or (H, W, 3); of 16 bits big-endian, of less packed into bytes already.

    Args:
        chunks: kind and data of what stands before the pixels.
    """
    height, width = array.shape[0], array.shape[1] * 8 // min(depth, 8)
    header = struct.pack(">IIBBBBB", width, height, depth, 2 if array.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in array)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def bomb(side=20_000):
    """A small PNG that says that it is as large as this, of one bit a pixel."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def tiff(array, bits, *, white_is_zero=False, sample_format=1):
    """An uncompressed little-endian TIFF of (H, W) or (H, W, 3); 12 bits are packed in pairs."""
    height, width = array.shape[:2]
    if bits == 12:
        first, second = array.reshape(-1, 2).astype(np.uint16).T
        packed = (first >> 4, (first & 15) << 4 | second >> 8, second & 255)
        data = np.stack(packed, -1).astype(np.uint8).tobytes()
    else:
        data = array.tobytes()
    channels = 1 if array.ndim == 2 else array.shape[2]
    photometric = 2 if channels == 3 else 0 if white_is_zero else 1
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0)]
    entries += [(277, channels), (278, height), (279, len(data)), (339, sample_format)]
    size = 8 + 2 + 12 * len(entries) + 4
    extra = b""
    if channels == 3:
        extra = struct.pack("<3H", *[bits] * 3) + struct.pack("<3H", *[sample_format] * 3)
    directory = struct.pack("<H", len(entries))
    for tag, value in entries:
        if channels == 3 and tag in (258, 339):
            directory += struct.pack("<HHII", tag, 3, 3, size + (0 if tag == 258 else 6))
        else:
            number = size + len(extra) if tag == 273 else value
            directory += struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, number)
    return b"II*\0" + struct.pack("<I", 8) + directory + b"\0" * 4 + extra + data


def long_tiff(data, order, strips, entries, places=(273, 279)):
    """A TIFF whose tags are all of type LONG.

    Args:
        data: of all strips, which are of one size.
        order: of the bytes, "<" or ">".
        strips: how many there are.
        entries: numbers by tag, besides where the strips are.
        places: the tags that say where they begin and how long they are; those of tiles differ.
    """
    entries = {**entries, places[0]: [0] * strips, places[1]: [len(data) // strips] * strips}
    end = 8 + 2 + 12 * len(entries) + 4
    start = end + sum(4 * len(values) for values in entries.values() if len(values) > 1)
    entries[places[0]] = [start + number * len(data) // strips for number in range(strips)]
    directory, extra = struct.pack(f"{order}H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        place = values[0] if len(values) == 1 else end + len(extra)
        directory += struct.pack(f"{order}HHII", tag, 4, len(values), place)
        if len(values) > 1:
            extra += struct.pack(f"{order}{len(values)}I", *values)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + directory + b"\0" * 4 + extra + data


def icc_curve(kind, *numbers):
    """A curve of an ICC profile: "curv" of 16-bit numbers (8.8 if it is one), or a function."""
    if kind == "curv":
        return struct.pack(f">4s4xI{len(numbers)}H", b"curv", len(numbers), *numbers)
    fixed = [round(number * 65536) for number in numbers]
    return struct.pack(f">4s4xHxx{len(fixed)}i", b"para", kind, *fixed)


def grey_profile(curve):
    """The smallest ICC profile (version 2) of a grey; its curve may be a number, the power."""
    return _profile(b"GRAY", {b"kTRC": _power_or(curve)})


def matrix_profile(to_xyz, curve):
    """The same of an RGB.

    Args:
        to_xyz: (3, 3), columns are the XYZ of the primaries under D50.
        curve: of all three.
    """
    parts = {}
    for name, primary in zip((b"r", b"g", b"b"), np.transpose(to_xyz), strict=True):
        parts |= {name + b"TRC": _power_or(curve), name + b"XYZ": _xyz(primary)}
    return _profile(b"RGB ", parts)


def _power_or(curve):
    return curve if isinstance(curve, bytes) else icc_curve("curv", round(curve * 256))


def _xyz(values):
    return struct.pack(">4s4x3i", b"XYZ ", *(round(value * 65536) for value in values))


def _profile(space, own):
    d50 = (0.9642, 1, 0.8249)
    text = struct.pack(">4s4xI2s", b"desc", 2, b"g\0").ljust(12 + 2 + 78 + 2, b"\0")
    parts = {b"desc": text, b"wtpt": _xyz(d50), **own, b"cprt": b"text\0\0\0\0-\0\0\0"}
    start = 128 + 4 + 12 * len(parts)
    table, body = struct.pack(">I", len(parts)), b""
    for name, part in parts.items():
        table += struct.pack(">4sII", name, start + len(body), len(part))
        body += part + b"\0" * (-len(part) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s", start + len(body), 0x02100000, b"mntr", space, b"XYZ ", b"acsp"
    )
    header = header.ljust(68, b"\0") + _xyz(d50)[8:]
    return header.ljust(128, b"\0") + table + body
