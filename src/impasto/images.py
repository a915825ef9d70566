"""Pictures: from files, arrays and images of Pillow to tensors, and back.

Inside the package a picture is a tensor (1, 3, H, W), sRGB in [0, 1]. Whatever else a picture can
be is dealt with here and in the modules below: `impasto.formats` opens and writes files,
`impasto.deep` those of 16 bits, `impasto.profiles` converts colours to sRGB, `impasto.metadata`
keeps the photo's metadata.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from torch.nn import functional as F

from impasto import deep, files, formats, profiles
from impasto.controls import MIN_SIDE
from impasto.errors import ImageError
from impasto.metadata import Metadata, recipe_text
from impasto.naming import fitted

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor | Picture"
"""What counts as a picture everywhere in the package."""

_WHITES = (255, 65535, 2**31 - 1, 2**32 - 1)
"""What integers may mean by white, besides the largest of their type."""
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339
"""Tags of TIFF."""
_ROUNDING = 1e-3
"""By how much floats may leave [0, 1]: what rounding does in half precision."""
_DARKEST_WHITE = 0.01
"""A mask whose white is darker was meant otherwise: it holds 0 and 1."""
_GAP, _CAPTION = 12, 26
"""Pixels between the pictures of a sheet, and for the name below each."""


@dataclass(frozen=True)
class Picture:
    """A picture as the package works on it, with what has to survive the painting."""

    pixels: Tensor
    """(1, 3, H, W), sRGB in [0, 1]; where fully transparent, the mean of the visible colours."""
    alpha: Tensor | None = None
    """(1, 1, H, W) in [0, 1]; None if opaque."""
    notes: tuple[str, ...] = ()
    """What the user should know about how the file was read."""
    metadata: Metadata | None = None
    """What its file tells of it; is written with what is painted of it."""
    bits: int = 8
    """For each channel, 8 or 16, in files that can hold them: as many as it was read from."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def resized(self, height: int, width: int) -> Picture:
        """The picture at another size."""
        alpha = None if self.alpha is None else resize(self.alpha, height, width)
        return replace(self, pixels=resize(self.pixels, height, width), alpha=alpha)


def read(image: ImageLike) -> Picture:
    """Reads a picture from a path, a PIL image, an array or a tensor.

    Args:
        image: arrays are (H, W), (H, W, 3) or (H, W, 4) of booleans, floats in [0, 1] or integers.
            White is 255 of uint8 and 65535 of uint16; wider and signed integers are taken for one
            of these by their largest value, or refused if that leaves it open. Tensors are
            (3, H, W) or (1, 3, H, W), floats in [0, 1].

    Returns:
        A picture of 16 bits if it is of a file that has more than 8, or of integers whose white is
        more than 255; floats of arrays and tensors, which mostly come from 8 bits, count as such.

    Raises:
        ImageError: naming the file and the fix.
    """
    if isinstance(image, Picture):
        picture = image
    elif isinstance(image, Tensor):
        picture = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        picture = _from_array(image, "the array")
    elif isinstance(image, Image.Image):
        with formats.decoding("the image"):
            picture = _from_pil(image, "the image")
    elif not isinstance(image, (str, os.PathLike)):
        raise ImageError(
            f"a picture is of type {type(image).__name__}: give a path, a PIL image, an array or "
            "a tensor"
        )
    else:
        path = Path(os.fsdecode(image))
        with formats.opened_file(path) as opened:
            picture = _from_opened(opened, str(path))
    return _large_enough(picture, name_of(image))


def decode(data: bytes, name: str, *, most: int | None = None) -> Picture:
    """Reads a picture from what its file holds.

    Args:
        data: of the file.
        name: how messages call it.
        most: how many pixels it may have, looked at before they are unpacked.

    Raises:
        ImageError: naming the picture and the fix. So are the odder formats that Pillow knows, some
            of which start other programs: the data may be anybody's.
        TooLargeError: it has more pixels.
    """
    with formats.opened(io.BytesIO(data), name, most, formats.usual_kinds()) as opened:
        picture = _from_opened(opened, name)
    return _large_enough(picture, name)


def _large_enough(picture: Picture, name: str) -> Picture:
    check_large_enough(picture.size, name)
    return picture


def check_large_enough(size: tuple[int, int], name: str) -> None:
    """Raises `ImageError` if a picture of that height and width is too small."""
    if min(size) < MIN_SIDE:
        height, width = size
        raise ImageError(
            f"{name}: {width}x{height} is too small, at least {MIN_SIDE}x{MIN_SIDE} "
            "pixels are needed"
        )


def read_mask(image: ImageLike, height: int, width: int) -> Tensor:
    """Reads a mask, (H, W) in [0, 1]: its lightness, times its alpha if it has one.

    Raises:
        ImageError: if it cannot be read or is not of the photo's size.
    """
    picture = read(image)
    check_mask_size(image, picture.size, (height, width))
    mask = picture.pixels.mean(1)[0]
    mask = mask if picture.alpha is None else mask * picture.alpha[0, 0]
    if 0 < mask.max() < _DARKEST_WHITE:
        raise ImageError(
            f"mask {name_of(image)}: it is almost black, {mask.max():.1%} of white at most; paint "
            "white where it goes, which is 255 of 8 bits and not 1"
        )
    return mask


def check_mask_size(mask: ImageLike, size: tuple[int, int], photo: tuple[int, int]) -> None:
    """Raises `ImageError` if height and width of a mask are not those of the photo."""
    if size != photo:
        raise ImageError(
            f"mask {name_of(mask)}: it is {size[1]}x{size[0]}, the photo is "
            f"{photo[1]}x{photo[0]}; a mask must have the photo's size"
        )


def find(path: Path) -> list[Path]:
    """The pictures of a folder, by name, or the one that ``path`` is.

    Pictures are the files with an extension of `formats.readable`, but for hidden ones.

    Raises:
        ImageError: there is nothing at ``path``, or no picture in it.
    """
    if path.is_dir():
        extensions = formats.readable()
        found = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in extensions and not file.name.startswith(".")
        )
        if not found:
            raise ImageError(f"{path}: holds no pictures ({', '.join(extensions)})")
        return found
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    return [path]


def name_of(image: ImageLike) -> str:
    """How messages call a picture: its path, or what it is."""
    if isinstance(image, (str, os.PathLike)):
        return os.fsdecode(image)
    return f"the given {type(image).__name__}"


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """(N, C, h, w) -> (N, C, height, width) in [0, 1]: bicubic, antialiased when shrinking."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def at_most(image: Tensor, area: int) -> Tensor:
    """(N, C, h, w), scaled down to about this area in pixels if it is larger."""
    return resize(image, *size_at_most(image.shape[-2], image.shape[-1], area))


def size_at_most(height: int, width: int, area: int) -> tuple[int, int]:
    """The height and width of a picture scaled down to about this area in pixels."""
    scale = min((area / (height * width)) ** 0.5, 1)
    if scale == 1:
        return height, width
    return max(round(height * scale), MIN_SIDE), max(round(width * scale), MIN_SIDE)


def like(picture: Picture, original: ImageLike) -> Any:
    """A picture in the type of ``original``; a PIL image for paths."""
    if isinstance(original, Picture):
        return picture
    if isinstance(original, Tensor):
        pixels = picture.pixels.to(original)
        return pixels[0] if original.ndim == 3 else pixels
    if not isinstance(original, np.ndarray):
        return to_pil(picture)
    numbers: NDArray[Any] = _channels_last(picture)
    if original.dtype.kind == "b":
        numbers = numbers >= 0.5
    elif original.dtype.kind in "ui":
        white = _white(original, "the array")
        most = white if float(white) <= white else np.nextafter(float(white), 0)
        numbers = (numbers.astype(np.float64) * white).round().clip(max=most)
    return numbers.astype(original.dtype)


def to_pil(picture: Picture) -> Image.Image:
    """A PIL image, RGB or RGBA: of 8 bits a channel, since Pillow has no others in colour."""
    return Image.fromarray(_to_array(picture, np.uint8))


def sheet(pictures: Mapping[str, Picture], columns: int = 4) -> Picture:
    """Pictures of one size side by side, each over its name."""
    height, width = next(iter(pictures.values())).size
    step_across, step_down = width + _GAP, height + _CAPTION + _GAP
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    page = Image.new("RGB", (columns * step_across + _GAP, rows * step_down + _GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(0.6 * _CAPTION)
    for number, (name, picture) in enumerate(pictures.items()):
        left, top = _GAP + number % columns * step_across, _GAP + number // columns * step_down
        image = to_pil(picture)
        page.paste(image, (left, top), image if image.mode == "RGBA" else None)
        draw.text((left, top + height + _CAPTION / 8), name, fill="black", font=font)
    return _from_pil(page, "sheet")


def check_writable(path: Path) -> None:
    """Finds out, before hours of painting, whether a picture can be written to ``path``.

    Raises:
        OutputError: unknown extension, missing folder, no permission, or no space.
    """
    formats.check_extension(path)
    files.check_writable(path)


def check_fits(path: Path, picture: Picture, height: int, width: int) -> tuple[str, ...]:
    """Finds out whether the painted picture can be written to ``path`` at that size.

    Returns:
        What the file's format cannot keep, a line each.

    Raises:
        OutputError: the format cannot hold so large a picture, or the disk has no room for it.
    """
    formats.check_size(path, height, width)
    files.check_writable(path, formats.format_of(path).bytes_per_pixel * height * width)
    transparent = picture.alpha is not None
    return formats.left_out(path, picture.metadata, transparent=transparent, bits=picture.bits)


def write(path: Path, picture: Picture, recipe: dict[str, Any] | None = None) -> None:
    """Writes a picture, whole or not at all; see `encode`.

    Raises:
        OutputError: the file cannot be written.
    """
    check_writable(path)
    files.replace(path, encode(path, picture, recipe))


def rescue(path: Path, picture: Picture, recipe: dict[str, Any] | None = None) -> Path | None:
    """Writes a picture that could not be written to ``path`` under another name.

    Returns:
        Where it is: beside ``path``, in the working folder, or among temporary files; None if none
        of this is possible.
    """
    folders = [path.parent]
    for where in (Path.cwd, tempfile.gettempdir):
        with suppress(OSError):  # there is none, for instance because it was removed
            folders.append(Path(where()))
    for folder in folders:
        for suffix in (".png", ".jpg"):  # the latter where space is short
            names = (fitted(path.stem, f"-rescued-{n}{suffix}") for n in range(1, 1000))
            try:
                place = next(
                    (folder / name for name in names if not (folder / name).exists()), None
                )
                if place is not None:
                    write(place, picture, recipe)
                    return place
            except Exception:
                continue
    return None


def encode(path: Path, picture: Picture, recipe: dict[str, Any] | None = None) -> bytes:
    """What a picture's file holds: its pixels, an sRGB profile and its metadata.

    The format follows the extension. JPEG and BMP have no alpha: transparent parts become white. A
    picture of 16 bits is written with 16 bits a channel to PNG and TIFF, with 8 to the others.

    Args:
        path: its name.
        picture: what.
        recipe: kept in the file, in PNG text or EXIF; `read_recipe` gives it back.

    Raises:
        OutputError: the format cannot hold this picture.
    """
    kind = formats.format_of(path)
    if picture.alpha is not None and not kind.alpha:
        white = picture.pixels * picture.alpha + 1 - picture.alpha
        picture = replace(picture, pixels=white, alpha=None)
    is_deep = picture.bits > 8 and kind.deep is not None
    image = _to_array(picture, np.uint16) if is_deep else to_pil(picture)
    return formats.encode(path, image, picture.metadata, recipe)


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe inside a picture that `write` made.

    Raises:
        ImageError: not a picture, or without recipe.
    """
    with formats.opened_file(path) as image:
        text = recipe_text(image)
    if not text:
        raise ImageError(f"{path}: holds no recipe; give a YAML file or a picture impasto painted")
    recipe: dict[str, Any] = json.loads(text)
    return recipe


def _from_opened(image: Image.Image, name: str) -> Picture:
    picture = _from_pil(image, name)
    return replace(picture, notes=(*picture.notes, *only_first(image, name)))


def only_first(image: Image.Image, name: str) -> tuple[str, ...]:
    """The note about a file of several pictures, of which one is painted; none about others."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":  # the other pictures of a phone's are small ones
        return ()
    return (f"{name}: only the first of {frames} frames is painted",)


def _from_pil(image: Image.Image, name: str) -> Picture:
    metadata = Metadata.of(image)
    values, alpha, bits = _planes(image, name)
    values, note = profiles.to_srgb(values, image, bits)
    return replace(
        _from_floats(values, alpha),
        notes=(f"{name}: {note}",) if note else (),
        metadata=None if metadata == Metadata() else metadata,
        bits=bits,
    )


def _planes(image: Image.Image, name: str) -> tuple[profiles.Floats, profiles.Floats | None, int]:
    """Values (H, W, 1, 3 or 4) of a grey, RGB or CMYK image as it shall be seen, in the colours of
    its file, and alpha (H, W, 1), None if it has none; all in [0, 1]. And their bits, 8 or 16.
    """
    whole = image.info.get("deep")
    if whole is not None:
        values = profiles.scaled(whole, deep.WHITE)
        if values.shape[-1] in (2, 4) and image.mode != "CMYK":
            return values[..., :-1], values[..., -1:], 16
        return values, None, 16
    turned = ImageOps.exif_transpose(image)
    signed = image.mode == "L" and _is_signed(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16") or signed:
        numbers = np.asarray(turned)[..., None]
        key = image.info.get("transparency")
        alpha = None if key is None else (numbers != key).astype(np.float32)
        return _deep_values(numbers, image, name), alpha, 8 if signed else 16
    if "transparency" in image.info or image.mode in ("PA", "RGBa"):
        turned = turned.convert("RGBA")
    elif image.mode in ("P", "YCbCr", "HSV", "RGBX"):
        turned = turned.convert("RGB")
    elif image.mode == "LAB":
        turned = profiles.lab_to_srgb(turned)
    elif image.mode in ("1", "La"):
        turned = turned.convert({"1": "L", "La": "LA"}[image.mode])
    values = profiles.scaled(np.asarray(turned), 255)
    values = values.reshape(*values.shape[:2], -1)
    if turned.mode in ("LA", "RGBA"):
        return values[..., :-1], values[..., -1:], 8
    return values, None, 8


def _deep_values(values: NDArray[Any], image: Image.Image, name: str) -> profiles.Floats:
    """Values of more than 8 bits in [0, 1], by what the file that they are of says of them."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    if image.mode == "F":
        floats = _checked_floats(values, name)
    elif tags and bits in (8, 16, 32):  # Pillow holds them in 8 without a sign, or 32 with one
        kind = np.dtype(f"{'i' if _is_signed(image) else 'u'}{bits // 8}")
        floats = _to_floats(values.astype(kind), name)
    elif tags:
        floats = profiles.scaled(values, 2**bits - 1)
    else:
        # Formats other than TIFF have 16 bits, which Pillow may hold in 32.
        floats = _to_floats(values.astype(np.uint16) if image.format else values, name)
    return 1 - floats if tags.get(_PHOTOMETRIC) == 0 else floats


def _is_signed(image: Image.Image) -> bool:
    """Whether it is of a TIFF of integers with a sign."""
    return bool(getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (1,))[0] == 2)


def _checked_floats(values: NDArray[Any], name: str) -> profiles.Floats:
    """Floats in [0, 1], or whole numbers to 255 as Pillow makes them of bytes."""
    low, high = values.min(), values.max()
    if 1 < high <= 255 and low >= 0 and (values == values.round()).all():
        return profiles.scaled(values, 255)
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also catches NaN
        raise ImageError(
            f"{name}: its floats go from {low:.4g} to {high:.4g}, so which value is white is "
            "not known; save it with 8 or 16 bits a channel, or scale them to 0..1"
        )
    return values.astype(np.float32).clip(0, 1)


def _from_array(array: NDArray[Any], name: str) -> Picture:
    array = np.asarray(array)  # of a subclass, such as a matrix, whose shape never changes
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(
            f"{name}: shape {array.shape} is not a picture's; use (H, W), (H, W, 3 or 4)"
        )
    floats = _to_floats(array, name)
    picture = _from_floats(floats[..., :3], floats[..., 3:] if floats.shape[-1] == 4 else None)
    is_deep = array.dtype.kind in "ui" and _white(array, name) > 255
    return replace(picture, bits=16 if is_deep else 8)


def _to_floats(array: NDArray[Any], name: str) -> profiles.Floats:
    """Numbers of any kind as floats in [0, 1].

    Raises:
        ImageError: they are out of range, or it is not known which of them is white.
    """
    if array.dtype.kind not in "buif":
        raise ImageError(
            f"{name}: type {array.dtype} is not for pixels; use uint8, uint16 or floats"
        )
    if array.dtype.kind in "ui":
        return profiles.scaled(array, _white(array, name))
    _check_range(array.min(), array.max(), name)
    return array.astype(np.float32).clip(0, 1)


def _white(array: NDArray[Any], name: str) -> int:
    """Which integer means white.

    Raises:
        ImageError: that is not known, or there are negative ones.
    """
    kind, low, high = array.dtype, int(array.min()), int(array.max())
    largest = int(np.iinfo(kind).max)
    if kind.kind == "u" and kind.itemsize <= 2:
        return largest
    fitting = [white for white in (*_WHITES, largest) if high <= white <= largest]
    white = min(fitting, default=0)
    # A picture hardly ends at a quarter of what is white: these may be 12 bits, or a mask of ones.
    if low < 0 or high == 1 or not white or (white > 255 and high < white // 4):
        raise ImageError(
            f"{name}: its {kind.name} values go from {low} to {high}, so which is white is not "
            "known; use uint8 (white is 255), uint16 (65535), bool, or floats in [0, 1]"
        )
    return white


def _from_floats(values: profiles.Floats, alpha: profiles.Floats | None) -> Picture:
    """A picture of (H, W, 1 or 3), and (H, W, 1) if it is not opaque."""
    pixels = channels_first(values).expand(1, 3, -1, -1).contiguous()
    if alpha is None or bool((alpha == 1).all()):
        return Picture(pixels)
    opacity = channels_first(alpha)
    # Invisible pixels may hold anything; the mean of the visible ones disturbs least.
    mean = (pixels * opacity).sum((2, 3), keepdim=True) / opacity.sum().clamp_min(1e-6)
    return Picture(torch.where(opacity > 0, pixels, mean), opacity)


def _from_tensor(tensor: Tensor) -> Picture:
    pixels = tensor[None] if tensor.ndim == 3 else tensor
    fits = pixels.ndim == 4 and pixels.shape[:2] == (1, 3) and pixels.numel() > 0
    if not fits or not pixels.is_floating_point():
        raise ImageError(
            f"the tensor: {tuple(tensor.shape)} {tensor.dtype} is no picture; use floats of shape "
            "(3, H, W) or (1, 3, H, W) in [0, 1]"
        )
    pixels = pixels.detach().float()
    low, high = pixels.aminmax()
    _check_range(float(low), float(high), "the tensor")
    return Picture(pixels.clamp(0, 1))


def _check_range(low: float, high: float, name: str) -> None:
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also catches NaN
        raise ImageError(f"{name}: values from {low:.4g} to {high:.4g}; floats must be in [0, 1]")


def channels_first(values: profiles.Floats) -> Tensor:
    """(H, W, C) -> (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def _channels_last(picture: Picture) -> NDArray[np.float32]:
    planes = (
        picture.pixels if picture.alpha is None else torch.cat((picture.pixels, picture.alpha), 1)
    )
    array: NDArray[np.float32] = planes[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return array


def _to_array(picture: Picture, kind: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """(H, W, 3 or 4), white being the largest of a kind of numbers."""
    return (_channels_last(picture) * np.iinfo(kind).max + 0.5).astype(kind)
