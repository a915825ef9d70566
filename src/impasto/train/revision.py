"""Inputs for learning to paint coarse to fine: what a network is given at the different levels."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from impasto.coarse_to_fine import Texture, noise, revised
from impasto.images import resize

_DRAFT_SCALES = (0.5, 0.75)
"""Sizes of drafts, relative to the photo; one is drawn in every step."""
_DETAIL_RANGE = (0.25, 0.75)
"""The share of the photo's detail in a revision is drawn from this range."""


def photo_and_revision(
    style: Tensor | None, step: int, content: Tensor, paint: Callable[[Tensor], Tensor]
) -> Tensor:
    """Makes the inputs of a network that learns to paint coarse to fine: photos and revisions.

    `impasto.coarse_to_fine` paints a small draft first, and then revises it: the draft is enlarged,
    detail of the photo is added, and the network paints this once more.

    Args:
        style: style pictures (N, 3, h, w), whose texture the noise gets; None for plain noise.
        step: number of the step, which seeds whatever is random.
        content: photos (N, 3, H, W), with sides that are multiples of 8.
        paint: paints pictures (N, 3, h, w) of any size in these styles.

    Returns:
        (2 N, 3, H, W): first the photos, in every second step with the noise of the first level;
        then what a later level is given, drafts enlarged and with detail of the photos.
    """
    content = content.float()  # mixed precision hands over less
    rng = random.Random(f"revision {step}")

    def add_noise(photo: Tensor) -> Tensor:
        height, width = photo.shape[-2:]
        textures = [None] if style is None else [Texture.of(picture[None]) for picture in style]
        added = [noise(height, width, texture, rng.getrandbits(32)) for texture in textures]
        return (photo + torch.cat(added).to(photo)).clamp(0, 1)

    scale, detail = rng.choice(_DRAFT_SCALES), rng.uniform(*_DETAIL_RANGE)
    small = resize(content, *(round(side * scale / 8) * 8 for side in content.shape[-2:]))
    with torch.no_grad():
        draft = paint(add_noise(small)).clamp(0, 1)
    revision = revised(content, draft, small, detail)
    photo = add_noise(content) if step % 2 else content
    return torch.cat((photo, revision)).contiguous(memory_format=torch.channels_last)
