"""Optimisation of pixels by L-BFGS or Adam, kept within [0, 1] and carried from scale to scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.errors import ControlError

OptimizerName = Literal["lbfgs", "adam"]
Objective: TypeAlias = Callable[[Tensor], dict[str, Tensor]]
"""Called with a picture (1, 3, H, W); returns its weighted losses by name, and their sum as
``total``."""

_LEARNING_RATES = {"lbfgs": 1.0, "adam": 0.03}
_LBFGS_HISTORY = 10
_FIRST_STEP, _LONGEST_STEP = 0.01, 0.05
"""Length of steps of L-BFGS, as root mean square change of the pixels."""


class PixelOptimizer:
    """Optimises a picture's pixels, and keeps the running mean over the last steps.

    Args:
        optimizer: ``lbfgs`` or ``adam``.
        learning_rate: learning rate; None for 1 (L-BFGS) or 0.03 (Adam).
        avg_decay: decay of the running mean, 0..1; 0 for the last step alone.
    """

    def __init__(
        self, optimizer: OptimizerName, learning_rate: float | None, avg_decay: float
    ) -> None:
        self.name, self.avg_decay = optimizer, avg_decay
        self.rate = learning_rate or _LEARNING_RATES[optimizer]
        self.optimizer: torch.optim.Optimizer | None = None

    def set(self, image: Tensor) -> None:
        """Sets the picture (1, 3, H, W) to go on from; the optimiser's state is resized to it."""
        before = self.optimizer
        self.image = image.detach().clone().contiguous().requires_grad_()
        if self.name == "adam":
            self.optimizer = torch.optim.Adam([self.image], lr=self.rate, betas=(0.9, 0.99))
        else:
            # One iteration a call. The tolerances would end it early, at a scale of their own.
            self.optimizer = torch.optim.LBFGS(
                [self.image],
                lr=self.rate,
                max_iter=1,
                history_size=_LBFGS_HISTORY,
                tolerance_grad=0,
                tolerance_change=0,
            )
        if before is not None:
            _carry_state(before, self.optimizer)
        self._sum, self._weight = torch.zeros_like(image), 0.0

    @property
    def mean(self) -> Tensor:
        """The running mean over the last steps (1, 3, H, W), without bias to the first picture."""
        return self._sum / self._weight if self._weight else self.image.detach()

    def step(self, objective: Objective) -> dict[str, float]:
        """Takes one step of the optimiser.

        Args:
            objective: computes the losses; their ``total`` is minimised.

        Returns:
            The losses before the step, by name.

        Raises:
            ControlError: the loss is not finite.
        """
        values: dict[str, Tensor] = {}
        optimizer = self.optimizer
        assert optimizer is not None

        def closure() -> Tensor:
            optimizer.zero_grad()
            values.update(objective(self.image))
            # The losses are means. Times the number of values, a pixel's gradient is of the same
            # size at every scale, and nowhere near the optimisers' epsilons.
            total = values["total"] * self.image.numel()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        before = self.image.detach().clone()
        optimizer.step(closure)  # type: ignore[arg-type]  # torch's LBFGS wants the tensor
        with torch.no_grad():
            self._clip_step(before)
            decay = self.avg_decay
            self._sum = decay * self._sum + (1 - decay) * self.image
            self._weight = decay * self._weight + (1 - decay)
        numbers = {name: float(value.detach()) for name, value in values.items()}
        if not math.isfinite(numbers["total"]):
            raise ControlError("the optimisation diverged: use a smaller learning_rate")
        return numbers

    def _clip_step(self, before: Tensor) -> None:
        """Limits the step's length, keeps the pixels in [0, 1], and tells L-BFGS, which knows
        neither bounds nor a line search, of the step that was really made.
        """
        state = self.optimizer.state[self.image] if self.optimizer else {}
        if "old_stps" in state:
            # Its first step, along the gradient, has no scale; later ones may overshoot.
            longest = _FIRST_STEP if state["n_iter"] == 1 else _LONGEST_STEP
            step = self.image - before
            length = step.square().mean().sqrt()
            if length > longest or state["n_iter"] == 1:
                self.image.copy_(before + step * (longest / length.clamp_min(1e-30)))
        self.image.clamp_(0, 1)
        if "old_stps" in state:
            # The step that was really made is what the change of gradient belongs to.
            state["d"], state["t"] = (self.image - before).flatten(), 1.0


def _carry_state(before: torch.optim.Optimizer, after: torch.optim.Optimizer) -> None:
    """Resizes the optimiser's state, so that it need not learn the loss's shape anew."""
    (old,) = before.param_groups[0]["params"]
    (new,) = after.param_groups[0]["params"]
    state: dict[str, Any] = before.state[old]

    def resized(values: Tensor) -> Tensor:
        return F.interpolate(values.view(old.shape), new.shape[-2:], mode="bilinear")

    if isinstance(after, torch.optim.Adam):
        after.state[new] = {
            "step": state["step"],
            "exp_avg": resized(state["exp_avg"]),
            "exp_avg_sq": resized(state["exp_avg_sq"]),
        }
        return
    # L-BFGS: pairs of steps s and changes of gradient y. A step of length 0 stands for the change
    # of size: the optimiser makes no pair of it.
    pairs = [
        (resized(s).flatten(), resized(y).flatten())
        for s, y in zip(state.get("old_stps", ()), state.get("old_dirs", ()), strict=True)
    ]
    pairs = [(s, y) for s, y in pairs if s.dot(y) > 0]
    if not pairs:
        return
    s, y = pairs[-1]
    after.state[new] = {
        "n_iter": state["n_iter"],
        "func_evals": state["func_evals"],
        "d": torch.zeros_like(s),
        "t": 0.0,
        "old_stps": [s for s, _ in pairs],
        "old_dirs": [y for _, y in pairs],
        "ro": [1 / s.dot(y) for s, y in pairs],
        "H_diag": s.dot(y) / y.dot(y),
        "prev_flat_grad": torch.zeros_like(s),
        "prev_loss": state["prev_loss"],
    }
