"""Ctrl-C that lets work come to a good end."""

import signal

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
