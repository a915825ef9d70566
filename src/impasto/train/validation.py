"""Validation: how well a network paints photos that it is never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from impasto.metrics import Judge
from impasto.networks.vgg import load_encoder
from impasto.train.data import cut_square, read_squares
from impasto.train.task import Task

_MAX_PAIRS = 24
"""How many pairs are painted at most."""
_SHEET_PAIRS = 6
"""How many of them are shown in the sheet of samples."""
_SIDE = 256
"""Side of the photos, and of styles whose crops the network is given, in pixels."""


class _Pair(NamedTuple):
    photo: Tensor
    """(1, 3, 256, 256)."""
    style: Tensor
    """The style as the network is given it: a picture (1, 3, 256, 256), or an index (1,)."""
    style_picture: Tensor
    """The style as a picture (1, 3, h, w)."""


class Validation:
    """Scores of a network on held-out photos and styles.

    Args:
        task: paints with the network.
        photos: held-out photos.
        styles: held-out style pictures; ignored if the task has styles of its own.
        device: where to paint.
        skipped: gets a message for each broken picture.
    """

    def __init__(
        self,
        task: Task,
        photos: Sequence[Path],
        styles: Sequence[Path],
        device: torch.device,
        skipped: list[str],
    ) -> None:
        self.task = task
        squares = read_squares(photos, _MAX_PAIRS, _SIDE, skipped)
        if task.styles:
            pairs = _in_each_style(squares, task.styles)
        else:
            pictures = read_squares(styles, _MAX_PAIRS, _SIDE, skipped)
            pairs = [
                _Pair(photo, picture, picture)
                for photo, picture in zip(squares, pictures, strict=False)
            ]
        self.pairs = [_Pair(*(part.to(device) for part in pair)) for pair in pairs]
        self.evaluator: Judge | None = None
        if self.pairs:
            self.evaluator = Judge(load_encoder("vgg19", precision="auto"))
            self.evaluator.encoder.to(device)
            self.evaluator.vit.to(device)

    @torch.no_grad()
    def _paint(self, network: nn.Module, pair: _Pair) -> Tensor:
        return self.task.paint(network, pair.photo, pair.style).clamp(0, 1)

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Mean content distance, style distance and score; empty if nothing was held out.

        Args:
            network: a network of the kind that the task trains.
        """
        if self.evaluator is None:
            return {}
        scores = [
            self.evaluator(self._paint(network, pair), pair.photo, pair.style_picture)
            for pair in self.pairs
        ]
        names = ("content", "style", "score")
        return {name: sum(getattr(s, name) for s in scores) / len(scores) for name in names}

    def sheet(self, network: nn.Module) -> Tensor:
        """A picture (1, 3, 768, W): photos in the first row, styles below, paintings below these.

        Args:
            network: a network of the kind that the task trains.
        """
        columns = [
            torch.cat(
                (pair.photo, cut_square(pair.style_picture, _SIDE), self._paint(network, pair)), -2
            )
            for pair in self.pairs[:_SHEET_PAIRS]
        ]
        return torch.cat(columns, -1).cpu()


def _in_each_style(squares: Sequence[Tensor], styles: Sequence[Tensor]) -> list[_Pair]:
    """Pairs of photos and styles, each of which is used at least once."""
    count = max(len(squares), len(styles)) if squares else 0
    return [
        _Pair(
            squares[number % len(squares)],
            torch.tensor([number % len(styles)]),
            styles[number % len(styles)],
        )
        for number in range(count)
    ]
