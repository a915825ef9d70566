"""Teacher: a method that paints some photos before a training, for a network to learn from."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from impasto import images
from impasto.images import Picture
from impasto.methods import load_method
from impasto.mixing import Mix
from impasto.train.data import read_squares

SIDE, CROP = 256, 128
"""Side of the teacher's paintings, and of the crops that are learned from, in pixels."""


class TeacherExample(NamedTuple):
    """A photo, and how the teacher paints it."""

    photo: Tensor
    """(1, 3, 256, 256)."""
    painting: Tensor
    """(1, 3, 256, 256)."""
    style: int
    """Index of its style."""


def paint_examples(
    method: str,
    photos: Sequence[Path],
    styles: Sequence[Tensor],
    *,
    count: int,
    folder: Path,
    device: torch.device,
) -> list[TeacherExample]:
    """Lets a method paint photos, one in each of the styles in turn.

    Args:
        method: name of the teacher's method.
        photos: files to choose from; those that cannot be read are passed over.
        styles: style pictures (1, 3, h, w).
        count: number of photos to paint.
        folder: where the paintings are kept, so that a resumed run need not paint them again.
        device: where to paint, and where the examples are.

    Raises:
        OutputError: a painting cannot be written.
    """
    teacher = load_method(method).to(device)
    whole = Mix.of(SIDE, SIDE, [1], [None]).to(device)
    examples = []
    for number, square in enumerate(read_squares(photos, count, SIDE)):
        index = number % len(styles)
        key = square.numpy().tobytes() + styles[index].numpy().tobytes()
        path = folder / f"teacher-{hashlib.sha256(key).hexdigest()[:12]}.png"
        photo = square.to(device)
        if not path.exists():
            transfer, _ = teacher.fit(photo, [styles[index].to(device)], whole)
            images.write(path, Picture(transfer(photo, whole).cpu()))
        painting = images.read(path).pixels.to(device)
        examples.append(TeacherExample(photo, painting, index))
    return examples


def teacher_loss(network: nn.Module, examples: Sequence[TeacherExample], step: int) -> Tensor:
    """Mean absolute difference of a network's painting from a crop of one of the teacher's.

    Args:
        network: takes photos (N, 3, H, W) and indices of styles (N,).
        examples: at least one.
        step: number of the step, which seeds the choice.
    """
    rng = random.Random(f"lesson {step}")
    example = rng.choice(examples)
    top, left = (rng.randrange(SIDE - CROP + 1) for _ in range(2))
    crop = (..., slice(top, top + CROP), slice(left, left + CROP))
    index = torch.tensor([example.style], device=example.photo.device)
    painted = network(example.photo[crop], index)
    difference: Tensor = (painted - example.painting[crop]).abs().mean()
    return difference
