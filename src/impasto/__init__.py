"""Impasto paints photographs in the style of any artwork.

>>> import impasto
>>> picture = impasto.stylize("photo.jpg", "painting.jpg", size=768)  # doctest: +SKIP

Names are loaded when they are first used, so that ``import impasto`` is fast.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto.controls import Controls, Style
    from impasto.errors import (
        ControlError,
        FilmError,
        ImageError,
        ImpastoError,
        OutputError,
        SetupError,
        Stop,
        TooLargeError,
        TrainingError,
        WeightsError,
    )
    from impasto.history import History
    from impasto.look import Look
    from impasto.methods import Progress
    from impasto.stylizer import Stylizer, stylize
    from impasto.textures import texture

__version__ = version("impasto")

_HOMES = {
    "ControlError": "errors",
    "FilmError": "errors",
    "Controls": "controls",
    "History": "history",
    "ImageError": "errors",
    "ImpastoError": "errors",
    "Look": "look",
    "OutputError": "errors",
    "SetupError": "errors",
    "Progress": "methods",
    "Stop": "errors",
    "Style": "controls",
    "Stylizer": "stylizer",
    "TooLargeError": "errors",
    "TrainingError": "errors",
    "WeightsError": "errors",
    "stylize": "stylizer",
    "texture": "textures",
}
__all__ = [
    "ControlError",
    "Controls",
    "FilmError",
    "History",
    "ImageError",
    "ImpastoError",
    "Look",
    "OutputError",
    "Progress",
    "SetupError",
    "Stop",
    "Style",
    "Stylizer",
    "TooLargeError",
    "TrainingError",
    "WeightsError",
    "stylize",
    "texture",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'impasto' has no attribute '{name}'")
    return getattr(import_module(f"impasto.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
