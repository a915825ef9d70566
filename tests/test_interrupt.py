"""Ctrl-C that lets work come to a good end."""

import signal
import sys

import pytest

from impasto.interrupt import interruptible


@pytest.fixture(autouse=True)
def handler():
    """Somebody else's, which must be there again afterwards."""

    def handle(number, frame):
        raise AssertionError("not to be called")

    before = signal.signal(signal.SIGINT, handle)
    yield handle
    signal.signal(signal.SIGINT, before)


def test_the_first_is_taken_down_and_the_second_breaks_off(handler):
    with interruptible() as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_wishes_that_it_should_end_are_taken_down(handler, name):
    number = getattr(signal, name)
    before = signal.signal(number, handler)
    try:
        with interruptible() as stop:
            signal.raise_signal(number)
            assert stop.is_set()
            signal.raise_signal(number)  # of a closed terminal it may come more than once
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_each_work_has_its_own(handler):
    with interruptible() as outer:
        with interruptible() as inner:
            signal.raise_signal(signal.SIGINT)
        assert inner.is_set()
        assert not outer.is_set()
        signal.raise_signal(signal.SIGINT)
        assert outer.is_set()
    assert signal.getsignal(signal.SIGINT) is handler


def test_errors_pass_and_leave_the_handler_as_it_was(handler):
    with pytest.raises(ZeroDivisionError), interruptible():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is handler
