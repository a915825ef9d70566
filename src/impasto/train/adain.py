"""Training of `impasto.methods.adain`: what its decoder, and a compact encoder, learn from."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from impasto import images, losses
from impasto.coarse_to_fine import noise, revised
from impasto.encoders import Encoder, load_encoder
from impasto.errors import ControlError
from impasto.methods.adain import Network, NetworkConfig, load_network
from impasto.methods.layers import adaptive_pool
from impasto.moments import Moments
from impasto.style import check_settings, setting
from impasto.train.loop import Run, Task

EncoderName = Literal["compact", "vgg16", "vgg19"]
StyleLoss = Literal["gram", "moments"]

_STYLE_LOSSES = {"gram": losses.gram_loss, "moments": losses.moments_loss}
RANGE_WEIGHT = 10.0
SIMILARITY_LAYERS = ("relu3_1", "relu4_1", "relu5_1")
"""Of VGG-16: layers by whose features places are compared."""
DISTRIBUTION_LAYERS = ("relu3_1", "relu4_1")
"""Of VGG-16: layers whose distributions are compared."""
_DIRECTIONS = 64
_PLACES = 16
"""Across, and down, at most."""
_TINY = 1e-6
_DRAFTS, _DETAIL = (0.5, 0.75), (0.25, 0.75)
"""Sizes of drafts, and shares of the photo in revisions, that training draws from."""


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
    content_weight: float = setting(0.03, "Weight of the content loss.", least=0)
    similarity_weight: float = setting(
        2.0,
        "Weight of how differently places resemble each other in the photo and in the result.",
        least=0,
    )
    style_weight: float = setting(1.0, "Weight of the style loss.", least=0)
    distribution_weight: float = setting(
        4.0, "Weight of the sliced Wasserstein distance of features from the style's.", least=0
    )
    identity_weight: float = setting(
        10.0, "Weight of the squared difference of a style and the network's copy of it.", least=0
    )
    tv_weight: float = setting(0.0, "Weight of the total variation.", least=0)
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

    def __init__(self, config: AdainTraining, run: Run, init: str | None = None) -> None:  # noqa: ARG002
        if init is None:
            sizes = _three("widths", config.widths), _three("blocks", config.blocks)
            self.network = Network(NetworkConfig(config.encoder, *sizes))
        else:
            self.network, _ = load_network(init)
            built = self.network.config  # holds, whatever the settings say
            sizes = {name: ",".join(map(str, getattr(built, name))) for name in ("widths", "blocks")}
            config = replace(config, encoder=cast(EncoderName, built.encoder), **sizes)
        self.config = config
        self.judge = load_encoder("vgg16", precision="auto")
        same = self.judge.name == self.network.encoder.name
        self.shared = self.network.taps if same else []
        """Layers whose features of styles serve the judge and the network."""
        self.style_layers = config.style_layers.split(",")
        self.coarse_layers = [tap for tap in config.coarse_style_layers.split(",") if tap]
        self.seen = [config.content_layer, *SIMILARITY_LAYERS]
        """Layers at which the result is compared with the photo."""
        self.judge.check([*self.style_layers, *self.coarse_layers, *self.seen])

    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """See `Task.losses`."""
        config = self.config
        with torch.no_grad():
            wanted = self.judge(halved(content), self.seen)
            theirs = self.judge(style, {*self.style_layers, *DISTRIBUTION_LAYERS, *self.shared})
            theirs_coarse = self.judge(halved(style), self.coarse_layers)
        prepare = partial(photo_and_revision, style, step) if config.revisions else None
        painted, given_back = network(
            content, style, prepare, {tap: theirs[tap] for tap in self.shared}
        )
        fine = self.judge(painted, {*self.style_layers, *DISTRIBUTION_LAYERS})
        coarse = self.judge(halved(painted), {*self.coarse_layers, *self.seen})
        times = len(painted) // len(content)
        wanted = {tap: torch.cat([its] * times) for tap, its in wanted.items()}
        layer = config.content_layer
        style_losses = [
            style_loss(config.style_loss, its[tap], Moments.of(targets[tap]))
            for its, targets, taps in (
                (fine, theirs, self.style_layers),
                (coarse, theirs_coarse, self.coarse_layers),
            )
            for tap in taps
        ]
        distribution = [
            sliced_wasserstein_loss(fine[tap], theirs[tap], step) for tap in DISTRIBUTION_LAYERS
        ]
        return {
            "content": config.content_weight * losses.structure_loss(coarse[layer], wanted[layer]),
            "similarity": config.similarity_weight * similarity(coarse, wanted),
            "style": config.style_weight * torch.stack(style_losses).mean(),
            "distribution": config.distribution_weight * torch.stack(distribution).mean(),
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


def _three(name: str, numbers: str) -> list[int]:
    """Three positive numbers, as text."""
    found = numbers.split(",")
    if len(found) != 3 or not all(part.isdecimal() and 0 < int(part) <= 512 for part in found):
        raise ControlError(f"{name} is '{numbers}': use three numbers, such as 32,64,128")
    return [int(part) for part in found]


def halved(image: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) at half of their size, where large strokes are seen."""
    return images.resize(image, image.shape[-2] // 2, image.shape[-1] // 2)


def similarity(features: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Mean of `losses.similarity_loss` at `SIMILARITY_LAYERS`, of not too many places."""
    pairs = ((_coarse(features[tap]), _coarse(wanted[tap])) for tap in SIMILARITY_LAYERS)
    return torch.stack([losses.similarity_loss(*pair) for pair in pairs]).mean()


def _coarse(features: Tensor) -> Tensor:
    """(N, C, H, W), with no more places than are compared."""
    height, width = features.shape[-2:]
    return adaptive_pool(features.float(), (min(height, _PLACES), min(width, _PLACES)))


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
        each = [None] if style is None else style.split(1)
        added = [noise(*photo.shape[-2:], one, chance.getrandbits(32)) for one in each]
        return (photo + torch.cat(added).to(photo)).clamp(0, 1)

    scale, detail = chance.choice(_DRAFTS), chance.uniform(*_DETAIL)
    small = images.resize(content, *(round(side * scale / 8) * 8 for side in content.shape[-2:]))
    with torch.no_grad():
        draft = paint(noisy(small)).clamp(0, 1)
    revision = revised(content, draft, small, detail)
    photo = noisy(content) if step % 2 else content
    return torch.cat((photo, revision)).contiguous(memory_format=torch.channels_last)


def sliced_wasserstein_loss(features: Tensor, target: Tensor, step: int) -> Tensor:
    """`losses.sliced_wasserstein_loss` of a batch's features (k N, C, H, W) from those of N styles,
    along other directions in every step.
    """
    generator = torch.Generator().manual_seed(step)
    directions = torch.randn(features.shape[1], _DIRECTIONS, generator=generator)
    directions = F.normalize(directions, dim=0).to(features.device)
    targets = torch.cat([target.float()] * (len(features) // len(target)))
    return losses.sliced_wasserstein_loss(features.float(), targets, directions)


def style_loss(kind: StyleLoss, features: Tensor, target: Moments) -> Tensor:
    """Distance of the statistics of a batch's features (k N, C, H, W) from those of N styles.

    Faint styles make for relative losses of any size, and would drown the others: hence log. Of
    the distance rather than its square: it does not lose interest in what is nearly right.
    """
    grouped = features.unflatten(0, (-1, len(target.weight)))
    distance = _STYLE_LOSSES[kind](Moments.of(grouped), target)
    return torch.log1p((distance + _TINY).sqrt()).mean()
