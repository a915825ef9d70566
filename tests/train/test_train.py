"""Training: its promises, with small networks and pictures made by code."""

import csv
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from impasto import cli, images, weights
from impasto.errors import ControlError, ImageError, OutputError, TrainingError, WeightsError
from impasto.metrics import Scores
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork
from impasto.recipes import names, read_recipe
from impasto.settings import make_settings
from impasto.train import adain, data, fast, loop, styletr
from impasto.train.config import TrainConfig
from impasto.train.loop import Run, Trainer
from tests.helpers.networks import tiny_vgg
from tests.helpers.pictures import painting_array, photo_array, psnr

ROOT = Path(__file__).parents[2]
TINY = {
    "steps": 6,
    "batch": 2,
    "crop": 32,
    "resize_min": 32,
    "resize_max": 48,
    "style_resize_min": 32,
    "style_resize_max": 48,
    "learning_rate": 1e-3,
    "warmup": 2,
    "ema": 0.9,
    "holdout": 0,
    "validate_every": 1000,
    "precision": "32-true",
    "workers": 0,
}
FLAGS = [
    part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))
]
CALL = ["train", "adain", "--content", "photos", "--style", "paintings", "--out", "my.safetensors"]
CALL += [*FLAGS, "--decay", "0.5", "--encoder", "compact", "--widths", "8,16,32"]


@pytest.fixture(autouse=True)
def one_thread():
    """What is to be equal is added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_losses(monkeypatch):
    monkeypatch.setattr(adain, "load_encoder", lambda *_, **__: tiny_vgg())


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_losses):
    """A working folder with seven photos, on two levels, and six paintings."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    (tmp_path / "paintings").mkdir()
    for n in range(7):
        folder = tmp_path / "photos" / ("more" if n % 2 else "")
        Image.fromarray(np.roll(photo_array(48 + n, 64), 9 * n, 1)).save(folder / f"{n}.png")
    for n in range(6):
        array = np.roll(painting_array(56, 40 + n), n, 2)
        Image.fromarray(array).save(tmp_path / "paintings" / f"{n}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Nothing that goes by the place in the batch, as noise does, and losses that rounding is small in.
PLAIN = {"revisions": False, "distribution_weight": 0.0, "similarity_weight": 0.0}
PLAIN_FLAGS = ["--no-revisions", "--distribution-weight", "0", "--similarity-weight", "0"]
RUN = Run(Path("photos"), Path("paintings"), Path("my.safetensors"))


def trainer(out="my.safetensors", *, init=None, resume=False, lines=None, **settings):
    """A trainer of a tiny network, on the pictures of the working folder."""
    torch.manual_seed(0)
    run = Run(RUN.content, RUN.style, Path(out))
    known = adain.AdainTraining.__annotations__
    own = {name: settings.pop(name) for name in list(settings) if name in known}
    task = adain.AdainTask(adain.AdainTraining(**({"widths": "8,16,32"} | own)), run, init)
    say = (lambda _: None) if lines is None else lines.append
    return Trainer(task, TrainConfig(**(TINY | settings)), run, resume=resume, say=say)


def trained(*arguments, **settings):
    """The trainer, after its training."""
    made = trainer(*arguments, **settings)
    assert made.train()
    return made


def at_step(monkeypatch, number, act):
    """Does something in the middle of a step."""
    losses, calls = adain.AdainTask.losses, []

    def hooked(*arguments):
        calls.append(None)
        if len(calls) == number:
            act()
        return losses(*arguments)

    monkeypatch.setattr(adain.AdainTask, "losses", hooked)


def same(one, other):
    """Whether two trees of tensors and numbers are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def checkpoint(stem="my"):
    return torch.load(f"{stem}-training/checkpoint.pt", weights_only=True)


def same_run(one, other):
    """Whether two runs came to the same: all of the state but the time it took."""
    states = [
        {k: v for k, v in checkpoint(stem).items() if k != "seconds"} for stem in (one, other)
    ]
    files = [load_file(f"{stem}.safetensors") for stem in (one, other)]
    tables = [Path(f"{stem}-training/losses.csv").read_text() for stem in (one, other)]
    return same(*states) and same(*files) and tables[0] == tables[1]


# Configuration


def test_learning_rate_rises_stays_and_falls():
    config = TrainConfig(steps=1000, learning_rate=2.0, warmup=10, decay=0.4)
    assert [config.rate(n) for n in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert {config.rate(n) for n in range(9, 601)} == {2.0}
    assert config.rate(800) == pytest.approx(1.0)
    assert config.rate(601) < 2
    rates = [config.rate(n) for n in range(600, 1000)]
    np.testing.assert_allclose(rates, np.maximum(np.linspace(2, 0, 401)[:-1], 0.02))
    assert rates[-1] == pytest.approx(0.02)


@pytest.mark.parametrize("edge", [{"warmup": 0}, {"decay": 0.0}, {"decay": 1.0}, {"steps": 1}])
def test_learning_rate_is_defined_at_the_edges(edge):
    config = TrainConfig(**({"steps": 50, "learning_rate": 1.0, "warmup": 5} | edge))
    assert all(0 < config.rate(step) <= 1 for step in range(config.steps))


BAD_SETTINGS = [
    {"steps": 0},
    {"batch": 0},
    {"accumulate": 0},
    {"validate_every": 0},
    {"crop": 36},
    {"crop": 24},
    {"resize_min": 600},
    {"resize_min": 100},
    {"learning_rate": 0.0},
    {"learning_rate": float("nan")},
    {"clip": -1.0},
    {"ema": 1.0},
    {"decay": 1.5},
    {"workers": -1},
    {"holdout": -1},
    {"seed": -1},
    {"precision": "8"},
    {"steps": 1.5},
]


@pytest.mark.parametrize("values", BAD_SETTINGS, ids=str)
def test_bad_settings_are_refused(values):
    with pytest.raises(ControlError, match=next(iter(values)).split("_")[0]):
        TrainConfig(**values)


@pytest.mark.parametrize(
    "values", [{"widths": "4,8"}, {"blocks": "1,x,1"}, {"tv_weight": -1.0}, {"encoder": "vgg11"}]
)
def test_bad_settings_of_adain_are_refused(values):
    with pytest.raises(ControlError, match=next(iter(values))):
        adain.AdainTraining(**values)


@pytest.mark.parametrize("name", names("impasto.train.recipes"))
def test_shipped_recipes_are_settings(name):
    values = read_recipe(name, "impasto.train.recipes")
    kinds = {"adain": adain.AdainTraining, "styletr": styletr.StyletrTraining}
    kind = kinds.get(name.partition("-")[0], fast.FastTraining)
    own = {key: values.pop(key) for key in list(values) if hasattr(kind, key)}
    kind(**own)
    values.pop("init", None)
    make_settings(TrainConfig, values)


def test_each_network_has_a_recipe_by_itself(place, monkeypatch):
    chosen = {}

    def choose(task, **given):
        chosen[task] = given["recipe"]

    monkeypatch.setattr("impasto.cli.train.run_training", choose)
    for task in ("adain", "fast", "styletr"):
        call("train", task, "--content", "photos", "--style", "paintings", "--out", "n.safetensors")
    assert chosen == {"adain": "adain-quick", "fast": "fast", "styletr": "styletr-vit"}
    call(*CALL, "--recipe", "adain-small")
    assert chosen["adain"] == "adain-small"


def test_the_script_that_trains_all_uses_recipes_there_are():
    script = (ROOT / "tools/train_all.sh").read_text()
    used = re.findall(r"--recipe (\S+)", script)
    assert len(used) == 5
    assert set(used) <= set(names("impasto.train.recipes"))
    assert subprocess.run(["sh", "-n", ROOT / "tools/train_all.sh"], check=False).returncode == 0


# Pictures


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


def crops(place, **options):
    found = [data.find_pictures(place / name) for name in ("photos", "paintings")]
    return data.Crops(
        *found, **({"crop": 32, "resize": (32, 48), "style_resize": (32, 48), "seed": 0} | options)
    )


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
    Image.fromarray(np.tile(np.arange(0, 256, 4, np.uint8), (64, 1))).save("one.png")

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
    found = {message for n in range(9) for message in pairs[n][2]}
    assert {Path(message.split(": ")[0]).name for message in found} == {"broken.jpg", "three.png"}


def test_places_of_all_processes_make_up_one_run():
    whole = list(data.Places(0, 4, 6, 0, 1))
    assert whole == list(range(24))
    parts = [list(data.Places(0, 4, 3, rank, 2)) for rank in range(2)]
    for step in range(4):
        together = [n for part in parts for n in part[3 * step : 3 * step + 3]]
        assert together == whole[6 * step : 6 * step + 6]
    rest = data.Places(2, 4, 6, 0, 1)
    assert list(rest) == whole[12:]
    assert len(rest) == 12


# The loop


def loss_of(task, network, pair=None):
    """On one pair."""
    content, style = (part[None] for part in pair or crops(Path())[0][:2])
    with torch.no_grad():
        return float(sum(task.losses(network, content, style, 0).values()))


@pytest.mark.parametrize("style_loss", ["gram", "moments"])
def test_one_step_lowers_the_loss(place, style_loss):
    torch.manual_seed(0)
    config = TrainConfig(**(TINY | {"steps": 1, "warmup": 0, "learning_rate": 1e-4, "batch": 1}))
    run = Run(Path("photos/0.png"), Path("paintings/0.png"), Path("my.safetensors"))
    task = adain.AdainTask(adain.AdainTraining(widths="8,16,32", style_loss=style_loss), run)
    pair = data.Crops([run.content], [run.style], 32, (32, 48), (32, 48), 0)[0][:2]
    before = loss_of(task, task.network, pair)
    assert Trainer(task, config, run, say=lambda _: None).train()
    assert loss_of(task, task.network, pair) < before


def test_training_learns(place):
    torch.manual_seed(0)
    made = trainer(steps=40, learning_rate=3e-3)
    before = loss_of(made.task, made.task.network)
    made.train()
    assert loss_of(made.task, made.average.module) < 0.8 * before
    assert [row["step"] for row in made.losses.rows] == [20, 40]


def test_the_kept_weights_are_the_running_mean(place, monkeypatch):
    """ema w + (1 - ema) w', from the weights after the first step on; less ema at first."""
    seen = []
    update = loop.AveragedModel.update_parameters

    def watched(average, network):
        seen.append(network.head.weight.detach().clone())
        update(average, network)

    monkeypatch.setattr(loop.AveragedModel, "update_parameters", watched)
    made = trained(ema=0.3)
    mean = seen[0]
    for latest, ema in zip(seen[1:], (2 / 11, 3 / 12, 4 / 13, 0.3, 0.3), strict=True):
        mean = ema * mean + (1 - ema) * latest
    torch.testing.assert_close(made.average.module.head.weight, mean)
    network = load_network("my.safetensors", AdainNetwork).network
    torch.testing.assert_close(network.head.weight, mean, rtol=1e-3, atol=1e-6)


def test_gradients_are_clipped(place, monkeypatch):
    norms = []

    def watched(optimizer):
        parts = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat(parts).norm()))

    made = trainer(steps=2, clip=1e-3)
    made.optimizer.optimizer.register_step_pre_hook(lambda optimizer, *_: watched(optimizer))
    made.train()
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_accumulated_batches_equal_a_large_one(place):
    one = trained("one.safetensors", batch=4, **PLAIN)
    two = trained("two.safetensors", batch=2, accumulate=2, **PLAIN)
    other = trained("three.safetensors", **PLAIN).task.network.state_dict()
    assert close(one.task.network.state_dict(), two.task.network.state_dict())
    assert not close(one.task.network.state_dict(), other)
    assert two.losses.rows[0]["total"] == pytest.approx(one.losses.rows[0]["total"], rel=1e-4)


def close(one, other):
    """Whether weights differ by far less than a training of six steps of 1e-3 moves them. Single
    ones may differ by more: where a gradient is nothing but rounding, Adam follows its sign.
    """
    assert one.keys() == other.keys()
    difference = torch.cat([(one[key] - other[key]).flatten() for key in one])
    return float(difference.square().mean().sqrt()) < 2e-5


def test_two_processes_equal_one_with_twice_the_batch(place):
    (place / "photos/broken.png").write_text("no picture")
    trained("one.safetensors", batch=4, **PLAIN)
    result = tiny("--out", "two.safetensors", "--devices", "2", *PLAIN_FLAGS)
    assert result.returncode == 0, result.stderr
    one, two = checkpoint("one"), checkpoint("two")
    assert close(one["network"], two["network"])
    assert close(one["average"], two["average"])
    assert one["losses"][0]["total"] == pytest.approx(two["losses"][0]["total"], rel=1e-3)
    assert result.stdout.count("after 6 steps") == 1
    assert result.stderr.count("training on") == 1
    assert result.stderr.count("photos/broken.png") == 1
    assert len(list(Path("two-training/tensorboard").iterdir())) == 1


def test_mixed_precision_trains(place):
    made = trained(precision="bf16-mixed")
    assert made.task.network.head.weight.dtype == torch.float32
    exact = trained("exact.safetensors")
    assert not same(made.task.network.state_dict(), exact.task.network.state_dict())
    pairs = zip(made.task.network.parameters(), exact.task.network.parameters(), strict=True)
    difference = [(a - b).detach().flatten() for a, b in pairs]
    assert float(torch.cat(difference).square().mean().sqrt()) < 2e-3  # of 4.5e-3 at most


def test_the_frozen_encoder_is_neither_trained_nor_stored(place, monkeypatch):
    published = tiny_vgg()
    published.sha256 = "ab" * 32
    monkeypatch.setattr("impasto.networks.adain.load_encoder", lambda _: published)
    torch.manual_seed(0)
    task = adain.AdainTask(adain.AdainTraining(encoder="vgg16", widths="8,16,32"), RUN)
    Trainer(task, TrainConfig(**(TINY | {"steps": 2})), RUN, say=lambda _: None).train()
    assert same(task.network.encoder.state_dict(), tiny_vgg().state_dict())
    stored = load_file("my.safetensors")
    assert not any(name.startswith("encoder.") for name in stored)
    assert "head.weight" in stored


def test_the_seed_decides_all(place):
    command = [*CALL, "--steps", "2"]
    for stem, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        torch.manual_seed(5 if stem == "a" else 6)
        assert call(*command, "--out", f"{stem}.safetensors", "--seed", seed)[0] == 0
    assert same_run("a", "b")
    assert not same(checkpoint("a")["network"], checkpoint("c")["network"])


# Files of a run


def test_a_run_leaves_its_files(place):
    lines = []
    (place / "photos/broken.jpg").write_text("no picture")
    trained(steps=21, lines=lines)
    folder = place / "my-training"
    with (folder / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "21"]
    named = ("content", "style", "identity", "range", "similarity", "distribution")
    parts = [float(rows[0][name]) for name in named]
    assert sum(parts) == pytest.approx(float(rows[0]["total"]), rel=1e-5)
    with Image.open(folder / "losses.png") as plot:
        assert plot.format == "PNG"
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss/total")] == [20, 21]
    assert [path.name for path in place.rglob(".*")] == []
    skipped = [line for line in lines if "broken" in line]
    assert skipped[0].startswith("skipped (1 so far): photos/broken.jpg: not a picture")
    assert skipped[1:] == ["1 broken pictures were skipped"]


def test_the_weights_file_describes_itself(place):
    made = trained(steps=2)
    file = weights.read(Path("my.safetensors"))
    told = json.loads(file.metadata["trained"])
    assert file.metadata["architecture"] == "adain"
    assert json.loads(file.metadata["config"])["widths"] == [8, 16, 32]
    assert (told["step"], told["crop"], told["style_loss"], told["minutes"]) == (2, 32, "gram", 0)
    network = load_network("my.safetensors", AdainNetwork).network
    pair = (torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    with torch.no_grad():
        assert psnr(network(*pair)[0], made.average.module(*pair)[0]) > 50


class FakeJudge:
    """Gives the scores that it is told to, in order."""

    def __init__(self, *styles):
        self.encoder = self.vit = nn.Identity()
        self.styles, self.seen = list(styles), []

    def __call__(self, painted, content, style):
        self.seen.append((painted, content, style))
        return Scores(0.0, 0.0, self.styles.pop(0), 0.0, 0.0)


@pytest.fixture
def judged(monkeypatch):
    """Sets the scores of the validations that come."""
    monkeypatch.setattr(loop, "load_encoder", lambda *_, **__: None)

    def judged(*styles):
        judge = FakeJudge(*styles)
        monkeypatch.setattr(loop, "Judge", lambda _: judge)
        return judge

    return judged


def trained_steps():
    return json.loads(weights.read(Path("my.safetensors")).metadata["trained"])["step"]


def test_the_best_network_is_kept(place, judged):
    judge = judged(2.0, 1.0, 3.0)
    made = trained(holdout=1, validate_every=2)
    assert trained_steps() == 4
    assert [row["score"] for row in made.scores.rows] == [9.0, 4.0, 16.0]
    assert Path("my-training/scores.csv").read_text().splitlines()[0] == "step,content,style,score"
    assert Path("my-training/scores.png").exists()
    sheet = images.read("my-training/sample-000004.png").pixels
    assert sheet.shape == (1, 3, 3 * 256, 256)
    torch.testing.assert_close(sheet[..., :256, :], judge.seen[0][1], rtol=0, atol=3e-3)
    assert all(painted.min() >= 0 and painted.max() <= 1 for painted, *_ in judge.seen)
    board = EventAccumulator("my-training/tensorboard")
    board.Reload()
    assert [event.value for event in board.Scalars("validation/score")] == [9.0, 4.0, 16.0]
    assert [event.step for event in board.Images("samples")] == [2, 4, 6]


def test_the_best_is_remembered_over_a_resume(place, judged):
    judged(1.0, 2.0)
    trained(holdout=1, validate_every=2, steps=4)
    judged(1.5)
    trained(holdout=1, validate_every=2, steps=6, resume=True)
    assert trained_steps() == 2


def test_broken_pictures_may_be_held_out(place, judged):
    """They are named, and another pair is judged."""
    held = data.hold_out(data.find_pictures(Path("photos")), 1, 0)[1]
    held[0].write_text("no picture")
    lines = []
    judge = judged()
    trained(holdout=1, lines=lines)
    assert judge.seen == []
    assert any(line.startswith("skipped (1 so far): " + str(held[0])) for line in lines)
    assert "0 pairs held out" in " ".join(lines)


# Stopping and going on


def test_ctrl_c_saves_and_resume_is_exact(place, monkeypatch):
    """Between two validations, and with a changed number of workers."""
    trained("whole.safetensors", validate_every=5, steps=8)
    lines = []
    with monkeypatch.context() as context:
        at_step(context, 3, lambda: signal.raise_signal(signal.SIGINT))
        assert not trainer("my.safetensors", validate_every=5, steps=8, lines=lines).train()
    assert lines[-1] == "stopped after step 3; --resume goes on from there"
    assert checkpoint()["step"] == 3
    assert not Path("my.safetensors").exists()
    trained("my.safetensors", validate_every=5, steps=8, resume=True)
    assert same_run("whole", "my")
    assert len(checkpoint()["losses"]) == 1


def test_ctrl_c_before_the_first_step_can_be_resumed(place):
    made = trainer()
    made.say = lambda line: line[:8] == "training" and signal.raise_signal(signal.SIGINT)
    assert not made.train()
    assert checkpoint()["step"] == 0
    trained("whole.safetensors")
    trained(resume=True)
    assert same_run("whole", "my")


def crash():
    raise ZeroDivisionError


def test_checkpoints_also_come_by_the_clock(place, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0)
    at_step(monkeypatch, 4, crash)
    with pytest.raises(ZeroDivisionError):
        trainer().train()
    assert checkpoint()["step"] == 3


def test_nothing_is_logged_twice(place, monkeypatch):
    """Steps 4 and 5 are lost with a crash, and logged again."""
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    with monkeypatch.context() as context:
        at_step(context, 6, crash)
        with pytest.raises(ZeroDivisionError):
            trainer(validate_every=3).train()
    made = trained(validate_every=3, resume=True)
    assert [row["step"] for row in made.losses.rows] == [1, 2, 3, 4, 5, 6]
    board = EventAccumulator("my-training/tensorboard")
    board.Reload()
    assert [event.step for event in board.Scalars("loss/total")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("when", ["step:6", "save:2"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(place, when):
    """kill -9 in a step, and while a checkpoint is written."""
    trained("whole.safetensors", validate_every=3, steps=8)
    killed = tiny("--validate-every", "3", "--steps", "8", dies=when)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint()["step"] == 3
    done = tiny("--validate-every", "3", "--steps", "8", "--resume")
    assert done.returncode == 0, done.stderr
    assert "from step 3 to 8" in done.stderr
    assert same_run("whole", "my")


def test_a_finished_run_can_be_made_longer(place):
    trained(steps=4)
    assert trainer(steps=4, resume=True).train()
    longer = trained(steps=6, resume=True)
    assert (longer.step, trained_steps()) == (6, 6)
    with pytest.raises(ControlError, match="at step 6 already"):
        trainer(steps=5, resume=True)


def test_a_run_may_be_resumed_with_other_workers_and_validations(place):
    trained(steps=2)
    trained(steps=4, validate_every=3, workers=1, resume=True)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"batch": 3}, {"learning_rate": 2e-3}, {"ema": 0.5}, {"widths": "8,8,8"}],
    ids=str,
)
def test_other_settings_are_refused(place, change):
    trained(steps=2)
    before = checkpoint()
    with pytest.raises(ControlError, match=f"checkpoint.pt: {next(iter(change))} was"):
        trainer(resume=True, **change)
    assert same(checkpoint(), before)


def test_other_pictures_are_refused(place):
    trained(steps=2)
    Image.fromarray(photo_array()).save("photos/new.png")
    with pytest.raises(ControlError, match="photos was 7 and is 8"):
        trainer(resume=True)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-3000])


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def fill(path):
    path.write_bytes(b"no checkpoint")


def empty(path):
    path.write_bytes(b"")


def strange(path):
    torch.save({"step": 3}, path)


def pickled(path):
    torch.save({"settings": {}, "step": Path("x")}, path)


@pytest.mark.parametrize("damage", [cut_off, one_bit, fill, empty, strange, pickled])
def test_a_damaged_checkpoint_is_one_line(place, damage):
    trained(steps=2)
    damage(place / "my-training/checkpoint.pt")
    with pytest.raises(OutputError, match=r"^my-training/checkpoint.pt: damaged") as caught:
        trainer(resume=True)
    assert "\n" not in str(caught.value)


def test_init_starts_from_an_earlier_network(place):
    first = trained("first.safetensors", widths="16,32,64")
    made = trainer(init="first.safetensors", widths="8,16,32")
    assert made.settings["widths"] == "16,32,64"
    assert loss_of(made.task, made.task.network) == pytest.approx(
        loss_of(first.task, first.average.module), rel=1e-2
    )
    made.train()
    told = json.loads(weights.read(Path("my.safetensors")).metadata["trained"])
    assert told["widths"] == "16,32,64"


def test_a_run_that_began_with_init_needs_it_to_go_on(place):
    trained("first.safetensors", steps=1, widths="16,32,64")
    trained(init="first.safetensors", steps=2)
    with pytest.raises(ControlError, match="widths was 16,32,64 and is 8,16,32"):
        trainer(resume=True, steps=3)
    trained(init="first.safetensors", resume=True, steps=3)


def test_damaged_weights_are_refused(place):
    trained("first.safetensors", steps=1)
    cut_off(Path("first.safetensors"))
    with pytest.raises(WeightsError, match=r"^first.safetensors: not a readable"):
        trainer(init="first.safetensors")


# What goes wrong on the way


def test_losses_that_are_not_finite_end_the_run(place, monkeypatch):
    trained(steps=2)
    real = adain.AdainTask.losses

    def endless(*arguments):
        return {name: loss / 0 for name, loss in real(*arguments).items()}

    monkeypatch.setattr(adain.AdainTask, "losses", endless)
    with pytest.raises(TrainingError, match="diverged"):
        trainer(steps=4, resume=True, validate_every=1).train()
    assert checkpoint()["step"] == 2
    assert all(tensor.isfinite().all() for tensor in load_file("my.safetensors").values())


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_that_vanish_are_one_line(place, workers):
    made = trainer(workers=workers)
    for path in data.find_pictures(Path("paintings")):
        path.write_text("no picture")
    with pytest.raises(ImageError) as caught:
        made.train()
    assert str(caught.value).startswith("not one of 6 style pictures can be read: paintings/")
    assert "\n" not in str(caught.value)


def test_a_reader_that_dies_is_one_line(place, monkeypatch):
    def kill():
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)

    at_step(monkeypatch, 1, kill)
    with pytest.raises(TrainingError, match="use fewer workers") as caught:
        trainer(workers=1, steps=200).train()
    assert str(caught.value).startswith("a process that reads pictures died")


def test_interrupts_leave_the_readers_alone(place, monkeypatch):
    """Even a second one, which ends the first process."""

    def interrupt():
        for worker in multiprocessing.active_children():
            for _ in range(2):
                os.kill(worker.pid, signal.SIGINT)
                time.sleep(0.2)

    at_step(monkeypatch, 1, interrupt)
    assert trainer(workers=1, steps=9).train()


def test_a_full_disk_is_one_line(place, monkeypatch):
    def full(path, _content):
        raise OutputError(f"{path}: cannot be written (no space)")

    made = trainer(steps=1)
    monkeypatch.setattr("impasto.files.replace", full)
    with pytest.raises(OutputError, match="no space"):
        made.train()


def test_two_processes_tell_once_of_a_full_disk(place):
    """The first one cannot write; the other ends as well, and silently."""
    (place / "my-training/losses.csv/taken").mkdir(parents=True)
    result = tiny("--devices", "2", "--validate-every", "2")
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error: my-training/losses.csv: cannot be written") == 1
    assert result.stderr.count("error") == 1
    assert not list(place.rglob(".*"))


# The command line


def tiny(*arguments, dies=""):
    """``impasto train adain`` in a process of its own, with small losses."""
    command, options = process(*arguments, dies=dies)
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **options)


def process(*arguments, dies=""):
    command = [sys.executable, "-m", "tests.train.train_tiny", *CALL, *arguments]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TINY_DIES": dies}
    environment["OMP_NUM_THREADS"] = "1"
    return command, {"env": environment, "text": True}


def call(*arguments):
    """Runs ``impasto ...`` here; returns exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["impasto", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as caught:
            cli.main()
    return caught.value.code or 0, out.getvalue(), err.getvalue()


def as_array(path):
    return images.read(path).pixels.numpy()


def test_a_trained_network_paints_at_once(tmp_path, monkeypatch):
    """From two folders of pictures to a painted one, with the real networks."""
    monkeypatch.chdir(tmp_path)
    for name, array in (("photos", photo_array()), ("paintings", painting_array())):
        Path(name).mkdir()
        for n in range(5):
            Image.fromarray(np.roll(array, 7 * n, 1)).save(f"{name}/{n}.png")
    command = [*CALL, "--steps", "4", "--holdout", "1"]
    code, out, err = call(*command)
    assert code == 0, err
    assert out == (
        "my.safetensors: after 4 steps; "
        "impasto stylize PHOTO STYLE --weights my.safetensors -o OUT\n"
    )
    assert "1 pairs held out" in err
    assert "validation: content" in err
    assert Path("my-training/sample-000004.png").exists()
    pictures = ["photos/0.png", "paintings/0.png"]
    code, _, err = call("stylize", *pictures, "-o", "out.png", "--weights", "my.safetensors")
    assert code == 0, err
    assert images.read_recipe(Path("out.png"))["weights"] == "my.safetensors"
    assert np.abs(as_array("out.png") - as_array("photos/0.png")).mean() > 0.02


@pytest.mark.parametrize("devices", ["1", "2"])
def test_ctrl_c_in_a_terminal_reaches_all_processes(place, devices):
    """It saves and ends with 130, and nobody cries."""
    flags = ["--steps", "100000", "--workers", "1", "--devices", devices]
    command, options = process(*flags)
    with subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    ) as running:
        shown = ""
        while "step 20 of" not in shown:
            line = running.stderr.readline()
            assert line, shown
            shown += line
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    shown += err
    assert running.returncode == 130, shown
    assert out == ""
    assert "Traceback" not in shown
    assert shown.count("--resume goes on from there") == 1
    assert checkpoint()["step"] >= 20


@pytest.fixture
def refused(place):
    """Runs a call that must fail: exit code 2, one line, and no new file. Returns the line."""

    def refused(*arguments):
        before = sorted(place.rglob("*"))
        code, out, err = call(*arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert err.startswith("impasto: error: ")
        assert sorted(place.rglob("*")) == before
        return err

    return refused


BAD_CALLS = {
    "no folder": (["--content", "no"], "no: no such folder; name a folder of .avif"),
    "empty folder": (["--style", "empty"], "empty: holds no pictures"),
    "broken only": (["--style", "broken"], "not one of 2 pictures can be read: broken/1.jpg"),
    "text for folder": (["--content", "notes.txt"], "notes.txt: not a picture"),
    "no place": (["--out", "no/my.safetensors"], "there is no folder no"),
    "out is a folder": (["--out", "folder.safetensors"], "folder.safetensors: is a folder"),
    "out ends wrongly": (["--out", "my.pt"], "my.pt: weights are kept in .safetensors files"),
    "out inside": (["--out", "photos/my.safetensors"], "lies in photos"),
    "file in the way": (["--out", "taken.safetensors"], "taken-training: is in the way"),
    "nothing to resume": (["--resume"], "my-training/checkpoint.pt: no run to resume"),
    "earlier run": (["--out", "earlier.safetensors"], "earlier-training: holds an earlier run"),
    "not a checkpoint": (["--out", "earlier.safetensors", "--resume"], "damaged"),
    "unknown recipe": (["--recipe", "monet"], "unknown recipe 'monet': use a file, or one of"),
    "recipe missing": (["--recipe", "no.yaml"], "recipe no.yaml: cannot be read"),
    "unknown setting": (["--recipe", "odd.yaml"], "unknown setting 'stepps'"),
    "bad setting": (["--steps", "0"], "steps is 0: use at least 1"),
    "bad layer": (["--style-layers", "relu9_1"], "unknown layer 'relu9_1'"),
    "bad flag": (["--stepps", "3"], "No such option '--stepps'"),
    "no weights": (["--init", "no.safetensors"], "no.safetensors: no such weights file"),
    "unknown weights": (["--init", "monet"], "unknown weights 'monet'"),
    "not weights": (["--init", "damaged.safetensors"], "damaged.safetensors: not a readable"),
    "no devices": (["--devices", "0"], "devices is 0"),
    "unknown accelerator": (["--accelerator", "abacus"], "cannot train on 1 x abacus"),
}


@pytest.mark.parametrize("devices", [[], ["--devices", "2"]], ids=["one", "two"])
@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_one_line(refused, place, case, devices):
    for name in ("empty", "folder.safetensors", "broken", "earlier-training"):
        (place / name).mkdir()
    (place / "broken/1.jpg").write_text("no picture")
    Image.new("RGB", (3, 3)).save("broken/2.png")
    for name in ("notes.txt", "taken-training", "earlier-training/checkpoint.pt"):
        (place / name).write_text("some text")
    (place / "damaged.safetensors").write_text("no weights")
    (place / "odd.yaml").write_text("stepps: 3\n")
    arguments, message = BAD_CALLS[case]
    if case != "no devices" and case != "unknown accelerator":
        arguments = [*devices, *arguments]
    assert message in refused(*CALL, *arguments)


def test_the_run_of_another_size_is_refused_with_two_devices(refused, place):
    trained(steps=2)
    message = refused(*CALL, "--resume", "--devices", "2")
    assert "devices was 1 and is 2" in message


@pytest.mark.parametrize("package", ["lightning_fabric", "tensorboard"])
def test_a_missing_extra_is_one_line(refused, monkeypatch, package):
    for name in list(sys.modules):
        gone = name.split(".")[0] == package or name.startswith("torch.utils.tensorboard")
        if gone or name in ("impasto.cli.train", "impasto.train.adain", "impasto.train.loop"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    message = refused(*CALL)
    needed = f"`impasto train adain` needs the package '{package}': pip install 'impasto[train]'"
    assert needed in message
