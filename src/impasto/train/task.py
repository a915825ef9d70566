"""Task: what is trained, and by which losses; there is one for each kind of network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from impasto.networks import Network
from impasto.networks.encoder import Encoder
from impasto.train.run import Run


class Task(ABC):
    """A network to train, and the losses that it learns from.

    Args:
        config: the task's own settings.
        run: where the photos and styles are.
        init_from: name or file of the weights of an earlier network to start from.
    """

    Config: ClassVar[type[Any]]
    """Class of the task's own settings: a frozen dataclass of `impasto.settings.setting` fields."""
    in_stages: ClassVar[bool] = False
    """Whether some parameters are left out of some of the steps."""

    config: Any
    network: Network
    """The network that is trained."""
    loss_network: Encoder
    """The network whose features the losses compare; it is never trained."""
    base_sha256: str = ""
    """The sha256 of the network this training was initialised from, by which networks that can be
    averaged recognise each other; "" if it starts from nothing."""
    styles: Sequence[Tensor] = ()
    """Pictures (1, 3, h, w) of the styles, for a network that is trained on a few fixed styles and
    knows each by its index. Batches then hold indices (N,) in place of style crops."""

    def __init__(self, config: Any, run: Run, init_from: str | None = None) -> None:
        self.config, self.run, self.init_from = config, run, init_from

    @abstractmethod
    def prepare(self, photos: Sequence[Path], device: torch.device) -> None:
        """Prepares the losses; the trainer calls it once, before the first step.

        Args:
            photos: the photos to train on, without those that are held out.
            device: where the training takes place.
        """

    @abstractmethod
    def paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """Paints photos for validation.

        Args:
            network: a network of the kind of `network`, such as its running average.
            content: photos (N, 3, H, W), sRGB in [0, 1].
            style: style pictures (N, 3, h, w), or indices (N,) into `styles`.

        Returns:
            Paintings (N, 3, H, W), not clipped.
        """

    @abstractmethod
    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Computes the weighted losses of a batch by name; training minimises their sum.

        Args:
            network: the network to train, perhaps wrapped for several devices.
            content: photos (N, 3, H, W), sRGB in [0, 1], with sides that are multiples of 8.
            style: style pictures (N, 3, h, w), or indices (N,) into `styles`.
            step: number of the step, from 0; it seeds whatever is random.
        """

    @abstractmethod
    def usage(self, out: Path) -> str:
        """The command that paints with the weights file ``out``."""
