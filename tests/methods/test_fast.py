"""The networks of trained styles: architecture, normalisation, looks, blending, errors."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.signal import correlate2d
from torch.nn import functional as F

import impasto
from impasto import gallery
from impasto.controls import Style
from impasto.errors import ControlError, WeightsError
from impasto.gallery import TrainedLook
from impasto.methods.fast import Fast, FastConfig
from impasto.networks import save_network, transform
from impasto.networks.transform import TransformNetwork, TransformNetworkConfig
from impasto.stylizer import Stylizer, paint_sheet
from impasto.textures import texture
from tests.helpers.networks import tiny_fast, write_fast
from tests.helpers.pictures import as_tensor, photo_array, psnr

EXACT: dict[str, Any] = {"method": "fast", "precision": "float32", "device": "cpu"}


def random_network(**config):
    torch.manual_seed(0)
    values: dict[str, Any] = {"looks": ["one"], "width": 4, "residuals": 2} | config
    network = TransformNetwork(TransformNetworkConfig(**values))
    with torch.no_grad():
        for parts in (network.gains, network.biases):
            for part in parts:
                part.add_(torch.randn_like(part) / 2)
    return network.eval()


@pytest.fixture
def looks(tmp_path, painting):
    """A file with two looks, warm and cold."""
    return write_fast(tmp_path / "looks.safetensors", {"warm": painting, "cold": 1 - painting})


def within_a_margin(network, photo):
    """What a network paints of a photo that is mirrored 24 pixels beyond its edges."""
    margin = 24
    around = ((0, 0), (0, 0), (margin, margin), (margin, margin))
    larger = torch.from_numpy(np.pad(photo.numpy(), around, "symmetric"))
    with torch.no_grad():
        painted = network(larger, torch.tensor([0])).clamp(0, 1)
    return painted[..., margin:-margin, margin:-margin]


# The network


def test_the_paper_s_network_has_its_parameters():
    """1 679 235: convolutions 3-32-64-128, ten of 128, 128-64-32-3, and two numbers a channel."""
    kernels = [(9, 3, 32), (3, 32, 64), (3, 64, 128), *[(3, 128, 128)] * 10]
    kernels += [(3, 128, 64), (3, 64, 32), (9, 32, 3)]
    expected = sum(side**2 * a * b + b for side, a, b in kernels)
    expected += 2 * sum(b for _, _, b in kernels[:-1])
    assert expected == 1_679_235
    for upsampling in ("nearest", "transposed"):
        network = TransformNetwork(TransformNetworkConfig(["one"], width=32, upsampling=upsampling))
        assert sum(parameter.numel() for parameter in network.parameters()) == expected


def by_hand(network, image):
    """The network in NumPy, float64, from the paper's description; with leaky ReLUs at the end."""
    pixels = image[0].double().numpy()
    places = iter(
        (gain[0].detach().double().numpy(), bias[0].detach().double().numpy())
        for gain, bias in zip(network.gains, network.biases, strict=True)
    )

    def conv(layer, x, stride=1):
        weight = layer.weight.detach().double().numpy()
        bias = layer.bias.detach().double().numpy()
        reach = weight.shape[-1] // 2
        x = np.pad(x, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        maps = [
            sum(correlate2d(plane, kernel, "valid") for plane, kernel in zip(x, w, strict=True))
            for w in weight
        ]
        return (np.stack(maps) + bias[:, None, None])[:, ::stride, ::stride]

    def norm(x):
        gain, bias = next(places)
        x = x - x.mean((1, 2), keepdims=True)
        x = x / np.sqrt((x**2).mean((1, 2), keepdims=True) + 1e-3)
        return gain[:, None, None] * x + bias[:, None, None]

    x = pixels
    for layer, stride in zip(network.downs, (1, 2, 2), strict=True):
        x = np.maximum(norm(conv(layer, x, stride)), 0)
    for first, second in network.residuals:
        x = x + norm(conv(second, np.maximum(norm(conv(first, x)), 0)))
    for layer in network.ups:
        x = norm(conv(layer, x.repeat(2, 1).repeat(2, 2)))
        x = np.maximum(x, 0.2 * x)
    return 0.5 + conv(network.out, x)


def test_it_is_the_paper_s_network():
    network = random_network()
    image = torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        painted = network(image, torch.tensor([0]))[0]
    np.testing.assert_allclose(painted.numpy(), by_hand(network, image), atol=1e-4)


def test_the_other_variant_ends_in_tanh():
    network = random_network(upsampling="transposed")
    with torch.no_grad():
        network.out.weight.mul_(100)
        painted = network(torch.rand(1, 3, 24, 32), torch.tensor([0]))
    assert painted.shape == (1, 3, 24, 32)
    assert 0 <= painted.min() < 0.01 < 0.99 < painted.max() <= 1


def test_normalisation_and_its_derivative():
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    expected = F.instance_norm(x, eps=1e-3)
    torch.testing.assert_close(transform._Normalised.apply(x), expected)
    assert torch.autograd.gradcheck(transform._Normalised.apply, (x,))


def test_each_photo_of_a_batch_has_its_own_look(photo):
    network = random_network(looks=["one", "other"])
    with torch.no_grad():
        both = network(torch.cat((photo, photo)), torch.tensor([1, 0]))
        single = [network(photo, torch.tensor([look])) for look in (1, 0)]
    torch.testing.assert_close(both, torch.cat(single))
    assert (single[0] - single[1]).abs().mean() > 0.01


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_a_pixel_is_seen_no_further_than_the_halo(tmp_path, upsampling):
    """With frozen statistics; and nearly as far as that."""
    network = random_network(upsampling=upsampling)
    halo = network.tiling.halo
    side = 2 * halo + 40
    picture = torch.rand(1, 3, side, side)
    changed = picture.clone()
    changed[..., side // 2, side // 2] = 1 - changed[..., side // 2, side // 2]
    with torch.no_grad():
        run = [network.run(image, lambda _, x: x) for image in (picture, changed)]
    rows = (run[0] - run[1]).abs().sum((0, 1, 3)).nonzero()
    reach = max(side // 2 - int(rows.min()), int(rows.max()) - side // 2)
    assert halo - 8 <= reach <= halo


# The method


def test_statistics_of_large_photos_are_measured_on_small_ones(looks, monkeypatch):
    photo = as_tensor(photo_array(150, 203))
    monkeypatch.setattr("impasto.coarse_to_fine.MEASURED_AREA", 64 * 64)
    seen = []
    run = TransformNetwork.run

    def watched(network, image, normalise):
        seen.append(tuple(image.shape[-2:]))
        return run(network, image, normalise)

    monkeypatch.setattr(TransformNetwork, "run", watched)
    stylizer = Stylizer(**EXACT)
    whole = stylizer.stylize(photo, f"{looks}#warm", stroke_size=0)
    assert seen == [(104, 124), (200, 252)]  # 55 x 75 and 150 x 203, with 24 around
    tiled = stylizer.stylize(photo, f"{looks}#warm", stroke_size=0, tile=64)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


def test_a_photo_is_painted_once(looks, photo, monkeypatch):
    calls = []
    run = TransformNetwork.run
    monkeypatch.setattr(TransformNetwork, "run", lambda *given: calls.append(None) or run(*given))
    Stylizer(**EXACT).stylize(photo, f"{looks}#warm", stroke_size=0)
    assert len(calls) == 1


def test_frozen_statistics_paint_what_measured_ones_did(looks, photo):
    look = Stylizer(**EXACT).fit(photo, f"{looks}#warm")
    torch.testing.assert_close(look(photo.clone()), look(photo))


def test_styles_of_one_network_are_mixed_by_their_parameters(looks, photo, painting):
    """In the tiny network that is the mean of means and of deviations."""
    half = {"mixed": painting}
    styles = [Style(f"{looks}#warm", 1.0), Style(f"{looks}#cold", 3.0)]
    mixed = Stylizer(**EXACT).stylize(photo, styles, stroke_size=0)
    network = tiny_fast(half)
    with torch.no_grad():
        two = tiny_fast({"warm": painting, "cold": 1 - painting})
        for parts, those in ((network.gains, two.gains), (network.biases, two.biases)):
            for part, both in zip(parts, those, strict=True):
                part.copy_(0.25 * both[:1] + 0.75 * both[1:])
    expected = within_a_margin(network, photo)
    torch.testing.assert_close(mixed, expected, atol=2e-3, rtol=0)  # weights are float16


def test_pictures_are_mixed_where_asked_and_wherever_masks_are(looks, photo):
    styles = [Style(f"{looks}#warm", 1.0), Style(f"{looks}#cold", 3.0)]
    stylizer = Stylizer(**EXACT, blending="outputs")
    single = [stylizer.stylize(photo, style.source, stroke_size=0) for style in styles]
    expected = 0.25 * single[0] + 0.75 * single[1]
    torch.testing.assert_close(stylizer.stylize(photo, styles, stroke_size=0), expected)
    mask = np.full((48, 64), 255, np.uint8)
    mask[:, :8] = 0
    masked = [Style(style.source, style.weight, mask) for style in styles]
    painted = Stylizer(**EXACT).stylize(photo, masked, stroke_size=0)
    assert torch.equal(painted[..., :8], photo[..., :8])
    by_outputs = stylizer.stylize(photo, masked, stroke_size=0)
    torch.testing.assert_close(painted, by_outputs)


def test_a_mask_of_ones_is_no_mask_for_two_styles_either(looks, photo):
    ones = np.full((48, 64), 255, np.uint8)
    styles = [Style(f"{looks}#warm", 1.0), Style(f"{looks}#cold", 3.0)]
    masked = [Style(style.source, style.weight, ones) for style in styles]
    plain, same = (Stylizer(**EXACT).stylize(photo, given) for given in (styles, masked))
    assert torch.equal(plain, same)


def test_networks_of_several_files_are_mixed(tmp_path, photo, painting):
    files = [
        write_fast(tmp_path / f"{n}.safetensors", {"look": picture})
        for n, picture in enumerate((painting, 1 - painting))
    ]
    stylizer = Stylizer(**EXACT)
    both = stylizer.stylize(photo, [Style(files[0]), Style(files[1])], stroke_size=0)
    single = [stylizer.stylize(photo, file, stroke_size=0) for file in files]
    torch.testing.assert_close(both, (single[0] + single[1]) / 2)
    look = stylizer.fit(photo, files)
    assert set(look.recipe()["sha256"]) == {"0.safetensors", "1.safetensors"}
    look = stylizer.fit(photo, files[1])
    assert set(look.recipe()["sha256"]) == {"1.safetensors"}


def test_relatives_are_mixed_by_all_of_their_parameters(tmp_path, photo, painting):
    torch.manual_seed(0)
    networks = [tiny_fast({"look": picture}) for picture in (painting, 1 - painting)]
    files = []
    for n, network in enumerate(networks):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter)).copy_(parameter.half())
        for family in ("one", f"stranger {n}"):
            files.append(tmp_path / f"{n}-{family}.safetensors")
            save_network(files[-1], network, {"family": family})
    mean = {
        name: (tensor + networks[1].state_dict()[name]) / 2
        for name, tensor in networks[0].state_dict().items()
    }
    mixed = tiny_fast({"look": painting})
    mixed.load_state_dict(mean)
    expected = within_a_margin(mixed, photo)
    stylizer = Stylizer(**EXACT)
    related = stylizer.stylize(photo, [str(files[0]), str(files[2])], stroke_size=0)
    torch.testing.assert_close(related, expected, atol=1e-5, rtol=0)
    strangers = stylizer.stylize(photo, [str(files[1]), str(files[3])], stroke_size=0)
    single = [stylizer.stylize(photo, str(files[n]), stroke_size=0) for n in (1, 3)]
    torch.testing.assert_close(strangers, (single[0] + single[1]) / 2)
    assert psnr(strangers, related) < 50


def test_bfloat16_differs_by_rounding(looks, photo):
    exact = Stylizer(**EXACT).stylize(photo, f"{looks}#warm")
    coarse = Stylizer(**{**EXACT, "precision": "bfloat16"}).stylize(photo, f"{looks}#warm")
    assert 35 < psnr(exact, coarse) < 100


# Trained styles


def test_auto_chooses_the_method_by_the_style(looks, photo, painting):
    stylizer = Stylizer(device="cpu", precision="float32")
    assert stylizer.name == "adain"
    expected = Stylizer(**EXACT).stylize(photo, f"{looks}#warm")
    torch.testing.assert_close(stylizer.stylize(photo, f"{looks}#warm"), expected)
    look = stylizer.fit(photo, f"{looks}#warm")
    assert look.recipe()["method"] == "fast"
    assert stylizer.fit(photo, painting).recipe()["method"] == "adain"


def test_a_file_of_one_look_needs_no_name(tmp_path, photo, painting):
    file = write_fast(tmp_path / "my.safetensors", {"odd name": painting})
    plain, named = (impasto.stylize(photo, style) for style in (file, f"{file}#odd name"))
    assert torch.equal(plain, named)


def test_paths_with_a_hash(tmp_path, photo, painting):
    (tmp_path / "C#1").mkdir()
    file = write_fast(tmp_path / "C#1/my.safetensors", {"b#2": painting})
    assert gallery.resolve(f"{file}#b#2") == TrainedLook(f"{file}#b#2", file, "b#2")
    impasto.stylize(photo, f"{file}#b#2")
    impasto.stylize(photo, file)


def test_pictures_win_over_names(folder):
    (folder / "painting.png").rename("starry-night")
    assert gallery.resolve("starry-night") == "starry-night"
    (folder / "starry-night").unlink()
    known = TrainedLook("starry-night", "fast.starry-night")
    assert gallery.resolve("starry-night") == known


def test_a_picture_that_comes_along_is_a_style_like_any_other(folder, photo):
    picture = gallery.paintings()["chrysanthemums"].picture
    assert gallery.resolve("chrysanthemums") == picture
    stylizer = Stylizer(device="cpu")
    by_name, by_path = (stylizer.stylize(photo, style) for style in ("chrysanthemums", picture))
    assert torch.equal(by_name, by_path)
    (folder / "painting.png").rename("chrysanthemums")
    assert not torch.equal(stylizer.stylize(photo, "chrysanthemums"), by_path)


@pytest.mark.parametrize("source", ["photo.png", "no/folder/picture", "missing.jpg"])
def test_paths_are_pictures(folder, source):
    assert gallery.resolve(source) == source


def refused(message, *styles, **options):
    with pytest.raises(ControlError, match=message) as caught:
        impasto.stylize("photo.png", list(styles), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_cannot_be_is_refused(folder, painting):
    one = write_fast(folder / "one.safetensors", {"a": painting})
    two = write_fast(folder / "two.safetensors", {"a": painting, "b": painting})
    refused("no style of this name; did you mean starry-night", "stary-night")
    refused("no such file, and no style of this name; `impasto styles` lists them", "qqq")
    refused("two.safetensors': no such look; write one of .*#a, .*#b", two)
    refused("#c': no such look", f"{one}#c")
    refused("method adain needs the picture", one, method="adain")
    refused("refine needs the picture", one, refine=3)
    refused("refine needs the picture", one, refine=3, method="fast")
    refused("painting.png: method fast paints trained styles", "painting.png", method="fast")
    refused("blending is for trained styles: leave it out", "painting.png", blending="outputs")
    refused("name the style instead, 'starry-night'", one, method="fast.starry-night")
    refused("unknown setting 'matching'", one, matching="wct")
    refused("use --size instead", one, style_size=100)
    with pytest.raises(ControlError, match="a texture needs a picture"):
        texture(one)
    with pytest.raises(ControlError, match="a texture needs another method"):
        texture("painting.png", method="fast")


def test_a_style_that_cannot_be_read_is_refused(folder, painting):
    file = folder / "my.safetensors"
    with pytest.raises(WeightsError, match="no such weights file"):
        impasto.stylize("photo.png", str(file))
    write_fast(file, {"a": painting})
    tensors, metadata = load_file(file), {"architecture": "adain"}
    save_file(tensors, file, metadata)
    with pytest.raises(WeightsError, match="not the weights of a fast network"):
        impasto.stylize("photo.png", str(file))
    config = {"looks": ["a"], "width": 9, "residuals": 2}
    save_file(tensors, file, {"architecture": "fast", "config": json.dumps(config)})
    with pytest.raises(WeightsError, match=r"my.safetensors: damaged"):
        impasto.stylize("photo.png", str(file))


@pytest.mark.parametrize("values", [{"blending": "sums"}, {"precision": "int8"}])
def test_bad_settings_are_refused(values):
    with pytest.raises(ControlError, match=next(iter(values))):
        FastConfig(**values)


# What comes along


@pytest.mark.slow
def test_every_painting_of_the_gallery_has_its_look(photo):
    stylizer = Stylizer("fast", device="cpu")
    assert len(gallery.trained()) >= 8
    painted = [stylizer.stylize(photo, name) for name in gallery.trained()]
    for n, one in enumerate(painted):
        assert psnr(one, photo) < 25
        assert all(psnr(one, other) < 40 for other in painted[:n])
    assert isinstance(stylizer.method, Fast)


@pytest.mark.slow
def test_a_sheet_shows_the_photo_and_every_style(photo):
    sheet = paint_sheet(photo, side=64, device="cpu").pixels
    rows = -(-(len(gallery.trained()) + 1) // 4)
    assert sheet.shape[-1] == 4 * (64 + 12) + 12
    assert sheet.shape[-2] == rows * (48 + 26 + 12) + 12
    torch.testing.assert_close(sheet[..., 12:60, 12:76], photo, atol=3e-3, rtol=0)
    assert psnr(sheet[..., 12:60, 88:152], photo) < 30
