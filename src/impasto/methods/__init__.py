"""Methods: the ways to paint. Each has a file of its own; `load_method` finds them by name.

A method measures whatever is global in `Method.fit` and hands back a `Transfer`, which paints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from impasto.color import Recolouring
from impasto.errors import ControlError
from impasto.style import replace_known
from impasto.tiling import Box, Tiling
from impasto.weights import architecture

__all__ = [
    "METHODS",
    "Method",
    "OnStep",
    "Progress",
    "TrainedStyle",
    "Transfer",
    "blend",
    "choose_method",
    "load_method",
    "method_class",
    "settings_of",
]

METHODS = {
    "adain": "any style in one pass of a network (Huang & Belongie 2017): seconds",
    "styletr": "any style, by attention to what fits each place (Deng et al. 2022): seconds",
    "fast": "a trained style in one pass of its own network (Johnson et al. 2016): seconds",
    "gatys": "optimisation of the pixels (Gatys et al. 2016): the best picture, in minutes",
}
"""Every method by name, with the line that `impasto methods` shows. The class of method ``x`` is
``X`` in ``impasto/methods/x.py``."""


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
class TrainedStyle:
    """A style that a network was trained for; see `impasto.gallery`."""

    source: str
    recolouring: Recolouring | None = None
    """There is no style picture to recolour: what was painted is."""


def blend(features: Tensor, weights: Tensor, maps: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """w0 f + sum_k wk transfer_k(f): all controls of all feed-forward methods.

    Args:
        features: f, (N, C, H, W).
        weights: (1 + K, H, W), summing to 1.
        maps: transfer_k, K of them.
    """
    parts = [(weights[0], features)] if weights[0].any() else []
    for weight, transfer in zip(weights[1:], maps, strict=True):
        if weight.any():
            parts.append((weight, transfer(features)))
    if len(parts) == 1:
        return parts[0][1]
    return torch.stack([weight * part for weight, part in parts]).sum(0)


class Transfer(ABC):
    """What `Method.fit` returns: the fitted function that paints."""

    @abstractmethod
    def __call__(self, content: Tensor, weights: Tensor, on_step: OnStep | None = None) -> Tensor:
        """Paints.

        Args:
            content: (1, 3, H, W), sRGB in [0, 1].
            weights: (1 + K, H, W) from `impasto.style.weight_maps`.
            on_step: told of the progress.

        Returns:
            (1, 3, H, W), sRGB in [0, 1]. Where row 0 of ``weights`` is 1, exactly the content.
        """

    def parts(self, content: Tensor, weights: Tensor, boxes: Sequence[Box]) -> Iterator[Tensor]:
        """Paints tile by tile, each as large as its outer box.

        Args:
            content, weights: of the whole picture, as above.
            boxes: of `Tiling.boxes`.
        """
        for box in boxes:
            yield self(box.outer(content), box.outer(weights))


class Method(nn.Module, ABC):
    """A way to paint. Made once; holds networks and settings, nothing about any picture."""

    Config: ClassVar[type[Any]]
    """The method's own settings: a frozen dataclass of `impasto.style.setting` fields."""

    config: Any

    @property
    def tiling(self) -> Tiling | None:
        """How transfers can be applied tile by tile, the result being the same; None if not."""
        return None

    trained: ClassVar[bool] = False
    """Whether its styles are trained ones, and not pictures."""

    style_area: int | None = None
    """Largest area, in pixels, at which a style is measured unless the user says otherwise."""

    def load(self, styles: Sequence[str], device: torch.device) -> None:
        """Makes the networks of trained styles ready, if these are what it paints.

        Raises:
            ControlError: there is no such look in a network.
            WeightsError: weights are missing or damaged.
        """

    def encode_style(self, style: Any) -> Any:
        """What the method has to know of a style, whatever the photo.

        Args:
            style: a picture (1, 3, h, w), sRGB in [0, 1], at the scale of its brush strokes; or
                a `TrainedStyle`, if the method is for these.
        """
        return style

    @abstractmethod
    def fit(
        self, content: Tensor, styles: Sequence[Any], weights: Tensor, *, seed: int = 0
    ) -> Transfer:
        """Measures everything global.

        Args:
            content: (1, 3, H, W), sRGB in [0, 1]. What a method with `tiling` measures serves
                pictures of any other size.
            styles: K of them, of `encode_style`.
            weights: (1 + K, H, W) from `impasto.style.weight_maps`: where each style goes.
            seed: of whatever is random in the painting.
        """

    @abstractmethod
    def bytes_per_pixel(self) -> int:
        """Memory that painting takes for each pixel of the result, in bytes, at its peak."""

    def weights_used(self, trained: Sequence[str] = ()) -> dict[str, str]:  # noqa: ARG002
        """Name and sha256 of the weights, for the recipe of a picture in these trained styles."""
        return {}


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        ControlError: there is no such method.
    """
    if name not in METHODS:
        raise ControlError(f"unknown method '{name}': use {', '.join(METHODS)}")
    found: type[Method] = getattr(import_module(f"impasto.methods.{name}"), name.capitalize())
    return found


def choose_method(name: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method that is meant, and its settings.

    Args:
        name: a method, ``auto`` for the first one that has all the settings, and whose weights they
            name if they do, or ``method.tag`` for trained weights of that name.
        settings: of the method.

    Raises:
        ControlError: there is no such method.
        WeightsError: there are no such weights.
    """
    if name == "auto":
        able = [n for n in METHODS if set(settings) <= set(settings_of(n))]
        if "weights" in settings:
            made_for = architecture(settings["weights"])
            able = [n for n in able if n == made_for] or able
        return (able or list(METHODS))[0], dict(settings)
    method, dot, tag = name.partition(".")
    if dot and method_class(method).trained:
        raise ControlError(f"method '{name}': name the style instead, '{tag}'")
    method_class(method)
    return method, {**settings, "weights": name} if dot else dict(settings)


def settings_of(name: str) -> list[str]:
    """Names of the settings of a method."""
    return [knob.name for knob in fields(method_class(name).Config)]


def load_method(name: str, **settings: Any) -> Method:
    """A method by name (see `choose_method`), with its own settings.

    Raises:
        ControlError: unknown method or setting.
        WeightsError: its weights are missing or damaged.
    """
    method, settings = choose_method(name, settings)
    kind = method_class(method)
    return kind(replace_known(kind.Config, settings))
