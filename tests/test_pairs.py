"""Which photo and painting a painted picture belongs to."""

import numpy as np
import pytest
import torch

from impasto import images
from impasto.errors import ImageError
from impasto.images import Picture
from impasto.pairs import find_pairs


@pytest.fixture
def place(tmp_path):
    """Makes pictures, ``place("painted/cat_renoir.png", recipe)``."""

    def place(name, recipe=None):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        images.write(path, Picture(torch.full((1, 3, 16, 16), 0.5)), recipe)
        return path

    return place


@pytest.fixture
def pair(tmp_path, place):
    """Photo and painting of a name, among photos and paintings of some names."""

    def pair(painted, photos, paintings, recipe=None):
        place(f"painted/{painted}", recipe)
        for folder, names in (("photos", photos), ("paintings", paintings)):
            for name in names.split():
                place(f"{folder}/{name}")
        pairs, left = find_pairs(*(tmp_path / n for n in ("painted", "photos", "paintings")))
        assert left == []
        return pairs[0].photo.name, pairs[0].painting.name

    return pair


@pytest.mark.parametrize(
    "painted", ["cat_renoir.png", "cat-renoir.jpg", "cat_stylized_renoir.png", "catrenoir.PNG"]
)
def test_names_begin_and_end_with_photo_and_painting(pair, painted):
    assert pair(painted, "cat.jpg dog.jpg", "monet.png renoir.jpg") == ("cat.jpg", "renoir.jpg")


def test_the_longest_match_wins(pair):
    photos, paintings = "cat.jpg cat_2.jpg", "noir.jpg renoir.jpg"
    assert pair("cat_2_renoir.png", photos, paintings) == ("cat_2.jpg", "renoir.jpg")


def test_of_equal_matches_the_longest_photo_wins(pair):
    assert pair("a_b_c.png", "a_b.jpg a.jpg", "c.jpg b_c.jpg") == ("a_b.jpg", "c.jpg")


def test_photo_and_painting_do_not_overlap(pair):
    recipe = {"styles": [{"source": "ato.png"}]}
    assert pair("cato.png", "cat.jpg cato.jpg", "ato.png", recipe) == ("cato.jpg", "ato.png")


def test_else_the_recipe_tells(pair):
    recipe = {"styles": [{"source": "monet.png", "weight": 1.0}]}
    assert pair("cat.png", "cat.jpg dog.jpg", "monet.png", recipe) == ("cat.jpg", "monet.png")


@pytest.mark.parametrize(
    "recipe", [None, {}, {"styles": []}, {"styles": 3}, {"styles": [{}]}, {"styles": ["a"]}]
)
def test_the_others_are_left(tmp_path, place, recipe):
    good, odd = place("painted/cat_monet.png"), place("painted/odd.png", recipe)
    place("photos/cat.jpg")
    place("photos/odd.jpg")
    place("paintings/monet.png")
    folders = (tmp_path / name for name in ("painted", "photos", "paintings"))
    pairs, left = find_pairs(*folders)
    assert [pair.painted for pair in pairs] == [good]
    assert left == [odd]


def test_one_photo_or_painting_belongs_to_all(tmp_path, place):
    place("painted/monet.png")
    place("painted/x_renoir.png")
    photo, painting = place("anything.jpg"), place("paintings/renoir.jpg")
    place("paintings/monet.jpg")
    pairs, _ = find_pairs(tmp_path / "painted", photo, tmp_path / "paintings")
    assert [pair.painting.stem for pair in pairs] == ["monet", "renoir"]
    assert {pair.photo for pair in pairs} == {photo}
    pairs, left = find_pairs(tmp_path / "painted", photo, painting)
    assert (len(pairs), left) == (2, [])


def test_no_pair_is_an_error(tmp_path, place):
    for name in ("painted/a.png", "photos/b.png", "paintings/c.png"):
        place(name)
    with pytest.raises(ImageError, match=r"painted: no picture in it belongs .* PHOTO_PAINTING"):
        find_pairs(*(tmp_path / name for name in ("painted", "photos", "paintings")))


def test_files_that_are_no_pictures_are_passed_over(tmp_path, place):
    picture = place("painted/a.png")
    (picture.parent / "notes.txt").write_text("once")
    np.save(picture.parent / "a.npy", np.zeros(3))
    assert images.find(picture.parent) == [picture]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: holds no pictures"):
        images.find(tmp_path / "empty")
    with pytest.raises(ImageError, match="nowhere: no such file or folder"):
        images.find(tmp_path / "nowhere")
