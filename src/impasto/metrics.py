"""Metrics: how far a painted picture is from its photo and from its painting.

They are measured with VGG-19, because the feed-forward networks are trained with losses on VGG-16,
and the judge should not be the teacher. All pictures are tensors (1, 3, H, W), sRGB in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto import losses
from impasto.errors import TooLargeError
from impasto.images import resize
from impasto.memory import free_memory
from impasto.moments import Moments
from impasto.networks.encoder import Encoder
from impasto.networks.vgg import load_encoder
from impasto.networks.vit import load_vit

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_STRUCTURE_PATCHES = 16
_BYTES_PER_PIXEL = 2400
"""Peak memory of judging a pixel: the features of both pictures, and copies of the largest."""


@dataclass(frozen=True)
class Scores:
    """Scores of one painted picture; lower is better, except for ``total_variation``."""

    content: float
    """Distance to the photo, 0..2: the mean of `content_distance` over the last layers of the
    encoder's blocks."""
    structure: float
    """Distance to the photo, 0..4, by `structure_distance`."""
    style: float
    """Distance to the painting, 0 or more: the mean of `impasto.losses.gram_loss` over
    `STYLE_LAYERS`."""
    frechet: float
    """Distance to the painting, 0 or more: the mean of `frechet_distance` over `STYLE_LAYERS`."""
    total_variation: float
    """Roughness of the painted picture itself, by `impasto.losses.total_variation`."""

    @property
    def score(self) -> float:
        """Both distances in one number, 1 at best: (1 + content) (1 + style)^2.

        It is a product as in ArtFID, (1 + LPIPS) (1 + FID) (Wright & Ommer 2022, arXiv:2207.12280),
        with more stress on style.
        """
        return (1 + self.content) * (1 + self.style) ** 2


class Judge:
    """Scores painted pictures, with networks that are loaded once.

    Args:
        encoder: encoder for content and style; None for VGG-19.
        vit: vision transformer for structure; None for DINOv2's ViT-S/14.

    Raises:
        WeightsError: the weights are damaged.
    """

    def __init__(self, encoder: Encoder | None = None, vit: Encoder | None = None) -> None:
        self.encoder = encoder or load_encoder("vgg19")
        self.vit = vit or load_vit()
        self.content_layers = content_layers(self.encoder)
        self.keys = list(self.vit.taps)[-1]

    @torch.inference_mode()
    def __call__(self, painted: Tensor, content: Tensor, style: Tensor) -> Scores:
        """Scores one painted picture.

        Args:
            painted: the painted picture (1, 3, H, W), sRGB in [0, 1].
            content: the photo (1, 3, h, w), which is resized to H x W.
            style: the painting (1, 3, h, w), at the scale at which strokes are to be compared.

        Returns:
            The scores, which are the same for the same pictures.

        Raises:
            TooLargeError: the pictures need more memory than is free.
        """
        _check_memory(painted, style)
        content = resize(content, *painted.shape[-2:])
        targets = self._moments(self.encoder(style, STYLE_LAYERS))
        features = self.encoder(painted, {*self.content_layers, *STYLE_LAYERS})
        moments = self._moments(features)
        photo = self.encoder(content, self.content_layers)
        pairs = list(zip(moments, targets, strict=True))
        return Scores(
            content=_mean(content_distance(features[k], photo[k]) for k in self.content_layers),
            structure=float(structure_distance(self._keys(painted), self._keys(content))),
            style=_mean(losses.gram_loss(*pair) for pair in pairs),
            frechet=_mean(frechet_distance(*pair) for pair in pairs),
            total_variation=float(losses.total_variation(painted)),
        )

    def _moments(self, features: dict[str, Tensor]) -> list[Moments]:
        return [Moments.of(features[layer][0]) for layer in STYLE_LAYERS]

    def _keys(self, image: Tensor) -> Tensor:
        """Keys of about as many patches as 224 x 224 pixels have, whatever the shape."""
        height, width = image.shape[-2:]
        patch = self.vit.taps[self.keys].stride
        sides = [
            max(1, round(_STRUCTURE_PATCHES * ratio**0.5)) * patch
            for ratio in (height / width, width / height)
        ]
        return self.vit(resize(image, *sides), [self.keys])[self.keys]


def content_layers(encoder: Encoder) -> tuple[str, ...]:
    """The layers that are compared with the photo's: the last one of each of VGG's blocks."""
    relus = (tap for tap in encoder.taps if tap.startswith("relu"))
    return tuple({tap.split("_")[0]: tap for tap in relus}.values())


def content_distance(features: Tensor, target: Tensor) -> Tensor:
    """LPIPS of one layer with all channel weights 1 (Zhang et al. 2018, arXiv:1801.03924, eq. 1).

    Features are scaled to unit length at each pixel; squared differences are summed over channels
    and averaged over pixels.

    Args:
        features: the painted picture's features, (1, C, H, W).
        target: the photo's features, the same shape.

    Returns:
        A scalar tensor, 0..4, or 0..2 for features after a ReLU.
    """
    difference = F.normalize(features, dim=1) - F.normalize(target, dim=1)
    return difference.square().sum(1).mean()


def structure_distance(keys: Tensor, target: Tensor) -> Tensor:
    """Difference of two pictures' self-similarity, by a vision transformer's keys (Tumanyan et al.
    2022, arXiv:2201.00424, eq. 4 and 5); see `impasto.losses.similarity_loss`.

    The keys' mean is subtracted. Attention does not see it, since softmax ignores what all keys
    share; but in DINOv2 it is so large that with it all patches would look alike.

    Args:
        keys: the painted picture's keys, (1, C, h, w).
        target: the photo's keys, the same shape.

    Returns:
        A scalar tensor, 0..4.
    """
    return losses.similarity_loss(keys, target)


def frechet_distance(moments: Moments, target: Moments) -> Tensor:
    """Fréchet distance of the Gaussians with these moments (Heusel et al. 2017, arXiv:1706.08500,
    eq. 6), relative to the target's mean square.

    It is what `impasto.losses.wasserstein_loss` minimises, but exact, by eigenvalues in float64:
    the loss's quick roots leave some hundredths between equal moments.

    Args:
        moments: moments of the painted picture's features, (C,).
        target: moments of the painting's features, (C,).

    Returns:
        A scalar tensor, 0 or more.
    """
    cov, goal = moments.cov.cpu().double(), target.cov.cpu().double()
    values, vectors = torch.linalg.eigh(goal)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.mT
    overlap = torch.linalg.eigvalsh(root @ cov @ root).clamp_min(0).sqrt().sum()
    between = (moments.mean - target.mean).square().sum().cpu()
    distance: Tensor = between + cov.trace() + goal.trace() - 2 * overlap
    return distance.clamp_min(0) / target.gram.trace().cpu().clamp_min(1e-12)


def _mean(values: Iterable[Tensor]) -> float:
    return float(torch.stack([value.cpu().double() for value in values]).mean())


def _check_memory(*images: Tensor) -> None:
    height, width = max((tuple(image.shape[-2:]) for image in images), key=math.prod)
    pixels = height * width
    if pixels * _BYTES_PER_PIXEL > free_memory(images[0].device):
        raise TooLargeError(
            f"evaluating a picture, photo or painting of {width}x{height} takes about "
            f"{pixels * _BYTES_PER_PIXEL / 2**30:.1f} GiB of memory, more than is free; scale it "
            "down"
        )
