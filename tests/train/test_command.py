"""``impasto train``, from the command line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto import images
from tests.helpers.cli import refused, run
from tests.helpers.pictures import painting_array, photo_array
from tests.helpers.train import CALL, checkpoint, process, trained

pytestmark = pytest.mark.slow  # together, these trainings take long


def test_each_network_has_a_recipe_by_itself(place, monkeypatch):
    chosen = {}
    monkeypatch.setattr(
        "impasto.cli.train.run_training",
        lambda task, **given: chosen.update({task: given["recipe"]}),
    )
    for task in ("adain", "fast", "styletr"):
        run("train", task, "--content", "photos", "--style", "paintings", "--out", "n.safetensors")
    assert chosen == {"adain": "adain-quick", "fast": "fast", "styletr": "styletr-vit"}
    run(*CALL, "--recipe", "adain-small")
    assert chosen["adain"] == "adain-small"


def test_a_trained_network_paints_at_once(tmp_path, monkeypatch):
    """From two folders of pictures to a painted one, with the real networks."""
    monkeypatch.chdir(tmp_path)
    for name, array in (("photos", photo_array()), ("paintings", painting_array())):
        Path(name).mkdir()
        for n in range(5):
            Image.fromarray(np.roll(array, 7 * n, 1)).save(f"{name}/{n}.png")
    command = [*CALL, "--steps", "4", "--val-size", "1"]
    code, out, err = run(*command)
    assert code == 0, err
    assert out == (
        "my.safetensors: after 4 steps; "
        "impasto stylize PHOTO STYLE --weights my.safetensors -o OUT\n"
    )
    assert "1 pairs held out" in err
    assert "validation: content" in err
    assert Path("my-training/sample-000004.png").exists()
    pictures = ["photos/0.png", "paintings/0.png"]
    code, _, err = run("stylize", *pictures, "-o", "out.png", "--weights", "my.safetensors")
    assert code == 0, err
    assert images.read_recipe(Path("out.png"))["weights"] == "my.safetensors"
    moved = images.read("out.png").pixels - images.read("photos/0.png").pixels
    assert moved.abs().mean() > 0.02


@pytest.mark.parametrize("devices", ["1", "2"])
def test_ctrl_c_in_a_terminal_reaches_all_processes(place, devices):
    """It saves and ends with 130, and nobody cries."""
    flags = ["--steps", "100000", "--workers", "1", "--devices", devices]
    command, options = process(*flags)
    with subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    ) as running:
        shown = ""
        while "step 20 of" not in shown:
            line = running.stderr.readline()
            assert line, shown
            shown += line
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    shown += err
    assert running.returncode == 130, shown
    assert out == ""
    assert "Traceback" not in shown
    assert shown.count("--resume goes on from there") == 1
    assert checkpoint()["step"] >= 20


BAD_CALLS = {
    "no folder": (["--content", "no"], "no: no such folder; name a folder of .avif"),
    "empty folder": (["--style", "empty"], "empty: holds no pictures"),
    "broken only": (["--style", "broken"], "not one of 2 pictures can be read: broken/1.jpg"),
    "text for folder": (["--content", "notes.txt"], "notes.txt: not a picture"),
    "no place": (["--out", "no/my.safetensors"], "there is no folder no"),
    "out is a folder": (["--out", "folder.safetensors"], "folder.safetensors: is a folder"),
    "out ends wrongly": (["--out", "my.pt"], "my.pt: weights are kept in .safetensors files"),
    "out inside": (["--out", "photos/my.safetensors"], "lies in photos"),
    "file in the way": (["--out", "taken.safetensors"], "taken-training: is in the way"),
    "nothing to resume": (["--resume"], "my-training/checkpoint.pt: no run to resume"),
    "earlier run": (["--out", "earlier.safetensors"], "earlier-training: holds an earlier run"),
    "not a checkpoint": (["--out", "earlier.safetensors", "--resume"], "damaged"),
    "unknown recipe": (["--recipe", "monet"], "unknown recipe 'monet': use a file, or one of"),
    "recipe missing": (["--recipe", "no.yaml"], "recipe no.yaml: cannot be read"),
    "unknown setting": (["--recipe", "odd.yaml"], "unknown setting 'stepps'"),
    "bad setting": (["--steps", "0"], "steps is 0: use at least 1"),
    "bad layer": (["--style-layers", "relu9_1"], "unknown layer 'relu9_1'"),
    "bad flag": (["--stepps", "3"], "No such option '--stepps'"),
    "no weights": (["--init-from", "no.safetensors"], "no.safetensors: no such weights file"),
    "unknown weights": (["--init-from", "monet"], "unknown weights 'monet'"),
    "not weights": (["--init-from", "damaged.safetensors"], "damaged.safetensors: not a readable"),
    "no devices": (["--devices", "0"], "devices is 0"),
    "unknown accelerator": (["--accelerator", "abacus"], "cannot train on 1 x abacus"),
}


@pytest.mark.parametrize("devices", [[], ["--devices", "2"]], ids=["one", "two"])
@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_one_line(place, case, devices):
    for name in ("empty", "folder.safetensors", "broken", "earlier-training"):
        (place / name).mkdir()
    (place / "broken/1.jpg").write_text("no picture")
    Image.new("RGB", (3, 3)).save("broken/2.png")
    for name in ("notes.txt", "taken-training", "earlier-training/checkpoint.pt"):
        (place / name).write_text("some text")
    (place / "damaged.safetensors").write_text("no weights")
    (place / "odd.yaml").write_text("stepps: 3\n")
    arguments, message = BAD_CALLS[case]
    if case != "no devices" and case != "unknown accelerator":
        arguments = [*devices, *arguments]
    assert message in refused(*CALL, *arguments)


def test_the_run_of_another_size_is_refused_with_two_devices(place):
    trained(steps=2)
    message = refused(*CALL, "--resume", "--devices", "2")
    assert "devices was 1 and is 2" in message


@pytest.mark.parametrize("package", ["lightning_fabric", "tensorboard"])
def test_a_missing_extra_is_one_line(place, package):
    before = sorted(place.rglob("*"))
    code = f"import sys; sys.modules['{package}'] = None; from impasto import cli; cli.main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *CALL], capture_output=True, text=True, check=False
    )
    needed = f"`impasto train adain` needs the package '{package}': pip install 'impasto[train]'"
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert needed in result.stderr
    assert sorted(place.rglob("*")) == before
