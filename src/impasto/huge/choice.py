"""Which pictures are painted on disk, and which photos are scaled while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from impasto.controls import Controls
from impasto.encoding import EncodedStyle
from impasto.errors import ImpastoError, TooLargeError
from impasto.formats import DEEPZOOM, size_of
from impasto.huge.writing import FORMATS
from impasto.look import render_size
from impasto.memory import can_be_read
from impasto.stylizer import Stylizer

LARGE_AREA = 10**8
"""Pictures of more pixels are painted on disk, and photos of more are scaled while they are read,
even where there would be memory enough; it is for pyvips to be installed."""


def is_large(
    content: Path,
    output: Path,
    stylizer: Stylizer,
    styles: Sequence[EncodedStyle],
    controls: Controls,
) -> bool:
    """Finds out whether a picture is painted on disk: one of more than `LARGE_AREA`, or that does
    not fit into memory, or that is written as DeepZoom.

    Args:
        content: the photo.
        output: the file to be written.
        stylizer: what paints.
        styles: the styles.
        controls: of the painting.

    Raises:
        TooLargeError: it is too large for a method that does not paint in tiles.
    """
    if output.suffix.lower() == DEEPZOOM:
        return True
    try:
        height, width = render_size(size_of(content), controls.size)
    except ImpastoError:  # which is said where the photo is read
        return False
    tiles = stylizer.paints_in_tiles(styles)
    preferred = bool(find_spec("pyvips")) and output.suffix.lower() in FORMATS
    if height * width > LARGE_AREA and preferred and tiles:
        return True
    try:
        stylizer.check_memory(height, width, styles, controls)
    except TooLargeError:
        if not tiles:
            raise
        return True
    return False


def is_scaled(content: Path, controls: Controls) -> bool:
    """Finds out whether a photo is scaled while it is read: one of more than `LARGE_AREA`, or that
    does not fit into memory, of which a smaller picture is painted.

    Args:
        content: the photo.
        controls: of the painting.
    """
    try:
        height, width = size_of(content)
    except ImpastoError:
        return False
    if controls.size is None or controls.size >= max(height, width):
        return False
    return not can_be_read(height * width) or height * width > LARGE_AREA
