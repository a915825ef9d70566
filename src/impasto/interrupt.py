"""Ctrl-C, and other wishes that work should end, that let what is done so far be kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WISHES = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no closed terminals
    if hasattr(signal, name)
]


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Returns a context in which the first Ctrl-C sets an event, and a second one raises
    `KeyboardInterrupt`. When the system shuts down or the terminal is closed, it is set too.

    Whoever works in it looks at the event, ends early, and keeps what is done so far.
    """
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    # What is ignored stays so: `nohup` is meant to outlive its terminal.
    before = {
        number: signal.signal(number, handle)
        for number in _WISHES
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
