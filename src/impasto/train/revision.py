"""Training to paint coarse to fine: networks are given what its levels are given."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from impasto.coarse_to_fine import Texture, noise, revised
from impasto.images import resize

_DRAFTS, _DETAIL = (0.5, 0.75), (0.25, 0.75)
"""Sizes of drafts, and shares of the photo in revisions, that training draws from."""


def photo_and_revision(
    style: Tensor | None, step: int, content: Tensor, paint: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a network is given when it learns to paint coarse to fine (`impasto.coarse_to_fine`).

    Args:
        style: pictures (N, 3, h, w); None where noise has no texture to take after.
        step: of the training; decides whatever is random.
        content: photos (N, 3, H, W), sides multiples of 8.
        paint: paints pictures of any size in these styles.

    Returns:
        (2 N, 3, H, W): the photos, in every second step with the noise of the first level; and
        what a later level gets, drafts enlarged with detail of the photos.
    """
    content = content.float()  # mixed precision hands over less
    chance = random.Random(f"revision {step}")

    def noisy(photo: Tensor) -> Tensor:
        """As the first level is given it."""
        height, width = photo.shape[-2:]
        each = [None] if style is None else [Texture.of(one[None]) for one in style]
        added = [noise(height, width, one, chance.getrandbits(32)) for one in each]
        return (photo + torch.cat(added).to(photo)).clamp(0, 1)

    scale, detail = chance.choice(_DRAFTS), chance.uniform(*_DETAIL)
    small = resize(content, *(round(side * scale / 8) * 8 for side in content.shape[-2:]))
    with torch.no_grad():
        draft = paint(noisy(small)).clamp(0, 1)
    revision = revised(content, draft, small, detail)
    photo = noisy(content) if step % 2 else content
    return torch.cat((photo, revision)).contiguous(memory_format=torch.channels_last)
