"""The command line, called in this process or in one of its own."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from impasto import cli


class Result(NamedTuple):
    code: int
    out: str
    err: str


def run(*arguments):
    """Runs ``impasto ...`` here, in the working folder."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["impasto", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as caught:
            cli.main()
    return Result(int(caught.value.code or 0), out.getvalue(), err.getvalue())


def refused(*arguments):
    """Runs a call that must fail: exit code 2, one line, and no new file in the working folder.
    Returns the line.
    """
    before = sorted(Path.cwd().rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("impasto: error: ")
    assert sorted(Path.cwd().rglob("*")) == before
    return err


def run_apart(*arguments, **options):
    """Runs ``impasto ...`` in a process of its own; the options are those of `subprocess.run`."""
    asked = command(*arguments)
    return subprocess.run(asked, capture_output=True, text=True, check=False, **options)


def command(*arguments):
    """The same for `subprocess.Popen`."""
    return [sys.executable, "-m", "impasto", *map(str, arguments)]


def run_on_terminal(*arguments):
    """Runs ``impasto ...`` with a pseudo-terminal as its stderr; returns exit code and stderr."""
    parent, child = os.openpty()
    environment = {**os.environ, "COLUMNS": "140", "TERM": "xterm"}
    with subprocess.Popen(command(*arguments), stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        try:
            while chunk := os.read(parent, 4096):
                shown += chunk
        except OSError:  # how Linux says that nobody is at the other end
            pass
    os.close(parent)
    return process.returncode, shown.decode()
