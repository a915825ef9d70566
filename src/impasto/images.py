"""Pictures between files and tensors: the only module that knows Pillow, but for the app.

Inside the package a picture is a tensor (1, 3, H, W), sRGB in [0, 1]. Everything that files bring
along is dealt with here: EXIF orientation, colour profiles, CMYK, grey, palettes, 16 bits, alpha,
animation; and on the way out quality, transparency and the recipe.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageDraw,
    ImageFont,
    ImageOps,
    PngImagePlugin,
    UnidentifiedImageError,
)
from PIL import features as pillow_features
from torch import Tensor
from torch.nn import functional as F

from impasto import files
from impasto.controls import MIN_SIDE
from impasto.errors import ImageError, ImpastoError, OutputError, TooLargeError

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor | Picture"
"""What counts as a picture everywhere in the package."""

_SAVE: dict[str, tuple[str, dict[str, Any]]] = {
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".bmp": ("BMP", {}),
}
if pillow_features.check("avif"):
    _SAVE[".avif"] = ("AVIF", {"quality": 90, "subsampling": "4:4:4"})
FORMATS = tuple(_SAVE)
"""Extensions of the pictures that can be written; all of them can be read."""
_KINDS = sorted({kind for kind, _ in _SAVE.values()} | {"GIF"})
_OPAQUE = {"JPEG", "BMP"}
_RECIPE_KEY = "impasto"
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
        image: arrays are (H, W), (H, W, 3) or (H, W, 4), uint8, uint16 or floats in [0, 1];
            tensors (3, H, W) or (1, 3, H, W), floats in [0, 1].

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
        picture = _from_pil(image, "the image")
    else:
        picture = _from_opened(_open_file(Path(image)), os.fspath(image))
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
    opened = _open(io.BytesIO(data), name, most, _KINDS)
    return _large_enough(_from_opened(opened, name), name)


def _large_enough(picture: Picture, name: str) -> Picture:
    if min(picture.size) < MIN_SIDE:
        height, width = picture.size
        raise ImageError(
            f"{name}: {width}x{height} is too small, at least {MIN_SIDE}x{MIN_SIDE} "
            "pixels are needed"
        )
    return picture


def read_mask(image: ImageLike, height: int, width: int) -> Tensor:
    """Reads a mask, (H, W) in [0, 1]: its lightness, times its alpha if it has one.

    Raises:
        ImageError: if it cannot be read or is not of the photo's size.
    """
    picture = read(image)
    if picture.size != (height, width):
        raise ImageError(
            f"mask {name_of(image)}: it is {picture.size[1]}x{picture.size[0]}, the photo is "
            f"{width}x{height}; a mask must have the photo's size"
        )
    mask = picture.pixels.mean(1)[0]
    return mask if picture.alpha is None else mask * picture.alpha[0, 0]


def find(path: Path) -> list[Path]:
    """The pictures of a folder, by name, or the one that ``path`` is.

    Pictures are the files with an extension that `write` knows.

    Raises:
        ImageError: there is nothing at ``path``, or no picture in it.
    """
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SAVE)
        if not found:
            raise ImageError(f"{path}: holds no pictures ({', '.join(sorted(_SAVE))})")
        return found
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    return [path]


def name_of(image: ImageLike) -> str:
    """How messages call a picture: its path, or what it is."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    return f"the given {type(image).__name__}"


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """(N, C, h, w) -> (N, C, height, width) in [0, 1]: bicubic, antialiased when shrinking."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def at_most(image: Tensor, area: int) -> Tensor:
    """(N, C, h, w), scaled down to about this area in pixels if it is larger."""
    height, width = image.shape[-2:]
    scale = min((area / (height * width)) ** 0.5, 1)
    if scale == 1:
        return image
    return resize(image, *(max(round(side * scale), MIN_SIDE) for side in (height, width)))


def like(picture: Picture, original: ImageLike) -> Any:
    """A picture in the type of ``original``; a PIL image for paths."""
    if isinstance(original, Picture):
        return picture
    if isinstance(original, Tensor):
        pixels = picture.pixels.to(original)
        return pixels[0] if original.ndim == 3 else pixels
    if isinstance(original, np.ndarray):
        array = _to_array(picture)
        if original.dtype == np.uint8:
            return array
        top = 65535 if original.dtype == np.uint16 else 1
        floats = _channels_last(picture) * top
        return (floats.round() if top > 1 else floats).astype(original.dtype)
    return to_pil(picture)


def to_pil(picture: Picture) -> Image.Image:
    """A PIL image, RGB or RGBA."""
    return Image.fromarray(_to_array(picture))


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
    if path.suffix.lower() not in _SAVE:
        raise OutputError(
            f"{path}: cannot write '{path.suffix}' pictures; use {', '.join(sorted(_SAVE))}"
        )
    files.check_writable(path)


def write(path: Path, picture: Picture, recipe: dict[str, Any] | None = None) -> None:
    """Writes a picture, whole or not at all; see `encode`.

    Raises:
        OutputError: the file cannot be written.
    """
    check_writable(path)
    files.replace(path, encode(path, picture, recipe))


def encode(path: Path, picture: Picture, recipe: dict[str, Any] | None = None) -> bytes:
    """What a picture's file holds.

    The format follows the extension. JPEG and BMP have no alpha: transparent parts become white.

    Args:
        path: its name.
        picture: what.
        recipe: kept in the file, in PNG text or EXIF; `read_recipe` gives it back.

    Raises:
        OutputError: the format cannot hold this picture.
    """
    kind, options = _SAVE[path.suffix.lower()]
    if kind in _OPAQUE and picture.alpha is not None:
        white = picture.pixels * picture.alpha + 1 - picture.alpha
        picture = Picture(white)
    text = json.dumps(recipe, ensure_ascii=True)
    if recipe is None or kind == "BMP":
        extra: dict[str, Any] = {}
    elif kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text(_RECIPE_KEY, text)
        extra = {"pnginfo": info}
    else:
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = _RECIPE_KEY
        exif[ExifTags.Base.ImageDescription] = text
        extra = {"exif": exif}
    encoded = io.BytesIO()
    try:
        to_pil(picture).save(encoded, kind, **options, **extra)
    except (OSError, ValueError) as error:  # most often, more pixels than the format can hold
        raise OutputError(f"{path}: {kind} cannot hold this picture ({error})") from error
    return encoded.getvalue()


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe inside a picture that `write` made.

    Raises:
        ImageError: not a picture, or without recipe.
    """
    with _open_file(path) as image:
        found = image.info.get(_RECIPE_KEY)
        text = found or image.getexif().get(ExifTags.Base.ImageDescription, "")
    try:
        recipe = json.loads(text)
    except (TypeError, ValueError):
        recipe = None
    if not isinstance(recipe, dict):
        raise ImageError(f"{path}: holds no recipe; give a YAML file or a picture impasto painted")
    return recipe


def _open_file(path: Path) -> Image.Image:
    if not path.exists():
        raise ImageError(f"{path}: no such file")
    if path.is_dir():
        raise ImageError(f"{path}: is a folder, not a picture; name the files in it")
    return _open(path, str(path))


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turns whatever decoders stumble over into one line."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of odd metadata; too large is an error by itself.
            warnings.simplefilter("ignore")
            yield
    except ImpastoError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture, or of an unknown format") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too many pixels to be safe to open; scale it down") from error
    except Exception as error:  # damaged files raise nearly everything
        raise ImageError(f"{name}: cannot be read, perhaps damaged or cut off ({error})") from error


def _open(
    source: Path | BinaryIO, name: str, most: int | None = None, kinds: list[str] | None = None
) -> Image.Image:
    """Opens a picture of at most so many pixels and of one of these kinds, all of it read."""
    with _reading(name):
        image = Image.open(source, formats=kinds)
        try:
            if most is not None and image.width * image.height > most:
                raise TooLargeError(
                    f"{name}: {image.width}x{image.height} are more than {most / 1e6:g} "
                    "megapixels; scale it down"
                )
            image.load()
        except BaseException:
            image.close()
            raise
    return image


def _from_opened(image: Image.Image, name: str) -> Picture:
    with _reading(name), image:
        frames = getattr(image, "n_frames", 1)
        picture = _from_pil(image, name)
    if frames > 1:
        note = f"{name}: only the first of {frames} frames is painted"
        picture = replace(picture, notes=(*picture.notes, note))
    return picture


def _from_pil(image: Image.Image, name: str) -> Picture:
    notes: list[str] = []
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_array(np.asarray(image), name)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        if image.mode == "La":  # Pillow converts it only by way of LA
            image = image.convert("LA")
        image = image.convert("RGBA")
    elif image.mode in ("P", "1", "YCbCr", "HSV"):
        image = image.convert("RGB")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colours = image.convert("RGB") if alpha else image
    if profile:
        try:
            colours = _to_srgb(colours, profile)
        except (ImageCms.PyCMSError, OSError, ValueError):
            notes.append(f"{name}: its colour profile is unusable and was ignored")
    if colours.mode == "LAB":
        colours = _to_srgb(
            colours, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        )
    array = np.asarray(colours.convert("RGB"))
    if alpha is not None:
        array = np.dstack((array, np.asarray(alpha)))
    return replace(_from_array(array, name), notes=tuple(notes))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # only with inPlace
    return converted


def _from_array(array: NDArray[Any], name: str) -> Picture:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"{name}: shape {array.shape} is no picture; use (H, W), (H, W, 3 or 4)")
    if array.dtype == np.bool_:
        array = array.astype(np.float32)
    elif array.dtype == np.uint8:
        array = array / np.float32(255)
    elif array.dtype.kind in "ui":  # 16 bits, which Pillow may hold in 32
        array = array / np.float32(65535)
    floats = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).permute(2, 0, 1)[None]
    _check_range(floats, name)
    if floats.shape[1] != 4:
        return Picture(floats.expand(1, 3, -1, -1).contiguous())
    colours, alpha = floats[:, :3], floats[:, 3:]
    if bool((alpha == 1).all()):
        return Picture(colours.contiguous())
    # Invisible pixels may hold anything; the mean of the visible ones disturbs least.
    mean = (colours * alpha).sum((2, 3), keepdim=True) / alpha.sum().clamp_min(1e-6)
    return Picture(torch.where(alpha > 0, colours, mean), alpha.contiguous())


def _from_tensor(tensor: Tensor) -> Picture:
    pixels = tensor[None] if tensor.ndim == 3 else tensor
    if pixels.ndim != 4 or pixels.shape[:2] != (1, 3) or not pixels.is_floating_point():
        raise ImageError(
            f"the tensor: {tuple(tensor.shape)} {tensor.dtype} is no picture; use floats of shape "
            "(3, H, W) or (1, 3, H, W) in [0, 1]"
        )
    pixels = pixels.detach().float()
    _check_range(pixels, "the tensor")
    return Picture(pixels)


def _check_range(pixels: Tensor, name: str) -> None:
    low, high = pixels.aminmax()
    if not (low >= 0 and high <= 1):  # also catches NaN
        raise ImageError(f"{name}: values from {low:.3g} to {high:.3g}; floats must be in [0, 1]")


def _channels_last(picture: Picture) -> NDArray[np.float32]:
    planes = (
        picture.pixels if picture.alpha is None else torch.cat((picture.pixels, picture.alpha), 1)
    )
    array: NDArray[np.float32] = planes[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return array


def _to_array(picture: Picture) -> NDArray[np.uint8]:
    return (_channels_last(picture) * 255 + 0.5).astype(np.uint8)
