"""Mixing: strength, weights and masks of all styles as one value, a `Mix`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from impasto.errors import ControlError
from impasto.images import resize
from impasto.tiling import Box

_SAME = 1e-5
"""Masks that differ by no more than this are taken for the same."""


@dataclass(frozen=True)
class Region:
    """A part of the picture that is painted in one mixture of styles."""

    mask: Tensor | None
    """Where the region is, (1, 1, H, W) in [0, 1]; None for everywhere."""
    shares: dict[int, float]
    """The share of each style in the mixture, by the style's number; they sum to 1."""
    area: float
    """The region's share of the picture, 0..1."""


@dataclass(frozen=True)
class Mix:
    """How much of which of K styles goes where on a picture of H x W pixels."""

    weights: Tensor
    """The weight of the photo (row 0) and of each style (rows 1..K) at every pixel, (1 + K, H, W),
    or (1 + K, 1, 1) if no style has a mask. They are non-negative and sum to 1."""
    strength: float
    """The largest sum of the styles' weights at any pixel, 0..1."""

    @classmethod
    def of(
        cls,
        height: int,
        width: int,
        shares: Sequence[float],
        masks: Sequence[Tensor | None],
        strength: float = 1.0,
    ) -> Mix:
        """Makes the mix of styles with these weights and masks.

        Where masks add up to more than 1, styles share the pixel in proportion to mask x share;
        where they add up to less, the photo keeps the rest. A mask of ones is no mask.

        Args:
            height: height of the picture in pixels.
            width: width of the picture in pixels.
            shares: the weights of K styles, non-negative numbers, not all 0.
            masks: for each style a mask (H, W) in [0, 1], or None for everywhere.
            strength: how much of the styles there is, 0..1.

        Raises:
            ControlError: the shares sum to zero, or a style's mask is black everywhere.
        """
        if sum(shares) <= 0:
            raise ControlError("the style weights sum to zero: give at least one a positive weight")
        if all(mask is None or bool((mask == 1).all()) for mask in masks):
            height, width, masks = 1, 1, [None] * len(masks)
        stacked = torch.stack(
            [torch.ones(height, width) if mask is None else mask.float().cpu() for mask in masks]
        )  # (K, H, W), or (K, 1, 1)
        for number, (mask, share) in enumerate(zip(stacked, shares, strict=True), 1):
            if share > 0 and not mask.any():
                raise ControlError(
                    f"the mask of style {number} is all black: paint white where it goes"
                )
        parts = [share / sum(shares) for share in shares]
        weighted = stacked * torch.tensor(parts, dtype=torch.float32).view(-1, 1, 1)
        total = weighted.sum(0)
        used = torch.tensor([share > 0 for share in shares]).view(-1, 1, 1)
        covered = torch.where(total > 0, (stacked * used).sum(0).clamp(max=1), 0.0)
        styles = weighted / total.clamp_min(1e-12) * covered * strength
        weights = torch.cat((1 - styles.sum(0, keepdim=True), styles)).clamp(0, 1)
        return cls(weights, float((1 - weights[0]).max()))

    @property
    def masked(self) -> bool:
        """Whether any style has a mask; if not, one pixel's weights stand for all."""
        return self.weights.shape[-2:] != (1, 1)

    @property
    def photo(self) -> Tensor:
        """The photo's weights, (H, W) or (1, 1)."""
        return self.weights[0]

    @property
    def coverage(self) -> Tensor:
        """How far each pixel is inside of any mask, 0..1, (H, W) or (1, 1)."""
        return (1 - self.photo) / max(self.strength, 1e-12)

    @property
    def styles(self) -> Tensor:
        """The styles' weights, (K, H, W) or (K, 1, 1)."""
        return self.weights[1:]

    def to(self, device: torch.device) -> Mix:
        """Returns the mix with its weights on a device."""
        return replace(self, weights=self.weights.to(device))

    def resized(self, height: int, width: int) -> Mix:
        """Returns the mix for the picture at another height and width."""
        if not self.masked or self.weights.shape[-2:] == (height, width):
            return self
        maps = resize(self.weights[None], height, width)[0]
        return replace(self, weights=maps / maps.sum(0))

    def inside(self, box: Box) -> Mix:
        """Returns the mix for a tile of the picture with its halo."""
        return replace(self, weights=box.outer(self.weights)) if self.masked else self

    def only(self, numbers: Sequence[int]) -> Mix:
        """Returns the mix of some of the styles alone.

        Wherever any of these styles goes, they take over the weights of the others.

        Args:
            numbers: numbers of the styles, from 0.
        """
        part = self.part(numbers)
        styles = self.styles[list(numbers)] / part.clamp_min(1e-12)
        photo = torch.where(part > 0, self.photo, 1.0)
        return replace(self, weights=torch.cat((photo[None], styles)))

    def part(self, numbers: Sequence[int]) -> Tensor:
        """Returns the share that some of the styles together have in everything that is painted.

        Args:
            numbers: numbers of the styles, from 0.

        Returns:
            (H, W) or (1, 1), in [0, 1].
        """
        return self.styles[list(numbers)].sum(0) / (1 - self.photo).clamp_min(1e-12)

    def undiluted(self) -> Mix:
        """Returns the mix with hard edges: the photo's weight is the same wherever there is any
        style, namely the smallest that it has.

        It is for what is blended with the photo along the masks' soft edges only afterwards.
        """
        if not self.masked:
            return self
        keep = 1 - self.strength
        styled = self.styles.sum(0, keepdim=True)
        styles = (1 - keep) * self.styles / styled.clamp_min(1e-12)
        weights = torch.cat((torch.where(styled > 0, keep, 1.0), styles * (styled > 0)))
        return replace(self, weights=weights)

    def everywhere(self) -> Mix:
        """Returns the mix with styles at every pixel; where none goes, in the proportions that they
        have in the whole picture.

        It is for what is cut out along the masks only afterwards.
        """
        if not self.masked:
            return self
        total = self.styles.sum(0, keepdim=True)
        mean = self.styles.mean((1, 2), keepdim=True)  # (K, 1, 1)
        mean = mean / mean.sum() if mean.any() else torch.full_like(mean, 1 / len(mean))
        styles = torch.where(total > 0, self.styles / total.clamp_min(1e-12), mean) * self.strength
        photo = torch.full_like(total, 1 - self.strength)
        return replace(self, weights=torch.cat((photo, styles)))

    def regions(self) -> list[Region]:
        """Returns the regions of the picture that are painted in one mixture each.

        They are for methods that do not blend but aim at the statistics of mixtures. Styles with
        the same mask are mixed in one region; where there is no style, there is no region.
        """
        peaks = self.styles.amax((1, 2))  # (K,)
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
    """Blends features with what each style makes of them: w0 f + sum_k wk map_k(f).

    Args:
        features: features or pixels f, (N, C, H, W).
        weights: the weights w of a `Mix`, (1 + K, H, W) or (1 + K, 1, 1).
        maps: for each of K styles, the function that maps the features to its own.

    Returns:
        (N, C, H, W)
    """
    parts = [(weights[0], features)] if weights[0].any() else []
    for weight, to_style in zip(weights[1:], maps, strict=True):
        if weight.any():
            parts.append((weight, to_style(features)))
    if len(parts) == 1:
        return parts[0][1]
    return torch.stack([weight * part for weight, part in parts]).sum(0)
