"""What the source of a style stands for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto import gallery, weights
from impasto.errors import ControlError
from impasto.gallery import TrainedLook
from impasto.images import read
from tests.helpers.pictures import painting_array


def test_every_painting_is_a_picture_or_has_its_network_and_never_both():
    for name, painting in gallery.paintings().items():
        assert painting.name == name
        assert (painting.picture is None) == (painting.weights in weights.table())
        assert painting.title
        assert painting.artist
        assert painting.licence in ("public domain", "CC0")
        if painting.picture:
            assert min(read(painting.picture).size) >= 64


@pytest.mark.parametrize("name", gallery.paintings())
def test_a_name_stands_for_its_painting(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, known = gallery.resolve(name), gallery.paintings()[name]
    assert found == (known.picture or TrainedLook(name, f"fast.{name}"))


NAMES = st.text("abcxyz019 _-", min_size=1, max_size=12)


@given(NAMES, NAMES)
def test_weights_files_are_taken_apart_at_the_hash(stem, look):
    path = f"some/{stem}.safetensors"
    assert gallery.resolve(path) == TrainedLook(path, path)
    assert gallery.resolve(f"{path}#{look}") == TrainedLook(f"{path}#{look}", path, look)


def test_a_file_goes_before_a_painting_of_its_name(folder):
    name = gallery.trained()[0]
    (folder / "painting.png").rename(folder / name)
    assert gallery.resolve(name) == name
    assert gallery.resolve(Path(name)) == Path(name)


def test_what_is_no_name_is_given_back():
    pixels = painting_array()
    assert gallery.resolve(pixels) is pixels


@pytest.mark.parametrize("name", gallery.trained())
def test_a_slip_of_the_pen_is_told_the_name(name):
    slip = name[:2] + name[3:]
    with pytest.raises(ControlError, match=f"did you mean .*{name}"):
        gallery.resolve(slip)
