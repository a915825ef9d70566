"""Batches on this machine: in this process, or in several beside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch

from impasto.batch.painter import Kit, Outcome, Painter
from impasto.batch.plan import Task
from impasto.errors import SetupError

_POLL_S = 0.2
"""How often it is looked whether to stop."""

_worker: tuple[Painter, Callable[[], bool]]
"""In a process that paints: what paints, and says whether to stop."""


def paint_here(
    kit: Kit, tasks: Sequence[Task], workers: int, stopped: Callable[[], bool]
) -> Iterator[Outcome]:
    """Paints on this machine.

    Args:
        kit: what to paint, and how.
        tasks: each photo's.
        workers: processes that paint; a single one is this process.
        stopped: whether to stop.

    Yields:
        What became of each painting, as it comes.

    Raises:
        WeightsError, SetupError: something is wrong whatever the photo, or no process starts.
    """
    if workers == 1:
        with _threads_kept():
            painter = Painter(kit)
            for task in tasks:
                yield from painter.outcomes(task, stopped)
        return
    left = deque(tasks)
    while left and not stopped():
        suspects = yield from _pooled(kit, left, workers, stopped)
        for task in suspects:  # one of them killed its process: alone, it can be told which
            if (yield from _pooled(kit, deque([task]), 1, stopped)):
                died = "its process was killed, perhaps for want of memory; give a smaller size"
                yield Outcome(task.photo, "", died, len(task.styles))


def _pooled(
    kit: Kit, left: deque[Task], workers: int, stopped: Callable[[], bool]
) -> Generator[Outcome, None, list[Task]]:
    """Paints in processes of their own. If one of these dies, so do the others; what they were
    working on is returned.
    """
    # Not forked: PyTorch's threads do not survive that.
    context = multiprocessing.get_context("spawn")
    stop, started = context.Event(), context.Event()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (kit, stop, started))
    running: dict[Future[list[Outcome]], Task] = {}
    try:
        while (left or running) and not stopped():
            while left and len(running) < 2 * workers:
                running[pool.submit(_work, left[0])] = left[0]
                left.popleft()
            for future in wait(running, _POLL_S, FIRST_COMPLETED).done:
                outcomes = future.result()
                del running[future]
                yield from outcomes
    except BrokenProcessPool as error:
        if not started.is_set():
            raise SetupError(
                "the processes that paint cannot be started; a program that starts them does so "
                'under `if __name__ == "__main__":`, and one process (workers 1) needs none'
            ) from error
        return list(running.values())
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return []


def _start_worker(kit: Kit, stop: Any, started: Any) -> None:
    """Makes a process ready to paint. Ctrl-C is for its parent, without which it ends."""
    global _worker  # noqa: PLW0603 - there is no other place that lasts from task to task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Painter(kit), stop.is_set
    started.set()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(task: Task) -> list[Outcome]:
    painter, stopped = _worker
    return list(painter.outcomes(task, stopped))


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Leaves the number of PyTorch's threads as it was."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
