"""Training of `impasto.methods.styletr`: the decoder first, then the encoders along with it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from impasto import losses
from impasto.errors import ControlError
from impasto.moments import Moments
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork
from impasto.networks.encoder import layer_names
from impasto.networks.styletr import StyletrNetwork, StyletrNetworkConfig
from impasto.networks.vgg import load_encoder
from impasto.networks.vit import ViT
from impasto.settings import check_settings, setting
from impasto.train.adain import AnyStyleTask
from impasto.train.loop import Run
from impasto.train.perceptual import (
    RANGE_WEIGHT,
    SIMILARITY_LAYERS,
    StyleLoss,
    similarity_loss,
    style_loss,
)

Encoders = Literal["frozen", "lora", "scratch"]

_RANK, _SHARPEST = 64, 20.0
_DEEPEST = ("encoder.convs.2.", "encoder.block.", "laterals.1.", "blocks.2.", "ups.1.")
"""What works at the stride of the tokens, and has to be learned with them."""
_IDENTITY_EVERY = 8
"""Of a batch, one picture in so many is also painted in its own style; at least one."""


@dataclass(frozen=True)
class StyletrTraining:
    """Settings of the training of ``styletr``."""

    encoders: Encoders = setting(
        "lora",
        "The pretrained encoders: frozen; tuned by low-rank maps (lora) from a point on; or, "
        "without what they have learned, trained from scratch.",
        get_args(Encoders),
    )
    tune_from: int = setting(3000, "Step from which on encoders are tuned by low-rank maps.", min=0)
    path: str = setting(
        "adain.small",
        "The network of adain, with an encoder of its own, whose weights the convolutional path "
        "begins with, all but the deepest level.",
    )
    content_layers: str = setting(
        "relu4_1,relu5_1", "Layers of VGG-16 whose features the photo gives."
    )
    style_layers: str = setting(
        "relu1_1,relu2_1,relu3_1,relu4_1,relu5_1",
        "Layers of VGG-16 whose statistics the style gives.",
    )
    style_loss: StyleLoss = setting(
        "gram",
        "Distance of statistics: Gram matrices, or means and deviations as in the paper.",
        get_args(StyleLoss),
    )
    content_weight: float = setting(0.1, "Weight of the content loss.", min=0)
    similarity_weight: float = setting(
        8.0,
        "Weight of how differently places resemble each other in the photo and in the result.",
        min=0,
    )
    style_weight: float = setting(1.0, "Weight of the style loss.", min=0)
    identity_weight: float = setting(
        10.0,
        "Weight of the squared difference of pictures that should be given back: styles, and "
        "pictures in their own style.",
        min=0,
    )
    feature_weight: float = setting(
        0.2,
        "Weight of the difference, in the features of all layers, of pictures in their own style.",
        min=0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


class StyletrTask(AnyStyleTask):
    """See `Task`."""

    Config = StyletrTraining
    in_stages = True
    network: StyletrNetwork

    def __init__(self, config: StyletrTraining, run: Run, init: str | None = None) -> None:  # noqa: ARG002
        self.config = config
        self.network = _started(config) if init is None else _continued(config, init)
        self.judge = load_encoder("vgg16", precision="auto")
        self.content_layers = layer_names(config.content_layers)
        self.style_layers = layer_names(config.style_layers)
        self.layers = list(dict.fromkeys(self.content_layers + self.style_layers))
        self.taps = {*self.layers, *SIMILARITY_LAYERS}
        self.judge.check(self.taps)

    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """See `Task.losses`."""
        config, number = self.config, len(content)
        self.network.tuned.requires_grad_(config.encoders == "lora" and step >= config.tune_from)
        # Some pictures are also painted in their own style.
        same = (style if step % 2 else content)[: -(-number // _IDENTITY_EVERY)]
        content, style = torch.cat((content, same)), torch.cat((style, same))
        sharpness, strength = (x.to(content) for x in _drawn(step, len(content)))
        painted, given_back = network(content, style, sharpness, strength)
        with torch.no_grad():
            wanted = self.judge(content, self.taps)
            targets = self.judge(style[:number], self.style_layers)
        features = self.judge(painted, self.taps)
        content_losses = [
            losses.structure_loss(features[tap][:number], wanted[tap][:number])
            for tap in self.content_layers
        ]
        compared = [
            {tap: its[tap][:number] for tap in SIMILARITY_LAYERS} for its in (features, wanted)
        ]
        style_losses = [
            style_loss(
                config.style_loss,
                features[tap][:number],
                _between(wanted[tap][:number], target, strength[:number, 0, 0, 0]),
            )
            for tap, target in targets.items()
        ]
        itself = [
            losses.content_loss(features[tap][number:], wanted[tap][number:]) for tap in self.layers
        ]
        back = (given_back[:number] - style[:number]).square().mean()
        again = (painted[number:] - same).square().mean()
        return {
            "content": config.content_weight * torch.stack(content_losses).mean(),
            "similarity": config.similarity_weight * similarity_loss(*compared),
            "style": config.style_weight * torch.stack(style_losses).mean(),
            "identity": config.identity_weight * (back + again),
            "features": config.feature_weight * torch.stack(itself).mean(),
            "range": RANGE_WEIGHT * losses.out_of_range(painted),
        }

    def usage(self, out: Path) -> str:
        """See `Task.usage`."""
        return f"impasto stylize PHOTO STYLE --method styletr --weights {out} -o OUT"


def _drawn(step: int, number: int) -> tuple[Tensor, Tensor]:
    """Sharpness (number, 1, 1) and strength (number, 1, 1, 1) for each picture, so that the network
    learns to paint with any. One in two is painted with all of the style.
    """
    chance = random.Random(f"controls {step}")
    sharpness = [chance.uniform(0, _SHARPEST) for _ in range(number)]
    strength = [1.0 if chance.random() < 0.5 else chance.random() for _ in range(number)]
    return torch.tensor(sharpness)[:, None, None], torch.tensor(strength)[:, None, None, None]


def _between(content: Tensor, style: Tensor, strength: Tensor) -> Moments:
    """Statistics to aim at, from features (N, C, H, W) of photos and styles: those of both pictures
    together, the style's share being the strength (N,).
    """
    own, theirs = (Moments.of(features).normalised() for features in (content, style))
    return own * (1 - strength) + theirs * strength


def _started(config: StyletrTraining) -> StyletrNetwork:
    """The network that training begins with."""
    path = load_network(config.path, AdainNetwork).network
    if path.config.encoder != "compact":
        raise ControlError(f"path '{config.path}' sees with {path.config.encoder}: use adain.small")
    rank = _RANK if config.encoders == "lora" else 0
    built = StyletrNetworkConfig(rank=rank, widths=path.config.widths, blocks=path.config.blocks)
    vit = ViT(depth=built.depth).requires_grad_() if config.encoders == "scratch" else None
    network = StyletrNetwork(built, vit)
    parts = path.state_dict().items()
    kept = {name: part for name, part in parts if not name.startswith(_DEEPEST)}
    network.path.load_state_dict(kept, strict=False)
    return network


def _continued(config: StyletrTraining, init: str) -> StyletrNetwork:
    """An earlier network, its encoders made fit for tuning if that is asked."""
    if config.encoders == "scratch":
        raise ControlError("encoders from scratch start from nothing: leave out --init")
    earlier = load_network(init, StyletrNetwork).network
    if config.encoders == "frozen" or earlier.tuned:
        return earlier
    network = StyletrNetwork(replace(earlier.config, rank=_RANK), earlier.vit)
    network.load_state_dict(earlier.state_dict(), strict=False)
    return network
