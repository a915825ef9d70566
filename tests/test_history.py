"""The losses of a run, as a table and as a plot."""

import csv

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from impasto.errors import OutputError
from impasto.history import History, plot_format
from impasto.methods import Progress

LOSSES = st.dictionaries(
    st.sampled_from(["content", "style", "tv", "total"]), st.floats(0, 1e12), max_size=4
)


def history_of(steps):
    history = History()
    for number, losses in enumerate(steps, 1):
        history(Progress(number, len(steps), losses, lambda: torch.zeros(1, 3, 1, 1), 0.5))
    return history


@given(st.lists(LOSSES, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_table_holds_every_loss_of_every_step(tmp_path, steps):
    """To the last bit, and nothing where a step has no such loss."""
    history_of(steps).write_csv(tmp_path / "losses.csv")
    with (tmp_path / "losses.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    expected = [{"step": float(n), **losses} for n, losses in enumerate(steps, 1)]
    assert [{name: float(text) for name, text in row.items()} for row in rows] == expected


@pytest.mark.parametrize("suffix", [".png", ".SVG", ".pdf"])
def test_plots_are_of_the_kind_that_their_name_says(tmp_path, suffix):
    path = tmp_path / f"losses{suffix}"
    history_of([{"total": 3.0, "tv": 0.0}, {"total": 2.0}]).write_plot(path)
    start = {".png": b"\x89PNG", ".SVG": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)


def test_losses_are_seen_in_the_plot(tmp_path):
    """A curve is not white, and another curve is another picture."""
    pictures = []
    for name, losses in (("none", []), ("flat", [2.0, 2.0]), ("steep", [200.0, 2.0])):
        path = tmp_path / f"{name}.png"
        history_of([{"total": loss} for loss in losses]).write_plot(path)
        with Image.open(path) as image:
            pictures.append(image.convert("RGB").tobytes())
    assert len(set(pictures)) == 3


@pytest.mark.parametrize("name", ["losses.txt", "losses", "losses.png.csv"])
def test_other_kinds_of_plots_are_refused(tmp_path, name):
    with pytest.raises(OutputError, match=r"use \.png, \.svg or \.pdf"):
        plot_format(tmp_path / name)
