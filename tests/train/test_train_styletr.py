"""Training of the transformer; the engine itself is tested in `test_train`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from impasto import images, weights
from impasto.errors import ControlError
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork
from impasto.networks.styletr import StyletrNetwork
from impasto.train import perceptual, styletr
from impasto.train.config import TrainConfig
from impasto.train.loop import Run, Trainer
from tests.helpers.networks import tiny_vgg
from tests.train.test_train import FLAGS, ROOT, TINY, call, checkpoint, same_run
from tests.train.test_train import one_thread as one_thread  # noqa: PLC0414 - fixtures
from tests.train.test_train import place as place  # noqa: PLC0414
from tests.train.test_train import tiny_losses as tiny_losses  # noqa: PLC0414

CALL = ["train", "styletr", "--content", "photos", "--style", "paintings"]
CALL += ["--out", "my.safetensors", *FLAGS]


@pytest.fixture(autouse=True)
def small_losses(monkeypatch):
    monkeypatch.setattr(styletr, "load_encoder", lambda *_, **__: tiny_vgg())


def task(init=None, **settings):
    torch.manual_seed(0)
    run = Run(Path("photos"), Path("paintings"), Path("my.safetensors"))
    return styletr.StyletrTask(styletr.StyletrTraining(**settings), run, init)


def trainer(out="my.safetensors", *, init=None, resume=False, steps=4, **settings):
    made = task(init, **settings)
    run = Run(Path("photos"), Path("paintings"), Path(out))
    config = TrainConfig(**(TINY | {"steps": steps}))
    return Trainer(made, config, run, resume=resume, say=lambda _: None)


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moved(before, after):
    """Names of what is not as it was."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_encoders_wait_for_the_second_stage(place):
    first = trainer("first.safetensors", steps=2, tune_from=2)
    began = state(first.task.network)
    assert first.train()
    changed = moved(began, state(first.task.network))
    assert {name.split(".")[0] for name in changed} == {
        *("project", "cape", "layers", "norm", "added", "path")
    }
    second = trainer("second.safetensors", steps=3, tune_from=2)
    assert second.train()
    changed = moved(began, state(second.task.network))
    for role in ("content", "style"):
        for part in ("0.up.0", "0.up.1", "5.up.0", "5.up.1"):
            assert f"tuned.{role}.{part}.weight" in changed
    assert not any(name.startswith("vit.") for name in changed)


def test_frozen_encoders_have_nothing_to_tune(place):
    made = trainer("frozen.safetensors", encoders="frozen", steps=1)
    assert made.train()
    network = load_network("frozen.safetensors", StyletrNetwork).network
    assert not network.tuned
    assert network.vit.sha256 == weights.record("vit_small_patch14_dinov2.lvd142m").sha256


def test_encoders_from_scratch_are_trained_and_stored(place):
    made = trainer("scratch.safetensors", encoders="scratch", steps=2)
    began = state(made.task.network)
    assert made.train()
    assert "vit.blocks.3.attn.qkv.weight" in moved(began, state(made.task.network))
    network = load_network("scratch.safetensors", StyletrNetwork).network
    photo = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        one, other = (n.encode(photo, "content") for n in (network, made.average.module))
    for part in ("frozen", "finetuned"):
        pair = getattr(one, part), getattr(other, part)
        torch.testing.assert_close(*pair, atol=0.05, rtol=0.05)


def test_the_path_begins_as_adain_but_for_its_deepest_level(place):
    known = load_network("adain.small", AdainNetwork).network
    path = task().network.path
    changed = moved(known.state_dict(), path.state_dict())
    stride8 = ("encoder.convs.2.", "encoder.block.", "laterals.1.", "blocks.2.", "ups.1.")
    assert changed == {name for name in path.state_dict() if name.startswith(stride8)}


class Copies(torch.nn.Module):
    """Gives back what it is given, and notes it."""

    def forward(self, content, style, sharpness, strength):
        self.given = (content, style)
        return content, style


@pytest.mark.parametrize(("batch", "same"), [(1, 1), (8, 1), (9, 2)])
def test_some_pictures_are_their_own_style(batch, same):
    made, copies = task(encoders="frozen"), Copies()
    content, style = torch.rand(batch, 3, 32, 32), torch.rand(batch, 3, 32, 32)
    for step, itself in ((0, content), (1, style)):
        found = made.losses(copies, content, style, step)
        assert [len(part) for part in copies.given] == [batch + same] * 2
        for part in copies.given:
            assert torch.equal(part[batch:], itself[:same])
        for name in ("content", "similarity", "identity", "features", "range"):
            assert float(found[name]) == pytest.approx(0, abs=1e-6)
        assert float(found["style"]) > 0.01


def test_losses_are_weighted():
    content, style = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)

    class Other(torch.nn.Module):
        def forward(self, content, style, sharpness, strength):
            return content.flip(-1), style.flip(-1)

    names = {"content": 0.5, "similarity": 5.0, "style": 2.0, "identity": 3.0, "feature": 4.0}
    one = task(encoders="frozen", **{f"{name}_weight": 1.0 for name in names})
    other = task(encoders="frozen", **{f"{name}_weight": value for name, value in names.items()})
    before, after = (made.losses(Other(), content, style, 0) for made in (one, other))
    for name, value in names.items():
        key = "features" if name == "feature" else name
        assert float(after[key]) == pytest.approx(value * float(before[key]), rel=1e-4)
        assert float(before[key]) > 1e-3
    pixels = (style - style.flip(-1)).square().mean() + (
        content[:1] - content[:1].flip(-1)
    ).square().mean()
    assert float(before["identity"]) == pytest.approx(float(pixels), rel=1e-4)


def test_places_are_compared_on_a_grid_of_bounded_size():
    coarse = perceptual._coarse(torch.rand(2, 5, 40, 12))
    assert coarse.shape == (2, 5, 16, 12)
    features = torch.rand(1, 1, 32, 12)
    pairs = features.unflatten(2, (16, 2)).mean(3)
    torch.testing.assert_close(perceptual._coarse(features), pairs)


def test_a_run_is_resumed_into_the_second_stage(place, monkeypatch):
    whole = trainer("whole.safetensors", tune_from=2)
    assert whole.train()
    losses, calls = styletr.StyletrTask.losses, []

    def interrupted(*arguments):
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), 2)
        return losses(*arguments)

    monkeypatch.setattr(styletr.StyletrTask, "losses", interrupted)
    assert not trainer("parts.safetensors", tune_from=2).train()
    assert trainer("parts.safetensors", tune_from=2, resume=True).train()
    assert same_run("whole", "parts")


def test_a_frozen_network_can_be_tuned_later(place):
    assert trainer("first.safetensors", encoders="frozen", steps=1).train()
    began = task("first.safetensors", encoders="lora").network
    known = load_network("first.safetensors", StyletrNetwork).network
    assert began.config.rank == 64
    assert not moved(known.state_dict(), began.state_dict())
    later = trainer("later.safetensors", init="first.safetensors", steps=1, tune_from=0)
    assert later.train()
    assert "tuned.content.0.up.0.weight" in moved(began.state_dict(), state(later.task.network))
    kept = trainer("kept.safetensors", init="later.safetensors", encoders="frozen", tune_from=0)
    before = state(kept.task.network)
    assert kept.train()
    assert not any(n.startswith("tuned.") for n in moved(before, state(kept.task.network)))
    with pytest.raises(ControlError, match=r"scratch.*leave out"):
        task("first.safetensors", encoders="scratch")


def test_a_path_of_another_kind_is_refused():
    with pytest.raises(ControlError, match=r"path 'adain.base' sees with vgg16: use adain.small"):
        task(path="adain.base")


def test_another_network_cannot_be_resumed(place):
    assert trainer("first.safetensors", encoders="frozen", steps=1).train()
    settings = {"encoders": "lora", "steps": 1}
    assert trainer("later.safetensors", init="first.safetensors", **settings).train()
    tuned = {"init": "later.safetensors", "encoders": "frozen"}
    assert trainer("mine.safetensors", steps=1, **tuned).train()
    with pytest.raises(ControlError, match=r"config was .*rank"):
        trainer("mine.safetensors", steps=2, encoders="frozen", resume=True)


def test_every_sharpness_and_strength_is_trained():
    drawn = [styletr._drawn(step, 5) for step in range(60)]
    assert [part.shape for part in drawn[0]] == [(5, 1, 1), (5, 1, 1, 1)]
    assert all(map(torch.equal, drawn[7], styletr._drawn(7, 5)))
    sharpness, strength = (torch.stack(parts) for parts in zip(*drawn, strict=True))
    for drawn, most in ((sharpness, 20), (strength, 1)):
        assert drawn.min() < 0.1 * most
        assert 0.9 * most < drawn.max() <= most
    assert 0.4 < (strength == 1).float().mean() < 0.6


def test_the_style_aimed_at_is_as_strong_as_the_painting(monkeypatch):
    """Gram matrices lie between those of photo and style."""
    content, style = torch.rand(2, 5, 6, 7), 3 * torch.rand(2, 5, 4, 4)
    grams = [(x.flatten(2) @ x.flatten(2).mT) / x[0, 0].numel() for x in (content, style)]
    share = torch.tensor([0.25, 1.0])
    found = styletr._between(content, style, share).gram
    for n in range(2):
        wanted = (1 - share[n]) * grams[0][n] + share[n] * grams[1][n]
        torch.testing.assert_close(found[n], wanted)
    # A photo painted with no strength at all has reached its style, and nothing else has.
    photos, paintings = torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32).sqrt()
    for strength, reached in ((0.0, True), (1.0, False)):
        controls = torch.ones(9, 1, 1), torch.full((9, 1, 1, 1), strength)
        monkeypatch.setattr(styletr, "_drawn", lambda *_, controls=controls: controls)
        loss = float(task(encoders="frozen").losses(Copies(), photos, paintings, 0)["style"])
        assert (loss < 1e-6) == reached


@pytest.mark.parametrize(
    "settings", [{"content_weight": -1.0}, {"tune_from": -1}, {"encoders": "other"}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ControlError, match=next(iter(settings))):
        styletr.StyletrTraining(**settings)


def test_a_trained_network_paints_at_once(place):
    """From two folders of pictures to a painted one."""
    code, out, err = call(*CALL, "--steps", "3", "--tune-from", "2")
    assert code == 0, err
    told = "impasto stylize PHOTO STYLE --method styletr --weights my.safetensors -o OUT"
    assert out == f"my.safetensors: after 3 steps; {told}\n"
    metadata = weights.read(Path("my.safetensors")).metadata
    assert json.loads(metadata["config"])["rank"] == 64
    assert json.loads(metadata["trained"])["tune_from"] == 2
    assert not any(name.startswith("vit.") for name in load_file("my.safetensors"))
    chosen = ["--method", "styletr", "--weights", "my.safetensors"]
    code, _, err = call("stylize", "photos/0.png", "paintings/0.png", "-o", "out.png", *chosen)
    assert code == 0, err
    pictures = [images.read(path).pixels for path in ("out.png", "photos/0.png")]
    assert (pictures[0] - pictures[1]).abs().mean() > 0.02


def test_both_stages_run_on_two_devices(place):
    """Encoders take no part in the first steps, on any of them."""
    command = [sys.executable, "-m", "tests.train.train_tiny", *CALL, "--devices", "2"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    options = ["--steps", "3", "--tune-from", "1"]
    result = subprocess.run(
        [*command, *options], env=environment, capture_output=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr.decode()
    network = checkpoint("my")["network"]
    assert float(network["tuned.content.0.up.0.weight"].abs().max()) > 0
