"""VGG against an independent forward pass, and everything an encoder promises."""

import json

import numpy as np
import pytest
import scipy.signal
import torch
from safetensors.torch import load_file, save_file

from impasto import weights
from impasto.errors import ControlError, WeightsError
from impasto.networks.vgg import VGG, load_encoder
from tests.helpers.networks import tiny_vgg
from tests.helpers.pictures import as_tensor, photo_array

BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def numpy_vgg(architecture, picture, last_block):
    """Features of every tap up to a block, by SciPy, from the file as it is stored.

    The photo goes in as Caffe's networks want it: BGR, 0..255, minus the mean.
    """
    stored = load_file(weights.fetch(f"{architecture}.imagenet"))
    x = picture[0].numpy()[::-1] * 255.0
    x = x - np.array([103.939, 116.779, 123.68])[:, None, None]
    taps = {}
    for block, count in enumerate(BLOCKS[architecture][:last_block], 1):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            codes, book = stored[f"{name}.weight_code"], stored[f"{name}.weight_codebook"]
            kernel = book.double()[codes.long()].numpy()
            bias = stored[f"{name}.bias"].double().numpy()
            first = name == "conv1_1"
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge" if first else "constant")
            x = np.stack(
                [
                    sum(
                        scipy.signal.correlate2d(plane, part, mode="valid")
                        for plane, part in zip(padded, filters, strict=True)
                    )
                    for filters in kernel
                ]
            )
            x = x + bias[:, None, None]
            taps[name] = x
            x = np.maximum(x, 0)
            taps[f"relu{block}_{index}"] = x
        height, width = x.shape[1] // 2, x.shape[2] // 2
        x = x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2).max((2, 4))
    return taps


@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_taps_are_an_independent_forward_pass(architecture):
    picture = as_tensor(photo_array(18, 23))
    expected = numpy_vgg(architecture, picture, last_block=2)
    actual = load_encoder(architecture)(picture, expected)
    assert set(actual) == set(expected)
    for tap, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(actual[tap][0], values, atol=2e-5 * scale, err_msg=tap)


@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_taps_tell_channels_and_stride(architecture):
    vgg = tiny_vgg(architecture)
    names = [f"{b}_{i}" for b, n in enumerate(BLOCKS[architecture], 1) for i in range(1, n + 1)]
    assert list(vgg.taps) == [f"{kind}{name}" for name in names for kind in ("conv", "relu")]
    features = vgg(torch.rand(1, 3, 64, 96), vgg.taps)
    for name, tap in vgg.taps.items():
        assert features[name].shape == (1, tap.channels, 64 // tap.stride, 96 // tap.stride)


def test_relu_is_conv_without_negatives_in_either_order_of_asking():
    vgg, picture = tiny_vgg(), torch.rand(1, 3, 20, 20)
    both = vgg(picture, ["relu2_1", "conv2_1"])
    assert (both["conv2_1"] < 0).any()
    torch.testing.assert_close(both["relu2_1"], both["conv2_1"].clamp_min(0))
    torch.testing.assert_close(vgg(picture, ["relu2_1"])["relu2_1"], both["relu2_1"])


def test_nothing_is_computed_past_the_last_tap():
    vgg, called = tiny_vgg(), []
    for place, conv in vgg.convs.items():
        conv.register_forward_hook(lambda *_, place=place: called.append(place))
    # Two pixels could not be pooled three times: the pooling behind the tap must not run either.
    vgg(torch.rand(1, 3, 2, 2), ["relu2_2"])
    assert called == ["1_1", "1_2", "2_1", "2_2"]


def test_average_pooling_averages():
    vgg = tiny_vgg(pooling="average")
    picture = torch.rand(1, 3, 8, 8)
    before = vgg(picture, ["relu1_2"])["relu1_2"]
    pooled = before.view(1, -1, 4, 2, 4, 2).mean((3, 5))
    weight, bias = (vgg.get_parameter(f"convs.2_1.{name}") for name in ("weight", "bias"))
    expected = torch.conv2d(pooled, weight, bias, padding=1)
    torch.testing.assert_close(vgg(picture, ["conv2_1"])["conv2_1"], expected)


def test_a_flat_picture_has_no_border():
    features = tiny_vgg()(torch.full((1, 3, 12, 12), 0.7), ["relu1_1"])["relu1_1"]
    torch.testing.assert_close(features, features[..., :1, :1].expand_as(features))


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ControlError, match=r"relu6_1.*did you mean"):
        tiny_vgg().check(["relu6_1"])
    with pytest.raises(ControlError, match="vgg16 or vgg19"):
        load_encoder("vgg11")
    with pytest.raises(ControlError, match="max or average"):
        load_encoder("vgg16", pooling="median")


def full_width(architecture="vgg16", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name.replace("convs.", "conv"): torch.randn(value.shape, generator=generator) * 0.02
        for name, value in VGG(architecture).state_dict().items()
    }


def test_other_weights_come_from_a_file(tmp_path):
    path, tensors = tmp_path / "mine.safetensors", full_width()
    save_file(tensors, path)
    vgg = load_encoder("vgg16", weights=path)
    assert vgg.name == "mine.safetensors"
    assert vgg.sha256 == weights.sha256_of(path)
    torch.testing.assert_close(vgg.get_parameter("convs.2_1.weight"), tensors["conv2_1.weight"])


def test_torchvisions_layout_means_its_normalisation(tmp_path):
    ours, path = full_width(), tmp_path / "model.safetensors"
    layers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    places = [f"{b}_{i}" for b, n in enumerate(BLOCKS["vgg16"], 1) for i in range(1, n + 1)]
    theirs = {
        f"features.{layer}.{kind}": ours[f"conv{place}.{kind}"]
        for layer, place in zip(layers, places, strict=True)
        for kind in ("weight", "bias")
    }
    save_file(theirs, path)
    vgg, picture = load_encoder("vgg16", weights=path), torch.rand(1, 3, 6, 6)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    standard = (picture - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    padded = torch.nn.functional.pad(standard, (1, 1, 1, 1), mode="replicate")
    expected = torch.conv2d(padded, ours["conv1_1.weight"], ours["conv1_1.bias"])
    torch.testing.assert_close(vgg(picture, ["conv1_1"])["conv1_1"], expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "vgg16.safetensors"
    save_file(full_width("vgg16"), path)
    with pytest.raises(WeightsError, match=r"vgg16.safetensors: conv3_4.weight is missing"):
        load_encoder("vgg19", weights=path)
    save_file(full_width() | {"conv2_1.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(WeightsError, match=r"conv2_1.weight is of shape \(3, 3\)"):
        load_encoder("vgg16", weights=path)
    save_file(full_width(), path, metadata={"config": json.dumps({"normalisation": "lab"})})
    with pytest.raises(WeightsError, match="unknown normalisation 'lab'"):
        load_encoder("vgg16", weights=path)


def test_bfloat16_is_close_and_gives_features_in_the_pictures_type():
    picture = as_tensor(photo_array(32, 32))
    exact = load_encoder("vgg16")(picture, ["relu3_1"])["relu3_1"]
    narrow = load_encoder("vgg16", precision="bfloat16")(picture, ["relu3_1"])["relu3_1"]
    assert narrow.dtype == torch.float32
    error = (narrow - exact).norm() / exact.norm()
    assert 1e-4 < error < 2e-2


def test_gradients_reach_the_picture():
    vgg, picture = tiny_vgg(pooling="average").double(), torch.rand(1, 3, 4, 5).double()
    picture.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: vgg(x, ["conv2_1"])["conv2_1"], (picture,))
