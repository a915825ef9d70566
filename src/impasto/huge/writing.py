"""Files of large pictures, written by libvips from a picture on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from impasto import files, formats
from impasto.errors import OutputError, Stop
from impasto.huge.heads import WithHead, add_tags, jpeg_parts, png_parts
from impasto.huge.source import libvips, reason_of
from impasto.huge.store import Store
from impasto.metadata import Metadata
from impasto.resuming import folder_of

_TILE = 256
"""Side of the tiles of a pyramid, in pixels."""
CLASSIC_BYTES = 2**31
"""Pictures of more bytes are written as BigTIFF, since other TIFFs end at 4 GiB."""
_DEEPZOOM_QUALITY = 90
_DEEPZOOM_BYTES = 1000
"""The file of a DeepZoom says within so many bytes that it is one."""
_NEW = "new"
"""What a DeepZoom that is being made is called."""
FORMATS = (".dzi", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""What large pictures are written in, by extension."""
_BYTES_PER_PIXEL = {".tif": 8.0, ".tiff": 8.0, ".png": 6.0}
"""What a picture may take in the worst case; other formats take less than a byte or two."""


def check(path: Path, height: int, width: int) -> None:
    """Finds out whether a large picture can be written to ``path``.

    Raises:
        OutputError: large pictures are not written in this format, or it cannot hold so large a
            one; or there is no place to write to.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"{path}: so large a picture is written as {', '.join(FORMATS)}; choose one of these, "
            "or a smaller --size"
        )
    files.check_writable(path)
    if path.suffix.lower() != formats.DEEPZOOM:
        formats.check_size(path, height, width)
    elif _tiles_of(path).exists() and not _is_deepzoom(path) and not _was_moving(path):
        raise OutputError(
            f"{_tiles_of(path)}: would be replaced by the tiles of {path}; give another name, or "
            "remove it"
        )


def bytes_of(path: Path, area: int) -> float:
    """Returns how many bytes a file may take on the disk."""
    return _BYTES_PER_PIXEL.get(path.suffix.lower(), 2.0) * area


def write(
    path: Path,
    store: Store,
    *,
    folder: Path,
    bits: int,
    metadata: Metadata | None,
    recipe: Mapping[str, Any],
    on_fraction: Callable[[float], None],
) -> None:
    """Writes a picture on disk as a file, whole or not at all.

    Args:
        path: the file; its extension decides the format.
        store: the picture, with an alpha channel if it has four.
        folder: a folder beside the file, in which it is made.
        bits: of each channel, 8 or 16; files of formats that hold no more have 8.
        metadata: what is kept of the photo's.
        recipe: what made the picture.
        on_fraction: called now and then with how much is written; it may raise `Stop`.

    Raises:
        OutputError: it cannot be written.
        Stop: ``on_fraction`` raised it.
    """
    with _refusals(path):
        image = _loaded(store, deep=bits > 8 and path.suffix.lower() in _BYTES_PER_PIXEL)
        with _told(image, on_fraction):
            if path.suffix.lower() == formats.DEEPZOOM:
                _write_deepzoom(path, image, folder)
                return
            kind = formats.format_of(path)
            head = formats.head_of(kind, store.size, metadata, recipe)
            with files.replacing(path, folder) as temporary:
                _write_file(temporary, image, kind, head)


def _loaded(store: Store, *, deep: bool) -> Any:
    """A picture on disk as one of libvips, with 8 or 16 bits a channel."""
    height, width = store.size
    image = libvips().Image.rawload(
        str(store.path),
        width,
        height,
        store.bands,
        format="ushort",
        interpretation="rgb16",
    )
    if deep:
        return image
    # Rounded: 65,535 is 257 times 255.
    return ((image + 128) / 257).cast("uchar").copy(interpretation="srgb")


def _write_file(path: Path, image: Any, kind: formats.Format, head: bytes) -> None:
    """Writes a file of a format with the head of another."""
    if kind.kind == "TIFF":
        _save_tiff(path, image)
        add_tags(path, head)
        return
    with path.open("wb") as file:
        if kind.kind == "PNG":
            _save(WithHead(file, head, png_parts), image.pngsave_target, {})
        else:
            opaque = image.flatten(background=255) if image.hasalpha() else image
            options = {"Q": kind.options["quality"], "subsample_mode": "off"}
            _save(WithHead(file, head, jpeg_parts), opaque.jpegsave_target, options)


def _save(file: WithHead, save: Callable[..., None], options: Mapping[str, Any]) -> None:
    target = libvips().TargetCustom()
    target.on_write(file.write)
    try:
        save(target, keep="none", **options)
    finally:
        if file.error is not None:
            raise file.error


def _save_tiff(path: Path, image: Any) -> None:
    """Writes a pyramid of tiles; the smaller pictures are within the page, not further pages."""
    length = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1)
    image.tiffsave(
        str(path),
        tile=True,
        tile_width=_TILE,
        tile_height=_TILE,
        pyramid=True,
        subifd=True,
        bigtiff=length > CLASSIC_BYTES,
        compression="deflate",
        predictor="horizontal",
        keep="none",
    )


def _tiles_of(path: Path) -> Path:
    """The folder that holds the tiles of a DeepZoom."""
    return path.with_name(f"{path.stem}_files")


def _is_deepzoom(path: Path) -> bool:
    """Whether a file is there that says what tiles a folder beside it has."""
    try:
        with path.open("rb") as file:
            return b"schemas.microsoft.com/deepzoom" in file.read(_DEEPZOOM_BYTES)
    except OSError:
        return False


def _was_moving(path: Path) -> bool:
    """Whether a run ended after it had moved its tiles to their place, and not yet the file."""
    left = folder_of(path).glob(f"{files.TEMPORARY}*/{_NEW}.dzi")
    return any(not file.with_name(f"{_NEW}_files").exists() for file in left)


def _write_deepzoom(path: Path, image: Any, folder: Path) -> None:
    """Writes NAME.dzi and the folder NAME_files, the former last: what it is of is then there."""
    tiles = _tiles_of(path)
    suffix = ".png" if image.hasalpha() else f".jpg[Q={_DEEPZOOM_QUALITY}]"
    with tempfile.TemporaryDirectory(dir=folder, prefix=files.TEMPORARY) as name:
        new = Path(name, _NEW)
        image.dzsave(str(new), suffix=suffix, tile_size=_TILE - 2, overlap=1, keep="none")
        made = new.with_name(f"{_NEW}_files")
        (made / "vips-properties.xml").unlink(missing_ok=True)  # it holds the date
        with suppress(FileNotFoundError):
            tiles.rename(new.with_name("old_files"))
        made.rename(tiles)
        new.with_name(f"{_NEW}.dzi").replace(path)


@contextmanager
def _told(image: Any, on_fraction: Callable[[float], None]) -> Iterator[None]:
    """Returns a context in which it is told how much of an image is written."""
    stopped = False

    def tell(_: Any, progress: Any) -> None:
        nonlocal stopped
        try:
            on_fraction(progress.percent / 100)
        except Stop:
            stopped = True
            image.set_kill(True)

    image.set_progress(True)
    image.signal_connect("eval", tell)
    try:
        yield
    except libvips().Error as error:
        if stopped:
            raise Stop from error
        raise


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Raises `OutputError` for what libvips or the system refuses."""
    try:
        yield
    except libvips().Error as error:
        raise OutputError(
            f"{path}: cannot be written ({reason_of(error)}); free space or choose another place"
        ) from error
    except OSError as error:
        raise files.cannot_write(path, error) from error
