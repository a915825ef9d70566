"""Lightning Fabric: starting the processes of a training, and what they have to agree about."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from lightning_fabric import Fabric
from torch import Tensor

from impasto.errors import (
    ControlError,
    ImageError,
    ImpastoError,
    SetupError,
    TooLargeError,
    TrainingError,
    is_want_of_memory,
)
from impasto.train.config import TrainConfig
from impasto.train.log import OnMessage

_LOST_PROCESS = ("connection closed by peer", "connection reset by peer", "nccl")
"""Parts of what the libraries between processes say when one of these is gone."""


def start_fabric(
    accelerator: str, devices: int, nodes: int, precision: Any, *, in_stages: bool
) -> Fabric:
    """Starts the processes of a training, one for each device.

    Args:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: number of devices of each machine.
        nodes: number of machines.
        precision: one of `impasto.train.config.TrainPrecision`.
        in_stages: whether some parameters are left out of some of the steps.

    Raises:
        ControlError: a number makes no sense.
        SetupError: there are no such devices.
    """
    if devices < 1 or nodes < 1:
        raise ControlError(f"devices is {devices}, nodes is {nodes}: use at least 1")
    several = devices * nodes > 1
    try:
        fabric = Fabric(
            accelerator=accelerator,
            strategy="ddp_find_unused_parameters_true" if several and in_stages else "auto",
            devices=devices,
            num_nodes=nodes,
            precision=precision,
        )
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SetupError(f"cannot train on {devices} x {accelerator}: {reason}") from error
    fabric.launch()
    return fabric


class Processes:
    """What the processes of a training tell each other; with a single one, all of it is trivial.

    Args:
        fabric: started.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.is_main: bool = fabric.is_global_zero

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process, so that all do the same at the same step."""
        if self.fabric.world_size == 1:
            return flag
        count: Any = self.fabric.all_reduce(
            torch.tensor(float(flag), device=self.fabric.device), reduce_op="sum"
        )
        return bool(count > 0)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean of each value over all processes."""
        mean: Any = self.fabric.all_reduce(torch.stack(tuple(values.values())), reduce_op="mean")
        return dict(zip(values, mean.tolist(), strict=True))

    def gather(self, messages: list[str]) -> list[str]:
        """The messages of all processes."""
        gathered: list[Any] = [messages]
        if self.fabric.world_size > 1:
            gathered = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(gathered, messages)
        return [message for messages in gathered for message in messages]

    def on_main(self, act: Callable[[], None]) -> None:
        """Lets the first process alone do something.

        Raises:
            ImpastoError: it failed, which ends all processes.
        """
        failure = None
        if self.is_main:
            try:
                act()
            except ImpastoError as error:
                failure = error
        if self.any(failure is not None):
            self.end(failure)

    def end(self, error: ImpastoError | None) -> NoReturn:
        """Ends the training in all processes, of which the first one says why."""
        if error is not None and self.is_main:
            raise error
        raise TrainingError("another process ended the training")

    def check_finite(self, values: Sequence[float]) -> None:
        """Ends the training if a value, the same in all processes, is no longer finite."""
        if not all(map(math.isfinite, values)):
            self.end(TrainingError("the training diverged: start again, with less learning_rate"))


@contextmanager
def quiet_libraries(on_message: OnMessage) -> Iterator[None]:
    """While open, a warning of a library is a single line, and its notices are left out.

    Args:
        on_message: is called with each warning, but for those to programmers.
    """

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not issubclass(category, (DeprecationWarning, FutureWarning)):
            on_message(f"note: {' '.join(str(message).split())}")

    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def clear_errors(config: TrainConfig) -> Iterator[None]:
    """While open, errors of libraries, and of the processes that read pictures, become our own.

    Raises:
        ImageError: no picture can be read.
        TooLargeError: there is not enough memory; the message names the settings to lower.
        TrainingError: another process died or ended the training.
    """
    try:
        yield
    except ImageError as error:  # in a reading process, with its traceback before the message
        raise ImageError(str(error).rpartition("ImageError: ")[-1].strip()) from error
    except (MemoryError, RuntimeError) as error:
        if is_want_of_memory(error):
            raise TooLargeError(
                "there is not enough memory for this training: lower batch_size (now "
                f"{config.batch_size}; gradient_accumulation makes up for it) or crop (now "
                f"{config.crop})"
            ) from error
        if "DataLoader worker" in str(error):
            raise TrainingError(
                "a process that reads pictures died, perhaps out of memory: use fewer workers"
            ) from error
        if any(part in str(error).lower() for part in _LOST_PROCESS):
            raise TrainingError("another process ended the training") from error
        raise
