"""Training of `impasto.methods.adain`: what its decoder, and a compact encoder, learn from."""

from __future__ import annotations

from collections.abc import Sequence
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
from impasto.networks.encoder import Encoder, layer_names
from impasto.networks.vgg import load_encoder
from impasto.settings import check_settings, setting
from impasto.train.loop import Run, Task
from impasto.train.perceptual import (
    DISTRIBUTION_LAYERS,
    RANGE_WEIGHT,
    SIMILARITY_LAYERS,
    StyleLoss,
    distribution_loss,
    halved,
    similarity_loss,
    style_loss,
)
from impasto.train.revision import photo_and_revision

EncoderName = Literal["compact", "vgg16", "vgg19"]


@dataclass(frozen=True)
class AdainTraining:
    """Settings of the training of ``adain``."""

    encoder: EncoderName = setting(
        "compact",
        "Encoder of the network: compact is trained along, the others are frozen.",
        get_args(EncoderName),
    )
    widths: str = setting(
        "32,64,128", "Channels of the decoder, and of the compact encoder, at strides 2, 4 and 8."
    )
    blocks: str = setting("1,1,3", "Residual blocks of the decoder at each of these.")
    content_layer: str = setting(
        "relu4_1", "Layer of VGG-16 whose features the photo gives, at half of its size."
    )
    style_layers: str = setting(
        "relu1_1,relu2_1,relu3_1,relu4_1", "Layers of VGG-16 whose statistics the style gives."
    )
    coarse_style_layers: str = setting(
        "relu2_1,relu3_1,relu4_1,relu5_1",
        "The same at half of the size, which is what large strokes are seen at.",
    )
    style_loss: StyleLoss = setting(
        "gram",
        "Distance of statistics: Gram matrices, or means and deviations as in the paper.",
        get_args(StyleLoss),
    )
    content_weight: float = setting(0.03, "Weight of the content loss.", min=0)
    similarity_weight: float = setting(
        2.0,
        "Weight of how differently places resemble each other in the photo and in the result.",
        min=0,
    )
    style_weight: float = setting(1.0, "Weight of the style loss.", min=0)
    distribution_weight: float = setting(
        4.0, "Weight of the sliced Wasserstein distance of features from the style's.", min=0
    )
    identity_weight: float = setting(
        10.0, "Weight of the squared difference of a style and the network's copy of it.", min=0
    )
    tv_weight: float = setting(0.0, "Weight of the total variation.", min=0)
    revisions: bool = setting(
        True,
        "Paint each photo twice: as it is, and as painting coarse to fine goes on from a draft.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        _three("widths", self.widths)
        _three("blocks", self.blocks)


class AnyStyleTask(Task):
    """A network that takes photos and styles, and returns paintings and the styles given back."""

    judge: Encoder
    """What losses compare the features of."""

    def prepare(self, photos: Sequence[Path], device: torch.device) -> None:  # noqa: ARG002
        """See `Task.prepare`."""
        self.judge.to(device)

    def paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """See `Task.paint`."""
        painted: Tensor = network(content, style)[0]
        return painted


class AdainTask(AnyStyleTask):
    """See `Task`."""

    Config = AdainTraining
    network: AdainNetwork

    def __init__(self, config: AdainTraining, run: Run, init: str | None = None) -> None:  # noqa: ARG002
        if init is None:
            widths, blocks = _three("widths", config.widths), _three("blocks", config.blocks)
            self.network = AdainNetwork(AdainNetworkConfig(config.encoder, widths, blocks))
        else:
            self.network = load_network(init, AdainNetwork).network
            built = self.network.config  # holds, whatever the settings say
            config = replace(
                config,
                encoder=cast(EncoderName, built.encoder),
                widths=",".join(map(str, built.widths)),
                blocks=",".join(map(str, built.blocks)),
            )
        self.config = config
        self.judge = load_encoder("vgg16", precision="auto")
        same = self.judge.name == self.network.encoder.name
        self.shared = self.network.taps if same else []
        """Layers whose features of styles serve the judge and the network."""
        self.style_layers = layer_names(config.style_layers)
        self.coarse_layers = layer_names(config.coarse_style_layers)
        self.seen = [config.content_layer, *(SIMILARITY_LAYERS if config.similarity_weight else ())]
        """Layers at which the result is compared with the photo."""
        self.distributed = DISTRIBUTION_LAYERS if config.distribution_weight else ()
        self.judge.check([*self.style_layers, *self.coarse_layers, *self.seen])

    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """See `Task.losses`."""
        config, layer = self.config, self.config.content_layer
        taps = {*self.style_layers, *self.distributed}
        with torch.no_grad():
            wanted = self.judge(halved(content), self.seen)
            theirs = self.judge(style, {*taps, *self.shared})
            theirs_coarse = self.judge(halved(style), self.coarse_layers)
        prepare = partial(photo_and_revision, style, step) if config.revisions else None
        encoded = {tap: theirs[tap] for tap in self.shared}
        painted, given_back = network(content, style, prepare, encoded)
        fine = self.judge(painted, taps)
        coarse = self.judge(halved(painted), {*self.coarse_layers, *self.seen})
        times = len(painted) // len(content)
        wanted = {tap: torch.cat([its] * times) for tap, its in wanted.items()}
        style_losses = [
            style_loss(config.style_loss, its[tap], Moments.of(targets[tap]))
            for its, targets, layers in (
                (fine, theirs, self.style_layers),
                (coarse, theirs_coarse, self.coarse_layers),
            )
            for tap in layers
        ]
        found = {
            "content": config.content_weight * losses.structure_loss(coarse[layer], wanted[layer]),
            "style": config.style_weight * torch.stack(style_losses).mean(),
            "identity": config.identity_weight * (given_back - style).square().mean(),
            "range": RANGE_WEIGHT * losses.out_of_range(painted),
        }
        if config.similarity_weight:
            found["similarity"] = config.similarity_weight * similarity_loss(coarse, wanted)
        if self.distributed:
            apart = [
                distribution_loss(fine[tap], torch.cat([theirs[tap]] * times), step)
                for tap in self.distributed
            ]
            found["distribution"] = config.distribution_weight * torch.stack(apart).mean()
        if config.tv_weight:
            found["tv"] = config.tv_weight * losses.total_variation(painted)
        return found

    def usage(self, out: Path) -> str:
        """See `Task.usage`."""
        return f"impasto stylize PHOTO STYLE --weights {out} -o OUT"


def _three(name: str, numbers: str) -> list[int]:
    """Three positive numbers, as text."""
    found = numbers.split(",")
    if len(found) != 3 or not all(part.isdecimal() and 0 < int(part) <= 512 for part in found):
        raise ControlError(f"{name} is '{numbers}': use three numbers, such as 32,64,128")
    return [int(part) for part in found]
