"""The transformer: against NumPy in float64, and what follows from attention and its fixed grid."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.special import erf, softmax

from impasto import Stylizer, images, matching
from impasto.errors import ControlError, ImageError, WeightsError
from impasto.methods.styletr import Styletr, StyletrConfig
from impasto.mixing import Mix
from impasto.moments import Moments
from impasto.networks import load_network, save_network
from impasto.networks.adain import matcher_at
from impasto.networks.styletr import Cape, Layer, StyletrNetwork, StyletrNetworkConfig
from impasto.networks.vit import LoRA
from impasto.tiling import render
from tests.helpers.networks import tiny_adain, tiny_styletr
from tests.helpers.pictures import as_tensor, painting_array, photo_array, psnr

EXAMPLES = Path(__file__).parents[2] / "examples"


def shaken(module, deviation=0.5):
    """All parameters random, and in float64."""
    for parameter in module.parameters():
        parameter.data.normal_(0, deviation)
    return module.double()


def by_numpy(module):
    """What the parts of a module do, in NumPy."""
    p = {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0)

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]

    return linear, norm


def attend(queries, keys, values, heads):
    """Multi-head attention of (T, C), (S, C), (S, D) (Vaswani et al. 2017, sec. 3.2)."""
    parts = (np.split(x, heads, axis=-1) for x in (queries, keys, values))
    mixed = [
        softmax(q @ k.T / np.sqrt(q.shape[-1]), axis=-1) @ v for q, k, v in zip(*parts, strict=True)
    ]
    return np.concatenate(mixed, -1)


def test_layers_are_those_of_the_papers():
    layer = shaken(Layer(8, 2))
    content, style = torch.randn(1, 5, 8).double(), torch.randn(1, 7, 8).double()
    linear, norm = by_numpy(layer)
    c, s = content[0].numpy(), style[0].numpy()
    queries, keys = linear(norm(c, "norm1"), "queries"), linear(s, "keys")
    c = c + linear(attend(queries, keys, linear(s, "values"), 2), "proj")
    hidden = linear(norm(c, "norm2"), "mlp.0")
    c = c + linear(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, "mlp.2")
    np.testing.assert_allclose(layer(content, style)[0].detach(), c, atol=1e-9)


def test_cape_does_not_depend_on_the_size_of_the_content():
    cape = shaken(Cape(4)).float()
    tokens = torch.rand(1, 4, 12, 12)
    large = cape(tokens.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert large.shape[-2:] == (24, 24)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(large, 2), cape(tokens))
    assert cape(tokens).std() > 0.1
    assert not torch.allclose(cape(tokens), cape.conv(tokens), atol=0.1)
    for sides in ((1, 1), (1, 40), (37, 2)):
        assert cape(torch.rand(1, 4, *sides)).shape[-2:] == sides


def test_low_rank_maps_are_those_of_the_paper():
    lora = LoRA(8, 2, 16)
    tokens = torch.randn(1, 5, 8)
    assert all(part.eq(0).all() for part in lora(tokens))
    shaken(lora)
    for number, part in enumerate(lora(tokens.double())):
        down, up = (lora.get_parameter(f"{name}.{number}.weight") for name in ("down", "up"))
        wanted = 16 / 2 * tokens.double().numpy() @ (up @ down).detach().numpy().T
        np.testing.assert_allclose(part.detach(), wanted)


def without_decoder(network):
    """The network, its transformer decoder adding nothing."""
    for parameter in network.added.parameters():
        parameter.data.zero_()
    return network


def test_the_targets_are_what_attention_mixes(photo, painting):
    """Mean and deviation at a layer, by the definition, for each token of the photo."""
    network = without_decoder(tiny_styletr().network)
    with torch.no_grad():
        stats, _ = network.encode_style(painting)
        content = network.encode(photo, "content")
        targets = network.attend(content, stats, 7.0)
    seen = [part.frozen[0].flatten(1).T.double().numpy() for part in (content, stats.tokens)]
    one, other = (tokens - tokens.mean(0) for tokens in seen)
    cosines = (one @ other.T) / np.linalg.norm(one, axis=1)[:, None]
    attention = softmax(7 * cosines / np.linalg.norm(other, axis=1), axis=1)
    assert list(stats.local) == ["relu4", "relu8", "block2.0", "block1.0", "block0.0"]
    for layer, both in stats.local.items():
        mean, square = np.split(attention @ both[0].flatten(1).T.double().numpy(), 2, axis=1)
        deviation = np.sqrt(np.maximum(square - mean**2, 1e-6))
        found = targets.means[layer][0].flatten(1).T
        np.testing.assert_allclose(found, mean, atol=1e-4)
        np.testing.assert_allclose(targets.deviations[layer][0].flatten(1).T, deviation, atol=1e-3)
    assert targets.means["relu4"].std((2, 3)).max() > 0.01  # not the same everywhere


def test_without_sharpness_it_is_adain(photo, painting):
    """Attention that looks everywhere alike, and a decoder that adds nothing. Covariances are
    matched at strides 2 and 4.
    """
    network, theirs = without_decoder(tiny_styletr().network), {}
    # Tokens stand for equally many features each.
    photo, painting = photo[..., :32, :32], painting[..., :32, :32]

    def measure(place, features):
        theirs[place] = Moments.of(features)
        return features

    def transfer(place, features):
        close = place.startswith(("block0", "block1"))
        match = matcher_at(place, "adain") if close else matching.adain
        return match(Moments.of(features), theirs[place])(features)

    with torch.no_grad():
        network.path.run(painting, measure)
        expected = network.path.run(photo, transfer)
        painted, local = (network(photo, painting, sharpness)[0] for sharpness in (0.0, 20.0))
    torch.testing.assert_close(painted, expected, atol=5e-3, rtol=0)
    assert (painted - photo).abs().mean() > 0.05
    assert (painted - local).abs().mean() > 0.01


def test_the_decoder_is_the_papers(photo, painting):
    """Tokens projected, positions added to the photo's, layers, a norm, and out."""
    network = tiny_styletr().network
    with torch.no_grad():
        one, other = (
            network.encode(x, role) for x, role in ((photo, "content"), (painting, "style"))
        )
        stats, _ = network.encode_style(painting)
        found = network.attend(one, stats, 7.0).means["relu8"]
        tokens, theirs = (
            network.project[role](part.finetuned[0].flatten(1).T)
            for part, role in ((one, "content"), (other, "style"))
        )
        grid = one.finetuned.shape[-2:]
        places = network.cape(tokens.T.reshape(1, -1, *grid))[0].flatten(1).T
        tokens = network.layers[0]((tokens + places)[None], theirs[None])
        wanted = network.added(network.norm(tokens))[0].T.reshape(found.shape)
        found = found - without_decoder(network).attend(one, stats, 7.0).means["relu8"]
    assert grid[0] != grid[1]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert found.std() > 0.01
    assert not torch.equal(one.frozen, one.finetuned)


def test_each_picture_of_a_batch_has_its_sharpness_and_strength(photo, painting):
    network, controls = tiny_styletr().network, [(0.0, 1.0), (20.0, 1.0), (20.0, 0.3)]
    photos, paintings = photo.expand(3, -1, -1, -1), painting.expand(3, -1, -1, -1)
    sharpness, strength = torch.tensor(controls).T
    with torch.no_grad():
        batch, _ = network(
            photos, paintings, sharpness[:, None, None], strength[:, None, None, None]
        )
        singles = [network(photo, painting, *pair)[0] for pair in controls]
    torch.testing.assert_close(batch, torch.cat(singles), atol=1e-4, rtol=0)
    for one, other in ((0, 1), (1, 2)):
        assert (batch[one] - batch[other]).abs().mean() > 0.01


def test_training_paints_as_the_method_does(photo, painting):
    """A batch gives what its pairs do, and those what `Styletr` paints."""
    network = tiny_styletr().network
    photos, paintings = torch.cat((photo, photo.flip(-1))), torch.cat((painting, painting.flip(-2)))
    with torch.no_grad():
        batch, _ = network(photos, paintings)
    for n in range(2):
        pair = photos[n : n + 1], paintings[n : n + 1]
        with torch.no_grad():
            alone, faint = (network(*pair, strength=s)[0] for s in (1, 0.4))
        torch.testing.assert_close(batch[n : n + 1], alone, atol=1e-4, rtol=0)
        stylizer = Stylizer(Styletr(StyletrConfig(precision="float32"), network), device="cpu")
        for strength, wanted in ((1, alone), (0.4, faint)):
            controls: dict[str, Any] = {"style_size": 56, "stroke_size": 0, "strength": strength}
            painted = stylizer.stylize(*pair, **controls)
            torch.testing.assert_close(painted, wanted.clamp(0, 1), atol=1e-4, rtol=0)
        assert (alone - faint).abs().mean() > 0.01


def test_lower_precision_cannot_be_seen(photo, painting):
    one, other = (
        Stylizer(tiny_styletr(precision), device="cpu").stylize(photo, painting)
        for precision in ("float32", "bfloat16")
    )
    assert 0 < (one - other).abs().mean() < 0.01


@pytest.mark.slow
def test_the_embedded_network_gives_a_photo_back_in_its_own_style():
    photo, painting = (images.read(f"{EXAMPLES}/{name}.jpg") for name in ("chelsea", "belle-ile"))
    photo, stylizer = photo.resized(192, 288), Stylizer("styletr", device="cpu")
    own = psnr(stylizer.stylize(photo, photo).pixels, photo.pixels)
    assert own > 23
    assert own > psnr(stylizer.stylize(photo, painting).pixels, photo.pixels) + 5


@pytest.mark.slow
def test_strength_leads_the_embedded_network_from_photo_to_painting():
    photo, painting = (images.read(f"{EXAMPLES}/{name}.jpg") for name in ("chelsea", "belle-ile"))
    photo, stylizer = photo.resized(192, 288), Stylizer("styletr", device="cpu")
    painted = [stylizer.stylize(photo, painting, strength=s).pixels for s in (0.3, 0.6, 0.8, 1.0)]
    distances = [float((picture - photo.pixels).abs().mean()) for picture in painted]
    assert distances == sorted(distances)
    # And the picture in between has colours in between.
    first, *_, last = (picture.mean((2, 3)) for picture in (photo.pixels, *painted))
    for picture in painted:
        middle = picture.mean((2, 3))
        assert (middle > torch.minimum(first, last) - 0.03).all()
        assert (middle < torch.maximum(first, last) + 0.03).all()


def test_places_take_after_what_resembles_them():
    """With pretrained encoders: of a picture of two halves, swapped."""
    torch.manual_seed(0)
    network = StyletrNetwork(StyletrNetworkConfig())
    left, right = (as_tensor(array(168, 112)) for array in (photo_array, painting_array))
    style, content = torch.cat((left, right), -1), torch.cat((right, left), -1)
    with torch.no_grad():
        stats, _ = network.encode_style(style)
        targets = network.attend(network.encode(content, "content"), stats, 20.0)
    theirs = stats.local["relu4"][:, :64]
    swapped = theirs.roll(8, -1)
    wanted = targets.means["relu4"]
    assert (wanted - swapped).abs().mean() < 0.6 * (wanted - theirs).abs().mean()


def test_the_number_of_tokens_is_bounded():
    """Attention sees no more of a large picture than of a small one."""
    network, sizes = tiny_styletr().network, {}
    for height, width in ((16, 16), (97, 211), (252, 252), (1000, 800), (4096, 64)):
        tokens = network.encode(torch.rand(1, 3, height, width), "content")
        sizes[height, width] = tuple(tokens.frozen.shape[-2:])
    assert sizes[16, 16] == (4, 4)
    assert sizes[97, 211] == (24, 53)
    assert sizes[252, 252] == (63, 63)
    assert sizes[1000, 800] == (70, 56)
    assert sizes[4096, 64] == (504, 8)


@pytest.mark.parametrize(("height", "width"), [(97, 211), (16, 16), (2048, 32)])
def test_odd_sizes(height, width, painting):
    photo = as_tensor(photo_array(height, width))
    painted = Stylizer(tiny_styletr(), device="cpu").stylize(photo, painting)
    assert painted.shape == photo.shape
    assert (painted - photo).abs().mean() > 0.01


@pytest.mark.parametrize("sharpness", [-1.0, 101.0, float("nan")])
def test_bad_settings_are_refused(sharpness):
    with pytest.raises(ControlError, match="sharpness"):
        StyletrConfig(sharpness=sharpness)


def test_a_single_pixel_is_refused(painting):
    with pytest.raises(ImageError, match="at least 16"):
        Stylizer(tiny_styletr(), device="cpu").stylize(torch.rand(1, 3, 1, 1), painting)


def test_tiles_equal_the_whole(painting):
    """Attention has seen all of the photo before the first tile is painted."""
    photo = as_tensor(photo_array(150, 203))
    method = tiny_styletr()
    mask = torch.zeros(150, 203)
    mask[40:, 60:] = 1
    weights = Mix.of(150, 203, [1, 1], [mask, 1 - mask])
    styles = [method.encode_style(style) for style in (painting, painting.flip(1))]
    transfer, painted = method.fit(photo, styles, weights)
    whole = transfer(photo.clone(), weights)
    for tile in (48, 104):
        boxes = list(method.footprint.tiling.boxes(150, 203, tile))
        tiled = render(transfer.parts(photo, weights, boxes), photo, boxes, lambda *_: None)
        torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(whole, painted, atol=1e-5, rtol=0)


def test_styles_are_seen_once_and_each_photo_anew(photo, painting):
    method = tiny_styletr()
    photo, seen = images.read(photo), []
    method.network.vit.register_forward_hook(lambda *_: seen.append(None))
    look = Stylizer(method, device="cpu").fit(photo, painting, stroke_size=0)
    assert len(seen) == 2  # plain and tuned
    painted = look().pixels
    assert len(seen) == 4
    other = look(photo.pixels.flip(-1))
    assert len(seen) == 6
    assert not torch.allclose(other, painted)
    torch.testing.assert_close(look(photo.pixels), painted)


@pytest.mark.slow
def test_large_photos_are_measured_small(painting):
    photo = as_tensor(photo_array(1400, 1100))
    method, sizes = tiny_styletr(), []
    run = method.network.path.run
    method.network.path.run = lambda image, transfer: (
        sizes.append(tuple(image.shape[-2:])),
        run(image, transfer),
    )[1]
    painted = Stylizer(method, device="cpu").stylize(photo, painting, stroke_size=0.5)
    *_, measured, _ = sizes
    assert 0.95 * 2**20 < measured[0] * measured[1] < 1.05 * 2**20
    assert sizes[-1] == (1400, 1104)
    small = Stylizer(tiny_styletr(), device="cpu").stylize(
        photo, painting, stroke_size=0.5, size=700
    )
    shrunk = images.resize(painted, *small.shape[-2:])
    assert psnr(shrunk, small) > 22


def saved(path, sha256, **changes):
    """A weights file of a tiny network, as training writes it."""
    network = tiny_styletr().network
    network.config, network.vit.sha256 = replace(network.config, **changes), sha256
    save_network(path, network, {})
    return str(path)


def test_pretrained_encoders_are_not_stored(tmp_path):
    path = saved(tmp_path / "mine.safetensors", "0123")
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    assert not any(name.startswith("vit.") for name in names)
    assert any(name.startswith("tuned.content.0.up") for name in names)


def test_other_weights_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="not the weights of a styletr network"):
        load_network("adain.small", StyletrNetwork)
    with pytest.raises(WeightsError, match=r"mine.safetensors: belongs to another vit_small.*0123"):
        load_network(saved(tmp_path / "mine.safetensors", "0123", width=256), StyletrNetwork)
    path = saved(tmp_path / "mine.safetensors", "")
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({k: v for k, v in tensors.items() if "added" not in k}, path, metadata)
    with pytest.raises(WeightsError, match=r"mine.safetensors: damaged"):
        load_network(path, StyletrNetwork)
    with pytest.raises(WeightsError, match=r"nowhere.safetensors: no such weights file"):
        load_network(str(tmp_path / "nowhere.safetensors"), StyletrNetwork)


def test_tiny_adain_is_the_path_of_tiny_styletr():
    """So that comparing the two means something."""
    one, other = tiny_adain().network, tiny_styletr().network.path
    assert one.state_dict().keys() == other.state_dict().keys()
