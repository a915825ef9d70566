"""Folders to train on, and networks that are small enough for it."""

import numpy as np
import pytest
from PIL import Image

from impasto.train import adain, fast, styletr, validation
from tests.helpers.networks import tiny_vgg
from tests.helpers.pictures import painting_array, photo_array
from tests.helpers.train import FakeEvaluator


@pytest.fixture(autouse=True)
def reproducible(one_thread):
    """What is to be equal is added up in the same order."""


@pytest.fixture
def tiny_losses(monkeypatch):
    """Losses compare the features of a tiny network."""
    for module in (adain, fast, styletr):
        monkeypatch.setattr(module, "load_encoder", lambda *_, **__: tiny_vgg())


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


@pytest.fixture
def scored(monkeypatch):
    """Sets the style distances of the validations that come; returns what they see."""
    monkeypatch.setattr(validation, "load_encoder", lambda *_, **__: None)

    def scored(*styles):
        evaluator = FakeEvaluator(*styles)
        monkeypatch.setattr(validation, "Judge", lambda _: evaluator)
        return evaluator

    return scored
