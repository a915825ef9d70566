"""Memory: how much is free, what a painting takes, and what to do if it does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from impasto.controls import MIN_SIDE, MIN_TILE
from impasto.errors import TooLargeError, is_want_of_memory
from impasto.methods.base import Footprint

MEASURED_AREA = 1024 * 1024
"""Photos, and what is painted of them, are measured on no more pixels than this."""
_BYTES_PER_STYLE_PIXEL = 1_000
"""Peak memory of measuring a style: features of the first block, without gradients."""
_BYTES_OF_PICTURES = 90
"""Of photo, result and what is between them, for each pixel, with reading and writing them."""
_WHOLE_BYTES, TILE_BYTES = 2 * 2**30, 2**30
"""What painting a whole picture, or a tile, may take before smaller tiles are better."""
_USABLE = 0.8
"""Share of the free memory that a painting may take: its needs are estimates, which may be off by
as much, and a machine that has none left stands still."""
_CGROUPS = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device, or in the container; infinite where nobody can tell."""
    if device.type == "cpu":
        return min(float(psutil.virtual_memory().available), free_in_container())
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return math.inf


def free_in_container(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float:
    """Bytes that the limits of a container leave (cgroup v2 or v1, at every level); infinite where
    there is none.

    Args:
        root: where control groups are mounted.
        own: what says which group this process is in.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        lines = []
    group = next((path for _, kinds, path in lines if kinds in ("", "memory")), "/")
    levels = [Path(group.lstrip("/")), *Path(group.lstrip("/")).parents]
    unified = (_left(root / level, "memory.max", "memory.current") for level in levels)
    older = (
        _left(root / "memory" / level, "memory.limit_in_bytes", "memory.usage_in_bytes")
        for level in levels
    )
    return min((*unified, *older), default=math.inf)


def _left(group: Path, limit: str, usage: str) -> float:
    """What the limit of one control group leaves; infinite if it has none ("max")."""
    try:
        most, used = (float((group / name).read_text()) for name in (limit, usage))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return math.inf
    reclaimable = stat.get("total_inactive_file") or stat.get("inactive_file") or 0
    return max(most - used + float(reclaimable), 0)  # files read before make way


def tile_side(
    footprint: Footprint, height: int, width: int, asked: str | int, device: torch.device
) -> int | None:
    """The side of the tiles that a picture is painted in; None to paint the whole at once.

    Args:
        footprint: of the method.
        height, width: of the picture.
        asked: see `impasto.Controls.tile`.
        device: where it is painted.
    """
    if footprint.tiling is None:
        return None
    if asked != "auto":
        return None if int(asked) >= max(height, width) else int(asked)
    free = free_memory(device)
    if height * width * footprint.bytes_per_pixel <= min(_WHOLE_BYTES, free / 2):
        return None
    return largest_tile(footprint, min(TILE_BYTES, free / 4))


def largest_tile(footprint: Footprint, memory: float) -> int:
    """The side of the largest tile that can be painted in so many bytes of memory."""
    assert footprint.tiling is not None
    side = math.sqrt(memory / footprint.bytes_per_pixel)
    return max(int(side - 2 * footprint.tiling.halo), MIN_TILE)


def check_memory(
    footprint: Footprint,
    height: int,
    width: int,
    *,
    styles: Sequence[tuple[int, int]],
    tile: str | int,
    device: torch.device,
) -> None:
    """Refuses what cannot fit, before it drives the machine into swapping.

    Args:
        footprint, height, width, tile, device: as for `tile_side`.
        styles: heights and widths of the style pictures.

    Raises:
        TooLargeError: naming a size that fits.
    """
    usable = _USABLE * free_memory(device)
    at_once = height * width
    side = tile_side(footprint, height, width, tile, device)
    if side is not None and footprint.tiling is not None:
        at_once = min(at_once, max((side + 2 * footprint.tiling.halo) ** 2, MEASURED_AREA))
    needed = footprint.bytes_per_pixel * at_once + _BYTES_OF_PICTURES * height * width
    if needed > usable:
        raise _too_large(height, width, needed, math.sqrt(usable / needed))
    for high, wide in styles:
        if high * wide * _BYTES_PER_STYLE_PIXEL > usable:
            raise TooLargeError(
                f"a style picture of {wide}x{high} does not fit into memory; "
                "give a smaller --style-size"
            )


def can_be_read(area: int) -> bool:
    """Whether a picture of so many pixels can be read into memory and scaled there."""
    return _BYTES_OF_PICTURES * area <= _USABLE * free_memory(torch.device("cpu"))


@contextmanager
def memory_guarded(footprint: Footprint, height: int, width: int) -> Iterator[None]:
    """Turns failures to allocate, while a picture of this size is painted, into `TooLargeError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_want_of_memory(error):
            raise
        needed = footprint.bytes_per_pixel * height * width
        raise _too_large(height, width, needed, math.sqrt(0.5)) from error


def _too_large(height: int, width: int, needed: float, shrink: float) -> TooLargeError:
    fits = max(int(max(height, width) * shrink * 0.95) // 16 * 16, MIN_SIDE)
    return TooLargeError(
        f"{width}x{height} takes about {needed / 2**30:.1f} GiB of memory, more than can be "
        f"spared; --size {fits} would fit"
    )
