"""Training of networks for their own styles; the loop itself is tested in `test_trainer`."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import images, weights
from impasto.errors import ControlError, ImageError
from impasto.networks import load_network
from impasto.networks.transform import TransformNetwork
from impasto.recipes import read_recipe
from impasto.train import data, fast, teacher
from tests.helpers.cli import refused, run
from tests.helpers.networks import tiny_gatys, write_fast
from tests.helpers.pictures import painting_array
from tests.helpers.train import FLAGS, checkpoint, make_run, same, same_run, trainer_of

CALL = ["train", "fast", "--content", "photos", "--out", "my.safetensors", *FLAGS]
CALL += ["--recipe", "fast-scratch", "--width", "4", "--residuals", "1"]


@pytest.fixture
def place(folder, tiny_losses):
    """A working folder with five photos, a painting, and a folder of three."""
    (folder / "photos").mkdir()
    (folder / "three").mkdir()
    with Image.open("photo.png") as photo:
        array = np.asarray(photo)
    for n in range(5):
        Image.fromarray(np.roll(array, 9 * n, 1)).save(f"photos/{n}.png")
    for n, name in enumerate(("ash", "birch", "cedar")):
        Image.fromarray(np.roll(painting_array(), n, 2)).save(f"three/{name}.png")
    return folder


def task(style="painting.png", init_from=None, **settings):
    torch.manual_seed(0)
    own: dict[str, Any] = {"width": 4, "residuals": 1, "style_layers": "relu1_2,relu2_2"}
    config = fast.FastTraining(**(own | settings))
    return fast.FastTask(config, make_run(style=style), init_from)


def train(made, **settings):
    """The trainer, after its training."""
    trainer = trainer_of(made, **settings)
    assert trainer.train().finished
    return trainer


# From the command line


@pytest.mark.slow
def test_a_style_is_trained_and_painted(place):
    code, out, err = run(*CALL, "--style", "painting.png")
    assert code == 0, err
    assert "after 6 steps; impasto stylize PHOTO my.safetensors -o OUT" in out
    assert "training on 5 photos and 1 styles" in err
    painted = ["stylize", "photo.png", "my.safetensors", "-o", "out.png", "--device", "cpu"]
    assert run(*painted)[0] == 0
    recipe = images.read_recipe(Path("out.png"))
    assert (recipe["method"], recipe["styles"][0]["source"]) == ("fast", "my.safetensors")
    trained = json.loads(weights.read(Path("my.safetensors")).metadata["trained"])
    assert (trained["steps"], trained["width"], trained["loss_scale"]) == (6, 4, "relative")


@pytest.mark.slow
def test_a_folder_becomes_styles_of_one_network(place):
    code, out, err = run(*CALL, "--style", "three")
    assert code == 0, err
    assert "impasto stylize PHOTO my.safetensors#ash -o OUT" in out
    network = load_network("my.safetensors", TransformNetwork).network
    assert network.config.looks == ["ash", "birch", "cedar"]
    gains = network.gains[0].detach()
    assert not torch.equal(gains[0], gains[1])
    painted = ["stylize", "photo.png", "my.safetensors#birch", "-o", "out.png", "--device", "cpu"]
    assert run(*painted)[0] == 0


@pytest.mark.slow
def test_interrupted_and_resumed_is_as_uninterrupted(place, monkeypatch):
    command = [*CALL, "--style", "three", "--steps", "8"]
    assert run(*command, "--out", "whole.safetensors")[0] == 0
    losses = fast.FastTask.losses

    def interrupted(self, network, content, style, step):
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return losses(self, network, content, style, step)

    with monkeypatch.context() as context:
        context.setattr(fast.FastTask, "losses", interrupted)
        assert run(*command)[0] == 130
    assert checkpoint()["step"] == 4
    assert run(*command, "--resume")[0] == 0
    assert same_run("whole", "my")


BAD = {
    "no folder": (["--content", "no"], "no: no such folder"),
    "empty folder": (["--content", "empty"], "empty: holds no pictures"),
    "broken": (["--content", "broken"], "not one of 1 pictures can be read: broken/1.jpg"),
    "no style": (["--style", "no.jpg"], "no.jpg: no such folder"),
    "style is text": (["--style", "broken/1.jpg"], "broken/1.jpg: not a picture"),
    "tiny style": (["--style", "tiny.png"], "tiny.png: 20x20 pixels hold no style"),
    "three pixels": (["--style", "dot.png"], "dot.png: 3x3"),
    "twins": (["--style", "twins"], "twins: two pictures of the name a; rename one"),
    "small style": (["--style-size", "8"], "style_size is 8: use at least 32"),
    "layer": (["--style-layers", "relu9_9"], "unknown layer 'relu9_9'"),
    "weights": (["--init-from", "no.safetensors"], "no.safetensors: no such weights file"),
    "other weights": (
        ["--init-from", "adain.small"],
        "these are not the weights of a fast network",
    ),
    "width": (["--width", "1"], "width is 1: use 4 to 256"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_are_one_line(place, case):
    for name in ("empty", "broken", "twins"):
        (place / name).mkdir()
    (place / "broken/1.jpg").write_text("no picture")
    for name, side in (("tiny.png", 20), ("dot.png", 3), ("twins/a.png", 40), ("twins/a.jpg", 40)):
        Image.new("RGB", (side, side), "red").save(name)
    arguments, message = BAD[case]
    assert message in refused(*CALL, "--style", "painting.png", *arguments)


# What is learned


@pytest.mark.slow
def test_training_learns_each_style(place):
    """Styles are known by their indices: each comes closer to its own painting."""
    made = task("three", content_weight=0.0)
    photos = torch.cat([images.read(path).pixels for path in sorted(Path("photos").iterdir())])

    def distances():
        with torch.no_grad():
            return [
                float(made.losses(made.network, photos, torch.full((5,), index), 0)["style"])
                for index in range(3)
            ]

    before = distances()
    train(made, steps=80, learning_rate=1e-2, warmup=10, lr_decay=0.5)
    after = distances()
    assert all(late < 0.8 * early for early, late in zip(before, after, strict=True)), (
        before,
        after,
    )


def test_styles_take_turns(place):
    found = [data.find_pictures(Path(name)) for name in ("photos", "three")]
    pairs = data.LabelledCrops(found[0], found[1], 32, (32, 48), (32, 48), 0)
    numbers = [int(pairs[n].style) for n in range(30)]
    rounds = [numbers[n : n + 3] for n in range(0, 30, 3)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    batch = data.collate([pairs[n] for n in range(4)])
    assert batch.content.shape == (4, 3, 32, 32)
    assert batch.style.tolist() == numbers[:4]


def numpy_features(made, image):
    with torch.no_grad():
        found = made.loss_network(image, {made.config.content_layer, *made.style_layers})
    return {layer: part[0].double().numpy() for layer, part in found.items()}


def numpy_gram(features):
    vectors = features.reshape(len(features), -1)
    return vectors @ vectors.T / vectors.shape[1]


@pytest.mark.parametrize("scale", ["relative", "255", "1"])
def test_losses_are_the_papers_formulas(place, photo, painting, scale):
    """The papers' are of features of pictures in 0..255, or in 0..1 over a deviation of 0.226; so
    with weights 255^2 c, 255^4 s for the one, 0.226^-2 c, 0.226^-4 s for the other, they agree.
    """
    made = task(loss_scale=scale, content_layer="relu3_3", tv_weight=2.0, style_weight=3.0)
    painted = torch.rand(1, 3, 48, 64)
    found = made.losses(lambda *_: painted, photo, torch.tensor([0]), 0)
    mine, its, wanted = (numpy_features(made, image) for image in (painted, photo, painting))
    unit = {"relative": None, "255": 255, "1": 1 / 0.226}[scale]
    content, style = mine["relu3_3"] - its["relu3_3"], 0.0
    for layer in made.style_layers:
        gram, target = numpy_gram(mine[layer]), numpy_gram(wanted[layer])
        if unit is None:
            part = ((gram - target) ** 2).sum() / (target**2).sum()
            style += np.log1p((part + 1e-6) ** 0.5 - 1e-3) / len(made.style_layers)
        else:
            style += (((gram - target) / len(gram) * (unit / 255) ** 2) ** 2).mean()
    pixels = painted[0].double().numpy() * (unit or 1)
    variation = (np.diff(pixels, axis=1) ** 2).mean() + (np.diff(pixels, axis=2) ** 2).mean()
    assert float(found["style"]) == pytest.approx(3 * style, rel=1e-3)
    assert float(found["tv"]) == pytest.approx(2 * variation, rel=1e-4)
    if unit is not None:
        expected = 0.2 * ((content * unit / 255) ** 2).mean()
        assert float(found["content"]) == pytest.approx(expected, rel=1e-3)
    assert float(found["range"]) == 0


def test_the_photo_itself_has_no_content_loss(place, photo):
    for scale in ("relative", "255", "1"):
        found = task(loss_scale=scale).losses(lambda *_: photo, photo, torch.tensor([0]), 0)
        assert float(found["content"]) == pytest.approx(0, abs=1e-6)


def test_leaving_the_range_costs(place, photo):
    made = task()
    found = made.losses(lambda *_: photo + 0.5, photo, torch.tensor([0]), 0)
    outside = (photo - 0.5).clamp_min(0).square().mean()
    assert float(found["range"]) == pytest.approx(10 * float(outside), rel=1e-4)


@pytest.mark.parametrize(
    ("size", "longer_side", "measured"),
    [
        ((40, 60), None, (40, 60)),
        ((1200, 600), None, (724, 362)),
        ((1200, 600), 300, (300, 150)),
        ((40, 60), 600, (400, 600)),
    ],
)
def test_styles_are_measured_at_their_size(folder, size, longer_side, measured):
    Image.new("RGB", size[::-1], "red").save("style.png")
    assert fast.read_style(Path("style.png"), longer_side).shape[-2:] == measured


# Starting from another network


def test_training_starts_from_the_nearest_style(place, painting):
    """A tiny network whose styles have the colours of their pictures."""
    styles = {"cold": 1 - painting, "warm": painting, "grey": torch.full_like(painting, 0.5)}
    start = write_fast(place / "start.safetensors", styles)
    made = task(init_from=start, width=9, residuals=5)
    network = load_network(start, TransformNetwork).network
    assert made.network.config.looks == ["painting"]
    assert (made.config.width, made.config.residuals) == (9, 1)
    for mine, its in zip(made.network.gains, network.gains, strict=True):
        assert torch.equal(mine, its[1:2])
    assert same(made.network.downs.state_dict(), network.downs.state_dict())
    assert all(parameter.requires_grad for parameter in made.network.parameters())
    with pytest.raises(ControlError, match="width is 64, the network to start from has 9"):
        task(init_from=start, width=64)


@pytest.mark.slow
def test_networks_know_the_one_they_started_from(place, painting):
    """Also over a resume that does not name it again."""
    start = write_fast(place / "start.safetensors", {"one": painting})
    command = ["train", "fast", "--content", "photos", "--style", "painting.png", *FLAGS]
    assert run(*command, "--init-from", start, "--out", "a.safetensors")[0] == 0
    origin = weights.sha256_of(Path(start))
    assert load_network("a.safetensors", TransformNetwork).base_sha256 == origin
    made = [*command, "--init-from", "a.safetensors", "--out", "b.safetensors"]
    assert run(*made, "--steps", "2")[0] == 0
    assert load_network("b.safetensors", TransformNetwork).base_sha256 == origin
    again = [*command, "--recipe", "fast-scratch", "--out", "b.safetensors", "--width", "9"]
    assert run(*again, "--residuals", "1", "--resume")[0] == 2
    scratch = ["--style-layers", "relu1_2,relu2_2", "--recipe", "fast-scratch", "--width", "4"]
    assert run(*command, *scratch, "--out", "c.safetensors")[0] == 0
    other = load_network("c.safetensors", TransformNetwork)
    assert other.base_sha256 == other.sha256 != origin


def test_a_style_of_the_same_name_goes_on(place, painting):
    styles = {"other": painting, "painting": 1 - painting}
    start = write_fast(place / "start.safetensors", styles)
    made, network = task(init_from=start, width=9), load_network(start, TransformNetwork).network
    assert torch.equal(made.network.gains[-1], network.gains[-1][1:])


def test_a_recipe_may_name_the_start(place, painting):
    write_fast(place / "start.safetensors", {"one": painting})
    Path("mine.yaml").write_text("init_from: start.safetensors\n")
    command = [*CALL, "--style", "painting.png", "--recipe", "mine.yaml", "--width", "9"]
    assert run(*command)[0] == 0
    assert load_network("my.safetensors", TransformNetwork).network.config.width == 9
    assert read_recipe("fast", "impasto.train.recipes")["init_from"] == "fast.base"


# Held-out photos


@pytest.mark.slow
def test_validation_paints_photos_in_each_style(place, scored):
    evaluator = scored(*[1.0] * 9)
    made = task("three")
    train(made, val_size=1, steps=2)
    assert len(evaluator.seen) == 3
    for (painted, photo, style), known in zip(evaluator.seen, made.styles, strict=True):
        assert painted.shape == photo.shape == (1, 3, 256, 256)
        assert torch.equal(style, known)
    assert images.read("my-training/sample-000002.png").pixels.shape == (1, 3, 768, 768)


# The teacher


@pytest.fixture
def tiny_teacher(monkeypatch):
    made = []
    monkeypatch.setattr(teacher, "SIDE", 48)
    monkeypatch.setattr(teacher, "CROP", 32)

    def load(name):
        assert name == "gatys"
        made.append(name)
        return tiny_gatys(iterations=3)

    monkeypatch.setattr(teacher, "load_method", load)
    return made


def prepared(style="painting.png", **settings):
    made = task(style, **({"teacher": "gatys"} | settings))
    made.run.folder.mkdir(exist_ok=True)
    made.prepare(sorted(Path("photos").iterdir()), torch.device("cpu"))
    return made


@pytest.mark.slow
def test_a_run_with_a_teacher(place, tiny_teacher):
    made = task(teacher="gatys", teacher_pictures=2)
    rows = train(made, val_size=1).log.losses.rows
    assert rows[-1]["teacher"] > 0
    assert len(list(Path("my-training").glob("teacher-*.png"))) == 2
    held = data.hold_out(data.find_pictures(Path("photos")), 1, 0)[1]
    (square,) = data.read_squares(held, 1, 48)
    assert not any(torch.equal(photo, square) for photo, *_ in made.teacher_examples)


def test_the_teacher_paints_some_photos_once(place, tiny_teacher):
    made = prepared("three", teacher_pictures=4)
    assert len(made.teacher_examples) == 4
    assert [style for *_, style in made.teacher_examples] == [0, 1, 2, 0]
    files = sorted(Path("my-training").glob("teacher-*.png"))
    assert len(files) == 4
    before = [path.stat().st_mtime_ns for path in files]
    again = prepared("three", teacher_pictures=4)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert same(
        [list(lesson) for lesson in again.teacher_examples],
        [list(one) for one in made.teacher_examples],
    )
    assert prepared("three", teacher="none").teacher_examples == []


def test_crops_of_its_paintings_are_learned_from(place, tiny_teacher, photo):
    made = prepared(teacher_pictures=2, teacher_weight=5.0)
    calls = []

    def network(content, style):
        calls.append((content, style))
        return torch.zeros_like(content)

    parts = [float(made.losses(network, photo, torch.tensor([0]), n)["teacher"]) for n in range(9)]
    assert len(set(parts)) > 4
    pieces = [content for content, _ in calls[1::2]]
    assert all(piece.shape == (1, 3, 32, 32) for piece in pieces)
    brightness = [float(painted.mean()) for _, painted, _ in made.teacher_examples]
    assert 0.5 * min(brightness) < parts[0] / 5 < 2 * max(brightness)
    again = float(made.losses(network, photo, torch.tensor([0]), 3)["teacher"])
    assert again == parts[3]


@pytest.mark.parametrize(
    "values",
    [
        {"width": 2},
        {"residuals": -1},
        {"content_weight": -1.0},
        {"teacher_pictures": 0},
        {"teacher": "monet"},
        {"loss_scale": "2"},
        {"upsampling": "bilinear"},
        {"style_size": 10},
    ],
    ids=str,
)
def test_bad_settings_are_refused(values):
    with pytest.raises(ControlError, match=next(iter(values))):
        fast.FastTraining(**values)


def test_a_broken_style_is_refused(place):
    (place / "three/ash.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"three/ash.png: not a picture"):
        task("three")
