"""Pictures larger than memory: read, painted in tiles on disk, and written by libvips (pyvips)."""

from impasto.huge.choice import LARGE_AREA, is_large, is_scaled
from impasto.huge.painting import Commission, Result, paint, with_scaled_masks
from impasto.huge.source import read_scaled

__all__ = [
    "LARGE_AREA",
    "Commission",
    "Result",
    "is_large",
    "is_scaled",
    "paint",
    "read_scaled",
    "with_scaled_masks",
]
