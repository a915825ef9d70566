"""What is particular to the networks for any style."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from impasto.errors import ImpastoError, WeightsError
from impasto.methods.adain import Adain, AdainConfig
from impasto.mixing import Mix, blend
from impasto.networks import load_network
from impasto.networks.adain import AdainNetwork, AdainNetworkConfig
from impasto.tiling import render
from tests.helpers.networks import tiny_adain, tiny_vgg
from tests.helpers.pictures import as_tensor, photo_array

TINY = AdainNetworkConfig(widths=(8, 8, 16), blocks=(1, 1, 1))


def fitted(method, content, styles, weights):
    transfer, _ = method.fit(content, [method.encode_style(style) for style in styles], weights)
    return transfer


def paint(method, content, styles, weights):
    return fitted(method, content, styles, weights)(content, weights)


def everywhere(image, strength=1.0):
    return Mix.of(image.shape[-2], image.shape[-1], [1.0], [None], strength)


def moments_of(vectors):
    """Mean and covariance of (P, C), in float64."""
    return vectors.mean(0), np.cov(vectors.astype(np.float64), rowvar=False, bias=True)


@pytest.mark.parametrize("matching", ["adain", "coral", "wct", "histogram"])
def test_close_to_the_pixels_covariances_are_matched(matching, photo, painting):
    """Whatever is chosen for the other layers."""
    method = tiny_adain(matching)
    seen, theirs = features_at(method, photo, painting)
    looks = fitted(method, photo, [painting], everywhere(photo)).maps
    for layer in ("block2.0", "block1.0", "block0.0"):
        mean, cov = moments_of(vectors(looks[0][layer](seen[layer])))
        wanted_mean, wanted_cov = moments_of(vectors(theirs[layer]))
        np.testing.assert_allclose(mean, wanted_mean, atol=1e-3)
        # All but what the ridge leaves of the weakest directions.
        assert np.linalg.norm(cov - wanted_cov) < 0.1 * np.linalg.norm(wanted_cov)


def features_at(method, photo, painting):
    """What comes to each layer, of the photo before it is matched there, and of the painting."""
    seen, theirs = {}, {}

    def watch(layer, features, where, stride):
        seen[layer] = features

    def record(layer, features):
        theirs[layer] = features
        return features

    transfer = fitted(method, photo, [painting], everywhere(photo))
    transfer.paint(photo, everywhere(photo), watch)
    method.network.run(painting, record)
    return seen, theirs


def vectors(features):
    """(1, C, H, W) as (P, C)."""
    return features[0].flatten(1).T.numpy()


def test_features_are_matched_where_they_should(photo, painting):
    """At each layer the photo's features get the style's mean and deviation (AdaIN, eq. 8)."""
    method = tiny_adain()
    seen, theirs = features_at(method, photo, painting)
    looks = fitted(method, photo, [painting], everywhere(photo)).maps
    layers = ["relu4", "relu8", "block2.0", "block1.0", "block0.0"]
    assert list(seen) == list(theirs) == layers
    for layer in layers[:2]:
        matched, style = vectors(looks[0][layer](seen[layer])), vectors(theirs[layer])
        np.testing.assert_allclose(matched.mean(0), style.mean(0), atol=1e-3)
        alive = vectors(seen[layer]).std(0) > 1e-2
        np.testing.assert_allclose(matched.std(0)[alive], style.std(0)[alive], atol=1e-3)


def test_training_paints_what_the_method_paints(painting):
    """`AdainNetwork.forward` on a batch, and `fit` and `paint` one by one."""
    method = tiny_adain()
    photos = torch.cat([as_tensor(photo_array(48, 64)), torch.rand(1, 3, 48, 64)])
    styles = torch.cat([painting, 1 - painting])
    with torch.no_grad():
        batch, reconstruction = method.network(photos, styles)
    for n in range(2):
        one, style = photos[n : n + 1], styles[n : n + 1]
        alone = paint(method, one, [style], everywhere(one))
        torch.testing.assert_close(batch[n : n + 1].clamp(0, 1), alone, atol=1e-4, rtol=0)
        itself = paint(method, style, [style], everywhere(style))
        torch.testing.assert_close(reconstruction[n : n + 1].clamp(0, 1), itself, atol=1e-3, rtol=0)


@torch.no_grad()
def test_several_photos_share_a_style_in_training():
    """Photo n is painted in style n modulo their number, with the features that are known."""
    encoder = tiny_vgg()
    network = AdainNetwork(AdainNetworkConfig("vgg16", widths=(8, 8, 8)), encoder)
    photos, styles = torch.rand(4, 3, 32, 48), torch.rand(2, 3, 40, 32)
    painted, reconstruction = network(photos, styles)
    for number, image in enumerate(painted):
        alone, _ = network(photos[number, None], styles[number % 2, None])
        torch.testing.assert_close(image[None], alone, atol=1e-5, rtol=1e-4)
    prepared = network(photos[:2], styles, lambda content, paint: torch.cat((content, photos[2:])))
    torch.testing.assert_close(prepared[0], painted)
    known = encoder(styles, network.taps)
    encoder.convs["1_1"].weight.zero_()  # from here on it sees nothing
    blind = network(styles, styles, None, known)
    torch.testing.assert_close(blind[1], reconstruction)
    assert not torch.allclose(network(styles, styles)[1], reconstruction)


@pytest.mark.parametrize("encoder", ["compact", "vgg16"])
def test_the_network_sees_no_further_than_it_says(encoder):
    made = tiny_vgg() if encoder == "vgg16" else None
    network = AdainNetwork(AdainNetworkConfig(encoder, (8, 8, 16), (1, 1, 2)), made)
    image = torch.rand(1, 3, 16, 400, requires_grad=True)
    reach = 0
    for column in range(200, 208):  # on all places of the grid
        painted = network.run(image, lambda _, features: features)
        (seen,) = torch.autograd.grad(painted[..., column].sum(), image)
        columns = seen.abs().sum((0, 1, 2)).nonzero().flatten()
        reach = max(reach, column - int(columns.min()), int(columns.max()) - column)
    assert network.tiling.halo - 16 <= reach <= network.tiling.halo


def test_a_region_takes_the_whole_palette_of_its_style(painting):
    """Statistics are those inside of the mask: the sky alone is as colourful as the painting."""
    photo = torch.cat([torch.rand(1, 3, 48, 32) * 0.1 + 0.1, torch.rand(1, 3, 48, 32) * 0.9], -1)
    mask = torch.zeros(48, 64)
    mask[:, :32] = 1
    weights = Mix.of(48, 64, [1.0], [mask])
    method = tiny_adain()
    look = fitted(method, photo, [painting], weights).maps[0]
    encoder = method.network.encoder
    inside = vectors(look["relu4"](encoder(photo, ["relu4"])["relu4"])[..., :8])
    style = vectors(encoder(painting, ["relu4"])["relu4"])
    alive = vectors(encoder(photo, ["relu4"])["relu4"][..., :8]).std(0) > 1e-3
    assert alive.any()
    np.testing.assert_allclose(inside.mean(0), style.mean(0), atol=1e-4)
    np.testing.assert_allclose(inside.std(0)[alive], style.std(0)[alive], atol=1e-4)


def test_a_tile_is_painted_alone_as_in_the_whole(painting):
    photo = as_tensor(photo_array(96, 400))
    method, weights = tiny_adain(), everywhere(as_tensor(photo_array(96, 400)))
    transfer = fitted(method, photo, [painting], weights)
    boxes = list(method.footprint.tiling.boxes(96, 400, 64))
    assert min(box.outer(photo).shape[-1] for box in boxes) < 200
    tiled = render(transfer.parts(photo, weights, boxes), photo, boxes, lambda *_: None)
    torch.testing.assert_close(tiled, transfer(photo, weights), atol=1e-5, rtol=0)


def test_lower_precision_cannot_be_seen(photo, painting):
    exact, lower = (
        paint(tiny_adain(precision=kind), photo, [painting], everywhere(photo))
        for kind in ("float32", "bfloat16")
    )
    assert not torch.equal(exact, lower)
    assert (exact - lower).abs().max() < 0.05
    assert (exact - lower).abs().mean() < 0.005


def test_blend_is_the_weighted_sum():
    f, weights = torch.rand(1, 4, 5, 6), torch.softmax(torch.rand(3, 5, 6), 0)
    mixed = blend(f, weights, [lambda x: 2 * x, lambda x: x - 1])
    wanted = weights[0] * f + weights[1] * 2 * f + weights[2] * (f - 1)
    torch.testing.assert_close(mixed, wanted)
    one_hot = torch.zeros(3, 5, 6)
    one_hot[2] = 1
    torch.testing.assert_close(blend(f, one_hot, [lambda x: x / 0, lambda x: x - 1]), f - 1)


@pytest.fixture
def weights_file(tmp_path):
    """Makes a weights file, with some things changed."""

    def make(drop=None, **metadata):
        network = AdainNetwork(TINY)
        tensors = {k: v.contiguous() for k, v in network.state_dict().items() if k != drop}
        about = {
            "impasto_format": "1",
            "architecture": "adain",
            "config": json.dumps({"widths": [8, 8, 16], "blocks": [1, 1, 1]}),
            "encoder_sha256": "",
            **metadata,
        }
        path = tmp_path / "net.safetensors"
        save_file(tensors, path, {k: v for k, v in about.items() if v is not None})
        return path, network

    return make


def test_a_network_comes_back_from_its_file(weights_file):
    path, network = weights_file()
    loaded = load_network(str(path), AdainNetwork)
    assert len(loaded.sha256) == 64
    assert loaded.base_sha256 == loaded.sha256
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "fast"}, "not the weights of an adain network"),
        ({"architecture": None}, "not the weights of an adain network"),
        ({"config": None}, "damaged"),
        ({"config": "{"}, "damaged"),
        ({"config": '{"colour": 1}'}, "damaged"),
        ({"config": '{"widths": [8, 8, 24], "blocks": [1, 1, 1]}'}, "damaged"),
        ({"encoder_sha256": "ab" * 32}, "belongs to another compact"),
        ({"drop": "head.weight"}, "damaged.*head.weight"),
    ],
)
def test_other_files_are_refused(weights_file, changes, message):
    path, _ = weights_file(**changes)
    with pytest.raises(WeightsError, match=message) as caught:
        load_network(str(path), AdainNetwork)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_weights_are_named():
    with pytest.raises(ImpastoError, match=r"unknown weights 'adain\.huge'"):
        Adain(AdainConfig(weights="adain.huge"))
