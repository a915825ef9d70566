"""Want of memory is seen before where it can be, and called by its name where it cannot."""

import math
import subprocess
import sys

import pytest
import torch

from impasto.errors import is_want_of_memory
from impasto.memory import free_in_container
from impasto.weights import embedded_folder


def group(folder, version, limit, usage, stat):
    names = {
        2: ("memory.max", "memory.current"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names[version], (limit, usage), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(stat)


def test_the_smallest_limit_of_all_levels_counts(tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/pod/container\n")
    group(tmp_path / "pod", 2, 5000, 1000, "inactive_file 100\n")
    group(tmp_path / "pod" / "container", 2, "max", 900, "inactive_file 0\n")
    assert free_in_container(tmp_path, own) == 4100
    group(tmp_path / "pod" / "container", 2, 1200, 900, "inactive_file 50\n")
    assert free_in_container(tmp_path, own) == 350


def test_control_groups_of_the_older_kind(tmp_path):
    own = tmp_path / "own"
    own.write_text("5:cpu,cpuacct:/x\n4:memory:/docker/1\n")
    group(tmp_path / "memory" / "docker" / "1", 1, 3000, 2500, "cache 9\ntotal_inactive_file 200\n")
    assert free_in_container(tmp_path, own) == 700


def test_no_limit_is_infinite(tmp_path):
    assert free_in_container(tmp_path, tmp_path / "none") == math.inf


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("could not create a primitive"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Cannot allocate memory (os error 12)"),
    ],
)
def test_what_libraries_say_of_memory(error):
    assert is_want_of_memory(error)
    assert not is_want_of_memory(RuntimeError("sizes of tensors must match"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
@pytest.mark.parametrize("room", [1, 30])
@pytest.mark.parametrize("what", ["weights", "picture"])
@pytest.mark.slow
def test_reading_without_room_says_so(tmp_path, what, room):
    code = f"""
import resource, psutil, numpy, sys
from PIL import Image
from pathlib import Path
from impasto import formats, images, weights
from impasto.errors import TooLargeError
import safetensors.torch
formats.plugins()
picture = Path(sys.argv[1]) / "a.png"
Image.new("RGB", (4000, 4000)).save(picture)
limit = psutil.Process().memory_info().vms + {room} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    if "{what}" == "weights":
        weights.read(Path(sys.argv[2]))
    else:
        images.read(picture)
except TooLargeError as error:
    print(error)
"""
    file = embedded_folder() / "vgg19.imagenet.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, file], capture_output=True, text=True, check=False
    )
    assert "does not fit into the memory that is free" in done.stdout, done.stderr
