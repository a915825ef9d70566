"""Everything that can go wrong, as one tree.

    ImpastoError            base: catch this to catch all of ours
    ├── ImageError          a picture cannot be read or is unfit for painting
    ├── FilmError           a film cannot be read or holds nothing to paint
    ├── OutputError         a file cannot be written
    ├── ControlError        a control, a recipe or a layer name makes no sense (also a ValueError)
    ├── WeightsError        a weights file is missing, damaged or does not match
    ├── TooLargeError       the job does not fit into memory; the text names a size that does
    ├── SetupError          this machine lacks something: a device, a package, a free port
    └── TrainingError       a training cannot go on: it diverged, or one of its processes died

    Stop                    not an error: raised by an ``on_step`` callback to end a painting early

Every message is one line that names the thing at fault and what to do about it.
"""

from __future__ import annotations

import os

_FAILED_ALLOCATIONS = (
    "allocate memory",  # PyTorch's allocator, and the system
    "enough memory",
    "out of memory",
    "bad_alloc",  # C++
    "could not create a primitive",  # oneDNN, which says no more
    "could not create a memory",
)
"""In what libraries say when it is memory that they lack."""


class ImpastoError(Exception):
    """Base of all errors that the package raises on purpose."""


class ImageError(ImpastoError):
    """A picture cannot be read or is unfit for painting."""


class FilmError(ImpastoError):
    """A film cannot be read or holds nothing to paint."""


class OutputError(ImpastoError):
    """A file cannot be written: no folder, no permission, no space, unknown extension."""


class ControlError(ImpastoError, ValueError):
    """A setting is out of its range, unknown or contradicts another."""


class WeightsError(ImpastoError):
    """A weights file is missing, damaged, unknown or made for something else."""


class TooLargeError(ImpastoError):
    """The job needs more memory than there is; the text names a size that fits."""


class SetupError(ImpastoError):
    """This machine lacks what was asked for: a device, an optional package, a free port."""


class TrainingError(ImpastoError):
    """A training cannot go on: its losses are no longer finite, or one of its processes died."""


class Stop(Exception):  # noqa: N818 - a request, not an error
    """Raise it inside ``on_step`` to end a painting early; the picture so far is returned."""


def is_want_of_memory(error: BaseException) -> bool:
    """Whether an error of some library says that it is memory that lacks."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(part in text for part in _FAILED_ALLOCATIONS)


def reason(error: BaseException) -> str:
    """What went wrong, as one line."""
    if isinstance(error, ImpastoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{name}{error.strerror}"
    if is_want_of_memory(error):
        return "there is not enough memory for this; give a smaller size"
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def reason_with(path: str | os.PathLike[str], error: BaseException) -> str:
    """What went wrong with a file, as one line that names it once."""
    text = reason(error)
    return text if text.startswith(f"{os.fspath(path)}:") else f"{os.fspath(path)}: {text}"
