"""Where the browser of the tests is."""

import os
import shutil

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def needed():
    """Skips the test if there is no browser, unless ``IMPASTO_BROWSER=required``."""
    if not BROWSER and os.environ.get("IMPASTO_BROWSER") != "required":
        pytest.skip("no Chromium here")
