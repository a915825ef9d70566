"""Training of `impasto.methods.styletr`: the decoder first, then the encoders along with it.

After Deng et al. 2022 (StyTr2, arXiv:2105.14576), with pretrained encoders; what differs from the
paper is in docs/notes/styletr.md.
"""

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
from impasto.train.adain import ArbitraryStyleTask
from impasto.train.perceptual import (
    RANGE_WEIGHT,
    SIMILARITY_LAYERS,
    StyleLoss,
    similarity_loss,
    style_loss,
)
from impasto.train.run import Run

Finetune = Literal["frozen", "lora", "scratch"]

_LORA_RANK = 64
"""Rank of the adapters (LoRA, Hu et al. 2021, arXiv:2106.09685)."""
MAX_SHARPNESS = 20.0
"""Sharpness of the attention is drawn from 0 to this."""
_DEEPEST = ("encoder.convs.2.", "encoder.block.", "laterals.1.", "blocks.2.", "ups.1.")
"""Parts of the convolutional path at the stride of the tokens, which are not taken over."""
_IDENTITY_EVERY = 8
"""One picture in so many of a batch, but at least one, is also painted in its own style."""


@dataclass(frozen=True)
class StyletrTraining:
    """Settings of the training of ``styletr``."""

    finetune: Finetune = setting(
        "lora",
        "How the pretrained encoders are trained: not at all (frozen), by low-rank adapters (lora) "
        "from finetune_start_step on, or from random weights (scratch).",
        get_args(Finetune),
    )
    finetune_start_step: int = setting(
        3000,
        "Step from which on the encoders are trained along with the decoder, with --finetune lora.",
        min=0,
    )
    path: str = setting(
        "adain.small",
        "Weights that the convolutional path starts from, by name or file: a network of the method "
        "adain with a compact encoder.",
    )
    content_layers: str = setting(
        "relu4_1,relu5_1",
        "Layers of VGG-16 at which the content loss compares painting and photo.",
    )
    style_layers: str = setting(
        "relu1_1,relu2_1,relu3_1,relu4_1,relu5_1",
        "Layers of VGG-16 at which the style loss compares painting and style.",
    )
    style_loss: StyleLoss = setting(
        "gram",
        "Statistics that the style loss compares: Gram matrices, or means and standard deviations "
        "(moments) as in the paper.",
        get_args(StyleLoss),
    )
    content_weight: float = setting(0.1, "Weight of the content loss.", min=0)
    similarity_weight: float = setting(
        8.0,
        "Weight of the similarity loss, which asks that positions that are alike in the photo stay "
        "alike in the painting.",
        min=0,
    )
    style_weight: float = setting(1.0, "Weight of the style loss.", min=0)
    identity_weight: float = setting(
        10.0,
        "Weight of the identity loss: the squared difference of a style picture and its "
        "reconstruction, and of a picture and its painting in its own style.",
        min=0,
    )
    feature_weight: float = setting(
        0.2,
        "Weight of the identity loss in features: the difference, at all layers, of a picture and "
        "its painting in its own style.",
        min=0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


class StyletrTask(ArbitraryStyleTask):
    """Trains a network of `impasto.networks.styletr`."""

    Config = StyletrTraining
    in_stages = True
    config: StyletrTraining
    network: StyletrNetwork

    def __init__(self, config: StyletrTraining, run: Run, init_from: str | None = None) -> None:
        super().__init__(config, run, init_from)
        self.network = _new(config) if init_from is None else _continued(config, init_from)
        self.loss_network = load_encoder("vgg16", precision="auto", padding="replicate")
        self.content_layers = layer_names(config.content_layers)
        self.style_layers = layer_names(config.style_layers)
        self.identity_layers = list(dict.fromkeys(self.content_layers + self.style_layers))
        self.layers = {*self.identity_layers, *SIMILARITY_LAYERS}
        self.loss_network.check(self.layers)

    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch; see `Task.losses`."""
        config, count = self.config, len(content)
        self.network.tuned.requires_grad_(
            config.finetune == "lora" and step >= config.finetune_start_step
        )
        # M pictures are also painted in their own style: all below are (N + M, 3, H, W).
        same = (style if step % 2 else content)[: -(-count // _IDENTITY_EVERY)]
        content, style = torch.cat((content, same)), torch.cat((style, same))
        sharpness, strength = (x.to(content) for x in random_controls(step, len(content)))
        painted, reconstruction = network(content, style, sharpness, strength)
        with torch.no_grad():
            photos = self.loss_network(content, self.layers)
            styles = self.loss_network(style[:count], self.style_layers)
        features = self.loss_network(painted, self.layers)
        content_losses = [
            losses.structure_loss(features[layer][:count], photos[layer][:count])
            for layer in self.content_layers
        ]
        similarity = similarity_loss(
            *({layer: x[layer][:count] for layer in SIMILARITY_LAYERS} for x in (features, photos))
        )
        style_losses = [
            style_loss(
                config.style_loss,
                features[layer][:count],
                moments_between(photos[layer][:count], target, strength[:count, 0, 0, 0]),
            )
            for layer, target in styles.items()
        ]
        identity_features = [
            losses.content_loss(features[layer][count:], photos[layer][count:])
            for layer in self.identity_layers
        ]
        identity = (reconstruction[:count] - style[:count]).square().mean()
        identity = identity + (painted[count:] - same).square().mean()
        return {
            "content": config.content_weight * torch.stack(content_losses).mean(),
            "similarity": config.similarity_weight * similarity,
            "style": config.style_weight * torch.stack(style_losses).mean(),
            "identity": config.identity_weight * identity,
            "features": config.feature_weight * torch.stack(identity_features).mean(),
            "range": RANGE_WEIGHT * losses.out_of_range(painted),
        }

    def usage(self, out: Path) -> str:
        """The command that paints with the weights file ``out``."""
        return f"impasto stylize PHOTO STYLE --method styletr --weights {out} -o OUT"


def random_controls(step: int, count: int) -> tuple[Tensor, Tensor]:
    """Draws a sharpness and a strength for each picture, so that the network learns all of them.

    Args:
        step: number of the step, which is the seed.
        count: number of pictures.

    Returns:
        Sharpness (count, 1, 1), from 0 to `MAX_SHARPNESS`; strength (count, 1, 1, 1), from 0 to 1,
        and 1 for one picture in two.
    """
    rng = random.Random(f"controls {step}")
    sharpness = [rng.uniform(0, MAX_SHARPNESS) for _ in range(count)]
    strength = [1.0 if rng.random() < 0.5 else rng.random() for _ in range(count)]
    return torch.tensor(sharpness)[:, None, None], torch.tensor(strength)[:, None, None, None]


def moments_between(content: Tensor, style: Tensor, strength: Tensor) -> Moments:
    """The moments that a painting of some strength should have: those of a mixture of all features
    of photo and style, in which the style's share is the strength.

    Args:
        content: features of N photos, (N, C, H, W).
        style: features of their styles, (N, C, h, w).
        strength: share of each style, (N,).
    """
    photo, painting = (Moments.of(features).normalised() for features in (content, style))
    return photo * (1 - strength) + painting * strength


def _new(config: StyletrTraining) -> StyletrNetwork:
    """The network that training begins with, if not with an earlier one."""
    path = load_network(config.path, AdainNetwork).network
    if path.config.encoder != "compact":
        raise ControlError(f"path '{config.path}' sees with {path.config.encoder}: use adain.small")
    rank = _LORA_RANK if config.finetune == "lora" else 0
    built = StyletrNetworkConfig(rank=rank, widths=path.config.widths, blocks=path.config.blocks)
    vit = ViT(depth=built.depth).requires_grad_() if config.finetune == "scratch" else None
    network = StyletrNetwork(built, vit)
    parameters = path.state_dict().items()
    taken_over = {name: value for name, value in parameters if not name.startswith(_DEEPEST)}
    network.path.load_state_dict(taken_over, strict=False)
    return network


def _continued(config: StyletrTraining, init_from: str) -> StyletrNetwork:
    """An earlier network, which gets adapters if it has none and they are to be trained."""
    if config.finetune == "scratch":
        raise ControlError("finetune scratch starts from nothing: leave out --init-from")
    earlier = load_network(init_from, StyletrNetwork).network
    if config.finetune == "frozen" or earlier.tuned:
        return earlier
    network = StyletrNetwork(replace(earlier.config, rank=_LORA_RANK), earlier.vit)
    network.load_state_dict(earlier.state_dict(), strict=False)
    return network
