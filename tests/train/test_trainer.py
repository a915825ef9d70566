"""The training loop: what it learns, and what goes wrong on the way."""

import multiprocessing
import os
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel

from impasto.errors import ImageError, OutputError, TooLargeError, TrainingError
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork
from impasto.train import adain, data
from tests.helpers.cli import run
from tests.helpers.train import (
    CALL,
    adain_task,
    at_step,
    checkpoint,
    loss_of,
    make_run,
    run_tiny,
    same,
    same_run,
    trained,
    trainer,
    trainer_of,
)

pytestmark = pytest.mark.slow  # together, these trainings take long

# Nothing that goes by the place in the batch, as noise does, and losses that rounding is small in.
PLAIN = {"revisions": False, "distribution_weight": 0.0, "similarity_weight": 0.0}
PLAIN_FLAGS = ["--no-revisions", "--distribution-weight", "0", "--similarity-weight", "0"]


@pytest.mark.parametrize("style_loss", ["gram", "moments"])
def test_one_step_lowers_the_loss(place, style_loss):
    task = adain_task(style_loss=style_loss)
    task.run = run = make_run(content="photos/0.png", style="paintings/0.png")
    pair = data.Crops([run.content], [run.style], 32, (32, 48), (32, 48), 0)[0][:2]
    before = loss_of(task, task.network, pair)
    made = trainer_of(task, steps=1, warmup=0, learning_rate=1e-4, batch_size=1)
    assert made.train().finished
    assert loss_of(task, task.network, pair) < before


def test_training_learns(place):
    made = trainer(steps=40, learning_rate=3e-3)
    before = loss_of(made.task, made.task.network)
    made.train()
    assert loss_of(made.task, made.average.module) < 0.8 * before
    assert [row["step"] for row in made.log.losses.rows] == [20, 40]


def test_the_kept_weights_are_the_running_mean(place, monkeypatch):
    """d w + (1 - d) w', from the weights after the first step on; with a smaller d at first."""
    seen = []
    update = AveragedModel.update_parameters

    def watched(average, network):
        seen.append(network.head.weight.detach().clone())
        update(average, network)

    monkeypatch.setattr(AveragedModel, "update_parameters", watched)
    made = trained(ema_decay=0.3)
    mean = seen[0]
    for latest, d in zip(seen[1:], (2 / 11, 3 / 12, 4 / 13, 0.3, 0.3), strict=True):
        mean = d * mean + (1 - d) * latest
    torch.testing.assert_close(made.average.module.head.weight, mean)
    network = load_network("my.safetensors", AdainNetwork).network
    torch.testing.assert_close(network.head.weight, mean, rtol=1e-3, atol=1e-6)


def test_gradients_are_clipped(place, monkeypatch):
    norms = []

    def watched(optimizer):
        parts = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat(parts).norm()))

    made = trainer(steps=2, max_grad_norm=1e-3)
    made.optimizer.optimizer.register_step_pre_hook(lambda optimizer, *_: watched(optimizer))
    made.train()
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_accumulated_batches_equal_a_large_one(place):
    one = trained("one.safetensors", batch_size=4, **PLAIN)
    two = trained("two.safetensors", batch_size=2, gradient_accumulation=2, **PLAIN)
    other = trained("three.safetensors", **PLAIN).task.network.state_dict()
    assert close(one.task.network.state_dict(), two.task.network.state_dict())
    assert not close(one.task.network.state_dict(), other)
    totals = [made.log.losses.rows[0]["total"] for made in (one, two)]
    assert totals[1] == pytest.approx(totals[0], rel=1e-4)


def close(one, other):
    """Whether weights differ by far less than a training of six steps of 1e-3 moves them. Single
    ones may differ by more: where a gradient is nothing but rounding, Adam follows its sign.
    """
    assert one.keys() == other.keys()
    difference = torch.cat([(one[key] - other[key]).flatten() for key in one])
    return float(difference.square().mean().sqrt()) < 2e-5


def test_two_processes_equal_one_with_twice_the_batch(place):
    (place / "photos/broken.png").write_text("no picture")
    trained("one.safetensors", batch_size=4, **PLAIN)
    result = run_tiny("--out", "two.safetensors", "--devices", "2", *PLAIN_FLAGS)
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


def test_the_seed_decides_all(place):
    command = [*CALL, "--steps", "2"]
    for stem, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        torch.manual_seed(5 if stem == "a" else 6)
        assert run(*command, "--out", f"{stem}.safetensors", "--seed", seed)[0] == 0
    assert same_run("a", "b")
    assert not same(checkpoint("a")["network"], checkpoint("c")["network"])


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
    assert trainer(workers=1, steps=9).train().finished


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
    result = run_tiny("--devices", "2", "--validate-every", "2")
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error: my-training/losses.csv: ") == 1
    assert result.stderr.count("error") == 1
    assert not list(place.rglob(".*"))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("out of memory")], ids=str)
def test_want_of_memory_is_called_by_its_name(place, monkeypatch, error):
    def run_out():
        raise error

    at_step(monkeypatch, 1, run_out)
    with pytest.raises(
        TooLargeError, match=r"not enough memory .* batch_size \(now 2; .* crop \(n"
    ):
        trainer().train()


def test_a_lack_of_memory_of_one_process_ends_both_with_one_line(place):
    result = run_tiny("--devices", "2", dies="memory:2")
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if "training on" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("impasto: error: there is not enough memory for this training")


def test_other_errors_are_not_taken_for_a_lack_of_memory(place, monkeypatch):
    def fail():
        raise RuntimeError("shapes do not agree")

    at_step(monkeypatch, 1, fail)
    with pytest.raises(RuntimeError, match="shapes do not agree"):
        trainer().train()


# What it says


def test_the_result_tells_how_it_went(place, scored):
    (place / "photos/zz.jpg").write_text("no picture")
    scored(1.0)
    result = trainer(val_size=1).train()
    assert (result.step, result.finished) == (6, True)
    assert result.scores == {"content": 0.0, "style": 1.0, "score": 4.0}
    assert [message.split(": ")[0] for message in result.skipped] == ["photos/zz.jpg"]


def test_without_validation_there_are_no_scores(place):
    assert trainer(steps=1).train().scores == {}


def test_nothing_is_printed(place, capfd):
    trained(precision="bf16-mixed", steps=1)
    assert capfd.readouterr() == ("", "")


def test_folders_that_cannot_be_searched_are_named(place, monkeypatch):
    search, lines = os.scandir, []

    def scandir(folder):
        if folder.name == "more":
            raise PermissionError(13, "Permission denied")
        return search(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    result = trained(lines=lines, steps=1).run.photos
    assert len(result) == 4
    named = [
        line for line in lines if "photos/more: cannot be searched (Permission denied)" in line
    ]
    assert len(named) == 1
    assert named[0].startswith("skipped (1 so far): ")


def test_warnings_of_libraries_are_single_lines(place, monkeypatch):
    def warn():
        warnings.warn("first line\nsecond line", UserWarning, stacklevel=1)
        warnings.warn("for programmers", FutureWarning, stacklevel=1)

    lines = []
    at_step(monkeypatch, 1, warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        before = warnings.showwarning
        trainer(lines=lines, steps=1).train()
        assert warnings.showwarning is before
    assert [line for line in lines if line.startswith("note")] == ["note: first line second line"]


def test_the_terminal_shows_nothing_of_libraries(place):
    """Not even that float16 is not for the processor, but in a line of ours."""
    result = run_tiny("--precision", "16-mixed", "--devices", "2", "--steps", "1")
    assert result.returncode == 0, result.stderr
    assert all(line.startswith("impasto: ") for line in result.stderr.splitlines()), result.stderr
    assert result.stderr.count("impasto: note: ") == 1
