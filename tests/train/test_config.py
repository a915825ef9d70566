"""Settings of trainings, and the recipes that come along."""

import re
import subprocess

import numpy as np
import pytest

from impasto.errors import ControlError
from impasto.recipes import names, read_recipe
from impasto.train import adain, fast, styletr
from impasto.train.config import TrainConfig, split_settings
from tests.helpers.train import ROOT


def test_learning_rate_rises_stays_and_falls():
    config = TrainConfig(steps=1000, learning_rate=2.0, warmup=10, lr_decay=0.4)
    assert [config.learning_rate_at(n) for n in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert {config.learning_rate_at(n) for n in range(9, 601)} == {2.0}
    assert config.learning_rate_at(800) == pytest.approx(1.0)
    assert config.learning_rate_at(601) < 2
    rates = [config.learning_rate_at(n) for n in range(600, 1000)]
    np.testing.assert_allclose(rates, np.maximum(np.linspace(2, 0, 401)[:-1], 0.02))
    assert rates[-1] == pytest.approx(0.02)


@pytest.mark.parametrize(
    "edge", [{"warmup": 0}, {"lr_decay": 0.0}, {"lr_decay": 1.0}, {"steps": 1}]
)
def test_learning_rate_is_defined_at_the_edges(edge):
    config = TrainConfig(**({"steps": 50, "learning_rate": 1.0, "warmup": 5} | edge))
    assert all(0 < config.learning_rate_at(step) <= 1 for step in range(config.steps))


BAD_SETTINGS = [
    {"steps": 0},
    {"batch_size": 0},
    {"gradient_accumulation": 0},
    {"validate_every": 0},
    {"crop": 36},
    {"crop": 24},
    {"resize_min": 600},
    {"resize_min": 100},
    {"learning_rate": 0.0},
    {"learning_rate": float("nan")},
    {"max_grad_norm": -1.0},
    {"ema_decay": 1.0},
    {"lr_decay": 1.5},
    {"workers": -1},
    {"val_size": -1},
    {"seed": -1},
    {"precision": "8"},
    {"steps": 1.5},
]


@pytest.mark.parametrize("values", BAD_SETTINGS, ids=str)
def test_bad_settings_are_refused(values):
    with pytest.raises(ControlError, match=next(iter(values))):
        TrainConfig(**values)


@pytest.mark.parametrize("name", names("impasto.train.recipes"))
def test_shipped_recipes_are_settings(name):
    values = read_recipe(name, "impasto.train.recipes")
    kinds = {"adain": adain.AdainTraining, "styletr": styletr.StyletrTraining}
    kind = kinds.get(name.partition("-")[0], fast.FastTraining)
    values.pop("init_from", None)
    config, own = split_settings(values, kind)
    told = {key: value for key, value in values.items() if key != "about"}
    assert {**vars(own), **vars(config)}.items() >= told.items()


FORMER = {
    "batch": "batch_size",
    "accumulate": "gradient_accumulation",
    "clip": "max_grad_norm",
    "decay": "lr_decay",
    "ema": "ema_decay",
    "holdout": "val_size",
    "init": "init_from",
}


@pytest.mark.parametrize("name", FORMER)
def test_an_old_name_is_told_the_new_one(name):
    with pytest.raises(ControlError) as caught:
        split_settings({"steps": 3, name: 1}, adain.AdainTraining)
    assert str(caught.value) == f"unknown setting '{name}': did you mean {FORMER[name]}?"


def test_old_names_of_a_task_are_told_the_new_ones_of_that_task_alone():
    for name, new in (("tune_from", "finetune_start_step"), ("encoders", "finetune")):
        with pytest.raises(ControlError, match=f"'{name}': did you mean {new}"):
            split_settings({name: 1}, styletr.StyletrTraining)
    with pytest.raises(ControlError, match=r"'encoders': did you mean encoder\?"):
        split_settings({"encoders": "lora"}, adain.AdainTraining)


def test_a_strange_name_is_told_all_names():
    with pytest.raises(ControlError, match=r"'qqqq': known are init_from, width, .* seed$"):
        split_settings({"qqqq": 1}, fast.FastTraining)


def test_the_script_that_trains_all_uses_recipes_there_are():
    script = (ROOT / "tools/train_all.sh").read_text()
    used = re.findall(r"--recipe (\S+)", script)
    assert len(used) == 5
    assert set(used) <= set(names("impasto.train.recipes"))
    assert subprocess.run(["sh", "-n", ROOT / "tools/train_all.sh"], check=False).returncode == 0
