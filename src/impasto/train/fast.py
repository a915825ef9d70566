"""Training of `impasto.methods.fast`: one network for one painting, or for a folder of them.

After Johnson, Alahi & Fei-Fei 2016 (arXiv:1603.08155); several styles share a network as in
Dumoulin et al. 2017 (arXiv:1610.07629).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from impasto import images, losses
from impasto.encoding import style_size
from impasto.errors import ControlError, ImageError
from impasto.networks import load_network
from impasto.networks.encoder import layer_names
from impasto.networks.transform import TransformNetwork, TransformNetworkConfig, Upsampling
from impasto.networks.vgg import load_encoder
from impasto.settings import check_settings, setting
from impasto.train.data import read_squares
from impasto.train.perceptual import (
    DISTRIBUTION_LAYERS,
    RANGE_WEIGHT,
    distribution_loss,
    mean_log_distance,
)
from impasto.train.revision import photo_and_revision
from impasto.train.run import Run
from impasto.train.task import Task
from impasto.train.teacher import TeacherExample, paint_examples, teacher_loss

LossNetwork = Literal["vgg16", "vgg19"]
LossScale = Literal["relative", "255", "1"]
Teacher = Literal["none", "gatys"]

_MAX_STYLE_AREA = 512 * 512
_MIN_STYLE_SIDE = 32
_STYLE_POSITIONS = 8192
"""Number of positions of a style at which its features are kept for the distribution loss."""
_TRIED_PHOTOS, _TRIED_SIDE = 4, 128
"""Photos, and their side in pixels, that an earlier network's styles are compared on."""
_PIXEL_SCALES = {"255": 255.0, "1": 1 / 0.226}
"""Scale of the pixels that the papers' weights are for, relative to pixels in [0, 1]: pixels in
0..255, which is what our VGG, Oxford's, sees; or pixels in 0..1 divided by ImageNet's standard
deviation, which is 0.226 in the mean. Features grow nearly in proportion to the pixels. Content
loss and total variation are squares of these, and grow with the square of the scale; style losses
are squares of products, and grow with its power of 4."""


@dataclass(frozen=True)
class FastTraining:
    """Settings of the training of ``fast``."""

    width: int = setting(
        24,
        "Channels of the network at full size; it has twice as many at half the size, and four "
        "times as many at a quarter.",
        min=4,
        max=256,
    )
    residuals: int = setting(5, "Residual blocks of the network.", min=0, max=32)
    upsampling: Upsampling = setting(
        "nearest",
        "Upsampling in the network: nearest neighbours followed by a convolution, with a linear "
        "output; or transposed convolutions with tanh as in the paper, which leave checkerboards.",
        get_args(Upsampling),
    )
    loss_network: LossNetwork = setting(
        "vgg16", "Network whose features the losses compare.", get_args(LossNetwork)
    )
    content_layer: str = setting("relu4_1", "Layer of the loss network for the content loss.")
    style_layers: str = setting(
        "relu1_2,relu2_2,relu3_3,relu4_3",
        "Layers of the loss network for the style loss, which compares Gram matrices.",
    )
    loss_scale: LossScale = setting(
        "relative",
        "Which scale of losses the weights are meant for: relative to their targets, which suits "
        "any style; or absolute as in the papers, for pixels in 0..255 or 0..1.",
        get_args(LossScale),
    )
    content_weight: float = setting(0.2, "Weight of the content loss.", min=0)
    style_weight: float = setting(1.0, "Weight of the style loss.", min=0)
    distribution_weight: float = setting(
        0.0,
        "Weight of the distribution loss: the sliced Wasserstein distance of the painting's "
        "features from the style's.",
        min=0,
    )
    tv_weight: float = setting(0.0, "Weight of the total variation of the painting.", min=0)
    revisions: bool = setting(
        False,
        "Paint each photo twice in a step: once as it is, and once mixed with a draft of its "
        "painting, as happens when painting coarse to fine.",
    )
    teacher: Teacher = setting(
        "none",
        "Method that paints some photos before the training begins; the network then learns from "
        "these paintings as well.",
        get_args(Teacher),
    )
    teacher_pictures: int = setting(4, "Number of photos that the teacher paints.", min=1)
    teacher_weight: float = setting(
        1.0, "Weight of the mean pixel difference from the teacher's paintings.", min=0
    )
    style_size: int | None = setting(
        None,
        "Longer side, in pixels, that the style picture is resized to; strokes grow with it "
        "(default: its own size, but at most the area of 512 x 512).",
        min=_MIN_STYLE_SIDE,
    )

    def __post_init__(self) -> None:
        check_settings(self)


class FastTask(Task):
    """Trains a network of `impasto.networks.transform`."""

    Config = FastTraining
    config: FastTraining
    network: TransformNetwork

    def __init__(self, config: FastTraining, run: Run, init_from: str | None = None) -> None:
        super().__init__(config, run, init_from)
        self.styles = [read_style(path, config.style_size) for path in run.styles]
        self.names = _unique_names(run)
        self.loss_network = load_encoder(config.loss_network, precision="auto", padding="replicate")
        self.style_layers = layer_names(config.style_layers)
        self.loss_network.check([config.content_layer, *self.style_layers])
        grams = [self._grams(style) for style in self.styles]
        self.style_grams = {
            layer: torch.cat([gram[layer] for gram in grams]) for layer in self.style_layers
        }
        """Gram matrices (styles, C, C) of the styles, by layer."""
        self.style_features = self._sample_features() if config.distribution_weight else {}
        """Features (styles, C, positions) of the styles, by layer."""
        self.teacher_examples: list[TeacherExample] = []
        if init_from is None:
            self.network = TransformNetwork(
                TransformNetworkConfig(
                    self.names, config.width, config.residuals, config.upsampling
                )
            )
        else:
            self._start_from(init_from)

    def _start_from(self, init_from: str) -> None:
        """Starts with an earlier network, and for each style with the nearest of its own."""
        earlier = load_network(init_from, TransformNetwork)
        self.base_sha256 = earlier.base_sha256
        built = replace(earlier.network.config, looks=self.names)
        _check_agreement(self.config, built)
        self.config = replace(
            self.config, width=built.width, residuals=built.residuals, upsampling=built.upsampling
        )
        self.network = TransformNetwork(built)
        self.network.load_state_dict(
            earlier.network.select_styles(self._nearest_styles(earlier.network))
        )

    @torch.no_grad()
    def _grams(self, image: Tensor) -> dict[str, Tensor]:
        """Gram matrices (N, C, C) of pictures (N, 3, H, W), by layer."""
        features = self.loss_network(image, self.style_layers)
        return {layer: _gram(features[layer].float()) for layer in self.style_layers}

    @torch.no_grad()
    def _sample_features(self) -> dict[str, Tensor]:
        """Features (styles, C, positions) of the styles at random positions, by layer."""
        samples: dict[str, list[Tensor]] = {layer: [] for layer in DISTRIBUTION_LAYERS}
        for style in self.styles:
            for layer, features in self.loss_network(style, DISTRIBUTION_LAYERS).items():
                flat = features[0].flatten(1)  # (C, h w)
                chosen = torch.randint(flat.shape[1], (_STYLE_POSITIONS,), generator=_generator(0))
                samples[layer].append(flat[:, chosen])
        return {layer: torch.stack(several) for layer, several in samples.items()}

    @torch.no_grad()
    def _nearest_styles(self, network: TransformNetwork) -> list[int]:
        """For each style, the index of the network's style of the same name, or else of the one
        whose paintings come closest to it.
        """
        photos = torch.cat(read_squares(self.run.photos, _TRIED_PHOTOS, _TRIED_SIDE))
        names, distances = list(network.config.looks), []
        for index in range(len(names)):
            painted = self._grams(network(photos, torch.full((len(photos),), index)).clamp(0, 1))
            by_layer = [
                # (photos, 1, C, C) and (styles, C, C) -> (photos, styles) -> (styles,)
                losses.gram_distance(painted[layer][:, None], target).mean(0)
                for layer, target in self.style_grams.items()
            ]
            distances.append(torch.stack(by_layer).mean(0))
        nearest = torch.stack(distances).argmin(0).tolist()
        return [
            names.index(name) if name in names else index
            for name, index in zip(self.names, nearest, strict=True)
        ]

    def prepare(self, photos: Sequence[Path], device: torch.device) -> None:
        """Moves what the losses need to the device, and lets the teacher paint some photos, one in
        each style in turn. The paintings are kept in the run's folder.
        """
        self.loss_network.to(device)
        for by_layer in (self.style_grams, self.style_features):
            by_layer.update({layer: tensor.to(device) for layer, tensor in by_layer.items()})
        if self.config.teacher == "none":
            return
        self.teacher_examples = paint_examples(
            self.config.teacher,
            photos,
            self.styles,
            count=self.config.teacher_pictures,
            folder=self.run.folder,
            device=device,
        )

    def paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """Paints photos (N, 3, H, W) in the styles with these indices (N,)."""
        painted: Tensor = network(content, style)
        return painted

    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch; see `Task.losses`."""
        config, layer = self.config, self.config.content_layer
        with torch.no_grad():
            target = self.loss_network(content, [layer])[layer]
        if config.revisions:
            # N photos and N revisions of them: all below are (2 N, ...).
            paint = partial(self.paint, network, style=style)
            content = photo_and_revision(None, step, content, paint)
            target, style = torch.cat([target] * 2), torch.cat([style] * 2)
        painted = network(content, style)
        layers = {layer, *self.style_layers, *self.style_features}
        features = self.loss_network(painted, layers)
        values = {
            "content": config.content_weight * self._content_loss(features[layer], target),
            "style": config.style_weight * self._style_loss(features, style),
            "range": RANGE_WEIGHT * losses.out_of_range(painted),
        }
        if self.style_features:
            distance = self._distribution_loss(features, style, step)
            values["distribution"] = config.distribution_weight * distance
        if config.tv_weight:
            values["tv"] = config.tv_weight * self._scaled(losses.total_variation(painted), 2)
        if self.teacher_examples:
            distance = teacher_loss(network, self.teacher_examples, step)
            values["teacher"] = config.teacher_weight * distance
        return values

    def _content_loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Of features (N, C, h, w) of paintings and photos."""
        if self.config.loss_scale == "relative":
            return losses.structure_loss(features, target)
        return self._scaled((features - target).square().mean() / 255**2, 2)

    def _style_loss(self, features: Mapping[str, Tensor], style: Tensor) -> Tensor:
        """Of features (N, C, h, w) of paintings by layer, and the indices (N,) of their styles."""
        pairs = [
            (_gram(features[layer]), grams[style]) for layer, grams in self.style_grams.items()
        ]
        if self.config.loss_scale == "relative":
            relative = [mean_log_distance(losses.gram_distance(*pair)) for pair in pairs]
            return torch.stack(relative).mean()
        # The papers divide Gram matrices by the number of channels, too.
        squares = [((gram - target) / gram.shape[-1]).square().mean() for gram, target in pairs]
        return self._scaled(torch.stack(squares).sum() / 255**4, 4)

    def _distribution_loss(
        self, features: Mapping[str, Tensor], style: Tensor, step: int
    ) -> Tensor:
        """Compares as many positions of the styles as the paintings have, others in every step."""
        distances = []
        for layer, samples in self.style_features.items():
            height, width = features[layer].shape[-2:]
            chosen = torch.randint(_STYLE_POSITIONS, (height * width,), generator=_generator(step))
            target = samples[style][..., chosen].view(len(style), -1, height, width)
            distances.append(distribution_loss(features[layer], target, step))
        return torch.stack(distances).mean()

    def _scaled(self, loss: Tensor, power: int) -> Tensor:
        """A loss that grows with this power of the pixels, at the scale that its weight is for."""
        return loss * _PIXEL_SCALES.get(self.config.loss_scale, 1) ** power

    def usage(self, out: Path) -> str:
        """The command that paints with the weights file ``out``."""
        name = str(out) if len(self.names) == 1 else f"{out}#{self.names[0]}"
        return f"impasto stylize PHOTO {name} -o OUT"


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _gram(features: Tensor) -> Tensor:
    """Gram matrices (N, C, C) of features (N, C, H, W), divided by H W. `Moments` would give them
    too, and take twice as long for the covariances.
    """
    vectors = features.movedim(1, -1).flatten(1, 2)  # (N, H W, C)
    return torch.bmm(vectors.transpose(1, 2), vectors).float() / vectors.shape[1]


def _unique_names(run: Run) -> list[str]:
    names = [path.stem for path in run.styles]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ControlError(f"{run.style}: two pictures of the name {min(twice)}; rename one")
    return names


def read_style(path: Path, longer_side: int | None) -> Tensor:
    """Reads a style picture (1, 3, h, w) at the size that its statistics are measured at.

    Args:
        path: its file.
        longer_side: in pixels; None for its own size, but at most the area of 512 x 512.

    Raises:
        ImageError: it cannot be read, or is too small.
    """
    picture = images.read(path)
    height, width = picture.size
    if min(height, width) < _MIN_STYLE_SIDE:
        raise ImageError(
            f"{path}: {width}x{height} pixels hold no style; use at least {_MIN_STYLE_SIDE} a side"
        )
    area = min(height * width, _MAX_STYLE_AREA)
    return picture.resized(*style_size(picture, area, longer_side)).pixels


def _check_agreement(config: FastTraining, built: TransformNetworkConfig) -> None:
    """Raises `ControlError` if the settings ask for another network than training starts from."""
    default = FastTraining()
    for name in ("width", "residuals", "upsampling"):
        setting, earlier = getattr(config, name), getattr(built, name)
        if setting not in (earlier, getattr(default, name)):
            raise ControlError(
                f"{name} is {setting}, the network to start from has {earlier}: leave it out, or "
                "start from nothing (--recipe fast-scratch)"
            )
