"""What a training run is made of, whatever it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from impasto.errors import ControlError
from impasto.settings import check_settings, setting

TrainPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `impasto.train.loop.train`."""

    steps: int = setting(160_000, "Steps of the optimiser.", min=1)
    batch: int = setting(8, "Samples of a step on each device.", min=1)
    accumulate: int = setting(1, "Gradients of so many batches make one step.", min=1)
    crop: int = setting(256, "Side of the training crops in pixels, a multiple of 8.")
    resize_min: int = setting(512, "Before cropping, the shorter side is scaled to at least this,")
    resize_max: int = setting(512, "and at most this.")
    style_resize_min: int | None = setting(
        None, "The same for styles: the larger, the larger the strokes. Without it as photos,"
    )
    style_resize_max: int | None = setting(None, "and likewise.")
    learning_rate: float = setting(1e-4, "Adam's step, after warming up.")
    warmup: int = setting(100, "Steps over which it rises from 0.", min=0)
    decay: float = setting(
        0.5,
        "Share of the steps, at the end, over which it falls to a hundredth.",
        min=0,
        max=1,
    )
    clip: float = setting(1.0, "Longest gradient; longer ones are shortened.")
    ema: float = setting(0.999, "Decay of the running mean of the weights that is kept.")
    holdout: int = setting(
        100, "Pictures of each folder kept for validation, at most a fifth.", min=0
    )
    validate_every: int = setting(
        2000, "Steps between validations; each may become the result.", min=1
    )
    precision: TrainPrecision = setting(
        "bf16-mixed", "Arithmetic of the network.", get_args(TrainPrecision)
    )
    workers: int = setting(1, "Processes that read pictures.", min=0)
    seed: int = setting(0, "Seed of all randomness.", min=0)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.crop % 8 or self.crop < 32:
            raise ControlError(f"crop is {self.crop}: use a multiple of 8, at least 32")
        for what, (least, most) in {"": self.resize, "style_": self.style_resize}.items():
            if not self.crop <= least <= most:
                raise ControlError(f"use crop <= {what}resize_min <= {what}resize_max")
        if not (self.learning_rate > 0 and self.clip > 0):
            raise ControlError("learning_rate and clip must be more than 0")
        if not 0 <= self.ema < 1:
            raise ControlError(f"ema is {self.ema}: use at least 0 and less than 1")

    @property
    def resize(self) -> tuple[int, int]:
        """Least and greatest shorter side of photos, before cropping."""
        return self.resize_min, self.resize_max

    @property
    def style_resize(self) -> tuple[int, int]:
        """The same of styles."""
        return self.style_resize_min or self.resize_min, self.style_resize_max or self.resize_max

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0: linear warm-up, constant, linear decay."""
        left = (self.steps - step) / max(self.decay * self.steps, 1)
        return self.learning_rate * min((step + 1) / max(self.warmup, 1), 1, max(left, 0.01))
