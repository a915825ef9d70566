"""Pictures to train on: where they are found, and how they are cut into crops."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impasto import images
from impasto.errors import ImageError, TooLargeError
from impasto.train import data
from impasto.train.config import TrainConfig
from tests.helpers.pictures import photo_array
from tests.helpers.train import crops, same


def test_pictures_are_found_on_all_levels(place):
    (place / "photos/notes.txt").write_text("no picture")
    (place / "photos/folder.png").mkdir()
    Image.fromarray(photo_array()).save(place / "photos/UPPER.JPG")
    found = data.find_pictures(Path("photos"))
    assert [path.name for path in found if path.parent.name == "more"] == [
        "1.png",
        "3.png",
        "5.png",
    ]
    assert len(found) == 8
    assert data.find_pictures(Path("photos/0.png")) == [Path("photos/0.png")]


def names_of(source):
    return [str(path) for path in data.find_pictures(Path(source))]


def test_linked_folders_are_searched(place):
    """Each once, and under its own name if it has one; loops of links end."""
    for link, target in {
        "data/train2014": "../photos",
        "data/again": "../photos/more",
        "data/loop": ".",
        "data/itself": "itself",
        "data/one.png": "../paintings/0.png",
        "data/lost.png": "../paintings/lost.png",
    }.items():
        (place / link).parent.mkdir(exist_ok=True)
        (place / link).symlink_to(target)
    found = names_of("data")
    assert found[:3] == ["data/again/1.png", "data/again/3.png", "data/again/5.png"]
    assert found[3:] == ["data/one.png", *(f"data/train2014/{n}.png" for n in (0, 2, 4, 6))]
    (place / "photos/a_link").symlink_to("more")
    (place / "photos/back").symlink_to(place)
    photos = [name for name in names_of("photos") if not name.startswith("photos/back")]
    assert photos == [f"photos/{n}.png" for n in (0, 2, 4, 6)] + [
        f"photos/more/{n}.png" for n in (1, 3, 5)
    ]


def test_hidden_files_are_left_out(place):
    for name in ("._1.png", ".cache/2.png", "more/.thumbnail.png"):
        (place / "photos" / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photo_array()).save(place / "photos" / name)
    assert len(names_of("photos")) == 7
    assert data.find_pictures(Path("photos/._1.png")) == [Path("photos/._1.png")]
    (place / "photos").rename(".photos")
    assert len(names_of(".photos")) == 7


def test_names_may_hold_anything(place):
    names = ["[red]x.png", "\udcff.png", "a\nb.png", "[/b].png".replace("/", "")]
    for name in names:
        Image.fromarray(photo_array()).save(place / "paintings" / name)
    assert {Path(name).name for name in names_of("paintings")} >= set(names)
    content, style = (data.find_pictures(Path("paintings")) for _ in range(2))
    pairs = data.Crops(content, style, 32, (32, 48), (32, 48), 0)
    assert all(pairs[n].skipped == [] for n in range(len(content)))


def denied(monkeypatch, *names):
    """Folders of these names cannot be searched (root may search all)."""
    search = os.scandir

    def scandir(folder):
        if Path(folder).name in names:
            raise PermissionError(13, "Permission denied", str(folder))
        return search(folder)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_may_not_be_read_is_not_called_empty(place, monkeypatch):
    denied(monkeypatch, "photos")
    with pytest.raises(ImageError, match=r"^photos: cannot be searched \(Permission denied\)"):
        data.find_pictures(Path("photos"))


def test_folders_that_may_not_be_read_are_noted(place, monkeypatch):
    denied(monkeypatch, "more")
    messages = []
    assert len(data.find_pictures(Path("photos"), messages)) == 4
    assert [message.split(" (")[0] for message in messages] == ["photos/more: cannot be searched"]


def test_an_empty_folder_and_none_are_told_apart(place):
    (place / "empty").mkdir()
    (place / "empty/notes.txt").write_text("no picture")
    with pytest.raises(ImageError, match=r"^empty: holds no pictures; name a folder of \.avif"):
        data.find_pictures(Path("empty"))
    with pytest.raises(ImageError, match=r"^nowhere: no such folder"):
        data.find_pictures(Path("nowhere"))


def test_a_picture_too_large_for_memory_is_passed_over(place, monkeypatch):
    read = images.read

    def read_small(path):
        if path.name == "0.png":
            raise TooLargeError(f"{path}: does not fit into memory")
        return read(path)

    monkeypatch.setattr(images, "read", read_small)
    pairs = crops(place)
    messages = {message for n in range(7) for message in pairs[n].skipped}
    assert {Path(message.split(": ")[0]).name for message in messages} == {"0.png"}
    skipped = []
    assert len(data.read_squares(pairs.contents, 9, 16, skipped)) == 6
    assert len(skipped) == 1


@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 5))
def test_held_out_pictures_are_never_trained_on(count, held, seed):
    pictures = [Path(f"a/{n:03}.png") for n in range(count)]
    kept, out = data.hold_out(pictures, held, seed)
    assert sorted(kept + out) == pictures
    assert len(out) == min(held, count // 5)
    moved = data.hold_out([Path("b") / path.name for path in pictures], held, seed)[1]
    assert [path.name for path in moved] == [path.name for path in out]


def test_the_seed_chooses_who_is_held_out():
    pictures = [Path(f"{n}.png") for n in range(40)]
    assert len({tuple(data.hold_out(pictures, 8, seed)[1]) for seed in range(5)}) == 5


def test_crops_have_the_promised_size_and_range(place):
    Image.fromarray(photo_array(16, 300)).save("photos/flat.png")
    for crop, resize in ((32, (32, 48)), (64, (64, 64)), (32, (2000, 4000))):
        pairs = crops(place, crop=crop, resize=resize, style_resize=resize)
        for number in range(12):
            content, style, broken = pairs[number]
            assert broken == []
            for part in (content, style):
                assert part.shape == (3, crop, crop)
                assert -1e-6 <= part.min() <= part.max() <= 1 + 1e-6


def test_a_crop_is_a_piece_of_the_scaled_picture(place):
    """Stripes that are 8 px apart in a square of 64 are 12 px apart when its side is 96."""
    wave = np.cos(2 * np.pi * (np.arange(64) + 0.5) / 8)
    stripes = np.repeat((127 + 100 * wave)[None, :, None].round(), 64, 0).astype(np.uint8)
    Image.fromarray(stripes.repeat(3, 2)).save("stripes.png")
    for side, period in ((64, 8), (96, 12)):
        pairs = data.Crops(
            [Path("stripes.png")], [Path("stripes.png")], 48, (side, side), (96, 96), 0
        )
        for number in range(4):
            row = pairs[number][0][0, 20].numpy()
            spectrum = np.abs(np.fft.rfft(row - row.mean()))
            assert spectrum.argmax() == 48 // period


def test_crops_move_grow_and_are_mirrored(place):
    """The picture's grey rises to the right, or falls when mirrored, and starts anywhere."""
    Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))).save("one.png")

    def rows(*resize):
        pairs = data.Crops([Path("one.png")], [Path("one.png")], 32, resize, (32, 32), 0)
        return [pairs[n][0][0, 9] for n in range(40)]

    assert 8 < sum(bool(row[-1] > row[0]) for row in rows(64, 64)) < 32
    assert len({round(float(row.mean()), 3) for row in rows(64, 64)}) > 10
    slopes = [abs(float(row[20] - row[10])) for row in rows(64, 128)]
    assert max(slopes) / min(slopes) == pytest.approx(2, abs=0.2)


def test_styles_have_a_size_of_their_own(place):
    """Stripes 8 px apart in a square of 64 are 16 px apart in a style of 128, not in the photo."""
    wave = np.cos(2 * np.pi * (np.arange(64) + 0.5) / 8)
    stripes = np.repeat((127 + 100 * wave)[None, :, None].round(), 64, 0).astype(np.uint8)
    Image.fromarray(stripes.repeat(3, 2)).save("stripes.png")
    one = [Path("stripes.png")]
    photo, style, _ = data.Crops(one, one, 64, (64, 64), (128, 128), 0)[0]
    rows = [part[0, 20].numpy() for part in (photo, style)]
    assert [np.abs(np.fft.rfft(row - row.mean())).argmax() for row in rows] == [8, 4]
    config = TrainConfig(crop=32, resize_min=32, resize_max=40, style_resize_max=64)
    assert (config.resize, config.style_resize) == ((32, 40), (32, 64))


def test_squares_are_the_middle():
    picture = torch.zeros(1, 3, 40, 100)
    picture[..., 30:70] = torch.rand(40, 40)
    assert torch.equal(data.cut_square(picture, 40), picture[..., 30:70])
    assert data.cut_square(picture.mT, 20).shape == (1, 3, 20, 20)


def test_a_round_uses_each_picture_once(place):
    """Pictures of one grey each: a round of 7 brings 7 greys, in another order the next time."""
    for n, path in enumerate(data.find_pictures(Path("photos"))):
        Image.new("L", (40, 40), 30 * n).save(path)
    pairs = crops(place)
    rounds = [
        [round(float(pairs[7 * turn + n][0].mean()) * 255) for n in range(7)] for turn in (0, 1)
    ]
    assert sorted(rounds[0]) == sorted(rounds[1]) == [30 * n for n in range(7)]
    assert rounds[0] != rounds[1]


def test_a_number_is_the_same_pair_for_everyone(place):
    expected = [crops(place)[n] for n in range(6)]
    for n in (5, 2, 0, 4, 3, 1):
        assert same(list(crops(place)[n]), list(expected[n]))
    loader = torch.utils.data.DataLoader(
        crops(place), batch_size=2, sampler=range(6), num_workers=2, collate_fn=data.collate
    )
    contents, styles, _ = zip(*loader, strict=True)
    assert torch.equal(torch.cat(contents), torch.stack([pair[0] for pair in expected]))
    assert torch.equal(torch.cat(styles), torch.stack([pair[1] for pair in expected]))
    assert not same(crops(place, seed=1)[0][0], expected[0][0])


def test_broken_pictures_are_passed_over_and_named(place):
    (place / "photos/broken.jpg").write_text("no picture")
    Image.new("RGB", (3, 3)).save("photos/three.png")
    pairs = crops(place)
    found = {message for n in range(9) for message in pairs[n].skipped}
    assert {Path(message.split(": ")[0]).name for message in found} == {"broken.jpg", "three.png"}


def test_samples_of_all_processes_make_up_one_run():
    whole = list(data.StepSampler(0, 4, 6, 0, 1))
    assert whole == list(range(24))
    parts = [list(data.StepSampler(0, 4, 3, rank, 2)) for rank in range(2)]
    for step in range(4):
        together = [n for part in parts for n in part[3 * step : 3 * step + 3]]
        assert together == whole[6 * step : 6 * step + 6]
    rest = data.StepSampler(2, 4, 6, 0, 1)
    assert list(rest) == whole[12:]
    assert len(rest) == 12
