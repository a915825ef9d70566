"""Colour spaces of pictures in files: from whatever a file says it is in to sRGB.

A file may say so by an ICC profile, by EXIF (Adobe RGB of cameras), or by the chunks cICP, sRGB,
gAMA and cHRM of PNG (W3C, Portable Network Graphics, third edition, 2025; which of them counts if
there are several is said there in section 12.2.7). One that says nothing is in sRGB.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

Floats: TypeAlias = NDArray[np.float32]
XY: TypeAlias = "tuple[float, float]"

_D65: XY = (0.3127, 0.329)
# x and y of red, green and blue, then of white, by their number in cICP (ITU-T H.273, table 2).
_PRIMARIES: dict[int, tuple[XY, XY, XY, XY]] = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65),  # BT.709 and sRGB
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),  # BT.601, 625 lines
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),  # BT.601, 525 lines
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),  # BT.2020
    11: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.314, 0.351)),  # DCI-P3
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), _D65),  # Display P3
}
_SRGB = _PRIMARIES[1]
_ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65)  # Adobe RGB (1998), 4.3.1
_ADOBE_GAMMA = 563 / 256
# The cone responses of Bradford (Lam 1985), by which whites are adapted.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_COLORANTS = (b"rXYZ", b"gXYZ", b"bXYZ")
"""Where ICC profiles have the primaries."""
_AT_ONCE = 2**18
"""Pixels that are converted at once, since it takes several times their memory."""
_R03 = "R03"
"""How EXIF's interoperability index names Adobe RGB (DCF 2.0)."""


@dataclass(frozen=True)
class ColourSpace:
    """An RGB colour space: its primaries with its white, and its transfer curve."""

    primaries: tuple[XY, XY, XY, XY]
    to_linear: Callable[[Floats], Floats]
    full_range: bool = True
    """Whether black is 0 and white 255 of 8 bits; else 16 and 235, as in video."""

    def to_srgb(self, values: Floats) -> Floats:
        """(H, W, 1 or 3) in [0, 1] -> the same in sRGB; colours outside of sRGB are clipped."""
        if not self.full_range:
            values = ((values * 255 - 16) / 219).clip(0, 1).astype(np.float32)
        linear = self.to_linear(values)
        if linear.shape[-1] == 3:
            linear = linear @ _between(self.primaries, _SRGB).T.astype(np.float32)
        return from_linear(linear.clip(0, 1))


def to_srgb(values: Floats, image: Image.Image, bits: int = 8) -> tuple[Floats, str]:
    """Converts colours to sRGB, from the space that the image they are of is in.

    Args:
        values: (H, W, 1) of a grey picture, (H, W, 3) of RGB, (H, W, 4) of CMYK, in [0, 1]; of one
            in LAB, what `lab_to_srgb` made of it.
        image: what was opened, for its `info` and EXIF.
        bits: of its channels, 8 or 16. With an ICC profile of tables, only libvips keeps all 16.

    Returns:
        Values (H, W, 1 or 3) in sRGB; and what could not be honoured, "" if all was.
    """
    cicp = image.info.get("cicp")
    profile = image.info.get("icc_profile")
    ignored = ""
    if image.mode == "LAB":
        return values, ""
    if cicp and values.shape[-1] < 4:
        space = _of_cicp(cicp)
        if space is not None:
            return space.to_srgb(values), ""
        ignored = "its colour space (cICP) is not supported and was ignored"
    if profile:
        try:
            values, rounded = _by_profile(values, profile, bits)
            return values, ignored or rounded
        except (ImageCms.PyCMSError, OSError, ValueError):
            return _plain(values), "its colour profile is unusable and was ignored"
    space = _of_png(image.info) or _of_exif(image)
    return (_plain(values) if space is None else space.to_srgb(_plain(values))), ignored


def scaled(numbers: NDArray[Any], white: float) -> Floats:
    """Numbers as fractions of white."""
    exact = np.float32 if white < 2**24 else np.float64
    fractions: Floats = np.divide(numbers, white, dtype=exact).astype(np.float32)
    return fractions


@cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB, the same bytes in every run."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[:24] + bytes(12) + made[36:]  # without the time it was made at


def _plain(values: Floats) -> Floats:
    """CMYK without a profile as RGB; anything else as it is."""
    if values.shape[-1] < 4:
        return values
    return (1 - values[..., :3]) * (1 - values[..., 3:])


def _by_profile(values: Floats, profile: bytes, bits: int) -> tuple[Floats, str]:
    """Converts by an ICC profile.

    Returns:
        Values in sRGB, and what there is to say if they have fewer bits now.

    Raises:
        ValueError: it is for pictures of another kind.
    """
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    grey = values.shape[-1] == 1 or (
        space == "GRAY" and np.ptp(values, axis=-1).max(initial=0) < 1 / 65535
    )
    modes = {"RGB": ("RGB", 3), "CMYK": ("CMYK", 4)}
    mode, channels = modes.get(space, ("", 0))
    if not (grey and space in ("GRAY", "RGB")) and values.shape[-1] != channels:
        raise ValueError(f"a profile for {space}")
    exact = _by_formula(values, profile) if bits > 8 else None
    if exact is not None:
        return exact, ""
    if grey:
        # Of 16 bits, too: what the profile does to 256 greys, and in between.
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        exactly = ImageCms.Flags.NOOPTIMIZE
        shown = ramp.convert("L" if space == "GRAY" else "RGB")
        curve = scaled(np.asarray(_converted(shown, source, exactly)), 255)[0]
        inputs, levels = values[..., 0], np.arange(256) / 255
        planes = [np.interp(inputs, levels, curve[:, n]).astype(np.float32) for n in range(3)]
        return np.stack(planes, -1), ""
    note = ""
    if bits > 8:
        _converted(Image.new(mode, (1, 1)), source)  # or fails; libvips would take another profile
        with suppress(ImportError, OSError):  # not installed, or for another system
            return _by_libvips(values, profile), ""
        note = (
            "its colour profile was applied with 8 of 16 bits a channel; to keep all of them: "
            "pip install 'impasto[huge]'"
        )
    image = Image.fromarray((values * 255 + 0.5).astype(np.uint8), mode)
    return scaled(np.asarray(_converted(image, source)), 255), note


def _by_formula(values: Floats, profile: bytes) -> Floats | None:
    """Converts by the curves and the matrix that an ICC profile of grey or RGB consists of, with
    all bits (ICC.1:2022, F.2 and F.3); None if it has tables in their place.
    """
    tags = _tags(profile)
    names = [b"kTRC"] if b"kTRC" in tags else [b"rTRC", b"gTRC", b"bTRC"]
    needed = names if len(names) == 1 else [*names, *_COLORANTS]
    if tags.keys() & {b"A2B0", b"D2B0"} or not tags.keys() >= set(needed):
        return None

    def convert(values: Floats) -> Floats:
        planes = np.broadcast_to(values, (*values.shape[:2], 3))[..., : len(names)]
        curves = [_curve(tags[name]) for name in names]
        linear = np.stack([curve(planes[..., n]) for n, curve in enumerate(curves)], -1)
        if len(names) == 3:
            matrix = np.linalg.solve(_colorants(_tags(srgb_profile())), _colorants(tags))
            linear = linear @ matrix.T.astype(np.float32)
        return from_linear(linear.clip(0, 1))

    levels = np.linspace(0, 1, 16, dtype=np.float32)
    probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    if len(names) == 3 and abs(convert(probe) - probe).max() < 0.5 / 255:  # from sRGB
        return values
    parts = values.shape[0] * values.shape[1] // _AT_ONCE + 1
    return np.concatenate([convert(part) for part in np.array_split(values, parts)])


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """What an ICC profile holds, by its name."""
    entries = np.frombuffer(profile, ">u4", 3 * int.from_bytes(profile[128:132]), 132)
    return {
        int(name).to_bytes(4): profile[place : place + length]
        for name, place, length in entries.reshape(-1, 3)
    }


def _colorants(tags: Mapping[bytes, bytes]) -> NDArray[np.float64]:
    """(3, 3): columns are the XYZ of red, green and blue that an ICC profile names."""
    return np.stack([np.frombuffer(tags[name], ">i4", 3, 8) / 65536 for name in _COLORANTS], -1)


def _curve(tag: bytes) -> Callable[[Floats], Floats]:
    """The curve of an ICC profile that leads to linear light (ICC.1:2022, 10.6 and 10.18).

    Raises:
        ValueError: it is none.
    """
    if tag[:4] == b"curv":
        count = int.from_bytes(tag[8:12])
        table = np.frombuffer(tag, ">u2", count, 12)
        if count < 2:
            return _power(table[0] / 256 if count else 1)
        return lambda values: np.interp(values, np.linspace(0, 1, count), table / 65535).astype(
            np.float32
        )
    kind = int.from_bytes(tag[8:10])
    if tag[:4] != b"para" or kind > 4:
        raise ValueError("a curve of an unknown kind")
    given = (np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12) / 65536).tolist()
    g, a, b, c, d, e, f = given + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0][len(given) - 1 :]
    if kind < 3:  # without a straight part
        d, e = 0.0, c
    return lambda values: np.where(
        values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f
    )


def _by_libvips(values: Floats, profile: bytes) -> Floats:
    """Converts RGB or CMYK by an ICC profile with tables, with 16 bits a channel.

    Raises:
        ImportError, OSError: libvips is not there.
        ValueError: the profile is unusable.
    """
    import pyvips

    height, width, channels = values.shape
    numbers = (values * 65535 + 0.5).astype(np.uint16)
    image = pyvips.Image.new_from_memory(numbers.data, width, height, channels, "ushort")
    image = image.copy(interpretation="rgb16" if channels == 3 else "cmyk")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    try:
        converted = image.icc_transform("srgb", embedded=True, depth=16, intent="perceptual")
        return scaled(converted.numpy(), 65535)
    except pyvips.Error as error:
        raise ValueError(str(error)) from error


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """A picture of mode LAB as RGB."""
    return _converted(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))


def _converted(
    image: Image.Image,
    source: ImageCms.ImageCmsProfile,
    flags: ImageCms.Flags = ImageCms.Flags.NONE,
) -> Image.Image:
    """An image in the space of a profile as RGB in sRGB."""
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB", flags=flags)
    assert converted is not None  # only with inPlace
    return converted


def _of_png(info: dict[str | tuple[int, int], Any]) -> ColourSpace | None:
    """By gAMA with cHRM, unless there is sRGB. Alone, cHRM is ignored; gAMA of 1/2.2 means sRGB."""
    gamma, points = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not gamma or (not points and abs(gamma * 2.2 - 1) < 0.01):
        return None
    primaries = _SRGB
    if points:
        white, red, green, blue = zip(points[::2], points[1::2], strict=True)
        if _sound((red, green, blue, white)):
            primaries = (red, green, blue, white)
    return ColourSpace(primaries, _power(1 / gamma))


def _sound(primaries: tuple[XY, XY, XY, XY]) -> bool:
    """Whether chromaticities span a triangle with white in it."""
    if min(y for _, y in primaries) <= 0:
        return False
    try:
        return bool(np.isfinite(_between(primaries, _SRGB)).all())
    except np.linalg.LinAlgError:
        return False


def _of_exif(image: Image.Image) -> ColourSpace | None:
    """Adobe RGB, if EXIF says so, as cameras do in place of embedding a profile."""
    exif = image.getexif()
    interoperability: Any = ""
    with suppress(KeyError):  # of Pillow before 13, if there is no such directory
        interoperability = exif.get_ifd(ExifTags.IFD.Interop).get(1, "")
    if isinstance(interoperability, bytes):
        interoperability = interoperability.decode("latin-1")
    adobe = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == 2
    if adobe or str(interoperability).rstrip("\0 ") == _R03:
        return ColourSpace(_ADOBE, _power(_ADOBE_GAMMA))
    return None


def _of_cicp(data: bytes) -> ColourSpace | None:
    """By the chunk cICP: primaries, transfer, matrix (0 for RGB), range; None if not supported."""
    curves = dict.fromkeys((1, 6, 14, 15), _power(2.4))  # of video, as screens show it (BT.1886)
    curves |= {4: _power(2.2), 5: _power(2.8), 8: _power(1), 13: _to_linear}
    if len(data) != 4 or data[2] != 0 or data[0] not in _PRIMARIES or data[1] not in curves:
        return None
    return ColourSpace(_PRIMARIES[data[0]], curves[data[1]], bool(data[3]))


def _power(exponent: float) -> Callable[[Floats], Floats]:
    return lambda values: values ** np.float32(exponent)


def _to_linear(values: Floats) -> Floats:
    """Undoes the transfer curve of sRGB (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_linear(values: NDArray[Any]) -> Floats:
    """Applies the transfer curve of sRGB (IEC 61966-2-1) to linear light in [0, 1]."""
    curve = 1.055 * values ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(values <= 0.0031308, values * np.float32(12.92), curve).astype(np.float32)


def _between(source: tuple[XY, XY, XY, XY], target: tuple[XY, XY, XY, XY]) -> NDArray[np.float64]:
    """(3, 3): linear RGB of one space to that of another, whites adapted."""
    cones = [_BRADFORD @ _xyz(space[3]) for space in (source, target)]
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(cones[1] / cones[0]) @ _BRADFORD
    matrix: NDArray[np.float64] = (
        np.linalg.inv(_rgb_to_xyz(target)) @ adaptation @ _rgb_to_xyz(source)
    )
    return matrix


def _rgb_to_xyz(space: tuple[XY, XY, XY, XY]) -> NDArray[np.float64]:
    """(3, 3): columns are the XYZ of the primaries, which add up to white."""
    columns = np.stack([_xyz(primary) for primary in space[:3]], -1)
    return columns * np.linalg.solve(columns, _xyz(space[3]))


def _xyz(point: XY) -> NDArray[np.float64]:
    """XYZ of a chromaticity with Y of 1."""
    x, y = point
    return np.array([x / y, 1, (1 - x - y) / y])
