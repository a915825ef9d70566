"""What every method is: how it encodes styles, is fitted to a photo, and paints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

from impasto.errors import ControlError
from impasto.gallery import TrainedLook
from impasto.mixing import Mix
from impasto.tiling import Box, Tiling


@dataclass(frozen=True)
class Progress:
    """Where a painting stands."""

    step: int
    """Steps done, from 1."""
    steps: int
    """Steps in all."""
    losses: Mapping[str, float]
    """Of this step: ``content``, ``style``, ``tv`` (weighted) and their sum, ``total``."""
    image: Callable[[], Tensor]
    """Makes the picture as it would be if it stopped now, (1, 3, H, W)."""


OnStep: TypeAlias = Callable[[Progress], None]
"""Called after each step; may raise `impasto.errors.Stop` to end with the picture so far."""


@dataclass(frozen=True)
class Footprint:
    """What painting takes: memory, and whether it can be done piece by piece."""

    bytes_per_pixel: int
    """Memory at its peak, in bytes, for each pixel of the result."""
    tiling: Tiling | None = None
    """How a picture can be painted tile by tile, the result being the same; None if it cannot, as
    it is optimised as a whole."""
    style_area: int | None = None
    """Largest area, in pixels, that a style is measured at unless the user says otherwise; None for
    that of the result."""


class Transfer(ABC):
    """The fitted function that paints. A dataclass of tensors and of what is made of them, so that
    it can be saved (`impasto.packing`).
    """

    def finish_fitting(self, content: Tensor, mix: Mix) -> None:  # noqa: B027 - most are finished
        """Fits what is only fitted as the first photo is painted, to that one; see `__call__`."""

    @abstractmethod
    def __call__(self, content: Tensor, mix: Mix, on_step: OnStep | None = None) -> Tensor:
        """Paints.

        Args:
            content: (1, 3, H, W), sRGB in [0, 1].
            mix: how much of which style goes where, for this size.
            on_step: told of the progress.

        Returns:
            (1, 3, H, W), sRGB in [0, 1]. Where the photo's share is 1, exactly the content.
        """

    def parts(self, content: Tensor, mix: Mix, boxes: Sequence[Box]) -> Iterator[Tensor]:
        """Paints tile by tile, each as large as its outer box.

        Args:
            content, mix: of the whole picture, as above.
            boxes: of `Tiling.boxes`.
        """
        for box in boxes:
            yield self(box.outer(content), mix.inside(box))


class Method(nn.Module, ABC):
    """A way to paint. Made once; holds networks and settings, nothing about any picture."""

    Config: ClassVar[type[Any]]
    """The method's own settings: a frozen dataclass of `impasto.settings.setting` fields."""

    config: Any

    @property
    @abstractmethod
    def footprint(self) -> Footprint:
        """What painting takes."""

    def encode_style(self, style: Tensor | TrainedLook) -> Any:
        """Measures what the method has to know of a style, whatever the photo.

        Args:
            style: a picture (1, 3, h, w), sRGB in [0, 1], at the scale of its brush strokes; or
                the name of a trained look, which only ``fast`` paints.

        Returns:
            What `fit` takes: tensors, or a dataclass of them.
        """
        return style

    @abstractmethod
    def fit(
        self, content: Tensor, styles: Sequence[Any], mix: Mix, *, seed: int = 0
    ) -> tuple[Transfer, Tensor | None]:
        """Measures everything global.

        Args:
            content: (1, 3, H, W), sRGB in [0, 1]. What a method with tiles measures serves pictures
                of any other size.
            styles: K of them, of `encode_style`.
            mix: how much of which style goes where.
            seed: of whatever is random in the painting.

        Returns:
            What paints; and the content painted, if that came about on the way.
        """

    def weights_used(self, style: Any) -> dict[str, str]:  # noqa: ARG002
        """Name and sha256 of the weights that paint in a style, of `encode_style`."""
        return {}


def picture_of(style: Tensor | TrainedLook, method: str) -> Tensor:
    """A style that has to be a picture.

    Raises:
        ControlError: it is a trained look.
    """
    if isinstance(style, TrainedLook):
        raise ControlError(
            f"'{style.source}' is a trained style, and {method} needs the picture of one"
        )
    return style
