"""How far a painted picture is from its photo and from its painting; see docs/metrics.md.

Measured with VGG-19, because the feed-forward networks are trained on VGG-16: a judge should not be
the teacher. All pictures are tensors (1, 3, H, W), sRGB in [0, 1].
"""

from __future__ import annotations

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
"""Peak memory of judging: the features of both pictures, and copies of the largest."""


@dataclass(frozen=True)
class Scores:
    """Distances of one painted picture; lower is better, but for `total_variation`."""

    content: float
    """To the photo: `content_distance`, 0..2."""
    structure: float
    """To the photo: `structure_distance`, 0..4."""
    style: float
    """To the painting: `losses.gram_loss`, mean over `STYLE_LAYERS`; 0 or more."""
    frechet: float
    """To the painting: `frechet_distance`, mean over `STYLE_LAYERS`; 0 or more."""
    total_variation: float
    """Of the painted picture itself: `losses.total_variation`."""

    @property
    def score(self) -> float:
        """(1 + content) (1 + style)^2: a product as in ArtFID, (1 + LPIPS) (1 + FID) (Wright &
        Ommer 2022), here with more stress on style.
        """
        return (1 + self.content) * (1 + self.style) ** 2


class Judge:
    """Loads the networks once, then judges painted pictures.

    Args:
        encoder: sees content and style; VGG-19 by default.
        vit: sees structure; DINOv2's ViT-S/14 by default.

    Raises:
        WeightsError: the weights are damaged.
    """

    def __init__(self, encoder: Encoder | None = None, vit: Encoder | None = None) -> None:
        self.encoder = encoder or load_encoder("vgg19")
        self.vit = vit or load_vit()
        # The last layer of each block.
        relus = (tap for tap in self.encoder.taps if tap.startswith("relu"))
        self.content_layers = tuple({tap.split("_")[0]: tap for tap in relus}.values())
        self.keys = list(self.vit.taps)[-1]

    @torch.inference_mode()
    def __call__(self, painted: Tensor, content: Tensor, style: Tensor) -> Scores:
        """Judges one picture; the same pictures get the same scores.

        Args:
            painted: (1, 3, H, W).
            content: the photo; resized to H x W if it is of another size.
            style: the painting, at any size; strokes are compared as large as they are given.

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


def content_distance(features: Tensor, target: Tensor) -> Tensor:
    """LPIPS (Zhang et al. 2018, eq. 1) of one layer with all channel weights 1: features of unit
    length at each pixel, squared difference summed over channels, mean over pixels; 0..4, or 0..2
    after a ReLU.

    Args:
        features: (1, C, H, W).
        target: the photo's, the same shape.
    """
    difference = F.normalize(features, dim=1) - F.normalize(target, dim=1)
    return difference.square().sum(1).mean()


def structure_distance(keys: Tensor, target: Tensor) -> Tensor:
    """`losses.similarity_loss` of a transformer's keys (Tumanyan et al. 2022, eq. 4 and 5); 0..4.

    Attention does not see the keys' mean, since softmax ignores what all keys share; but in DINOv2
    it is so large that with it all places would look alike.

    Args:
        keys: (1, C, h, w).
        target: the photo's, the same shape.
    """
    return losses.similarity_loss(keys, target)


def frechet_distance(moments: Moments, target: Moments) -> Tensor:
    """Fréchet distance of the Gaussians with these moments (Heusel et al. 2017, eq. 6), relative to
    the target's mean square.

    What `losses.wasserstein_loss` minimises, but exact, by eigenvalues in float64: the loss's quick
    roots leave some hundredths between equal moments.
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
    pixels = max(image[0, 0].numel() for image in images)
    if pixels * _BYTES_PER_PIXEL > free_memory(images[0].device):
        raise TooLargeError(
            f"judging {pixels / 1e6:.0f} megapixels takes about "
            f"{pixels * _BYTES_PER_PIXEL / 2**30:.1f} GiB of memory, more than is free; "
            "scale the pictures down"
        )
