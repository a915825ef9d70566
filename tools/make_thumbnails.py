"""Paints the thumbnails of the trained styles that the app shows: the cat in each of them.

``python tools/make_thumbnails.py``
"""

from pathlib import Path

from PIL import Image

from impasto import Stylizer, gallery

DATA = Path(__file__).parent.parent / "src" / "impasto" / "data"
FACE = (60, 5, 350, 295)
"""The part of the photo that is shown."""
SIDE = 192

stylizer = Stylizer("fast", device="cpu")
with Image.open(DATA / "photos" / "chelsea.jpg") as photo:
    for name in gallery.trained():
        painted = stylizer.stylize(photo, name).crop(FACE)
        painted.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(
            DATA / "thumbnails" / f"{name}.jpg", quality=88
        )
