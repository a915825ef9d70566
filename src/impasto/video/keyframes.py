"""Keyframes: weights of styles that change in the course of a film."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from impasto.errors import ControlError, reason_with

_HOW = "write lines such as '0: [1, 0]'"


@dataclass(frozen=True)
class Keyframes:
    """Weights of styles at some moments of a film; in between they change steadily.

    Before the first moment they are as there, and after the last one likewise.

    Raises:
        ControlError: a moment or its weights make no sense; the message names the moment.
    """

    weights: Mapping[float, Sequence[float]]
    """For each moment, in seconds from the beginning of the film, the weight of each style: numbers
    of 0 or more, not all 0."""

    def __post_init__(self) -> None:
        if not self.weights:
            raise ControlError(f"there are no keyframes: {_HOW}")
        for moment, weights in self.weights.items():
            if not _is_amount(moment):
                raise ControlError(
                    f"keyframe {moment!r}: its name is no time; use seconds from the beginning of "
                    "the film, such as 2.5"
                )
            if not isinstance(weights, Sequence) or isinstance(weights, str):
                raise ControlError(f"keyframe {moment}: use a list of weights such as [1, 0]")
            for weight in weights:
                if not _is_amount(weight):
                    raise ControlError(
                        f"keyframe {moment}: weight {weight!r}: use a number of 0 or more"
                    )
            if not any(weights):
                raise ControlError(
                    f"keyframe {moment}: the weights are all 0: give at least one a positive weight"
                )
        self.check_styles(len(next(iter(self.weights.values()))))

    def check_styles(self, count: int) -> None:
        """Checks that there are so many styles.

        Raises:
            ControlError: a keyframe has another number of weights; the message names it.
        """
        for moment, weights in self.weights.items():
            if len(weights) != count:
                raise ControlError(
                    f"keyframe {moment}: the number of its weights is {len(weights)}, not {count}: "
                    "use one weight for each style"
                )

    @property
    def mean(self) -> list[float]:
        """The mean weight of each style over all keyframes."""
        return [fmean(each) for each in zip(*self.weights.values(), strict=True)]

    def at(self, seconds: float) -> list[float]:
        """Returns the weight of each style at a moment of the film."""
        moments = sorted(self.weights)
        styles = zip(*(self.weights[moment] for moment in moments), strict=True)
        return [float(np.interp(seconds, moments, each)) for each in styles]


def read_keyframes(path: Path, styles: int) -> Keyframes:
    """Reads keyframes from a YAML file of lines such as ``2.5: [1, 0]``: seconds, and the weight of
    each style.

    Args:
        path: the file.
        styles: how many styles there are.

    Raises:
        ControlError: it cannot be read or makes no sense; the message names the file, the line or
            the keyframe, and what to write.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ControlError(reason_with(path, error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f"line {mark.line + 1}: "
        raise ControlError(f"{path}: {line}not YAML: {_HOW}") from error
    if not isinstance(values, dict):
        raise ControlError(f"{path}: holds no keyframes: {_HOW}")
    try:
        keyframes = Keyframes(values)
        keyframes.check_styles(styles)
    except ControlError as error:
        raise ControlError(f"{path}: {error}") from error
    return keyframes


def _is_amount(value: Any) -> bool:
    """Whether it is a number from 0 to what a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value) and value >= 0
    except OverflowError:
        return False
