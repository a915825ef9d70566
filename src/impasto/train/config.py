"""Settings of a training, whatever network it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, get_args

from impasto.errors import ControlError
from impasto.settings import check_settings, setting

TrainPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]

_FORMER_NAMES = {
    "accumulate": "gradient_accumulation",
    "batch": "batch_size",
    "clip": "max_grad_norm",
    "decay": "lr_decay",
    "ema": "ema_decay",
    "encoders": "finetune",
    "holdout": "val_size",
    "init": "init_from",
    "tune_from": "finetune_start_step",
}
"""What settings were called in version 0.1, so that an old recipe is told the new name."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `impasto.train.trainer.Trainer`."""

    steps: int = setting(160_000, "Number of steps of the optimiser.", min=1)
    batch_size: int = setting(
        8, "Number of photos, each with a style, in a batch on each device.", min=1
    )
    gradient_accumulation: int = setting(
        1, "Number of batches whose gradients are averaged for one step of the optimiser.", min=1
    )
    crop: int = setting(256, "Side of the training crops in pixels, a multiple of 8.")
    resize_min: int = setting(
        512,
        "Smallest length of the picture's shorter side, in pixels, to resize to before cropping.",
    )
    resize_max: int = setting(
        512,
        "Largest length of the picture's shorter side, in pixels, to resize to before cropping.",
    )
    style_resize_min: int | None = setting(
        None,
        "Smallest length of a style picture's shorter side, in pixels, to resize to before "
        "cropping; larger styles teach larger strokes (default: the same as resize_min).",
    )
    style_resize_max: int | None = setting(
        None,
        "Largest length of a style picture's shorter side, in pixels, to resize to before "
        "cropping (default: the same as resize_max).",
    )
    learning_rate: float = setting(1e-4, "Learning rate of Adam after the warm-up.")
    warmup: int = setting(
        100, "Number of steps at the start over which the learning rate rises from 0.", min=0
    )
    lr_decay: float = setting(
        0.5,
        "Fraction of the steps, at the end, over which the learning rate falls to a hundredth.",
        min=0,
        max=1,
    )
    max_grad_norm: float = setting(
        1.0, "Largest norm of the gradient; a larger gradient is scaled down to it."
    )
    ema_decay: float = setting(
        0.999,
        "Decay of the exponential moving average of the weights, which is validated and saved; "
        "with 0 these are the latest weights.",
    )
    val_size: int = setting(
        100,
        "Number of pictures in each folder to hold out for validation, at most a fifth of them.",
        min=0,
    )
    validate_every: int = setting(
        2000,
        "Number of steps between validations; the weights with the best score are saved.",
        min=1,
    )
    precision: TrainPrecision = setting(
        "bf16-mixed",
        "Arithmetic of the training: 32-true is float32 alone; bf16-mixed and 16-mixed use "
        "bfloat16 or float16 where that is safe.",
        get_args(TrainPrecision),
    )
    workers: int = setting(
        1, "Number of processes that read pictures; with 0 the training itself reads them.", min=0
    )
    seed: int = setting(0, "Seed of all randomness: same seed, same training.", min=0)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.crop % 8 or self.crop < 32:
            raise ControlError(f"crop is {self.crop}: use a multiple of 8, at least 32")
        for prefix, (low, high) in {"": self.resize, "style_": self.style_resize}.items():
            if not self.crop <= low <= high:
                raise ControlError(
                    f"use crop <= {prefix}resize_min <= {prefix}resize_max; "
                    f"they are {self.crop}, {low} and {high}"
                )
        if not (self.learning_rate > 0 and self.max_grad_norm > 0):
            raise ControlError("learning_rate and max_grad_norm must be more than 0")
        if not 0 <= self.ema_decay < 1:
            raise ControlError(f"ema_decay is {self.ema_decay}: use at least 0 and less than 1")

    @property
    def resize(self) -> tuple[int, int]:
        """The shortest and the longest length that a photo's shorter side is resized to."""
        return self.resize_min, self.resize_max

    @property
    def style_resize(self) -> tuple[int, int]:
        """The shortest and the longest length that a style picture's shorter side is resized to."""
        return self.style_resize_min or self.resize_min, self.style_resize_max or self.resize_max

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, constant, linear decay."""
        remaining = (self.steps - step) / max(self.lr_decay * self.steps, 1)
        warmed_up = (step + 1) / max(self.warmup, 1)
        return self.learning_rate * min(warmed_up, 1, max(remaining, 0.01))


def split_settings(values: Mapping[str, Any], kind: type[Any]) -> tuple[TrainConfig, Any]:
    """Makes the settings of a training, and those of its task, from the values of one recipe.

    Args:
        values: settings by name.
        kind: the dataclass of the task's settings, `impasto.train.task.Task.Config`.

    Raises:
        ControlError: a name is unknown, or a value is not allowed.
    """
    common, own = ([field.name for field in fields(config)] for config in (TrainConfig, kind))
    known = ["init_from", *own, *common]
    for name in values:
        if name not in own and name not in common:
            former = [new for new in [_FORMER_NAMES.get(name)] if new in known]
            near = former or get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ControlError(f"unknown setting '{name}': {hint}")
    return (
        TrainConfig(**{name: value for name, value in values.items() if name in common}),
        kind(**{name: value for name, value in values.items() if name in own}),
    )
