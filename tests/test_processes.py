"""A process that was forked after painting says so, instead of hanging."""

import multiprocessing
import subprocess
import sys

import pytest

CODE = """
import multiprocessing, sys, torch
import impasto
from tests.helpers.networks import tiny_adain
from tests.helpers.pictures import painting_array, photo_array

def paint(threads, queue):
    torch.set_num_threads(threads)
    try:
        queue.put(impasto.Stylizer(tiny_adain()).stylize(photo_array(), painting_array()).shape)
    except impasto.ImpastoError as error:
        queue.put(f"{type(error).__name__}: {error}")

context = multiprocessing.get_context("fork")
for threads in (2, 1):
    queue = context.Queue()
    torch.set_num_threads(2)
    paint(2, queue)
    queue.get()
    process = context.Process(target=paint, args=(threads, queue))
    process.start()
    print(queue.get(timeout=60), flush=True)
    process.join(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork"
)
def test_a_fork_after_painting_is_refused_unless_it_has_one_thread():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=120
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("SetupError: this process was forked after its parent had painted")
    assert second == "(48, 64, 3)"
