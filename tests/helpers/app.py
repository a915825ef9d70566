"""What the tests of the app upload."""

import io

from PIL import Image

from impasto.app.request import Upload
from tests.helpers.pictures import photo_array


def upload(name="photo.png", array=None):
    encoded = io.BytesIO()
    Image.fromarray(photo_array() if array is None else array).save(encoded, "PNG")
    return Upload(name, encoded.getvalue())
