"""Training of `impasto.methods.adain`: the decoder, the compact encoder, and their losses.

After Huang & Belongie 2017 (arXiv:1703.06868), with other losses; see docs/notes/training.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from impasto import losses
from impasto.errors import ControlError
from impasto.moments import Moments
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork, AdainNetworkConfig
from impasto.networks.encoder import layer_names
from impasto.networks.vgg import load_encoder
from impasto.settings import check_settings, setting
from impasto.train.perceptual import (
    DISTRIBUTION_LAYERS,
    RANGE_WEIGHT,
    SIMILARITY_LAYERS,
    StyleLoss,
    distribution_loss,
    half_size,
    similarity_loss,
    style_loss,
)
from impasto.train.revision import photo_and_revision
from impasto.train.run import Run
from impasto.train.task import Task

EncoderName = Literal["compact", "vgg16", "vgg19"]


@dataclass(frozen=True)
class AdainTraining:
    """Settings of the training of ``adain``."""

    encoder: EncoderName = setting(
        "compact",
        "Encoder of the network: compact is trained with the decoder, vgg16 and vgg19 are frozen.",
        get_args(EncoderName),
    )
    widths: str = setting(
        "32,64,128",
        "Channels of the decoder, and of the compact encoder, at strides 2, 4 and 8.",
    )
    blocks: str = setting("1,1,3", "Residual blocks of the decoder at strides 2, 4 and 8.")
    content_layer: str = setting(
        "relu4_1",
        "Layer of VGG-16 at which the content loss compares painting and photo, both at half size.",
    )
    style_layers: str = setting(
        "relu1_1,relu2_1,relu3_1,relu4_1",
        "Layers of VGG-16 at which the style loss compares painting and style at full size.",
    )
    coarse_style_layers: str = setting(
        "relu2_1,relu3_1,relu4_1,relu5_1",
        "Layers of VGG-16 at which the style loss compares painting and style at half size, where "
        "it sees large strokes.",
    )
    style_loss: StyleLoss = setting(
        "gram",
        "Statistics that the style loss compares: Gram matrices, or means and standard deviations "
        "(moments) as in the paper.",
        get_args(StyleLoss),
    )
    content_weight: float = setting(0.03, "Weight of the content loss.", min=0)
    similarity_weight: float = setting(
        2.0,
        "Weight of the similarity loss, which asks that positions that are alike in the photo stay "
        "alike in the painting.",
        min=0,
    )
    style_weight: float = setting(1.0, "Weight of the style loss.", min=0)
    distribution_weight: float = setting(
        4.0,
        "Weight of the distribution loss: the sliced Wasserstein distance of the painting's "
        "features from the style's.",
        min=0,
    )
    identity_weight: float = setting(
        10.0,
        "Weight of the identity loss: the squared difference of a style picture and the network's "
        "reconstruction of it.",
        min=0,
    )
    tv_weight: float = setting(0.0, "Weight of the total variation of the painting.", min=0)
    revisions: bool = setting(
        True,
        "Paint each photo twice in a step: once as it is, and once mixed with a draft of its "
        "painting, as happens when painting coarse to fine.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        _three_numbers("widths", self.widths)
        _three_numbers("blocks", self.blocks)


class ArbitraryStyleTask(Task):
    """A network that paints photos in any style, and reconstructs the style pictures."""

    def prepare(self, photos: Sequence[Path], device: torch.device) -> None:  # noqa: ARG002
        """Moves the loss network to the device."""
        self.loss_network.to(device)

    def paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """Paints photos (N, 3, H, W) in the styles of pictures (N, 3, h, w)."""
        painted: Tensor = network(content, style)[0]
        return painted


class AdainTask(ArbitraryStyleTask):
    """Trains a network of `impasto.networks.adain`."""

    Config = AdainTraining
    config: AdainTraining
    network: AdainNetwork

    def __init__(self, config: AdainTraining, run: Run, init_from: str | None = None) -> None:
        if init_from is None:
            widths, blocks = (
                _three_numbers(name, getattr(config, name)) for name in ("widths", "blocks")
            )
            self.network = AdainNetwork(AdainNetworkConfig(config.encoder, widths, blocks))
        else:
            self.network = load_network(init_from, AdainNetwork).network
            config = _agreeing(config, self.network.config)
        super().__init__(config, run, init_from)
        self.loss_network = load_encoder("vgg16", precision="auto", padding="replicate")
        same_encoder = self.loss_network.name == self.network.encoder.name
        self.shared_layers = self.network.taps if same_encoder else []
        """Layers of the loss network at which the network needs the styles' features as well."""
        self.style_layers = layer_names(config.style_layers)
        self.coarse_style_layers = layer_names(config.coarse_style_layers)
        similarity_layers = SIMILARITY_LAYERS if config.similarity_weight else ()
        self.content_layers = [config.content_layer, *similarity_layers]
        """Layers at which paintings are compared with photos, at half size."""
        self.distribution_layers = DISTRIBUTION_LAYERS if config.distribution_weight else ()
        self.loss_network.check(
            [*self.style_layers, *self.coarse_style_layers, *self.content_layers]
        )

    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch; see `Task.losses`."""
        config, layer = self.config, self.config.content_layer
        fine_layers = {*self.style_layers, *self.distribution_layers}
        coarse_layers = {*self.coarse_style_layers, *self.content_layers}
        with torch.no_grad():
            photos = self.loss_network(half_size(content), self.content_layers)
            styles = self.loss_network(style, {*fine_layers, *self.shared_layers})
            coarse_styles = self.loss_network(half_size(style), self.coarse_style_layers)
        prepare = partial(photo_and_revision, style, step) if config.revisions else None
        encoded = {tap: styles[tap] for tap in self.shared_layers}
        painted, reconstruction = network(content, style, prepare, encoded)
        # With revisions, k = 2 paintings of each photo: painted is (k N, 3, H, W), and what it is
        # compared with is repeated k times.
        repeats = len(painted) // len(content)
        photos = {tap: torch.cat([features] * repeats) for tap, features in photos.items()}
        fine = self.loss_network(painted, fine_layers)
        coarse = self.loss_network(half_size(painted), coarse_layers)
        style_losses = [
            *self._style_losses(self.style_layers, fine, styles),
            *self._style_losses(self.coarse_style_layers, coarse, coarse_styles),
        ]
        values = {
            "content": config.content_weight * losses.structure_loss(coarse[layer], photos[layer]),
            "style": config.style_weight * torch.stack(style_losses).mean(),
            "identity": config.identity_weight * (reconstruction - style).square().mean(),
            "range": RANGE_WEIGHT * losses.out_of_range(painted),
        }
        if config.similarity_weight:
            values["similarity"] = config.similarity_weight * similarity_loss(coarse, photos)
        if self.distribution_layers:
            distances = [
                distribution_loss(fine[tap], torch.cat([styles[tap]] * repeats), step)
                for tap in self.distribution_layers
            ]
            values["distribution"] = config.distribution_weight * torch.stack(distances).mean()
        if config.tv_weight:
            values["tv"] = config.tv_weight * losses.total_variation(painted)
        return values

    def _style_losses(
        self, layers: Sequence[str], features: Mapping[str, Tensor], target: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """The style loss at each layer, of features (k N, C, h, w) and those of N styles."""
        return [
            style_loss(self.config.style_loss, features[layer], Moments.of(target[layer]))
            for layer in layers
        ]

    def usage(self, out: Path) -> str:
        """The command that paints with the weights file ``out``."""
        return f"impasto stylize PHOTO STYLE --weights {out} -o OUT"


def _agreeing(config: AdainTraining, built: AdainNetworkConfig) -> AdainTraining:
    """The settings with those of the network that training starts from, which win."""
    return replace(
        config,
        encoder=cast(EncoderName, built.encoder),
        widths=",".join(map(str, built.widths)),
        blocks=",".join(map(str, built.blocks)),
    )


def _three_numbers(name: str, text: str) -> list[int]:
    """Three positive numbers, from text such as ``32,64,128``."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdecimal() and 0 < int(part) <= 512 for part in parts):
        raise ControlError(f"{name} is '{text}': use three numbers, such as 32,64,128")
    return [int(part) for part in parts]
