"""``impasto``, with networks in the losses that are small enough for tests of whole processes.

``TINY_DIES=step:3`` kills the process in its third step, ``TINY_DIES=save:2`` while it writes its
second checkpoint; ``TINY_DIES=memory:3`` lets memory run out in the third step of the first
process.
"""

import os
import signal

import torch

from impasto import cli
from impasto.train import adain, styletr
from tests.helpers.networks import tiny_vgg


def at_call(owner, name, number, act, applies=lambda *arguments: True):
    """Lets the call of that number of a function do something else first."""
    function, calls = getattr(owner, name), []

    def watched(*arguments):
        calls.extend([None] * applies(*arguments))
        if len(calls) == number:
            act()
        return function(*arguments)

    setattr(owner, name, watched)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def run_out():
    if os.environ.get("LOCAL_RANK", "0") == "0":
        raise MemoryError


if __name__ == "__main__":
    torch.set_num_threads(1)
    for module in (adain, styletr):
        vars(module)["load_encoder"] = lambda *_, **__: tiny_vgg()
    where, _, count = os.environ.get("TINY_DIES", "").partition(":")
    if where == "step":
        at_call(adain.AdainTask, "losses", int(count), die)
    elif where == "memory":
        at_call(adain.AdainTask, "losses", int(count), run_out)
    elif where == "save":
        at_call(os, "replace", int(count), die, lambda _, to: str(to).endswith("checkpoint.pt"))
    cli.main()
