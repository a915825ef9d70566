"""Films: every frame painted, all in one look, without flicker.

`paint` paints arrays. For files, `impasto.video.film.paint_film` reads, paints and writes them.
"""

from impasto.video.keyframes import Keyframes, read_keyframes
from impasto.video.painting import FilmControls, FilmPainter, paint

__all__ = ["FilmControls", "FilmPainter", "Keyframes", "paint", "read_keyframes"]
