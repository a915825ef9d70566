"""What every test may ask for by name."""

import os

import pytest
import torch
from hypothesis import settings
from PIL import Image

from tests.helpers import cli
from tests.helpers.pictures import as_tensor, painting_array, photo_array

# The first call into torch takes longer than any deadline; CI must not depend on luck.
settings.register_profile("impasto", deadline=None, derandomize=True)
settings.load_profile("impasto")


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory):
    """What a developer has set reaches no test, and no test reaches the network or their cache."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("IMPASTO_", "STREAMLIT_")) or name in ("COLUMNS", "FORCE_COLOR"):
                patch.delenv(name)
        patch.setenv("IMPASTO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("IMPASTO_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True)
def seeded():
    """Random numbers are the same in every run and in every order of tests."""
    torch.manual_seed(0)


@pytest.fixture
def one_thread():
    """Sums do not depend on the number of processors, as they do to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photo():
    return as_tensor(photo_array())


@pytest.fixture
def painting():
    return as_tensor(painting_array())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photo.png and painting.png."""
    Image.fromarray(photo_array()).save(tmp_path / "photo.png")
    Image.fromarray(painting_array()).save(tmp_path / "painting.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder):
    """Runs ``impasto ...`` in that folder; returns exit code, stdout, stderr."""
    return cli.run


@pytest.fixture
def refused(folder):
    """Runs a call that must fail with one line, in that folder; returns the line."""
    return cli.refused
