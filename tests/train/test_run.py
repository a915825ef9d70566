"""The files of a run: what it leaves, how it stops, and how it goes on."""

import csv
import json
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from impasto import weights
from impasto.errors import ControlError, OutputError
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork
from impasto.train import adain
from tests.helpers.pictures import photo_array, psnr
from tests.helpers.train import (
    at_step,
    checkpoint,
    cut_off,
    make_run,
    run_tiny,
    same,
    same_run,
    trained,
    trainer,
)

pytestmark = pytest.mark.slow  # together, these trainings take long


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
    assert len(skipped) == 1
    assert lines[-1] == "1 unreadable pictures or folders were skipped"


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


def test_ctrl_c_saves_and_resume_is_exact(place, monkeypatch):
    """Between two validations, and with a changed number of workers."""
    trained("whole.safetensors", validate_every=5, steps=8)
    lines = []
    with monkeypatch.context() as context:
        at_step(context, 3, lambda: signal.raise_signal(signal.SIGINT))
        result = trainer(validate_every=5, steps=8, lines=lines).train()
    assert (result.step, result.finished) == (3, False)
    assert lines[-1] == "stopped after step 3; --resume goes on from there"
    assert checkpoint()["step"] == 3
    assert not Path("my.safetensors").exists()
    trained("my.safetensors", validate_every=5, steps=8, resume=True)
    assert same_run("whole", "my")
    assert len(checkpoint()["losses"]) == 1


def test_ctrl_c_before_the_first_step_can_be_resumed(place, monkeypatch):
    with monkeypatch.context() as context:
        interrupt = partial(signal.raise_signal, signal.SIGINT)
        context.setattr(adain.AdainTask, "prepare", lambda *_: interrupt())
        assert not trainer().train().finished
    assert checkpoint()["step"] == 0
    trained("whole.safetensors")
    trained(resume=True)
    assert same_run("whole", "my")


def crash():
    raise ZeroDivisionError


def test_checkpoints_also_come_by_the_clock(place, monkeypatch):
    monkeypatch.setattr("impasto.train.trainer.CHECKPOINT_SECONDS", 0)
    at_step(monkeypatch, 4, crash)
    with pytest.raises(ZeroDivisionError):
        trainer().train()
    assert checkpoint()["step"] == 3


def test_nothing_is_logged_twice(place, monkeypatch):
    """Steps 4 and 5 are lost with a crash, and logged again."""
    monkeypatch.setattr("impasto.train.trainer.LOG_EVERY", 1)
    with monkeypatch.context() as context:
        at_step(context, 6, crash)
        with pytest.raises(ZeroDivisionError):
            trainer(validate_every=3).train()
    made = trained(validate_every=3, resume=True)
    assert [row["step"] for row in made.log.losses.rows] == [1, 2, 3, 4, 5, 6]
    board = EventAccumulator("my-training/tensorboard")
    board.Reload()
    assert [event.step for event in board.Scalars("loss/total")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("when", ["step:6", "save:2"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(place, when):
    """kill -9 in a step, and while a checkpoint is written."""
    trained("whole.safetensors", validate_every=3, steps=8)
    killed = run_tiny("--validate-every", "3", "--steps", "8", dies=when)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint()["step"] == 3
    done = run_tiny("--validate-every", "3", "--steps", "8", "--resume")
    assert done.returncode == 0, done.stderr
    assert "from step 3 to 8" in done.stderr
    assert same_run("whole", "my")


def test_a_finished_run_can_be_made_longer(place):
    trained(steps=4)
    assert trainer(steps=4, resume=True).train().finished
    longer = trained(steps=6, resume=True)
    assert longer.step == 6
    with pytest.raises(ControlError, match="at step 6 already"):
        trainer(steps=5, resume=True)


def test_a_run_may_be_resumed_with_other_workers_and_validations(place):
    trained(steps=2)
    trained(steps=4, validate_every=3, workers=1, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 3},
        {"learning_rate": 2e-3},
        {"ema_decay": 0.5},
        {"widths": "8,8,8"},
    ],
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


def of_version_0_1(path):
    torch.save({"settings": {"batch": 2}, "step": 2}, path)


def pickled(path):
    torch.save({"settings": {}, "step": Path("x")}, path)


@pytest.mark.parametrize(
    "damage", [cut_off, one_bit, fill, empty, strange, of_version_0_1, pickled]
)
def test_a_damaged_checkpoint_is_one_line(place, damage):
    trained(steps=2)
    damage(place / "my-training/checkpoint.pt")
    with pytest.raises(OutputError, match=r"^my-training/checkpoint.pt: damaged") as caught:
        trainer(resume=True)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_utf8_is_refused(place):
    with pytest.raises(OutputError, match="its name is not UTF-8"):
        make_run("n\udcff.safetensors").check()


def test_each_folder_is_searched_once(place):
    run = make_run()
    run.check()
    Image.fromarray(photo_array()).save("photos/new.png")
    assert len(run.photos) == 7
    assert len(make_run().photos) == 8
