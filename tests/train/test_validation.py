"""Held-out pictures, and the network that does best on them."""

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from impasto import images, weights
from impasto.train import data
from tests.helpers.train import trained

pytestmark = pytest.mark.slow  # together, these trainings take long


def trained_steps():
    return json.loads(weights.read(Path("my.safetensors")).metadata["trained"])["step"]


def test_the_best_network_is_kept(place, scored):
    evaluator = scored(2.0, 1.0, 3.0)
    made = trained(val_size=1, validate_every=2)
    assert trained_steps() == 4
    assert [row["score"] for row in made.log.scores.rows] == [9.0, 4.0, 16.0]
    assert Path("my-training/scores.csv").read_text().splitlines()[0] == "step,content,style,score"
    assert Path("my-training/scores.png").exists()
    sheet = images.read("my-training/sample-000004.png").pixels
    assert sheet.shape == (1, 3, 3 * 256, 256)
    torch.testing.assert_close(sheet[..., :256, :], evaluator.seen[0][1], rtol=0, atol=3e-3)
    assert all(painted.min() >= 0 and painted.max() <= 1 for painted, *_ in evaluator.seen)
    board = EventAccumulator("my-training/tensorboard")
    board.Reload()
    assert [event.value for event in board.Scalars("validation/score")] == [9.0, 4.0, 16.0]
    assert [event.step for event in board.Images("samples")] == [2, 4, 6]


def test_the_best_is_remembered_over_a_resume(place, scored):
    scored(1.0, 2.0)
    trained(val_size=1, validate_every=2, steps=4)
    scored(1.5)
    trained(val_size=1, validate_every=2, steps=6, resume=True)
    assert trained_steps() == 2


def test_broken_pictures_may_be_held_out(place, scored):
    """They are named, and another pair is scored."""
    held = data.hold_out(data.find_pictures(Path("photos")), 1, 0)[1]
    held[0].write_text("no picture")
    lines = []
    evaluator = scored()
    trained(val_size=1, lines=lines)
    assert evaluator.seen == []
    assert any(line.startswith("skipped (1 so far): " + str(held[0])) for line in lines)
    assert "0 pairs held out" in " ".join(lines)
