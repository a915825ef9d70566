"""``impasto``, with networks in the losses that are small enough for tests of whole processes.

``TINY_DIES=step:3`` kills the process in its third step, ``TINY_DIES=save:2`` while it writes its
second checkpoint.
"""

import os
import signal

import torch

from impasto import cli
from impasto.train import adain, styletr
from tests.helpers.networks import tiny_vgg


def dies(owner, name, number, applies=lambda *arguments: True):
    """Lets the call of that number of a function kill the process."""
    function, calls = getattr(owner, name), []

    def mortal(*arguments):
        calls.extend([None] * applies(*arguments))
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(owner, name, mortal)


if __name__ == "__main__":
    torch.set_num_threads(1)
    adain.load_encoder = styletr.load_encoder = lambda *_, **__: tiny_vgg()
    where, _, count = os.environ.get("TINY_DIES", "").partition(":")
    if where == "step":
        dies(adain.AdainTask, "losses", int(count))
    elif where == "save":
        dies(os, "replace", int(count), lambda _, to: str(to).endswith("checkpoint.pt"))
    cli.main()
