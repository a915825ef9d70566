"""What is particular to the optimiser."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from impasto.errors import ControlError
from impasto.history import History
from impasto.methods.gatys import GatysConfig, StyleTransferLoss
from impasto.mixing import Mix
from impasto.moments import Moments
from impasto.networks.encoder import parse_layers
from impasto.textures import texture
from tests.helpers.networks import tiny_gatys
from tests.helpers.pictures import painting_array

EVERYWHERE = Mix.of(48, 64, [1.0], [None])


def fit(method, photo, painting, mix, **options):
    transfer, _ = method.fit(photo, [painting], mix, **options)
    return transfer


def paint(photo, painting, weights=EVERYWHERE, on_step=None, seed=0, **settings):
    method = tiny_gatys(**settings)
    return fit(method, photo, painting, weights, seed=seed)(photo, weights, on_step)


def losses_of(photo, painting, **settings):
    history = History()
    paint(photo, painting, on_step=history, **settings)
    return [row["total"] for row in history.rows]


def test_the_objective_is_the_papers_sum(photo, painting):
    method = tiny_gatys(content_weight=0.3, style_weight=2.0, tv_weight=0.1)
    image = photo.flip(-1)
    styles = [method.measure(painting)]
    values = StyleTransferLoss(method, photo, EVERYWHERE, styles)(image)

    def features(picture, tap):
        return method.encoder(picture, [tap])[tap].double()

    x, c = features(image, "relu3_1"), features(photo, "relu3_1")
    content = 0.3 * ((x - c) ** 2).mean() / (c**2).mean()
    style = torch.zeros((), dtype=torch.float64)
    for tap in ("relu1_1", "relu2_1", "relu3_1"):
        f, s = features(image, tap)[0].flatten(1), features(painting, tap)[0].flatten(1)
        g, a = f @ f.T / f.shape[1], s @ s.T / s.shape[1]
        style += 2.0 / 3 * ((g - a) ** 2).sum() / (a**2).sum()
    assert values["content"].item() == pytest.approx(content.item(), rel=1e-4)
    assert values["style"].item() == pytest.approx(style.item(), rel=1e-4)
    assert values["total"].item() == pytest.approx(
        sum(values[name].item() for name in ("content", "style", "tv")), rel=1e-5
    )


def test_interpolating_styles_is_mixing_gram_matrices(photo, painting):
    """Sum of weighted Gram losses and Gram loss to the mixture have the same gradient."""
    method = tiny_gatys(content_weight=0.0, style_layers="relu2_1")
    other = painting.flip(1)
    styles = [method.measure(painting), method.measure(other)]
    weights = Mix.of(48, 64, [3.0, 1.0], [None, None])
    image = photo.clone().requires_grad_()
    StyleTransferLoss(method, photo, weights, styles)(image)["total"].backward()

    twin = photo.clone().requires_grad_()
    gram = Moments.of(method.encoder(twin, ["relu2_1"])["relu2_1"][0]).gram
    a, b = (style["relu2_1"].gram for style in styles)
    scale = (0.75 * a + 0.25 * b).square().sum()
    (0.75 * (gram - a).square().sum() / scale + 0.25 * (gram - b).square().sum() / scale).backward()
    torch.testing.assert_close(image.grad, twin.grad, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("style_loss", ["gram", "wasserstein"])
def test_losses_fall(photo, painting, optimizer, style_loss):
    losses = losses_of(
        photo, painting, optimizer=optimizer, style_loss=style_loss, coarse_to_fine=False
    )
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("start", ["content", "noise", "style"])
def test_every_start_leads_towards_the_style(photo, painting, start):
    losses = losses_of(photo, painting, init=start, iterations=20)
    assert losses[-1] < 0.6 * losses[0]


def test_a_start_picture_is_where_it_starts(photo, painting, folder):
    seen = []
    paint(
        photo,
        painting,
        on_step=lambda progress: seen.append(progress.image()),
        init="painting.png",
        optimizer="adam",
        learning_rate=1e-6,
        coarse_to_fine=False,
    )
    start = F.interpolate(painting, (48, 64), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(seen[0], start, atol=1e-4, rtol=0)


def test_noise_follows_the_seed(photo, painting):
    pictures = [paint(photo, painting, init="noise", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_nothing_to_gain_changes_nothing(photo, painting):
    """Without a style loss the photo is the optimum: no gradient, no step, at every scale."""
    method, weights = tiny_gatys(style_weight=0.0), Mix.of(144, 192, [1.0], [None])
    photo = big(photo)
    painted = fit(method, photo, painting, weights)(photo, weights)
    assert (painted - photo).abs().mean() < 0.02


def big(picture, factor=3):
    return F.interpolate(picture, scale_factor=factor, mode="bilinear")


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_coarse_to_fine_goes_through_the_scales_with_its_memory(photo, painting, optimizer):
    photo = big(photo)
    method = tiny_gatys(optimizer=optimizer)
    weights = Mix.of(144, 192, [1.0], [None])
    transfer = fit(method, photo, painting, weights)
    assert list(transfer.scales) == [0.5, 1.0]

    history = History()
    transfer(photo, weights, history)
    losses = [row["total"] for row in history.rows]
    assert len(losses) == 24
    assert losses[11] < losses[0]
    # The first step at full size profits from the coarse one and from what the optimiser learnt.
    assert losses[-1] < losses[12] < losses[0]


def test_pixels_stay_in_range_on_the_way(photo, painting):
    def watch(progress):
        assert progress.image().min() >= 0
        assert progress.image().max() <= 1

    paint(photo, painting, on_step=watch, content_weight=0.0)


def test_total_variation_smooths(photo, painting):
    def roughness(picture):
        return (picture[..., 1:] - picture[..., :-1]).abs().mean()

    assert roughness(paint(photo, painting, tv_weight=50.0)) < roughness(paint(photo, painting))


def test_averaging_is_the_mean_over_the_last_steps(photo, painting):
    last = [paint(photo, painting, avg_decay=0.0, iterations=n) for n in (1, 2, 3)]
    weights = [0.1 * 0.9**k for k in (2, 1, 0)]
    expected = sum(w * p for w, p in zip(weights, last, strict=True)) / sum(weights)
    got = paint(photo, painting, avg_decay=0.9, iterations=3)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_divergence_is_an_error_not_a_black_picture(photo, painting):
    with pytest.raises(ControlError, match="learning_rate"):
        paint(photo, painting * torch.nan)


@pytest.mark.parametrize(
    "settings",
    [
        {"content_weight": -1.0},
        {"content_weight": 0.0, "style_weight": 0.0},
        {"tv_weight": float("nan")},
        {"iterations": 0},
        {"learning_rate": 0.0},
        {"avg_decay": 1.0},
        {"optimizer": "sgd"},
        {"style_loss": "mse"},
        {"pooling": "median"},
        {"style_layers": ""},
        {"style_layers": "relu1_1:-1"},
        {"content_layers": "relu1_1:much"},
    ],
)
def test_settings_are_checked(settings):
    with pytest.raises(ControlError):
        GatysConfig(**settings)


def test_unknown_layers_are_found_before_painting():
    with pytest.raises(ControlError, match="relu9_1"):
        tiny_gatys(style_layers="relu9_1")


def test_layers_have_shares():
    assert parse_layers(" a , b:3,") == {"a": 0.25, "b": 0.75}


def test_history_becomes_csv_and_plot(photo, painting, tmp_path):
    history = History()
    paint(photo, painting, on_step=history)
    history.write_csv(tmp_path / "losses.csv")
    with (tmp_path / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert float(rows[-1]["total"]) == history.rows[-1]["total"]
    for name, magic in {"p.png": b"\x89PNG", "p.svg": b"<?xml", "p.pdf": b"%PDF"}.items():
        history.write_plot(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)


@pytest.mark.slow
def test_texture_has_the_styles_statistics_and_not_its_picture():
    source = painting_array(64, 64)
    made = texture(source, width=48, height=40, iterations=60, encoder="vgg16")
    assert made.size == (48, 40)
    pixels = np.asarray(made) / 255
    np.testing.assert_allclose(pixels.mean((0, 1)), (source / 255).mean((0, 1)), atol=0.1)
    assert pixels.std((0, 1)).mean() > 0.3 * (source / 255).std((0, 1)).mean()
    with pytest.raises(ControlError, match="at least 16"):
        texture(source, width=4, height=40)
    with pytest.raises(ControlError, match="width is '48': use a whole number of pixels"):
        texture(source, width="48", height=40)  # type: ignore[arg-type]


def test_a_masked_style_is_a_guided_gram_loss(photo, painting):
    """Gatys et al. 2017, eq. 5: Gram matrices of features weighted by the mask, here by area."""
    method = tiny_gatys(content_weight=0.0, style_layers="relu2_1")
    mask = torch.zeros(48, 64)
    mask[:, :20] = 1
    styles = [method.measure(painting)]
    weights = Mix.of(48, 64, [1.0], [mask])
    value = StyleTransferLoss(method, photo, weights, styles)(photo)["style"].item()

    features = method.encoder(photo, ["relu2_1"])["relu2_1"][0].double().numpy()
    guide = mask.view(24, 2, 32, 2).mean((1, 3)).double().numpy()
    gram = np.einsum("ihw,jhw,hw->ij", features, features, guide) / guide.sum()
    target = styles[0]["relu2_1"].gram.double().numpy()
    expected = 20 / 64 * ((gram - target) ** 2).sum() / (target**2).sum()
    assert value == pytest.approx(expected, rel=1e-4)


def test_a_thin_mask_aims_at_the_full_style_on_small_scales_too(photo, painting):
    method = tiny_gatys()
    line = torch.zeros(48, 64)
    line[20] = 1
    weights = Mix.of(48, 64, [1.0], [line])
    pooled = F.adaptive_avg_pool2d(weights.weights, (12, 16))
    small = F.adaptive_avg_pool2d(photo, (12, 16))
    style = method.measure(painting)
    loss = StyleTransferLoss(method, small, replace(weights, weights=pooled), [style])
    ((_, targets),) = loss.regions
    for tap in method.style_layers:
        torch.testing.assert_close(targets[tap].gram, style[tap].gram)
