"""Pictures larger than memory: read, painted in tiles on disk, and written by libvips (pyvips)."""

from impasto.huge.painting import Commission, Result, paint

__all__ = ["Commission", "Result", "paint"]
