"""The measures, against NumPy in float64, and what they must tell apart."""

import numpy as np
import psutil
import pytest
import torch

from impasto import images, metrics
from impasto.errors import TooLargeError
from impasto.metrics import Judge, Scores
from impasto.moments import Moments
from tests.helpers.networks import tiny_vgg, tiny_vit

CONTENT_LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")


@pytest.fixture(scope="module")
def judge():
    """The real networks."""
    return Judge()


@pytest.fixture
def tiny():
    return Judge(tiny_vgg("vgg19"), tiny_vit())


def features_of(encoder, image, layer):
    """(C, H, W), float64."""
    return encoder(image, [layer])[layer][0].double().numpy()


def gram_of(features):
    vectors = features.reshape(len(features), -1)
    return vectors @ vectors.T / vectors.shape[1]


def test_content_is_lpips_with_weights_of_one(tiny, photo):
    painted = torch.rand_like(photo)
    layers = []
    for layer in CONTENT_LAYERS:
        one, other = (features_of(tiny.encoder, image, layer) for image in (painted, photo))
        one, other = (f / np.sqrt((f**2).sum(0)).clip(1e-12) for f in (one, other))
        layers.append(((one - other) ** 2).sum(0).mean())
    assert tiny(painted, photo, photo).content == pytest.approx(np.mean(layers), rel=1e-4)


def test_style_and_frechet_by_numpy(tiny, photo, painting):
    style, frechet = [], []
    for layer in metrics.STYLE_LAYERS:
        one, other = (features_of(tiny.encoder, image, layer) for image in (photo, painting))
        difference = gram_of(one) - gram_of(other)
        style.append((difference**2).sum() / (gram_of(other) ** 2).sum())
        a, b = one.reshape(len(one), -1), other.reshape(len(other), -1)
        cov_a, cov_b = np.cov(a, bias=True), np.cov(b, bias=True)
        distance = ((a.mean(1) - b.mean(1)) ** 2).sum() + np.trace(cov_a + cov_b)
        # The trace of a root is the sum of the roots of the eigenvalues.
        distance -= 2 * np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real.clip(0)).sum()
        frechet.append(distance / (b**2).sum(0).mean())
    scores = tiny(photo, photo, painting)
    assert scores.style == pytest.approx(np.mean(style), rel=1e-4)
    assert scores.frechet == pytest.approx(np.mean(frechet), rel=1e-4)


def test_frechet_distance_of_known_gaussians():
    """Of one dimension: (m - m*)^2 + (s - s*)^2."""
    one, other = (
        Moments(torch.ones(()), torch.tensor([mean]), torch.tensor([[std**2]]))
        for mean, std in ((1.0, 2.0), (4.0, 0.5))
    )
    expected = (3**2 + 1.5**2) / (4**2 + 0.5**2)
    assert float(metrics.frechet_distance(one, other)) == pytest.approx(expected)


def test_structure_by_numpy():
    keys, target = torch.randn(2, 1, 8, 3, 4) + 5
    matrices = []
    for k in (keys, target):
        vectors = k[0].flatten(1).double().numpy()
        vectors -= vectors.mean(1, keepdims=True)
        lengths = np.linalg.norm(vectors, axis=0)
        matrices.append(vectors.T @ vectors / np.outer(lengths, lengths))
    expected = ((matrices[0] - matrices[1]) ** 2).mean()
    assert float(metrics.structure_distance(keys, target)) == pytest.approx(expected, rel=1e-5)


def test_structure_ignores_what_all_keys_share():
    keys, target = torch.randn(2, 1, 8, 3, 4)
    shifted = keys + 10 * torch.randn(1, 8, 1, 1)
    torch.testing.assert_close(
        metrics.structure_distance(shifted, target), metrics.structure_distance(keys, target)
    )


def test_total_variation(tiny, photo):
    pixels = photo[0].double().numpy()
    expected = (np.diff(pixels, axis=-1) ** 2).mean() + (np.diff(pixels, axis=-2) ** 2).mean()
    assert tiny(photo, photo, photo).total_variation == pytest.approx(expected, rel=1e-5)


def test_a_picture_is_at_no_distance_from_itself(judge, photo):
    scores = judge(photo, photo, photo)
    assert (scores.content, scores.structure, scores.style) == (0, 0, 0)
    assert scores.frechet < 1e-6
    assert scores.score == pytest.approx(1)


@pytest.mark.slow
def test_content_and_structure_are_symmetric(judge, photo):
    other = photo.flip(-1)
    one, two = judge(photo, other, photo), judge(other, photo, photo)
    assert one.content == pytest.approx(two.content, rel=1e-5)
    assert one.structure == pytest.approx(two.structure, rel=1e-5)
    assert one.content > 0


@pytest.mark.slow
def test_the_more_blur_the_farther(judge, photo):
    def blurred(factor):
        return images.resize(images.resize(photo, 48 // factor, 64 // factor), 48, 64)

    rows = [judge(blurred(factor), photo, photo) for factor in (1, 2, 4, 8)]
    for measure in ("content", "structure", "style", "frechet"):
        values = [getattr(row, measure) for row in rows]
        assert values == sorted(values), measure
    smoothness = [row.total_variation for row in rows]
    assert smoothness == sorted(smoothness, reverse=True)


@pytest.mark.slow
def test_structure_knows_the_photo_in_other_colours(judge, photo, painting):
    """Where content cannot: another picture, and the photo with its colours changed about."""
    recoloured = judge(photo.flip(1), photo, painting)
    other = judge(images.resize(painting, 48, 64), photo, painting)
    assert recoloured.structure < other.structure / 3


def test_size_of_the_photo_does_not_matter(tiny, photo, painting):
    larger = images.resize(photo, 96, 128)
    resized = images.resize(larger, 48, 64)
    assert tiny(photo, larger, painting) == tiny(photo, resized, painting)


@pytest.mark.parametrize("size", [(16, 16), (16, 400), (400, 16)])
@pytest.mark.slow
def test_any_shape_is_judged(judge, painting, size):
    image = torch.rand(1, 3, *size)
    assert judge(image, image, painting).structure == 0


@pytest.mark.slow
def test_scores_are_the_same_each_time(judge, photo, painting):
    assert judge(photo, painting, painting) == judge(photo, painting, painting)


def test_score():
    assert Scores(0.5, 0.1, 0.2, 0.3, 0.4).score == pytest.approx(1.5 * 1.2**2)


def test_too_large_is_refused(tiny, photo, monkeypatch):
    class Little:
        available = 10**6

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Little)
    with pytest.raises(TooLargeError, match=r"of 64x48 takes .* scale it down"):
        tiny(photo, photo, photo)
