"""Names of paintings, what is left to do, and strengths that are drawn."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.batch.plan import Names, drawn, labels_of, tasks_of


def names_of(photos, labels, suffix=".png"):
    names = Names(tuple(labels), suffix)
    return [
        names.of(task.stem, style)
        for task in tasks_of(photos, names, set())
        for style in task.styles
    ]


def test_one_style_leaves_photos_their_names_and_several_add_theirs():
    assert names_of(["a.jpg", "trip/b.png"], ["wave"]) == ["a.png", "trip/b.png"]
    assert names_of(["trip/b.jpg"], ["wave", "sun"]) == ["trip/b_wave.png", "trip/b_sun.png"]


def test_photos_that_differ_in_the_extension_alone_keep_it():
    assert names_of(["a.jpg", "a.png", "b.jpg"], ["wave"]) == ["a.jpg.png", "a.png.png", "b.png"]


PARTS = st.sampled_from(["a", "b", "a_b", "b_c", "c", "A", "a.jpg"])
PHOTOS = st.lists(
    st.tuples(st.sampled_from(["", "d/"]), PARTS, st.sampled_from([".jpg", ".png"])).map("".join),
    min_size=1,
    max_size=8,
    unique_by=str.casefold,
)
LABELS = st.lists(st.sampled_from(["c", "b_c", "x", "a_b_c", "b"]), min_size=1, unique=True)


@given(PHOTOS, LABELS)
def test_no_two_paintings_have_one_name_even_where_case_does_not_count(photos, labels):
    names = [name.casefold() for name in names_of(photos, labels)]
    assert len(names) == len(photos) * len(labels) == len(set(names))


def test_names_that_are_too_long_are_cut_and_told_apart():
    long = ["x" * 250 + end + ".jpg" for end in "ab"]
    names = names_of(long, ["wave", "sun"])
    assert len(set(names)) == 4
    assert max(len(name) for name in names) <= 255
    labels = labels_of(["y" * 250 + ".jpg", "y" * 251 + ".jpg", "z"])
    names = names_of(long, labels)
    assert len(set(names)) == 6
    assert max(len(name) for name in names) <= 255


def test_labels_are_names_without_folder_and_extension_unless_two_are_alike():
    sources = ["dir/wave.jpg", "starry-night", "x.look", "mine.safetensors#sun"]
    assert labels_of(sources) == ("wave", "starry-night", "x", "sun")
    assert labels_of(["wave.jpg", "wave.png"]) == ("wave.jpg", "wave.png")
    assert labels_of(["1/wave.jpg", "2/wave.jpg"]) == ("wave.jpg", "wave-2.jpg")


def test_what_is_there_is_left_out():
    names = Names(("x", "y"), ".png")
    tasks = tasks_of(["a.jpg", "b.jpg", "c.jpg"], names, {"a_x.png", "a_y.png", "b_x.png"})
    assert [(task.photo, task.styles) for task in tasks] == [("b.jpg", (1,)), ("c.jpg", (0, 1))]


def test_strengths_are_drawn_by_a_hash_of_seed_and_names():
    text = "7\ntrip/a.jpg\nwave"
    share = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 16**16
    assert drawn((0.25, 0.75), 7, "trip/a.jpg", "wave") == pytest.approx(
        0.25 + share / 2, abs=1e-15
    )


def test_strengths_are_uniform_and_differ_by_seed_photo_and_style():
    many = [drawn((0, 1), 0, f"{number}.jpg", "wave") for number in range(2000)]
    tenths = [sum(n <= 10 * one < n + 1 for one in many) for n in range(10)]
    assert 150 < min(tenths) <= max(tenths) < 250
    one = drawn((0, 1), 0, "a", "wave")
    assert len({one, drawn((0, 1), 1, "a", "wave"), drawn((0, 1), 0, "a", "sun")}) == 3


def test_a_single_strength_is_just_that():
    assert drawn((0.7, 0.7), 3, "a", "b") == 0.7
