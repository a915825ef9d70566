"""What every method is: how it encodes styles, is fitted to a photo, and paints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from impasto.errors import ControlError
from impasto.gallery import TrainedLook
from impasto.mixing import Mix
from impasto.motion import Motion
from impasto.tiling import Box, Tiling


@dataclass(frozen=True)
class Progress:
    """How far a painting has come; what ``on_step`` is called with."""

    step: int
    """Number of steps done, from 1."""
    steps: int
    """Number of steps in all."""
    losses: Mapping[str, float]
    """The optimiser's weighted losses at this step, ``content``, ``style`` and ``tv``, and their
    sum, ``total``; empty for networks."""
    image: Callable[[], Tensor]
    """Returns the picture as it would be if painting stopped now, (1, 3, H, W), sRGB in [0, 1]."""
    fraction: float
    """How much of the work is done, 0..1; a step on a small picture is little of it."""


OnStep: TypeAlias = Callable[[Progress], None]
"""Function that is called after each step. It may raise `impasto.Stop` to end the painting early,
with the picture so far."""

PaintTile: TypeAlias = Callable[[Tensor, Mix, Box], Tensor]
"""Paints a tile with its halo, (1, 3, h, w), given the mix for it and the place that it has."""

Memory: TypeAlias = dict[str, Tensor]
"""What the next frame of a film needs of the one before, by name."""


@dataclass(frozen=True)
class Past:
    """What came before a frame of a film."""

    memory: Memory
    """What ``follow`` returned with the frame before."""
    motion: Motion
    """How the picture moved since then."""

    def to(self, device: torch.device) -> Past:
        """Returns the past on a device."""
        memory = {name: maps.to(device) for name, maps in self.memory.items()}
        return Past(memory, self.motion.to(device))


@dataclass(frozen=True)
class Footprint:
    """What a method needs for painting: how much memory, and whether it can paint in tiles."""

    bytes_per_pixel: int
    """Peak memory in bytes for each pixel of the result."""
    tiling: Tiling | None = None
    """How a picture can be painted tile by tile with the same result; None if it cannot."""
    style_area: int | None = None
    """Largest area, in pixels, that a style is measured at unless the user asks for another; None
    for the area of the result."""


class Transfer(ABC):
    """The fitted function that paints, which `Method.fit` returns.

    It is a dataclass of tensors and of dataclasses of them, so that a look can be saved (see
    `impasto.packing`).
    """

    def finish_fitting(self, content: Tensor, mix: Mix) -> None:  # noqa: B027 - most are finished
        """Fits what otherwise is fitted while the first photo is painted.

        Args:
            content: the photo to fit to, (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where, for this size.
        """

    def steps(self, content: Tensor) -> int:
        """Returns how many times `__call__` is going to call ``on_step``.

        Args:
            content: the photo (1, 3, H, W).
        """
        return 1

    @abstractmethod
    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """Paints a picture.

        Args:
            content: the photo (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where, for this size.
            on_step: called after each step with a `Progress`; methods that paint in one pass need
                not call it.

        Returns:
            (1, 3, H, W), sRGB in [0, 1]. Where the photo's share is 1, exactly the content.
        """

    def follow(
        self, content: Tensor, mix: Mix, past: Past | None, on_step: OnStep | None = None
    ) -> tuple[Tensor, Memory]:
        """Paints a frame of a film so that it goes on from the frame before.

        Args:
            content: the frame (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where on this frame.
            past: the frame before; None for the first frame of a shot.
            on_step: as of `__call__`.

        Returns:
            The painting (1, 3, H, W), sRGB in [0, 1], and what the next frame needs of it.
        """
        painted = self(content, mix, on_step)
        if past is not None:
            painted = past.motion.steadied(painted, past.memory["painted"])
        return painted, {"painted": painted}

    def tile_painter(self, content: Tensor, size: tuple[int, int]) -> PaintTile:
        """Returns the function that paints single tiles of a picture.

        Args:
            content: the whole photo (1, 3, H, W), sRGB in [0, 1], or the same photo at the size
                that `Method.seen_size` says.
            size: height and width of the whole photo.
        """
        return lambda tile, mix, _: self(tile, mix)

    def parts(self, content: Tensor, mix: Mix, boxes: Sequence[Box]) -> Iterator[Tensor]:
        """Paints a picture tile by tile.

        Args:
            content: the whole photo (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where on the whole photo.
            boxes: the tiles, from `Tiling.boxes`.

        Yields:
            Each tile painted with its halo, (1, 3, h, w).
        """
        paint = self.tile_painter(content, (content.shape[-2], content.shape[-1]))
        for box in boxes:
            yield paint(box.outer(content), mix.inside(box), box)


class Method(nn.Module, ABC):
    """Base of all ways to paint; a method holds networks and settings, but no data of pictures."""

    Config: ClassVar[type[Any]]
    """Class of the method's settings: a frozen dataclass of `impasto.settings.setting` fields."""

    config: Any
    """The method's settings, a ``Config``."""

    @property
    @abstractmethod
    def footprint(self) -> Footprint:
        """What the method needs for painting: memory for each pixel, and how it can be tiled."""

    def encode_style(self, style: Tensor | TrainedLook) -> Any:
        """Measures what the method has to know of a style, whatever the photo.

        Args:
            style: a picture (1, 3, h, w), sRGB in [0, 1], at the scale of its brush strokes; or
                a trained look, which only the method ``fast`` paints.

        Returns:
            What `fit` takes for this style: tensors, or dataclasses of them.
        """
        return style

    def seen_size(self, height: int, width: int) -> tuple[int, int] | None:
        """Returns the size at which a whole photo has to be seen before tiles of it are painted;
        None if tiles are all that is seen.

        Args:
            height: of the photo in pixels.
            width: of the photo in pixels.
        """
        return None

    @abstractmethod
    def fit(
        self, content: Tensor, styles: Sequence[Any], mix: Mix, *, seed: int = 0
    ) -> tuple[Transfer, Tensor | None]:
        """Measures everything about the photo and the styles that is not local.

        Args:
            content: the photo (1, 3, H, W), sRGB in [0, 1]. What a method with tiles measures of it
                serves pictures of any size.
            styles: what `encode_style` returned, for each of K styles.
            mix: how much of which style goes where.
            seed: seed of whatever is random in the painting.

        Returns:
            The fitted function that paints; and the photo painted by it, (1, 3, H, W), if that came
            about on the way, else None.
        """

    def weights_used(self, style: Any) -> dict[str, str]:
        """Returns name and sha256 of the weights that paint in a style.

        Args:
            style: what `encode_style` returned for it.
        """
        return {}


def picture_of(style: Tensor | TrainedLook, method: str) -> Tensor:
    """Returns the picture (1, 3, h, w) of a style that has to be one.

    Args:
        style: the picture, or a trained look.
        method: who needs the picture, for the message.

    Raises:
        ControlError: the style is a trained look.
    """
    if isinstance(style, TrainedLook):
        raise ControlError(
            f"'{style.source}' is a trained style, and {method} needs the picture of one"
        )
    return style
