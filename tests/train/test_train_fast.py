"""Training of per-style networks; the engine itself is tested in `test_train`."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import cli, images, weights
from impasto.errors import ControlError, ImageError
from impasto.networks import load_network
from impasto.networks.transform import TransformNetwork
from impasto.recipes import read_recipe
from impasto.train import data, fast, loop
from impasto.train.config import TrainConfig
from impasto.train.loop import Run, Trainer
from tests.helpers.networks import tiny_gatys, tiny_vgg, write_fast
from tests.helpers.pictures import painting_array
from tests.train.test_train import FLAGS, TINY, FakeJudge, checkpoint, same, same_run
from tests.train.test_train import one_thread as one_thread  # noqa: PLC0414 - a fixture

CALL = ["train", "fast", "--content", "photos", "--out", "my.safetensors", *FLAGS]
CALL += ["--recipe", "fast-scratch", "--width", "4", "--residuals", "1"]


@pytest.fixture
def place(folder, monkeypatch):
    """A working folder with five photos, a painting, and a folder of three."""
    monkeypatch.setattr(fast, "load_encoder", lambda *_, **__: tiny_vgg())
    (folder / "photos").mkdir()
    (folder / "three").mkdir()
    with Image.open("photo.png") as photo:
        array = np.asarray(photo)
    for n in range(5):
        Image.fromarray(np.roll(array, 9 * n, 1)).save(f"photos/{n}.png")
    for n, name in enumerate(("ash", "birch", "cedar")):
        Image.fromarray(np.roll(painting_array(), n, 2)).save(f"three/{name}.png")
    return folder


def task(style="painting.png", init=None, content="photos", **settings):
    torch.manual_seed(0)
    run = Run(Path(content), Path(style), Path("my.safetensors"))
    own = {"width": 4, "residuals": 1, "style_layers": "relu1_2,relu2_2"} | settings
    return fast.FastTask(fast.FastTraining(**own), run, init)


def call(capsys, *arguments):
    """Calls the command line; returns exit code, stdout and stderr."""
    code = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["impasto", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def train(made, style="painting.png", out="my.safetensors", **settings):
    run = Run(Path("photos"), Path(style), Path(out))
    trainer = Trainer(made, TrainConfig(**(TINY | settings)), run, say=lambda _: None)
    assert trainer.train()
    return trainer


# From the command line


def test_a_style_is_trained_and_painted(place, capsys):
    code, out, err = call(capsys, *CALL, "--style", "painting.png")
    assert code == 0, err
    assert "after 6 steps; impasto stylize PHOTO my.safetensors -o OUT" in out
    assert "training on 5 photos and 1 styles" in err
    painted = ["stylize", "photo.png", "my.safetensors", "-o", "out.png", "--device", "cpu"]
    assert call(capsys, *painted)[0] == 0
    recipe = images.read_recipe(Path("out.png"))
    assert (recipe["method"], recipe["styles"][0]["source"]) == ("fast", "my.safetensors")
    told = json.loads(weights.read(Path("my.safetensors")).metadata["trained"])
    assert (told["steps"], told["width"], told["loss_scale"]) == (6, 4, "relative")


def test_a_folder_becomes_looks_of_one_network(place, capsys):
    code, out, err = call(capsys, *CALL, "--style", "three")
    assert code == 0, err
    assert "impasto stylize PHOTO my.safetensors#ash -o OUT" in out
    network = load_network("my.safetensors", TransformNetwork).network
    assert network.config.looks == ["ash", "birch", "cedar"]
    gains = network.gains[0].detach()
    assert not torch.equal(gains[0], gains[1])
    painted = ["stylize", "photo.png", "my.safetensors#birch", "-o", "out.png", "--device", "cpu"]
    assert call(capsys, *painted)[0] == 0


def test_interrupted_and_resumed_is_as_uninterrupted(place, capsys, monkeypatch):
    given = [*CALL, "--style", "three", "--steps", "8"]
    assert call(capsys, *given, "--out", "whole.safetensors")[0] == 0
    losses = fast.FastTask.losses

    def interrupted(self, network, content, style, step):
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return losses(self, network, content, style, step)

    with monkeypatch.context() as context:
        context.setattr(fast.FastTask, "losses", interrupted)
        assert call(capsys, *given)[0] == 130
    assert checkpoint()["step"] == 4
    assert call(capsys, *given, "--resume")[0] == 0
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
    "init": (["--init", "no.safetensors"], "no.safetensors: no such weights file"),
    "other init": (["--init", "adain.small"], "these are not the weights of a fast network"),
    "width": (["--width", "1"], "width is 1: use 4 to 256"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_are_one_line(place, capsys, case):
    for name in ("empty", "broken", "twins"):
        (place / name).mkdir()
    (place / "broken/1.jpg").write_text("no picture")
    for name, side in (("tiny.png", 20), ("dot.png", 3), ("twins/a.png", 40), ("twins/a.jpg", 40)):
        Image.new("RGB", (side, side), "red").save(name)
    before = sorted(place.rglob("*"))
    arguments, message = BAD[case]
    code, out, err = call(capsys, *CALL, "--style", "painting.png", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(place.rglob("*")) == before


# What is learned


def test_training_learns_each_look(place):
    """Looks are known by their numbers: each comes closer to its own painting."""
    made = task("three", content_weight=0.0)
    photos = torch.cat([images.read(path).pixels for path in sorted(Path("photos").iterdir())])

    def distances():
        with torch.no_grad():
            return [
                float(made.losses(made.network, photos, torch.full((5,), look), 0)["style"])
                for look in range(3)
            ]

    before = distances()
    train(made, "three", steps=80, learning_rate=1e-2, warmup=10, decay=0.5)
    after = distances()
    assert all(late < 0.8 * early for early, late in zip(before, after, strict=True)), (
        before,
        after,
    )


def test_looks_take_turns(place):
    found = [data.find_pictures(Path(name)) for name in ("photos", "three")]
    looks = data.Looks(*found, 32, (32, 48), (32, 48), 0)
    numbers = [int(looks[n][1]) for n in range(30)]
    rounds = [numbers[n : n + 3] for n in range(0, 30, 3)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    batch = data.collate([looks[n] for n in range(4)])
    assert batch[0].shape == (4, 3, 32, 32)
    assert batch[1].tolist() == numbers[:4]


def numpy_features(made, image):
    with torch.no_grad():
        found = made.judge(image, {made.config.content_layer, *made.style_layers})
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
    ("size", "asked", "seen"),
    [
        ((40, 60), None, (40, 60)),
        ((1200, 600), None, (724, 362)),
        ((1200, 600), 300, (300, 150)),
        ((40, 60), 600, (400, 600)),
    ],
)
def test_styles_are_measured_at_their_size(folder, size, asked, seen):
    Image.new("RGB", size[::-1], "red").save("style.png")
    assert fast._painting(Path("style.png"), asked).shape[-2:] == seen


# Starting from another network


def test_init_begins_with_the_nearest_look(place, painting):
    """A tiny network whose looks have the colours of their pictures."""
    looks = {"cold": 1 - painting, "warm": painting, "grey": torch.full_like(painting, 0.5)}
    start = write_fast(place / "start.safetensors", looks)
    made = task(init=start, width=9, residuals=5)
    network = load_network(start, TransformNetwork).network
    assert made.network.config.looks == ["painting"]
    assert (made.config.width, made.config.residuals) == (9, 1)
    for mine, its in zip(made.network.gains, network.gains, strict=True):
        assert torch.equal(mine, its[1:2])
    assert same(made.network.downs.state_dict(), network.downs.state_dict())
    assert all(parameter.requires_grad for parameter in made.network.parameters())
    with pytest.raises(ControlError, match="width is 64, the network to start from has 9"):
        task(init=start, width=64)


def test_relatives_know_their_origin(place, capsys, painting):
    """Also over a resume that does not name it again."""
    start = write_fast(place / "start.safetensors", {"one": painting})
    given = ["train", "fast", "--content", "photos", "--style", "painting.png", *FLAGS]
    assert call(capsys, *given, "--init", start, "--out", "a.safetensors")[0] == 0
    origin = weights.sha256_of(Path(start))
    assert load_network("a.safetensors", TransformNetwork).base_sha256 == origin
    made = [*given, "--init", "a.safetensors", "--out", "b.safetensors"]
    assert call(capsys, *made, "--steps", "2")[0] == 0
    assert load_network("b.safetensors", TransformNetwork).base_sha256 == origin
    again = [*given, "--recipe", "fast-scratch", "--out", "b.safetensors", "--width", "9"]
    assert call(capsys, *again, "--residuals", "1", "--resume")[0] == 2
    scratch = ["--style-layers", "relu1_2,relu2_2", "--recipe", "fast-scratch", "--width", "4"]
    assert call(capsys, *given, *scratch, "--out", "c.safetensors")[0] == 0
    stranger = load_network("c.safetensors", TransformNetwork)
    assert stranger.base_sha256 == stranger.sha256 != origin


def test_a_look_of_the_same_name_goes_on(place, painting):
    looks = {"other": painting, "painting": 1 - painting}
    start = write_fast(place / "start.safetensors", looks)
    made, network = task(init=start, width=9), load_network(start, TransformNetwork).network
    assert torch.equal(made.network.gains[-1], network.gains[-1][1:])


def test_a_recipe_may_name_the_start(place, capsys, painting):
    write_fast(place / "start.safetensors", {"one": painting})
    Path("mine.yaml").write_text("init: start.safetensors\n")
    given = [*CALL, "--style", "painting.png", "--recipe", "mine.yaml", "--width", "9"]
    assert call(capsys, *given)[0] == 0
    assert load_network("my.safetensors", TransformNetwork).network.config.width == 9
    assert read_recipe("fast", "impasto.train.recipes")["init"] == "fast.base"


# Held-out photos


def test_validation_judges_photos_in_each_look(place, monkeypatch):
    judge = FakeJudge(*[1.0] * 9)
    monkeypatch.setattr(fast, "_LEAST_SIDE", 16)
    monkeypatch.setattr(loop, "load_encoder", lambda *_, **__: None)
    monkeypatch.setattr(loop, "Judge", lambda _: judge)
    made = task("three")
    train(made, "three", holdout=1, steps=2)
    assert len(judge.seen) == 3
    for (painted, photo, style), known in zip(judge.seen, made.styles, strict=True):
        assert painted.shape == photo.shape == (1, 3, 256, 256)
        assert torch.equal(style, known)
    assert images.read("my-training/sample-000002.png").pixels.shape == (1, 3, 768, 768)


# The teacher


@pytest.fixture
def teacher(monkeypatch):
    made = []
    monkeypatch.setattr(fast, "_TEACHER_SIDE", 48)
    monkeypatch.setattr(fast, "_TEACHER_CROP", 32)

    def load(name):
        assert name == "gatys"
        made.append(name)
        return tiny_gatys(iterations=3)

    monkeypatch.setattr(fast, "load_method", load)
    return made


def prepared(style="painting.png", **settings):
    made = task(style, **({"teacher": "gatys"} | settings))
    made.run.folder.mkdir(exist_ok=True)
    made.prepare(sorted(Path("photos").iterdir()), torch.device("cpu"))
    return made


def test_a_run_with_a_teacher(place, teacher):
    made = task(teacher="gatys", teacher_pictures=2)
    rows = train(made, holdout=1).losses.rows
    assert rows[-1]["teacher"] > 0
    assert len(list(Path("my-training").glob("teacher-*.png"))) == 2
    held = data.hold_out(data.find_pictures(Path("photos")), 1, 0)[1]
    (square,) = fast._some_squares(held, 1, 48)
    assert not any(torch.equal(photo, square) for photo, *_ in made.lessons)


def test_the_teacher_paints_some_photos_once(place, teacher):
    made = prepared("three", teacher_pictures=4)
    assert len(made.lessons) == 4
    assert [style for *_, style in made.lessons] == [0, 1, 2, 0]
    files = sorted(Path("my-training").glob("teacher-*.png"))
    assert len(files) == 4
    before = [path.stat().st_mtime_ns for path in files]
    again = prepared("three", teacher_pictures=4)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert same([list(lesson) for lesson in again.lessons], [list(one) for one in made.lessons])
    assert prepared("three", teacher="none").lessons == []


def test_lessons_are_pieces_of_what_it_painted(place, teacher, photo):
    made = prepared(teacher_pictures=2, teacher_weight=5.0)
    asked = []

    def network(content, style):
        asked.append((content, style))
        return torch.zeros_like(content)

    parts = [float(made.losses(network, photo, torch.tensor([0]), n)["teacher"]) for n in range(9)]
    assert len(set(parts)) > 4
    pieces = [content for content, _ in asked[1::2]]
    assert all(piece.shape == (1, 3, 32, 32) for piece in pieces)
    brightness = [float(painted.mean()) for _, painted, _ in made.lessons]
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
