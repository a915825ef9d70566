"""Training of the transformer; the loop itself is tested in `test_trainer`."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from impasto import images, losses, weights
from impasto.errors import ControlError
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork
from impasto.networks.styletr import StyletrNetwork
from impasto.train import perceptual, styletr
from tests.helpers.cli import run
from tests.helpers.train import FLAGS, checkpoint, make_run, run_tiny, same_run, trainer_of

CALL = ["train", "styletr", "--content", "photos", "--style", "paintings"]
CALL += ["--out", "my.safetensors", *FLAGS]


@pytest.fixture(autouse=True)
def small(tiny_losses):
    """Also where there are no folders."""


def task(init_from=None, **settings):
    torch.manual_seed(0)
    return styletr.StyletrTask(styletr.StyletrTraining(**settings), make_run(), init_from)


def trainer(out="my.safetensors", *, init_from=None, resume=False, steps=4, **settings):
    return trainer_of(task(init_from, **settings), out, resume=resume, steps=steps)


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moved(before, after):
    """Names of what is not as it was."""
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.slow
def test_encoders_wait_for_the_second_stage(place):
    first = trainer("first.safetensors", steps=2, finetune_start_step=2)
    began = state(first.task.network)
    assert first.train().finished
    changed = moved(began, state(first.task.network))
    assert {name.split(".")[0] for name in changed} == {
        *("project", "cape", "layers", "norm", "added", "path")
    }
    second = trainer("second.safetensors", steps=3, finetune_start_step=2)
    assert second.train().finished
    changed = moved(began, state(second.task.network))
    for role in ("content", "style"):
        for part in ("0.up.0", "0.up.1", "5.up.0", "5.up.1"):
            assert f"tuned.{role}.{part}.weight" in changed
    assert not any(name.startswith("vit.") for name in changed)


def test_frozen_encoders_have_nothing_to_tune(place):
    made = trainer("frozen.safetensors", finetune="frozen", steps=1)
    assert made.train().finished
    network = load_network("frozen.safetensors", StyletrNetwork).network
    assert not network.tuned
    assert network.vit.sha256 == weights.record("vit_small_patch14_dinov2.lvd142m").sha256


@pytest.mark.slow
def test_encoders_from_scratch_are_trained_and_stored(place):
    made = trainer("scratch.safetensors", finetune="scratch", steps=2)
    began = state(made.task.network)
    assert made.train().finished
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
    made, copies = task(finetune="frozen"), Copies()
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
    one = task(finetune="frozen", **{f"{name}_weight": 1.0 for name in names})
    other = task(finetune="frozen", **{f"{name}_weight": value for name, value in names.items()})
    before, after = (made.losses(Other(), content, style, 0) for made in (one, other))
    for name, value in names.items():
        key = "features" if name == "feature" else name
        assert float(after[key]) == pytest.approx(value * float(before[key]), rel=1e-4)
        assert float(before[key]) > 1e-3
    pixels = (style - style.flip(-1)).square().mean() + (
        content[:1] - content[:1].flip(-1)
    ).square().mean()
    assert float(before["identity"]) == pytest.approx(float(pixels), rel=1e-4)


def test_positions_are_compared_on_a_grid_of_bounded_size():
    """Of 32 x 12 positions, pairs one above the other count as one."""
    features, target = (
        {layer: torch.rand(2, 5, 32, 12) for layer in perceptual.SIMILARITY_LAYERS}
        for _ in range(2)
    )
    expected = [
        losses.similarity_loss(
            *(x[layer].unflatten(2, (16, 2)).mean(3) for x in (features, target))
        )
        for layer in perceptual.SIMILARITY_LAYERS
    ]
    found = perceptual.similarity_loss(features, target)
    torch.testing.assert_close(found, torch.stack(expected).mean())
    assert not torch.isclose(found, losses.similarity_loss(features["relu3_1"], target["relu3_1"]))


@pytest.mark.slow
def test_a_run_is_resumed_into_the_second_stage(place, monkeypatch):
    whole = trainer("whole.safetensors", finetune_start_step=2)
    assert whole.train().finished
    losses, calls = styletr.StyletrTask.losses, []

    def interrupted(*arguments):
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), 2)
        return losses(*arguments)

    monkeypatch.setattr(styletr.StyletrTask, "losses", interrupted)
    assert not trainer("parts.safetensors", finetune_start_step=2).train().finished
    assert trainer("parts.safetensors", finetune_start_step=2, resume=True).train().finished
    assert same_run("whole", "parts")


@pytest.mark.slow
def test_a_frozen_network_can_be_finetuned_later(place):
    assert trainer("first.safetensors", finetune="frozen", steps=1).train().finished
    began = task("first.safetensors", finetune="lora").network
    known = load_network("first.safetensors", StyletrNetwork).network
    assert began.config.rank == 64
    assert not moved(known.state_dict(), began.state_dict())
    later = trainer(
        "later.safetensors", init_from="first.safetensors", steps=1, finetune_start_step=0
    )
    assert later.train().finished
    assert "tuned.content.0.up.0.weight" in moved(began.state_dict(), state(later.task.network))
    frozen = trainer(
        "kept.safetensors", init_from="later.safetensors", finetune="frozen", finetune_start_step=0
    )
    before = state(frozen.task.network)
    assert frozen.train().finished
    assert not any(n.startswith("tuned.") for n in moved(before, state(frozen.task.network)))
    with pytest.raises(ControlError, match=r"scratch.*leave out"):
        task("first.safetensors", finetune="scratch")


def test_a_path_of_another_kind_is_refused():
    with pytest.raises(ControlError, match=r"path 'adain.base' sees with vgg16: use adain.small"):
        task(path="adain.base")


@pytest.mark.slow
def test_another_network_cannot_be_resumed(place):
    assert trainer("first.safetensors", finetune="frozen", steps=1).train().finished
    settings = {"finetune": "lora", "steps": 1}
    assert trainer("later.safetensors", init_from="first.safetensors", **settings).train().finished
    tuned = {"init_from": "later.safetensors", "finetune": "frozen"}
    assert trainer("mine.safetensors", steps=1, **tuned).train().finished
    with pytest.raises(ControlError, match=r"config was .*rank"):
        trainer("mine.safetensors", steps=2, finetune="frozen", resume=True)


def test_every_sharpness_and_strength_is_trained():
    drawn = [styletr.random_controls(step, 5) for step in range(60)]
    assert [part.shape for part in drawn[0]] == [(5, 1, 1), (5, 1, 1, 1)]
    assert all(map(torch.equal, drawn[7], styletr.random_controls(7, 5)))
    sharpness, strength = (torch.stack(parts) for parts in zip(*drawn, strict=True))
    for values, most in ((sharpness, 20), (strength, 1)):
        assert values.min() < 0.1 * most
        assert 0.9 * most < values.max() <= most
    assert 0.4 < (strength == 1).float().mean() < 0.6


def test_the_style_aimed_at_is_as_strong_as_the_painting(monkeypatch):
    """Gram matrices lie between those of photo and style."""
    content, style = torch.rand(2, 5, 6, 7), 3 * torch.rand(2, 5, 4, 4)
    grams = [(x.flatten(2) @ x.flatten(2).mT) / x[0, 0].numel() for x in (content, style)]
    share = torch.tensor([0.25, 1.0])
    found = styletr.moments_between(content, style, share).gram
    for n in range(2):
        wanted = (1 - share[n]) * grams[0][n] + share[n] * grams[1][n]
        torch.testing.assert_close(found[n], wanted)
    # A photo painted with no strength at all has reached its style, and nothing else has.
    photos, paintings = torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32).sqrt()
    for strength, reached in ((0.0, True), (1.0, False)):
        controls = torch.ones(9, 1, 1), torch.full((9, 1, 1, 1), strength)
        monkeypatch.setattr(styletr, "random_controls", lambda *_, controls=controls: controls)
        loss = float(task(finetune="frozen").losses(Copies(), photos, paintings, 0)["style"])
        assert (loss < 1e-6) == reached


@pytest.mark.parametrize(
    "settings", [{"content_weight": -1.0}, {"finetune_start_step": -1}, {"finetune": "other"}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ControlError, match=next(iter(settings))):
        styletr.StyletrTraining(**settings)


@pytest.mark.slow
def test_a_trained_network_paints_at_once(place):
    """From two folders of pictures to a painted one."""
    code, out, err = run(*CALL, "--steps", "3", "--finetune-start-step", "2")
    assert code == 0, err
    usage = "impasto stylize PHOTO STYLE --method styletr --weights my.safetensors -o OUT"
    assert out == f"my.safetensors: after 3 steps; {usage}\n"
    metadata = weights.read(Path("my.safetensors")).metadata
    assert json.loads(metadata["config"])["rank"] == 64
    assert json.loads(metadata["trained"])["finetune_start_step"] == 2
    assert not any(name.startswith("vit.") for name in load_file("my.safetensors"))
    chosen = ["--method", "styletr", "--weights", "my.safetensors"]
    code, _, err = run("stylize", "photos/0.png", "paintings/0.png", "-o", "out.png", *chosen)
    assert code == 0, err
    pictures = [images.read(path).pixels for path in ("out.png", "photos/0.png")]
    assert (pictures[0] - pictures[1]).abs().mean() > 0.02


@pytest.mark.slow
def test_both_stages_run_on_two_devices(place):
    """Encoders take no part in the first steps, on any of them."""
    flags = ["--devices", "2", "--steps", "3", "--finetune-start-step", "1"]
    result = run_tiny(*flags, call=CALL)
    assert result.returncode == 0, result.stderr
    network = checkpoint("my")["network"]
    assert float(network["tuned.content.0.up.0.weight"].abs().max()) > 0
