"""Training of `impasto.methods.fast`: one network for one painting, or for a folder of them."""

from __future__ import annotations

import hashlib
import random
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
from impasto.images import Picture
from impasto.methods import load_method
from impasto.mixing import Mix
from impasto.networks import load_network
from impasto.networks.encoder import layer_names
from impasto.networks.transform import TransformNetwork, TransformNetworkConfig, Upsampling
from impasto.networks.vgg import load_encoder
from impasto.settings import check_settings, setting
from impasto.train.data import cut_square, find_pictures
from impasto.train.loop import Run, Task
from impasto.train.perceptual import (
    DISTRIBUTION_LAYERS,
    RANGE_WEIGHT,
    distribution_loss,
    tempered,
)
from impasto.train.revision import photo_and_revision

LossNetwork = Literal["vgg16", "vgg19"]
LossScale = Literal["relative", "255", "1"]
Teacher = Literal["none", "gatys"]

_STYLE_AREA = 512 * 512
_LEAST_SIDE = 32
_SAMPLES = 8192
"""Places of a style that its distributions are taken from."""
_TRIED_PHOTOS, _TRIED_SIDE = 4, 128
"""What the looks of an earlier network are tried on, to find the one to start from."""
_TEACHER_SIDE, _TEACHER_CROP = 256, 128
_UNITS = {"255": 255.0, "1": 1 / 0.226}
"""What the papers' weights are for, as multiples of pictures in [0, 1]: pixels in 0..255, which is
what our VGG, Oxford's, sees; or in 0..1, divided by ImageNet's deviations (0.226 in the mean).
Features grow nearly in proportion to pixels. Content losses and total variation are squares of
these, style losses are squares of products: they grow with the square, and the power of 4."""


@dataclass(frozen=True)
class FastTraining:
    """Settings of the training of ``fast``."""

    width: int = setting(
        24, "Channels at full size; twice and four times as many further down.", min=4, max=256
    )
    residuals: int = setting(5, "Residual blocks.", min=0, max=32)
    upsampling: Upsampling = setting(
        "nearest",
        "Nearest neighbours and a convolution, linear output; or, as in the paper, transposed "
        "convolutions and tanh, which leave checkerboards.",
        get_args(Upsampling),
    )
    loss_network: LossNetwork = setting(
        "vgg16", "The network whose features losses compare.", get_args(LossNetwork)
    )
    content_layer: str = setting("relu4_1", "Its layer whose features the photo gives.")
    style_layers: str = setting(
        "relu1_2,relu2_2,relu3_3,relu4_3", "Its layers whose Gram matrices the style gives."
    )
    loss_scale: LossScale = setting(
        "relative",
        "What the weights are for: losses relative to their targets, the same for all styles; or "
        "the papers' absolute ones, of pictures in 0..255 or 0..1.",
        get_args(LossScale),
    )
    content_weight: float = setting(0.2, "Weight of the content loss.", min=0)
    style_weight: float = setting(1.0, "Weight of the style loss.", min=0)
    distribution_weight: float = setting(
        0.0, "Weight of the sliced Wasserstein distance of features from the style's.", min=0
    )
    tv_weight: float = setting(0.0, "Weight of the total variation.", min=0)
    revisions: bool = setting(
        False,
        "Paint each photo twice: as it is, and as painting coarse to fine goes on from a draft.",
    )
    teacher: Teacher = setting(
        "none",
        "What else to learn from: some photos as the optimiser (gatys) paints them, once, before "
        "training begins.",
        get_args(Teacher),
    )
    teacher_pictures: int = setting(4, "How many of these.", min=1)
    teacher_weight: float = setting(1.0, "Weight of the mean difference from their pixels.", min=0)
    style_size: int | None = setting(
        None,
        "Longer side, in pixels, that the style picture is scaled to: the size of the strokes; "
        "without it, its own size, at most that of 512 x 512.",
        min=_LEAST_SIDE,
    )

    def __post_init__(self) -> None:
        check_settings(self)


class FastTask(Task):
    """See `Task`."""

    Config = FastTraining
    network: TransformNetwork

    def __init__(self, config: FastTraining, run: Run, init: str | None = None) -> None:
        paintings = find_pictures(run.style)
        self.styles = [_painting(path, config.style_size) for path in paintings]
        self.run = run
        names = self.names = [path.stem for path in paintings]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ControlError(f"{run.style}: two pictures of the name {min(twice)}; rename one")
        self.judge = load_encoder(config.loss_network, precision="auto")
        self.style_layers = layer_names(config.style_layers)
        self.judge.check([config.content_layer, *self.style_layers])
        grams = [self._grams(style) for style in self.styles]
        self.targets = {layer: torch.cat([g[layer] for g in grams]) for layer in self.style_layers}
        self.samples = self._sampled() if config.distribution_weight else {}
        self.lessons: list[tuple[Tensor, Tensor, int]] = []
        self.config = config
        if init is None:
            built = TransformNetworkConfig(names, config.width, config.residuals, config.upsampling)
            self.network = TransformNetwork(built)
            return
        origin = load_network(init, TransformNetwork)
        start, self.origin = origin.network, origin.base_sha256
        built = replace(start.config, looks=names)
        _check_agree(config, built)
        self.config = replace(
            config, width=built.width, residuals=built.residuals, upsampling=built.upsampling
        )
        self.network = TransformNetwork(built)
        self.network.load_state_dict(start.select_styles(self._nearest(start, run.content)))

    @torch.no_grad()
    def _grams(self, image: Tensor) -> dict[str, Tensor]:
        """Gram matrices (N, C, C) of pictures, by layer."""
        features = self.judge(image, self.style_layers)
        return {layer: _gram(features[layer].float()) for layer in self.style_layers}

    @torch.no_grad()
    def _sampled(self) -> dict[str, Tensor]:
        """Features (styles, C, places) of the styles at some places, by layer."""
        found: dict[str, list[Tensor]] = {layer: [] for layer in DISTRIBUTION_LAYERS}
        for style in self.styles:
            for layer, features in self.judge(style, DISTRIBUTION_LAYERS).items():
                places = features[0].flatten(1)
                chosen = torch.randint(places.shape[1], (_SAMPLES,), generator=_generator(0))
                found[layer].append(places[:, chosen])
        return {layer: torch.stack(samples) for layer, samples in found.items()}

    @torch.no_grad()
    def _nearest(self, start: TransformNetwork, content: Path) -> list[int]:
        """For each style, the look of a network that has its name, or else comes closest to it."""
        photos = torch.cat(_some_squares(find_pictures(content), _TRIED_PHOTOS, _TRIED_SIDE))
        known, distances = list(start.config.looks), []
        for look in range(len(known)):
            painted = self._grams(start(photos, torch.full((len(photos),), look)).clamp(0, 1))
            parts = [
                losses.gram_distance(painted[layer][:, None], target).mean(0)
                for layer, target in self.targets.items()
            ]
            distances.append(torch.stack(parts).mean(0))
        nearest = torch.stack(distances).argmin(0).tolist()
        pairs = zip(self.names, nearest, strict=True)
        return [known.index(name) if name in known else look for name, look in pairs]

    def prepare(self, photos: Sequence[Path], device: torch.device) -> None:
        """See `Task.prepare`; lets the teacher paint, each photo in one of the styles. Its pictures
        are kept in the run's folder.
        """
        self.judge.to(device)
        for kept in (self.targets, self.samples):
            kept.update({layer: tensor.to(device) for layer, tensor in kept.items()})
        if self.config.teacher == "none":
            return
        teacher = load_method(self.config.teacher).to(device)
        everywhere = Mix.of(_TEACHER_SIDE, _TEACHER_SIDE, [1], [None]).to(device)
        squares = _some_squares(photos, self.config.teacher_pictures, _TEACHER_SIDE)
        for number, photo in enumerate(squares):
            style = number % len(self.styles)
            pair = photo.numpy().tobytes() + self.styles[style].numpy().tobytes()
            path = self.run.folder / f"teacher-{hashlib.sha256(pair).hexdigest()[:12]}.png"
            if not path.exists():
                given = (photo.to(device), [self.styles[style].to(device)], everywhere)
                painted = teacher.fit(*given)[0](given[0], everywhere)
                images.write(path, Picture(painted.cpu()))
            self.lessons.append((photo.to(device), images.read(path).pixels.to(device), style))

    def paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """See `Task.paint`."""
        painted: Tensor = network(content, style)
        return painted

    def losses(
        self, network: nn.Module, content: Tensor, style: Tensor, step: int
    ) -> dict[str, Tensor]:
        """See `Task.losses`."""
        layer, config = self.config.content_layer, self.config
        with torch.no_grad():
            wanted = self.judge(content, [layer])[layer]
        if config.revisions:
            draw = partial(self.paint, network, style=style)
            content, wanted = photo_and_revision(None, step, content, draw), torch.cat([wanted] * 2)
            style = torch.cat([style] * 2)
        painted = network(content, style)
        features = self.judge(painted, {layer, *self.style_layers, *self.samples})
        found = {
            "content": config.content_weight * self._content_loss(features[layer], wanted),
            "style": config.style_weight * self._style_loss(features, style),
            "range": RANGE_WEIGHT * losses.out_of_range(painted),
        }
        if self.samples:
            found["distribution"] = config.distribution_weight * self._distribution_loss(
                features, style, step
            )
        if config.tv_weight:
            found["tv"] = config.tv_weight * self._in_units(losses.total_variation(painted))
        if self.lessons:
            found["teacher"] = config.teacher_weight * self._lesson(network, step)
        return found

    def _lesson(self, network: nn.Module, step: int) -> Tensor:
        """Mean difference from a piece of what the teacher painted."""
        chance = random.Random(f"lesson {step}")
        photo, wanted, style = chance.choice(self.lessons)
        top, left = (chance.randrange(_TEACHER_SIDE - _TEACHER_CROP + 1) for _ in "yx")
        piece = (..., slice(top, top + _TEACHER_CROP), slice(left, left + _TEACHER_CROP))
        painted = network(photo[piece], torch.tensor([style], device=photo.device))
        difference: Tensor = (painted - wanted[piece]).abs().mean()
        return difference

    def _content_loss(self, features: Tensor, wanted: Tensor) -> Tensor:
        if self.config.loss_scale == "relative":
            return losses.structure_loss(features, wanted)
        return self._in_units((features - wanted).square().mean() / 255**2)

    def _style_loss(self, features: Mapping[str, Tensor], style: Tensor) -> Tensor:
        pairs = [
            (_gram(features[layer]), targets[style]) for layer, targets in self.targets.items()
        ]
        if self.config.loss_scale == "relative":
            relative = [tempered(losses.gram_distance(*pair)) for pair in pairs]
            return torch.stack(relative).mean()
        # The papers divide Gram matrices by the number of channels, too.
        squares = [((gram - target) / gram.shape[-1]).square().mean() for gram, target in pairs]
        return self._in_units(torch.stack(squares).sum() / 255**4, 4)

    def _distribution_loss(
        self, features: Mapping[str, Tensor], style: Tensor, step: int
    ) -> Tensor:
        """Of as many places of the styles as were painted, others in every step."""
        found = []
        for layer, samples in self.samples.items():
            height, width = features[layer].shape[-2:]
            places = torch.randint(_SAMPLES, (height * width,), generator=_generator(step))
            target = samples[style][..., places].view(len(style), -1, height, width)
            found.append(distribution_loss(features[layer], target, step))
        return torch.stack(found).mean()

    def _in_units(self, loss: Tensor, power: int = 2) -> Tensor:
        """A loss that grows with this power of the pixels, in the units its weight is for."""
        return loss * _UNITS.get(self.config.loss_scale, 1) ** power

    def usage(self, out: Path) -> str:
        """See `Task.usage`."""
        looks = self.network.config.looks
        name = str(out) if len(looks) == 1 else f"{out}#{looks[0]}"
        return f"impasto stylize PHOTO {name} -o OUT"


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _gram(features: Tensor) -> Tensor:
    """Gram matrices (N, C, C) of features (N, C, H, W), divided by the pixels. `Moments` would give
    them too, and take twice as long for the covariances.
    """
    vectors = features.movedim(1, -1).flatten(1, 2)
    return torch.bmm(vectors.transpose(1, 2), vectors).float() / vectors.shape[1]


def _painting(path: Path, longer_side: int | None) -> Tensor:
    """The style picture (1, 3, h, w) at the size it is measured at."""
    picture = images.read(path)
    height, width = picture.size
    if min(height, width) < _LEAST_SIDE:
        raise ImageError(
            f"{path}: {width}x{height} pixels hold no style; use at least {_LEAST_SIDE} a side"
        )
    area = min(height * width, _STYLE_AREA)
    return picture.resized(*style_size(picture, area, longer_side)).pixels


def _some_squares(photos: Sequence[Path], count: int, side: int) -> list[Tensor]:
    """The middles of the first photos that can be read."""
    found: list[Tensor] = []
    for path in photos:
        try:
            found.append(cut_square(images.read(path).pixels, side))
        except ImageError:
            continue
        if len(found) == count:
            break
    return found


def _check_agree(config: FastTraining, built: TransformNetworkConfig) -> None:
    """Raises `ControlError` if the settings ask for another network than the one to start from."""
    plain = FastTraining()
    for name in ("width", "residuals", "upsampling"):
        asked, its = getattr(config, name), getattr(built, name)
        if asked not in (its, getattr(plain, name)):
            raise ControlError(
                f"{name} is {asked}, the network to start from has {its}: leave it out, or start "
                "from nothing (--recipe fast-scratch)"
            )
