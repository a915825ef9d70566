"""Training of `impasto.methods.adain`: what its decoder, and a compact encoder, learn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from impasto import losses
from impasto.encoders import Encoder, load_encoder
from impasto.methods.adain import Network, NetworkConfig, load_network
from impasto.moments import Moments
from impasto.style import check_settings, setting
from impasto.train.loop import Run, Task

EncoderName = Literal["compact", "vgg16", "vgg19"]
StyleLoss = Literal["gram", "moments"]

_STYLE_LOSSES = {"gram": losses.gram_loss, "moments": losses.moments_loss}
RANGE_WEIGHT = 10.0


@dataclass(frozen=True)
class AdainTraining:
    """Settings of the training of ``adain``."""

    encoder: EncoderName = setting(
        "compact",
        "Encoder of the network: compact is trained along, the others are frozen.",
        get_args(EncoderName),
    )
    width: int = setting(
        32, "Channels at half size; twice and four times as many further down.", least=8, most=256
    )
    content_layer: str = setting("relu4_1", "Layer of VGG-16 whose features the photo gives.")
    style_layers: str = setting(
        "relu1_1,relu2_1,relu3_1,relu4_1", "Layers of VGG-16 whose statistics the style gives."
    )
    style_loss: StyleLoss = setting(
        "gram",
        "Distance of statistics: Gram matrices, or means and deviations as in the paper.",
        get_args(StyleLoss),
    )
    content_weight: float = setting(0.15, "Weight of the content loss.", least=0)
    style_weight: float = setting(1.0, "Weight of the style loss.", least=0)
    identity_weight: float = setting(
        10.0, "Weight of the squared difference of a style and the network's copy of it.", least=0
    )
    tv_weight: float = setting(0.0, "Weight of the total variation.", least=0)

    def __post_init__(self) -> None:
        check_settings(self)


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

    def __init__(self, config: AdainTraining, run: Run, init: str | None = None) -> None:  # noqa: ARG002
        if init is None:
            widths = [config.width, 2 * config.width, 4 * config.width]
            self.network = Network(NetworkConfig(config.encoder, widths))
        else:
            self.network, _ = load_network(init)
            built = self.network.config  # holds, whatever the settings say
            encoder = cast(EncoderName, built.encoder)
            config = replace(config, encoder=encoder, width=built.widths[0])
        self.config = config
        self.judge = load_encoder("vgg16", precision="auto")
        self.style_layers = config.style_layers.split(",")
        self.judge.check([config.content_layer, *self.style_layers])

    def losses(
        self,
        network: nn.Module,
        content: Tensor,
        style: Tensor,
        step: int,  # noqa: ARG002 - nothing is random
    ) -> dict[str, Tensor]:
        """See `Task.losses`."""
        painted, given_back = network(content, style)
        layer, config = self.config.content_layer, self.config
        with torch.no_grad():
            wanted = self.judge(content, [layer])[layer]
            targets = self.judge(style, self.style_layers)
        features = self.judge(painted, {layer, *self.style_layers})
        style_losses = [
            style_loss(config.style_loss, features[tap], Moments.of(target))
            for tap, target in targets.items()
        ]
        return {
            "content": config.content_weight * losses.structure_loss(features[layer], wanted),
            "style": config.style_weight * torch.stack(style_losses).mean(),
            "identity": config.identity_weight * (given_back - style).square().mean(),
            "tv": config.tv_weight * losses.total_variation(painted),
            "range": RANGE_WEIGHT * losses.out_of_range(painted),
        }

    def usage(self, out: Path) -> str:
        """See `Task.usage`."""
        return f"impasto stylize PHOTO STYLE --weights {out} -o OUT"

    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """See `Task.tensors`; without the encoder, if it is frozen."""
        frozen = self.config.encoder != "compact"
        return {
            name: tensor
            for name, tensor in network.state_dict().items()
            if not (frozen and name.startswith("encoder."))
        }

    def metadata(self, network: nn.Module) -> dict[str, str]:
        """See `Task.metadata`."""
        assert isinstance(network, Network)
        return {
            "architecture": "adain",
            "config": json.dumps(asdict(network.config)),
            "encoder_sha256": network.encoder.sha256,
        }


def style_loss(kind: StyleLoss, features: Tensor, target: Moments) -> Tensor:
    """Distance of the statistics of a batch's features (N, C, H, W) from those of their styles.

    Faint styles make for relative losses of any size, and would drown the others: hence log.
    """
    distance = _STYLE_LOSSES[kind](Moments.of(features), target)
    return torch.log1p(distance).mean()
