"""The vision transformer, against NumPy in float64 and against timm's."""

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax

from impasto.errors import ControlError
from impasto.networks.vit import LoRA, load_vit
from tests.helpers.networks import tiny_vit
from tests.helpers.pictures import as_tensor, photo_array


def by_numpy(vit, image, tuned=()):
    """Keys and tokens of both blocks, (T, C), after the papers."""
    p = {name: tensor.double().numpy() for name, tensor in vit.state_dict().items()}

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = (image[0].double().permute(1, 2, 0).numpy() - mean) / std
    kernel = p["patch_embed.proj.weight"]
    tokens = [p["cls_token"][0, 0]]
    for y in range(0, 12, 4):
        for x in range(0, 12, 4):
            patch = pixels[y : y + 4, x : x + 4].transpose(2, 0, 1)
            tokens.append((kernel * patch).sum((1, 2, 3)) + p["patch_embed.proj.bias"])
    tokens = np.stack(tokens) + p["pos_embed"][0]
    found = {}
    for number, b in enumerate(("blocks.0", "blocks.1")):
        seen = norm(tokens, f"{b}.norm1")
        queries, keys, values = np.split(linear(seen, f"{b}.attn.qkv"), 3, -1)
        if tuned:  # Hu et al. 2021, eq. 3
            downs, ups = (
                [m.weight.double().numpy() for m in part]
                for part in (tuned[number].down, tuned[number].up)
            )
            queries = queries + 16 / 3 * seen @ (ups[0] @ downs[0]).T
            values = values + 16 / 3 * seen @ (ups[1] @ downs[1]).T
        found[f"keys{number + 1}"] = keys[1:]
        mixed = []
        for head in (slice(0, 4), slice(4, 8)):
            attention = softmax(queries[:, head] @ keys[:, head].T / np.sqrt(4), axis=-1)
            mixed.append(attention @ values[:, head])
        mixed = linear(np.concatenate(mixed, -1), f"{b}.attn.proj")
        tokens = tokens + mixed * p[f"{b}.ls1.gamma"]
        hidden = linear(norm(tokens, f"{b}.norm2"), f"{b}.mlp.fc1")
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        tokens = tokens + linear(hidden, f"{b}.mlp.fc2") * p[f"{b}.ls2.gamma"]
        found[f"block{number + 1}"] = tokens[1:]
    return found


@pytest.mark.parametrize("tuned", [False, True])
def test_keys_and_tokens_are_those_of_the_papers(tuned):
    vit, image = tiny_vit(), torch.rand(1, 3, 12, 12)
    maps = [LoRA(8, 3, 16).requires_grad_(False) for _ in vit.blocks] if tuned else []
    for parameter in (parameter for lora in maps for parameter in lora.parameters()):
        parameter.normal_(0, 0.5)
    taps = ["keys1", "block1", "keys2", "block2"]
    features, expected = vit(image, taps, lora=maps), by_numpy(vit, image, maps)
    for tap in taps:
        assert features[tap].shape == (1, 8, 3, 3)
        found = features[tap][0].flatten(1).T
        np.testing.assert_allclose(found, expected[tap], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(vit(image, [tap], lora=maps)[tap], features[tap])


def test_other_grids_and_ragged_sides():
    vit, image = tiny_vit(), torch.rand(2, 3, 27, 20)
    features = vit(image, ["keys2"])
    assert features["keys2"].shape == (2, 8, 6, 5)
    torch.testing.assert_close(vit(image[..., :24, :], ["keys2"]), features)


def test_the_embedded_weights_give_timms_keys():
    """The numbers are those of timm 1.0.31 with the same weights, its ``dynamic_img_size`` on."""
    features = load_vit()(as_tensor(photo_array(56, 84)), ["keys1", "keys12"])
    places = ((0, 0, 0), (10, 3, 5), (100, 1, 2), (200, 2, 4), (383, 3, 0))
    expected = {
        "keys1": [6.9958, 3.1675, -0.2864, 1.73, 1.0092],
        "keys12": [1.8932, -4.0071, 1.0653, -1.811, -0.2443],
    }
    for tap, numbers in expected.items():
        found = [float(features[tap][0][place]) for place in places]
        np.testing.assert_allclose(found, numbers, atol=2e-3)


def test_unknown_taps_are_named():
    with pytest.raises(ControlError, match="unknown layer 'keys13'"):
        tiny_vit()(torch.rand(1, 3, 12, 12), ["keys13"])
