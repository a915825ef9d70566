"""Every method keeps every promise of the design, on tiny networks."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import Look, images
from impasto.color import srgb_to_lab
from impasto.controls import Style
from impasto.errors import ImpastoError, Stop
from impasto.images import Picture
from impasto.methods import METHODS, Method, Past, load_method
from impasto.methods.fast import Blending, Fast, FastConfig
from impasto.methods.gatys import Gatys
from impasto.motion import Motion
from impasto.networks.adain import Matching
from impasto.stylizer import Stylizer
from tests.helpers.networks import tiny_adain, tiny_gatys, tiny_styletr, write_fast
from tests.helpers.pictures import as_tensor, painting_array, photo_array, psnr

TINY: dict[str, Callable[[], Method]] = {
    "gatys": tiny_gatys,
    # Untrained, a place must look at its very like to give a picture back in its own style.
    "styletr": partial(tiny_styletr, sharpness=20),
    **{f"adain-{name}": partial(tiny_adain, name) for name in get_args(Matching)},
    **{f"fast-{name}": partial(Fast, FastConfig(name, "float32")) for name in get_args(Blending)},
}


LOOKS = Path(tempfile.mkdtemp())


@pytest.fixture(scope="module", autouse=True)
def looks_are_removed():
    yield
    shutil.rmtree(LOOKS)


def source(stylizer, picture):
    """The picture; for the method of trained looks, a network that paints in its colours."""
    if not isinstance(stylizer.method, Fast):
        return picture
    pixels = images.read(picture).pixels
    name = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16]
    return write_fast(LOOKS / f"{name}.safetensors", {"look": pixels}, family="of all of these")


def params(keys):
    """The first variant of each method, and the others as slow."""
    first = {key.split("-")[0]: key for key in reversed(keys)}.values()
    return [key if key in first else pytest.param(key, marks=pytest.mark.slow) for key in keys]


@pytest.fixture(params=params(sorted(TINY)))
def stylizer(request):
    return Stylizer(TINY[request.param](), device="cpu")


@pytest.fixture(params=params(sorted(set(TINY) - {"gatys"})))
def network(request):
    """The methods that paint in one pass."""
    return Stylizer(TINY[request.param](), device="cpu")


def test_every_method_is_under_contract():
    assert {name.split("-")[0] for name in TINY} == set(METHODS)
    with pytest.raises(ImpastoError, match="unknown method 'magic'"):
        load_method("magic")


def test_it_paints(stylizer, photo, painting):
    painted = stylizer.stylize(photo, source(stylizer, painting))
    assert painted.shape == photo.shape
    assert painted.min() >= 0
    assert painted.max() <= 1
    assert 5 < psnr(painted, photo) < 30


def test_strength_0_is_the_photo(stylizer, photo, painting):
    assert psnr(stylizer.stylize(photo, source(stylizer, painting), strength=0), photo) > 40


@pytest.mark.parametrize("mode", ["luminance", "coral", "histogram"])
def test_strength_0_is_the_photo_in_every_colour_mode(stylizer, photo, painting, mode):
    painted = stylizer.stylize(photo, source(stylizer, painting), strength=0, preserve_color=mode)
    assert psnr(painted, photo) > 40


def test_distance_to_the_photo_grows_with_strength(stylizer, photo, painting):
    distances = [
        (stylizer.stylize(photo, source(stylizer, painting), strength=strength) - photo)
        .square()
        .mean()
        .item()
        for strength in (0, 0.1, 0.3, 0.6, 1)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 0.3 * distances[-1]
    assert distances[1] < 0.5 * distances[-1]


def test_same_seed_same_bits(stylizer, photo, painting):
    first = stylizer.stylize(photo, source(stylizer, painting), seed=3)
    assert torch.equal(stylizer.stylize(photo, source(stylizer, painting), seed=3), first)


def test_a_mask_of_ones_is_no_mask(stylizer, photo, painting):
    masked = Style(source(stylizer, painting), mask=np.full((48, 64), 255, np.uint8))
    with_mask, without = (
        stylizer.stylize(photo, masked),
        stylizer.stylize(photo, source(stylizer, painting)),
    )
    torch.testing.assert_close(with_mask, without, atol=1e-4, rtol=0)


def test_outside_of_all_masks_the_photo_stays(stylizer, photo, painting):
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 40:] = 255
    painted = stylizer.stylize(photo, Style(source(stylizer, painting), mask=mask))
    torch.testing.assert_close(painted[..., :40], photo[..., :40])
    assert psnr(painted[..., 40:], photo[..., 40:]) < 30


def test_each_region_takes_only_its_own_style(stylizer, photo):
    red, blue = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    red[:, 0], blue[:, 2] = 0.9, 0.9
    left, right = np.zeros((2, 48, 64), np.uint8)
    left[:, :32], right[:, 32:] = 255, 255
    grey = photo.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    painted = stylizer.stylize(
        grey, [Style(source(stylizer, red), mask=left), Style(source(stylizer, blue), mask=right)]
    )
    redness = (painted - grey)[:, 0] - (painted - grey)[:, 2]
    assert redness[..., :24].mean() > 0.02
    assert redness[..., 40:].mean() < -0.02


def test_styles_interpolate(stylizer, photo):
    red, blue = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    red[:, 0], blue[:, 2] = 0.9, 0.9

    def redness(share):
        painted = stylizer.stylize(
            photo, [Style(source(stylizer, red), share), Style(source(stylizer, blue), 1 - share)]
        )
        return float(painted[:, 0].mean() - painted[:, 2].mean())

    assert redness(0.0) < redness(0.5) < redness(1.0)


def test_a_style_of_weight_0_changes_nothing(stylizer, photo, painting):
    both = stylizer.stylize(
        photo, [Style(source(stylizer, painting)), Style(source(stylizer, 1 - painting), 0.0)]
    )
    torch.testing.assert_close(both, stylizer.stylize(photo, source(stylizer, painting)))


@pytest.mark.parametrize(("height", "width"), [(31, 97), (97, 31), (16, 200), (33, 33)])
def test_odd_sizes_come_out_as_they_went_in(stylizer, painting, height, width):
    photo = as_tensor(photo_array(height, width))
    assert stylizer.stylize(photo, source(stylizer, painting)).shape == (1, 3, height, width)


def test_size_is_the_longer_side(stylizer, photo, painting):
    assert stylizer.stylize(photo, source(stylizer, painting), size=32).shape == (1, 3, 24, 32)
    with pytest.raises(ImpastoError, match="would become"):
        stylizer.stylize(as_tensor(photo_array(20, 200)), source(stylizer, painting), size=100)


def test_style_size_changes_the_strokes(stylizer, photo, painting):
    if isinstance(stylizer.method, Fast):
        with pytest.raises(ImpastoError, match="use --size instead"):
            stylizer.stylize(photo, source(stylizer, painting), style_size=20)
        return
    small = stylizer.stylize(photo, source(stylizer, painting), style_size=20)
    assert psnr(small, stylizer.stylize(photo, source(stylizer, painting), style_size=80)) < 45


def test_less_detail_is_farther_from_the_photo(network, painting):
    photo = as_tensor(photo_array(128, 160))

    def distance(**controls):
        return float(
            (network.stylize(photo, source(network, painting), **controls) - photo).square().mean()
        )

    assert distance(detail=1) < distance() < distance(detail=0)


def test_stroke_size_changes_the_strokes(network, painting):
    photo = as_tensor(photo_array(128, 160))
    painted = [
        network.stylize(photo, source(network, painting), stroke_size=size) for size in (0, 1, 2)
    ]
    assert psnr(painted[0], painted[1]) < 60
    assert psnr(painted[1], painted[2]) < 60


@pytest.mark.parametrize(("name", "value"), [("stroke_size", 2.0), ("detail", 0.3)])
def test_the_optimiser_refuses_what_is_for_networks(photo, painting, name, value):
    with pytest.raises(ImpastoError, match=f"{name} is for networks"):
        Stylizer(tiny_gatys(), device="cpu").stylize(photo, painting, **{name: value})


def test_alpha_is_kept_and_hidden_pixels_do_not_matter(stylizer, painting):
    array = np.dstack((photo_array(), np.full((48, 64), 255, np.uint8)))
    array[:, :16, 3] = 0
    painted = stylizer.stylize(Image.fromarray(array), source(stylizer, painting))
    assert painted.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(painted)[..., 3], array[..., 3])
    array[:, :16, :3] = 255
    again = stylizer.stylize(Image.fromarray(array), source(stylizer, painting))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(painted))


def test_paths_and_pil_give_pil(stylizer, folder):
    assert isinstance(stylizer.stylize("photo.png", source(stylizer, "painting.png")), Image.Image)
    with Image.open("photo.png") as opened:
        assert isinstance(stylizer.stylize(opened, source(stylizer, "painting.png")), Image.Image)


def test_a_look_paints_its_photo_and_the_next_frame(stylizer, photo, painting):
    style = source(stylizer, painting)
    look = stylizer.fit(photo, style)
    painted = stylizer.stylize(photo, style)
    assert torch.equal(look(), painted)
    torch.testing.assert_close(look(photo), painted)
    frame = photo.flip(-1)
    torch.testing.assert_close(look(frame), stylizer.fit(photo, style)(frame))
    torch.testing.assert_close(look(), painted)  # whatever was painted in between
    with pytest.raises(ImpastoError, match="fit it anew"):
        look(photo[..., :40])


def still(photo, trust, memory):
    """A frame before without any motion since, and how far that is certain."""
    height, width = photo.shape[-2:]
    motion = Motion(torch.zeros(1, 2, height, width), torch.full((1, 1, height, width), trust))
    return Past(memory, motion)


def test_a_film_begins_as_a_photo_is_painted(stylizer, photo, painting):
    look = stylizer.fit(photo, source(stylizer, painting))
    painted, memory = look.follow(photo)
    torch.testing.assert_close(painted, look(), atol=1e-4, rtol=0)
    again, _ = look.follow(photo, still(photo, 0.0, memory))
    if isinstance(stylizer.method, Gatys):  # goes on from what is there
        assert (again - painted).abs().max() < 0.5
    else:
        torch.testing.assert_close(again, painted, atol=1e-4, rtol=0)


def test_a_frame_goes_on_from_the_one_before(stylizer, photo, painting):
    look = stylizer.fit(photo, source(stylizer, painting))
    frame = (photo + 0.03 * torch.randn_like(photo)).clamp(0, 1)
    before, memory = look.follow(photo)
    alone, _ = look.follow(frame)
    kept, _ = look.follow(frame, still(photo, 1.0, memory))
    half, _ = look.follow(frame, still(photo, 0.5, memory))
    distances = [(one - before).square().mean() for one in (kept, half, alone)]
    assert distances == sorted(distances)
    assert distances[0] < 0.3 * distances[-1]


def test_a_look_is_fitted_to_several_frames(stylizer, photo, painting):
    style = source(stylizer, painting)
    usual, once, twice, dark = (stylizer.fit(photo, style) for _ in range(4))
    once.fit_frames([photo])
    twice.fit_frames([photo, photo])
    dark.fit_frames([photo, 0.3 * photo])
    torch.testing.assert_close(once(photo), usual(photo), atol=1e-4, rtol=0)
    assert (twice(photo) - usual(photo)).abs().mean() < 1e-3
    if not isinstance(stylizer.method, Gatys):  # which measures every picture anew
        assert (dark(photo) - usual(photo)).abs().mean() > 2e-3


def test_mixed_methods_follow_a_film(stylizer, photo, painting):
    trained = write_fast(LOOKS / "trained.safetensors", {"look": 1 - painting})
    look = stylizer.fit(photo, [source(stylizer, painting), trained])
    before, memory = look.follow(photo)
    torch.testing.assert_close(before, look(), atol=1e-4, rtol=0)
    noisy = (photo + 0.01 * torch.randn_like(photo)).clamp(0, 1)
    kept, _ = look.follow(noisy, still(photo, 1.0, memory))
    alone, _ = look.follow(noisy)
    assert (kept - before).abs().mean() < 0.3 * (alone - before).abs().mean()


def test_a_look_is_fitted_to_other_photos(stylizer, photo, painting):
    style, other = source(stylizer, painting), as_tensor(photo_array(40, 56)).flip(-1)
    look = stylizer.fit(photo, style, strength=0.8, seed=2)
    assert torch.equal(look.fit(other)(), stylizer.stylize(other, style, strength=0.8, seed=2))
    again = look.fit(other, strength=0.4)()
    assert torch.equal(again, stylizer.stylize(other, style, strength=0.4, seed=2))


def test_a_look_is_kept_in_a_file(stylizer, photo, painting, tmp_path):
    look = stylizer.fit(photo, source(stylizer, painting), strength=0.8)
    look.save(tmp_path / "mine.look")
    again = Look.load(tmp_path / "mine.look", stylizer=stylizer)
    torch.testing.assert_close(again(photo), look(), atol=1e-4, rtol=0)


def test_it_mixes_with_trained_looks(stylizer, photo, painting):
    trained = write_fast(LOOKS / "trained.safetensors", {"look": 1 - painting})
    style = source(stylizer, painting)
    mixed = stylizer.stylize(photo, [Style(style, 3.0), Style(trained, 1.0)])
    alone = stylizer.stylize(photo, style)
    looks = Stylizer("fast", device="cpu", precision="float32").stylize(photo, trained)
    torch.testing.assert_close(mixed, 0.75 * alone + 0.25 * looks, atol=2e-2, rtol=0)


def test_a_single_pass_stays_in_range(network, photo, painting):
    for strength in (0.5, 1.0):
        painted = network.stylize(
            photo, source(network, painting), stroke_size=0, strength=strength
        )
        assert painted.min() >= 0
        assert painted.max() <= 1


def test_bad_settings_are_refused(stylizer):
    """Each setting with bounds or choices is checked by the method's own config."""
    config = type(stylizer.method).Config
    for knob in fields(config):
        if knob.metadata["choices"] or knob.metadata["min"] is not None:
            bad = "none of these" if knob.metadata["choices"] else knob.metadata["min"] - 1
            with pytest.raises(ImpastoError, match=knob.name):
                config(**{knob.name: bad})


def test_encoded_styles_paint_what_styles_do(stylizer, photo, painting):
    style = Style(source(stylizer, painting), 2.0)
    encoded = stylizer.encode([style, source(stylizer, 1 - painting)])
    for content in (photo, as_tensor(photo_array(40, 56)), photo):
        expected = stylizer.stylize(content, [style, source(stylizer, 1 - painting)])
        assert torch.equal(stylizer.stylize(content, encoded), expected)


def test_the_order_of_styles_does_not_matter(stylizer, photo, painting):
    styles = [Style(source(stylizer, painting), 2.0), Style(source(stylizer, 1 - painting), 1.0)]
    one, other = stylizer.stylize(photo, styles), stylizer.stylize(photo, styles[::-1])
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_equal_styles_are_one_style(stylizer, photo, painting):
    twice = stylizer.stylize(
        photo, [Style(source(stylizer, painting), 1.0), Style(source(stylizer, painting), 3.0)]
    )
    torch.testing.assert_close(
        twice, stylizer.stylize(photo, source(stylizer, painting)), atol=1e-4, rtol=0
    )


def test_luminance_keeps_the_chroma(stylizer, photo, painting):
    painted = stylizer.stylize(photo, source(stylizer, painting), preserve_color="luminance")
    chroma = (srgb_to_lab(painted) - srgb_to_lab(photo))[:, 1:].abs()
    assert chroma.median() < 2  # where the colour at that lightness exists in sRGB


@pytest.mark.parametrize("mode", ["coral", "histogram"])
def test_recoloured_styles_keep_the_palette(stylizer, photo, painting, mode):
    kept = stylizer.stylize(photo, source(stylizer, painting), preserve_color=mode).mean((2, 3))
    lost = stylizer.stylize(photo, source(stylizer, painting)).mean((2, 3))
    wanted = photo.mean((2, 3))
    assert (kept - wanted).norm() < 0.5 * (lost - wanted).norm()


@pytest.mark.parametrize(
    ("size", "masked", "tile"),
    [((150, 203), True, 64), ((64, 200), False, 64), ((64, 200), True, 71)],
)
@pytest.mark.slow
def test_tiled_equals_whole(network, painting, size, masked, tile):
    photo = as_tensor(photo_array(*size))
    mask = photo[:, :1, :, :].numpy()[0, 0] if masked else None
    styles = [
        Style(source(network, painting), mask=mask),
        Style(source(network, 1 - painting), 0.5),
    ]
    whole = network.stylize(photo, styles, strength=0.8, tile=10_000)
    tiled = network.stylize(photo, styles, strength=0.8, tile=tile)
    # Quantiles of tiles add up to those of the whole only as finely as they are kept.
    exact = getattr(network.method.config, "matching", None) != "histogram"
    torch.testing.assert_close(tiled, whole, atol=1e-5 if exact else 0.05, rtol=0)


def test_tiles_are_told_and_can_stop(network, painting):
    photo, seen = as_tensor(photo_array(64, 192)), []

    def watch(progress):
        seen.append((progress.step, progress.steps))
        if progress.step == 2:
            raise Stop

    painted = network.stylize(
        photo, source(network, painting), tile=64, stroke_size=0, on_step=watch
    )
    assert seen == [(1, 4), (2, 4)]  # the first before there is a tile
    assert psnr(painted[..., :64], photo[..., :64]) < 30
    torch.testing.assert_close(painted[..., 64:], photo[..., 64:])


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9])
def test_levels_are_told_and_can_stop(network, painting, stop_at):
    photo, seen = as_tensor(photo_array(128, 160)), []

    def watch(progress):
        seen.append(progress.image())
        assert progress.step == len(seen)
        if progress.step == stop_at:
            raise Stop

    painted = network.stylize(photo, source(network, painting), tile=64, on_step=watch)
    assert len(seen) == stop_at
    torch.testing.assert_close(painted, seen[-1])
    assert psnr(painted, photo) < 30


@pytest.mark.parametrize("tile", [64, "auto"])
def test_the_fraction_of_the_work_rises_to_1(network, painting, tile):
    told = []
    photo = as_tensor(photo_array(128, 160))
    network.stylize(photo, source(network, painting), tile=tile, on_step=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(set(fractions))
    assert fractions[0] > 0
    assert fractions[-1] == 1
    assert fractions[1] < 2 / len(told)  # on the smallest picture


def test_a_step_of_the_optimiser_counts_as_many_pixels_as_it_has(painting):
    told = []
    stylizer = Stylizer(tiny_gatys(iterations=3), device="cpu")
    photo = as_tensor(photo_array(256, 320))
    stylizer.stylize(photo, painting, on_step=told.append)
    pixels = [side * side * 5 // 4 for side in (64, 128, 256) for _ in range(3)]
    expected = [sum(pixels[:n]) / sum(pixels) for n in range(1, 10)]
    assert [progress.fraction for progress in told] == pytest.approx(expected)


def test_with_a_limit_in_seconds_the_time_counts(photo, painting):
    told = []
    limited = {"iterations": 10**6, "seconds": 0.5, "coarse_to_fine": False}
    stylizer = Stylizer(tiny_gatys(**limited), device="cpu")
    stylizer.stylize(photo, painting, on_step=told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.9


def test_progress_is_told_and_can_stop(photo, painting):
    stylizer, seen = Stylizer(tiny_gatys(), device="cpu"), []

    def watch(progress):
        seen.append((progress.step, progress.image()))
        assert set(progress.losses) >= {"content", "style", "tv", "total"}
        if progress.step == 3:
            raise Stop

    painted = stylizer.stylize(photo, source(stylizer, painting), on_step=watch)
    assert [step for step, _ in seen] == [1, 2, 3]
    torch.testing.assert_close(painted, seen[-1][1])


def test_too_large_a_job_names_a_size_that_fits(stylizer, painting, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 2**20}))
    with pytest.raises(ImpastoError, match=r"GiB of memory.*--size \d+ would fit"):
        stylizer.fit(Picture(torch.rand(1, 3, 600, 800)), source(stylizer, painting))


def test_a_failed_allocation_names_a_size_that_fits(stylizer, photo, painting, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(type(stylizer.method), "fit", fail)
    with pytest.raises(ImpastoError, match=r"--size \d+ would fit"):
        stylizer.stylize(photo, source(stylizer, painting))


def test_the_style_of_a_photo_is_itself(stylizer, photo, painting):
    """The photo in its own style stays much closer to itself than in another's."""
    # The tiny trained network gives back means of 4 x 4 pixels, and at each level again.
    trained = isinstance(stylizer.method, Fast)
    size = {"stroke_size": 0} if trained else {"style_size": 64}
    own = psnr(stylizer.stylize(photo, source(stylizer, photo), **size), photo)
    assert own > 20
    assert own > psnr(stylizer.stylize(photo, source(stylizer, painting)), photo) + 5


def test_painting_array_is_no_constant():
    assert painting_array().std() > 20
