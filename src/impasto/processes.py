"""Processes: PyTorch's threads do not survive a fork."""

from __future__ import annotations

import os

import torch

from impasto.errors import SetupError

_process_with_threads: int | None = None
"""The process whose threads have painted: this one, or the one that it was forked from."""


def check_not_forked() -> None:
    """Finds out whether this process can paint, instead of waiting for ever for threads that stayed
    behind in the process that it was forked from.

    Raises:
        SetupError: it was forked after its parent had painted with several threads.
    """
    global _process_with_threads  # noqa: PLW0603 - what fork copies is just what is to be known
    if torch.get_num_threads() == 1:
        return
    if _process_with_threads not in (None, os.getpid()):
        raise SetupError(
            "this process was forked after its parent had painted, and would wait for ever for the "
            "parent's threads: start processes with multiprocessing.get_context('spawn'), or call "
            "torch.set_num_threads(1) first"
        )
    _process_with_threads = os.getpid()
