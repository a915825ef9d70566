"""Names of files: told apart, short enough, and those that are no pictures."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.naming import distinct, fitted, is_clutter

NAMES = st.from_regex(r"[aAbä]{1,140}(-2)?\.png", fullmatch=True).filter(
    lambda name: len(os.fsencode(name)) <= 255
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (["a.png", "a.png", "a.png"], ["a.png", "a-2.png", "a-3.png"]),
        (["a.png", "a.png", "a-2.png"], ["a.png", "a-2.png", "a-2-2.png"]),
        (["a-2.png", "a.png", "a.png"], ["a-2.png", "a.png", "a-3.png"]),
        (["a.png", "A.PNG"], ["a.png", "A-2.PNG"]),
        (["straße.png", "STRASSE.png"], ["straße.png", "STRASSE-2.png"]),
        (["noend", "noend"], ["noend", "noend-2"]),
    ],
)
def test_names_are_told_apart(names, expected):
    assert list(distinct(names)) == expected


@given(st.lists(NAMES, max_size=8))
def test_names_that_are_told_apart_are_good_on_every_disk(names):
    given_out = list(distinct(names))
    assert len({name.casefold() for name in given_out}) == len(names)
    for name, original in zip(given_out, names, strict=True):
        assert len(os.fsencode(name)) <= 255
        assert name.endswith(".png")
        assert name[0] == original[0]


def test_long_names_are_cut_between_characters():
    assert fitted("a" * 251, ".png") == "a" * 251 + ".png"
    assert fitted("a" * 252, ".png") == "a" * 251 + ".png"
    assert fitted("é" * 200, ".png") == "é" * 125 + ".png"
    broken = os.fsdecode(b"\xff" * 300)
    assert os.fsencode(fitted(broken, ".png")) == b"\xff" * 251 + b".png"


def test_what_systems_leave_behind_is_no_picture():
    for name in ("._cat.jpg", ".DS_Store", "Thumbs.db", "photos/._cat.jpg"):
        assert is_clutter(Path(name))
    for name in ("cat.jpg", ".cat.jpg", "_.jpg", "a._b.jpg"):
        assert not is_clutter(Path(name))
