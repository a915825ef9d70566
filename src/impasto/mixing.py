"""Mix: how much of which style where. Strength, shares and masks of all styles, as one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from impasto.errors import ControlError
from impasto.images import resize
from impasto.tiling import Box

_SAME = 1e-5
"""Masks that differ by no more than this are the same."""


@dataclass(frozen=True)
class Region:
    """A part of the picture that takes one mixture of styles."""

    mask: Tensor | None
    """(1, 1, H, W) in [0, 1]; None = everywhere."""
    shares: dict[int, float]
    """Of the styles, by number; they sum to 1."""
    area: float
    """Its share of the picture."""


@dataclass(frozen=True)
class Mix:
    """How much of which of K styles goes where on a picture of H x W pixels."""

    weights: Tensor
    """(1 + K, H, W), or (1 + K, 1, 1) if no style has a mask: non-negative, summing to 1 at every
    pixel. Row 0 is "keep the photo", rows 1..K are the styles."""
    strength: float
    """The largest sum of styles at any pixel, 0..1."""

    @classmethod
    def of(
        cls,
        height: int,
        width: int,
        shares: Sequence[float],
        masks: Sequence[Tensor | None],
        strength: float = 1.0,
    ) -> Mix:
        """Mixes styles by their weights and masks.

        Masks that add up to more than 1 share the pixel in proportion to mask x share; where they
        add up to less, the photo keeps the rest. A mask of ones is no mask.

        Args:
            height, width: of the picture.
            shares: K non-negative numbers, not all 0: the weights of the styles.
            masks: K masks (H, W) in [0, 1], or None for everywhere.
            strength: 0..1.

        Raises:
            ControlError: the shares sum to zero, or no pixel has any of a style.
        """
        if sum(shares) <= 0:
            raise ControlError("the style weights sum to zero: give at least one a positive weight")
        if all(mask is None or bool((mask == 1).all()) for mask in masks):
            height, width, masks = 1, 1, [None] * len(masks)
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
        weights = torch.cat((1 - styles.sum(0, keepdim=True), styles)).clamp(0, 1)
        return cls(weights, float((1 - weights[0]).max()))

    @property
    def masked(self) -> bool:
        """Whether there is any mask; if not, one pixel's weights stand for all."""
        return self.weights.shape[-2:] != (1, 1)

    @property
    def photo(self) -> Tensor:
        """The photo's share, (H, W) or (1, 1)."""
        return self.weights[0]

    @property
    def styles(self) -> Tensor:
        """The styles' shares, (K, H, W) or (K, 1, 1)."""
        return self.weights[1:]

    def to(self, device: torch.device) -> Mix:
        """The same mix on a device."""
        return replace(self, weights=self.weights.to(device))

    def resized(self, height: int, width: int) -> Mix:
        """The same mix for the picture at another size."""
        if not self.masked or self.weights.shape[-2:] == (height, width):
            return self
        maps = resize(self.weights[None], height, width)[0]
        return replace(self, weights=maps / maps.sum(0))

    def inside(self, box: Box) -> Mix:
        """The same mix for a tile, with what is around it."""
        return replace(self, weights=box.outer(self.weights)) if self.masked else self

    def only(self, numbers: Sequence[int]) -> Mix:
        """Some of the styles, which take over the share of the others where any of them goes.

        Args:
            numbers: of the styles, from 0.
        """
        part = self.part(numbers)
        styles = self.styles[list(numbers)] / part.clamp_min(1e-12)
        photo = torch.where(part > 0, self.photo, 1.0)
        return replace(self, weights=torch.cat((photo[None], styles)))

    def part(self, numbers: Sequence[int]) -> Tensor:
        """What some of the styles have, together, of all that is painted, (H, W) or (1, 1)."""
        return self.styles[list(numbers)].sum(0) / (1 - self.photo).clamp_min(1e-12)

    def undiluted(self) -> Mix:
        """The same styles in the same proportions, as much of the photo wherever there is style as
        where there is most: for what is mixed with the photo only afterwards, along masks' edges.
        """
        if not self.masked:
            return self
        keep = 1 - self.strength
        styled = self.styles.sum(0, keepdim=True)
        styles = (1 - keep) * self.styles / styled.clamp_min(1e-12)
        weights = torch.cat((torch.where(styled > 0, keep, 1.0), styles * (styled > 0)))
        return replace(self, weights=weights)

    def regions(self) -> list[Region]:
        """The parts of the picture that take one mixture each, for those who do not blend but aim
        at the statistics of mixtures; none where there is no style. Styles of one mask are mixed.
        """
        peaks = self.styles.amax((1, 2))
        groups: list[tuple[Tensor, list[int]]] = []
        for number, peak in enumerate(peaks):
            if peak == 0:
                continue
            mask = self.styles[number] / peak
            for other, members in groups:
                if torch.allclose(mask, other, atol=_SAME):
                    members.append(number)
                    break
            else:
                groups.append((mask, [number]))
        regions = []
        for mask, members in groups:
            total = float(peaks[members].sum())
            everywhere = bool((mask > 1 - _SAME).all())
            regions.append(
                Region(
                    None if everywhere else mask[None, None],
                    {number: float(peaks[number]) / total for number in members},
                    float(mask.mean()) * total / self.strength,
                )
            )
        return regions


def blend(features: Tensor, weights: Tensor, maps: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """w0 f + sum_k wk transfer_k(f): all controls of all feed-forward methods.

    Args:
        features: f, (N, C, H, W).
        weights: (1 + K, H, W) or (1 + K, 1, 1), of a `Mix`.
        maps: transfer_k, K of them.
    """
    parts = [(weights[0], features)] if weights[0].any() else []
    for weight, transfer in zip(weights[1:], maps, strict=True):
        if weight.any():
            parts.append((weight, transfer(features)))
    if len(parts) == 1:
        return parts[0][1]
    return torch.stack([weight * part for weight, part in parts]).sum(0)
