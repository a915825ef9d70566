"""Training of the network for any style; the loop itself is tested in `test_trainer`."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from impasto import weights
from impasto.errors import ControlError, WeightsError
from impasto.train import adain
from tests.helpers.networks import tiny_vgg
from tests.helpers.train import cut_off, loss_of, same, trained, trainer


@pytest.mark.parametrize(
    "values", [{"widths": "4,8"}, {"blocks": "1,x,1"}, {"tv_weight": -1.0}, {"encoder": "vgg11"}]
)
def test_bad_settings_of_adain_are_refused(values):
    with pytest.raises(ControlError, match=next(iter(values))):
        adain.AdainTraining(**values)


@pytest.mark.slow
def test_the_frozen_encoder_is_neither_trained_nor_stored(place, monkeypatch):
    published = tiny_vgg()
    published.sha256 = "ab" * 32
    monkeypatch.setattr("impasto.networks.adain.load_encoder", lambda *_, **__: published)
    made = trained(encoder="vgg16", steps=2)
    assert same(made.task.network.encoder.state_dict(), tiny_vgg().state_dict())
    stored = load_file("my.safetensors")
    assert not any(name.startswith("encoder.") for name in stored)
    assert "head.weight" in stored


@pytest.mark.slow
def test_init_starts_from_an_earlier_network(place):
    first = trained("first.safetensors", widths="16,32,64")
    made = trainer(init_from="first.safetensors", widths="8,16,32")
    assert made.settings["widths"] == "16,32,64"
    assert loss_of(made.task, made.task.network) == pytest.approx(
        loss_of(first.task, first.average.module), rel=1e-2
    )
    made.train()
    told = json.loads(weights.read(Path("my.safetensors")).metadata["trained"])
    assert told["widths"] == "16,32,64"


@pytest.mark.slow
def test_a_run_that_began_with_init_needs_it_to_go_on(place):
    trained("first.safetensors", steps=1, widths="16,32,64")
    trained(init_from="first.safetensors", steps=2)
    with pytest.raises(ControlError, match="widths was 16,32,64 and is 8,16,32"):
        trainer(resume=True, steps=3)
    trained(init_from="first.safetensors", resume=True, steps=3)


def test_damaged_weights_are_refused(place):
    trained("first.safetensors", steps=1)
    cut_off(Path("first.safetensors"))
    with pytest.raises(WeightsError, match=r"^first.safetensors: not a readable"):
        trainer(init_from="first.safetensors")
