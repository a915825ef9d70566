"""Style and Controls: what the user asks for, and the one tensor that it compiles to.

Every field of `Controls` carries its sentence of help; command line, app and docs are made from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from impasto.errors import ControlError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from impasto.images import ImageLike

ColorMode = Literal["off", "luminance", "coral", "histogram"]

MIN_SIDE = 16
"""Shortest side, in pixels, of a picture that can be painted: deeper features need this much."""

MIN_TILE = 64
"""Smallest side of tiles: below that the halo is all of the work."""

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
}


def setting(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    *,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A dataclass field with the metadata that command line, app and docs are generated from.

    Numbers are from ``least`` on, and up to ``most`` if there is one.
    """
    metadata = {"help": help, "choices": choices, "least": least, "most": most}
    return field(default=default, metadata=metadata)


def check_settings(settings: Any) -> None:
    """Checks a dataclass of `setting` fields: types, choices, bounds, that numbers are finite.

    Raises:
        ControlError: naming the field and what it may be.
    """
    for knob in fields(settings):
        value, choices = getattr(settings, knob.name), knob.metadata.get("choices")
        named = [_TYPES[name] for name in str(knob.type).split(" | ") if name in _TYPES]
        kinds = [kind for several in named for kind in several]
        if kinds and value is not knob.default and type(value) not in kinds:
            raise ControlError(f"{knob.name} is {value!r}: use a value of type {knob.type}")
        if choices and value not in choices:
            raise ControlError(f"{knob.name} is '{value}': use {', '.join(choices)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ControlError(f"{knob.name} is {value}: use a finite number")
        least, most = knob.metadata.get("least"), knob.metadata.get("most")
        if least is None or value is None:
            continue
        if value < least or (most is not None and value > most):
            wanted = f"use at least {least}" if most is None else f"use {least} to {most}"
            raise ControlError(f"{knob.name} is {value}: {wanted}")


def replace_known(kind: type[Any], values: dict[str, Any]) -> Any:
    """``kind(**values)``, with a `ControlError` for names that it does not have."""
    known: tuple[Field[Any], ...] = fields(kind)
    unknown = sorted(set(values) - {knob.name for knob in known})
    if unknown:
        raise ControlError(
            f"unknown setting '{unknown[0]}': known are {', '.join(knob.name for knob in known)}"
        )
    return kind(**values)


@dataclass(frozen=True)
class Style:
    """What to take the look from, how much of it, and where."""

    source: ImageLike
    """A picture: path, PIL image, array or tensor; or the name of a trained style."""
    weight: float = 1.0
    """Share among the styles, non-negative; only the ratio to the others matters."""
    mask: ImageLike | None = None
    """Where on the photo: white = here, black = not; of the photo's size. None = everywhere."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ControlError(f"style weight is {self.weight}: use a number of 0 or more")


@dataclass(frozen=True)
class Controls:
    """The user's knobs, the same for every method."""

    strength: float = setting(
        1.0, "How much style: 0 is the photo itself, 1 the full style.", least=0, most=1
    )
    stroke_size: float = setting(
        1.0,
        "Size of the largest brush strokes, relative to the picture, for networks: 2 is twice the "
        "usual, 0.5 half; 0 paints in a single pass, with strokes of a few pixels.",
        least=0,
        most=4,
    )
    detail: float = setting(
        0.75,
        "How much of the photo's detail there is between the strokes, for networks: 0 is the "
        "boldest painting, 1 the most faithful.",
        least=0,
        most=1,
    )
    preserve_color: ColorMode = setting(
        "off",
        "Keep the photo's colours: paint its lightness only (luminance), or recolour the style "
        "with the photo's palette first, or what a trained style painted (coral, histogram).",
        get_args(ColorMode),
    )
    size: int | None = setting(
        None,
        "Longer side of the result in pixels; without it, the photo's own size.",
        least=MIN_SIDE,
    )
    style_size: int | None = setting(
        None,
        "Longer side, in pixels, that the style picture is scaled to before it is measured: the "
        "optimiser's strokes grow with it. Without it, as large an area as the result.",
        least=MIN_SIDE,
    )
    tile: str | int = setting(
        "auto",
        "Paint large pictures in tiles of so many pixels a side, with the same result; auto: when "
        "memory asks for it.",
    )
    seed: int = setting(
        0, "Seed of all randomness: same seed, same picture.", least=0, most=2**63 - 1
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.tile != "auto" and not (str(self.tile).isdecimal() and int(self.tile) >= MIN_TILE):
            raise ControlError(f"tile is {self.tile}: use auto, or at least {MIN_TILE} pixels")


def weight_maps(
    height: int,
    width: int,
    shares: Sequence[float],
    masks: Sequence[Tensor | None],
    strength: float = 1.0,
) -> Tensor:
    """All controls of "how much of which style where", as one tensor.

    Masks that add up to more than 1 share the pixel in proportion to mask x share; where they add
    up to less, the photo keeps the rest.

    Args:
        height, width: of the picture that is painted.
        shares: K non-negative numbers, not all 0: the weights of the styles.
        masks: K masks (H, W) in [0, 1], or None for everywhere.
        strength: 0..1.

    Returns:
        (1 + K, H, W), non-negative, summing to 1 at every pixel. Row 0 is "keep the photo", rows
        1..K are the styles.

    Raises:
        ControlError: the shares sum to zero, or no pixel has any style.
    """
    import torch

    if sum(shares) <= 0:
        raise ControlError("the style weights sum to zero: give at least one a positive weight")
    if all(mask is None for mask in masks):
        one = weight_maps(1, 1, shares, [torch.ones(1, 1)] * len(masks), strength)
        return one.expand(-1, height, width)  # takes no memory
    where = torch.stack(
        [torch.ones(height, width) if mask is None else mask.float().cpu() for mask in masks]
    )
    for number, (mask, share) in enumerate(zip(where, shares, strict=True), 1):
        if share > 0 and not mask.any():
            raise ControlError(
                f"the mask of style {number} is all black: paint white where it goes"
            )
    parts = [share / sum(shares) for share in shares]
    wanted = where * torch.tensor(parts, dtype=torch.float32).view(-1, 1, 1)
    total = wanted.sum(0)
    used = torch.tensor([share > 0 for share in shares]).view(-1, 1, 1)
    covered = torch.where(total > 0, (where * used).sum(0).clamp(max=1), 0.0)
    styles = wanted / total.clamp_min(1e-12) * covered * strength
    return torch.cat((1 - styles.sum(0, keepdim=True), styles)).clamp(0, 1)


def unmasked(weights: Tensor) -> bool:
    """Whether weights, of `weight_maps`, are the same at every pixel: one stands for all."""
    return weights.stride()[-2:] == (0, 0)


def scale_weights(weights: Tensor, height: int, width: int, device: torch.device) -> Tensor:
    """Weight maps (1 + K, H, W) of a picture that is painted at another size, on that device.

    Those that are the same everywhere go on taking no memory.
    """
    from impasto.images import resize

    if unmasked(weights):
        return weights[:, :1, :1].to(device).expand(-1, height, width)
    if weights.shape[-2:] != (height, width):
        maps = resize(weights[None], height, width)[0]
        weights = maps / maps.sum(0)
    return weights.to(device)


def undiluted(weights: Tensor, keep: float = 0.0) -> Tensor:
    """The same styles in the same proportions, the photo's share the same wherever there is style:
    what is to be mixed with the photo only afterwards.

    Args:
        weights: (1 + K, H, W), of `weight_maps`.
        keep: the photo's share, 0..1.
    """
    import torch

    styled = weights[1:].sum(0, keepdim=True)
    styles = (1 - keep) * weights[1:] / styled.clamp_min(1e-12)
    return torch.cat((torch.where(styled > 0, keep, 1.0), styles * (styled > 0)))
