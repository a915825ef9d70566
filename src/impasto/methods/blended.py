"""Styles of several methods in one painting: each paints its own, and the results are blended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from impasto.errors import Stop
from impasto.methods.base import Memory, OnStep, Past, Progress, Transfer
from impasto.mixing import Mix


@dataclass(frozen=True)
class BlendedTransfer(Transfer):
    """Blends what several transfers paint, by the weights and masks of their styles."""

    transfers: Sequence[Transfer]
    """The fitted functions that paint, one for each method."""
    styles: Sequence[Sequence[int]]
    """For each transfer, the numbers of the styles that it paints, from 0."""

    def finish_fitting(self, content: Tensor, mix: Mix) -> None:
        """Fits what otherwise is fitted while the first photo (1, 3, H, W) is painted."""
        for transfer, numbers in zip(self.transfers, self.styles, strict=True):
            transfer.finish_fitting(content, mix.only(numbers))

    def steps(self, content: Tensor) -> int:
        """Returns the number of steps of all transfers together."""
        return sum(transfer.steps(content) for transfer in self.transfers)

    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """Paints with one transfer after the other; see `Transfer.__call__` for the arguments.

        `impasto.Stop` raised in ``on_step`` ends the painting early, with the picture so far.
        """
        return self._blended(
            content, mix, on_step, lambda transfer, inside, step: transfer(content, inside, step)
        )

    def follow(
        self, content: Tensor, mix: Mix, past: Past | None, on_step: OnStep | None = None
    ) -> tuple[Tensor, Memory]:
        """Paints the next frame of a film with one transfer after the other; see
        `Transfer.follow`.
        """
        memory: Memory = {}

        def followed(transfer: Transfer, inside: Mix, step: OnStep) -> Tensor:
            prefix = f"{self.transfers.index(transfer)}."
            painted, kept = transfer.follow(content, inside, _own(past, prefix), step)
            memory.update({prefix + name: maps for name, maps in kept.items()})
            return painted

        return self._blended(content, mix, on_step, followed), memory

    def _blended(
        self,
        content: Tensor,
        mix: Mix,
        on_step: OnStep | None,
        paint: Callable[[Transfer, Mix, OnStep], Tensor],
    ) -> Tensor:
        """Blends what a function paints with each transfer, its part of the mix, and its steps."""
        parts = [
            (transfer, mix.only(numbers), share)
            for transfer, numbers in zip(self.transfers, self.styles, strict=True)
            if (share := mix.part(numbers)).any()
        ]
        done, steps = 0, sum(transfer.steps(content) for transfer, _, _ in parts)
        result, stopped = content, False

        for number, (transfer, inside, share) in enumerate(parts):

            def step(
                progress: Progress,
                before: Tensor = result,
                share: Tensor = share,
                number: int = number,
            ) -> None:
                """Passes progress on, counted over all transfers, with the blended picture."""
                nonlocal done, stopped
                done += 1
                if on_step is None:
                    return

                def image() -> Tensor:
                    return before + share * (progress.image() - content)

                fraction = (number + progress.fraction) / len(parts)
                try:
                    on_step(Progress(done, max(steps, done), progress.losses, image, fraction))
                except Stop:
                    stopped = True
                    raise

            painted = paint(transfer, inside, step)
            result = result + share * (painted - content)
            if stopped:
                break
        return result


def _own(past: Past | None, prefix: str) -> Past | None:
    """What a transfer remembers, under names that begin so; None if its styles had no weight in the
    frame before.
    """
    if past is None:
        return None
    memory = {
        name.removeprefix(prefix): maps
        for name, maps in past.memory.items()
        if name.startswith(prefix)
    }
    return replace(past, memory=memory) if memory else None
