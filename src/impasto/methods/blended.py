"""Styles of several methods in one painting: each paints its own, and the results are blended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from impasto.errors import Stop
from impasto.methods.base import OnStep, Progress, Transfer
from impasto.mixing import Mix


@dataclass(frozen=True)
class BlendedTransfer(Transfer):
    """Blends what several transfers paint by the weights and masks of their styles."""

    transfers: Sequence[Transfer]
    styles: Sequence[Sequence[int]]
    """Of each transfer, the numbers of its styles."""

    def finish_fitting(self, content: Tensor, mix: Mix) -> None:
        """See `Transfer.finish_fitting`."""
        for transfer, numbers in zip(self.transfers, self.styles, strict=True):
            transfer.finish_fitting(content, mix.only(numbers))

    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """See `Transfer.__call__`; ends early, with the picture so far, on `Stop`."""
        shares = [mix.part(numbers) for numbers in self.styles]
        result, stopped = content, False

        def told(progress: Progress) -> None:
            """Tells of a step as if all transfers took as many."""
            nonlocal stopped
            before, share = result, shares[number]
            if on_step is None:
                return
            try:
                on_step(
                    replace(
                        progress,
                        step=number * progress.steps + progress.step,
                        steps=len(shares) * progress.steps,
                        image=lambda: before + share * (progress.image() - content),
                    )
                )
            except Stop:
                stopped = True
                raise

        for number, (numbers, transfer) in enumerate(zip(self.styles, self.transfers, strict=True)):
            if not stopped and shares[number].any():
                painted = transfer(content, mix.only(numbers), told)
                result = result + shares[number] * (painted - content)
        return result
