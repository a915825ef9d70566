"""The public object: which method is meant, tiles by themselves, refinement."""

import math
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import impasto
from impasto.errors import ControlError, Stop, TooLargeError
from impasto.history import History
from impasto.memory import check_memory, free_in_container, tile_side
from impasto.methods import METHODS, Entry, choose_method
from impasto.recipes import Recipe
from impasto.stylizer import Stylizer, parse_refine
from tests.helpers.networks import tiny_adain, tiny_gatys, tiny_styletr, tiny_vgg, write_fast
from tests.helpers.pictures import as_tensor, photo_array

CPU = torch.device("cpu")


@pytest.fixture
def tiny_encoder(monkeypatch):
    """Methods load a tiny VGG."""
    monkeypatch.setattr("impasto.methods.gatys.load_encoder", lambda *_, **__: tiny_vgg())


def test_auto_is_the_first_method_that_has_the_settings():
    assert choose_method("auto", {}) == ("adain", {})
    assert choose_method("auto", {"matching": "wct"}) == ("adain", {"matching": "wct"})
    assert choose_method("auto", {"iterations": 3}) == ("gatys", {"iterations": 3})
    for name in ("adain.base", "styletr.base"):  # or, of those, the one that they are weights of
        assert choose_method("auto", {"weights": name}) == (name[:-5], {"weights": name})
    assert choose_method("adain.base", {}) == ("adain", {"weights": "adain.base"})
    with pytest.raises(ControlError, match="unknown method 'magic'"):
        choose_method("magic.base", {})
    with pytest.raises(
        ControlError, match="unknown setting 'iterations' of adain: it is one of gatys; known"
    ):
        Stylizer("auto", iterations=3, matching="wct")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("50", {"iterations": 50}),
        (50, {"iterations": 50}),
        ("30s", {"iterations": 10**6, "seconds": 30.0}),
        ("1.5s", {"iterations": 10**6, "seconds": 1.5}),
    ],
)
def test_refine_is_steps_or_seconds(text, wanted):
    assert parse_refine(text) == wanted


@pytest.mark.parametrize("text", ["", "many", "-3", "3m", "s", "1e3"])
def test_refine_of_another_form_is_refused(text):
    with pytest.raises(ControlError, match="write a number of steps"):
        parse_refine(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content": 3}, "a picture is of type int: give a path"),
        ({"content": None}, "a picture is of type NoneType: give a path"),
        ({"styles": 3}, "a picture is of type int: give a path"),
        ({"styles": [["painting.png"]]}, "a picture is of type list: give a path"),
        ({"strength": "x"}, "strength is 'x': use a value of type float"),
        ({"size": 64.0}, "size is 64.0: use a value of type int"),
        ({"refine": [1]}, r"refine is '\[1\]': write a number of steps"),
        ({"method": 3}, "method is 3: use a name, or a Method of your own"),
        ({"device": None}, "device 'None' is not on this machine"),
    ],
)
def test_a_value_of_another_type_is_one_line(photo, painting, options, message):
    call = {"content": photo, "styles": painting, "method": "adain.small", **options}
    with pytest.raises(impasto.ImpastoError, match=message) as caught:
        impasto.stylize(**call)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", ["x", None, -1, float("nan")])
def test_a_weight_is_a_number(painting, weight):
    with pytest.raises(ControlError, match="style weight is"):
        impasto.Style(painting, weight)


def test_refining_goes_on_from_what_the_network_painted(tiny_encoder, photo, painting):
    layers: dict[str, Any] = {"style_layers": "relu1_1,relu2_1", "content_layers": "relu2_1"}
    network = Stylizer(tiny_adain(), device="cpu").stylize(photo, painting)
    refiner = Stylizer(tiny_adain(), device="cpu", coarse_to_fine=False, refine=3, **layers)
    losses = []
    refined = refiner.stylize(
        photo, painting, on_step=lambda progress: losses.append(progress.losses["total"])
    )
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert 0 < (refined - network).abs().mean() < 0.2 * (photo - network).abs().mean()


def test_refining_keeps_the_detail_of_the_network(tiny_encoder, painting):
    """Small scales come first, but what they cannot hold comes back."""
    photo = as_tensor(photo_array(128, 160))
    photo = (photo + 0.2 * torch.rand_like(photo)).clamp(0, 1)
    network = Stylizer(tiny_adain(), device="cpu").stylize(photo, painting, strength=0.5)
    refiner = Stylizer(tiny_adain(), device="cpu", refine=1, content_weight=100.0)
    refined = refiner.stylize(photo, painting, strength=0.5)
    assert refined.diff().abs().mean() > 0.8 * network.diff().abs().mean()


def test_refining_does_not_apply_a_soft_mask_twice(tiny_encoder, photo, painting):
    style = impasto.Style(painting, mask=torch.full((48, 64), 0.5).numpy())
    network = Stylizer(tiny_adain(), device="cpu").stylize(photo, style)
    refined = Stylizer(tiny_adain(), device="cpu", refine=1, content_weight=100.0)
    distance = (refined.stylize(photo, style) - photo).abs().mean()
    assert distance > 0.7 * (network - photo).abs().mean()


def test_refining_ends_in_time_and_passes_through_the_scales(tiny_encoder, painting):
    photo = as_tensor(photo_array(128, 160))
    stylizer = Stylizer(tiny_adain(), device="cpu", refine="1s", style_layers="relu1_1,relu2_1")
    sizes = []
    stylizer.stylize(photo, painting, on_step=lambda p: sizes.append(p.losses["total"]))
    assert 2 < len(sizes) < 10**4


def test_refining_keeps_strength_0_and_the_recipe(tiny_encoder, photo, painting):
    stylizer = Stylizer(tiny_adain(), device="cpu", refine="2", tv_weight=1.0)
    look = stylizer.fit(photo, painting, strength=0)
    torch.testing.assert_close(look(), photo)
    recipe = look.recipe()
    assert (recipe["refine"], recipe["tv_weight"], recipe["matching"]) == (2, 1.0, "adain")
    assert "iterations" not in recipe


def test_network_and_optimiser_share_a_setting(tiny_encoder):
    stylizer = Stylizer("adain.small", refine=3, precision="float32", style_loss="wasserstein")
    refiner = stylizer.painters(3)["refiner"]
    assert stylizer.method.config.precision == refiner.config.precision == "float32"
    assert refiner.config.style_loss == "wasserstein"


def test_gatys_is_not_refined(tiny_encoder):
    with pytest.raises(ControlError, match="gatys has iterations"):
        Stylizer("gatys", device="cpu", refine=5)


def test_tiles_are_used_when_memory_asks_for_them(monkeypatch):
    network = tiny_adain().footprint
    assert tile_side(network, 1000, 1000, "auto", CPU) is None
    assert tile_side(network, 1000, 1000, 256, CPU) == 256
    assert tile_side(network, 1000, 1000, "1000", CPU) is None
    large = tile_side(network, 6000, 8000, "auto", CPU)
    assert 256 < large < 6000
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 2**30}))
    assert 64 <= tile_side(network, 6000, 8000, "auto", CPU) < large
    assert tile_side(tiny_gatys().footprint, 6000, 8000, "auto", CPU) is None


def test_what_is_measured_as_a_whole_counts_whatever_the_tiles(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 2**28}))
    footprint = tiny_adain().footprint
    rest: dict[str, Any] = {"styles": [], "tile": 64, "device": CPU}
    check_memory(footprint, 400, 400, **rest)
    with pytest.raises(TooLargeError):
        check_memory(footprint, 1000, 1000, **rest)


@pytest.mark.parametrize("height", [500, 2000])
def test_some_memory_is_left_to_others(monkeypatch, height):
    """What fits by a hair is refused, and the size that is named is not."""
    footprint = tiny_gatys().footprint
    rest: dict[str, Any] = {"styles": [], "tile": "auto", "device": CPU}
    needed = height * height * (footprint.bytes_per_pixel + 90)  # and photo and result

    def free(share):
        room = type("Free", (), {"available": needed * share})
        monkeypatch.setattr("psutil.virtual_memory", lambda: room)

    free(1.3)
    check_memory(footprint, height, height, **rest)
    free(1.2)
    with pytest.raises(TooLargeError) as refused:
        check_memory(footprint, height, height, **rest)
    fits = int(re.search(r"--size (\d+)", str(refused.value))[1])
    assert 0.8 * height < fits < height
    check_memory(footprint, fits, fits, **rest)


def test_other_failures_are_not_called_a_lack_of_memory(photo, painting, monkeypatch):
    def fail(*_, **__):
        raise NotImplementedError("aten::roll is not known to this device")

    stylizer = Stylizer(tiny_adain(), device="cpu")
    monkeypatch.setattr(stylizer.method, "fit", fail)
    with pytest.raises(NotImplementedError):
        stylizer.stylize(photo, painting)


@pytest.mark.parametrize("tile", [0, 63, -64, "off", "64px", 1.5])
def test_odd_tiles_are_refused(tile):
    with pytest.raises(ControlError, match="tile is"):
        impasto.Controls(tile=tile)


def test_textures_by_a_network_paint_noise(monkeypatch, painting):
    monkeypatch.setattr("impasto.stylizer.load_method", lambda *_, **__: tiny_adain())
    paint = [
        impasto.texture(painting, width=40, height=24, method="adain", device="cpu", seed=seed)
        for seed in (0, 0, 1)
    ]
    assert paint[0].size == (40, 24)
    assert paint[0].tobytes() == paint[1].tobytes() != paint[2].tobytes()


def test_memory_is_what_the_container_leaves(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 250\n")
    assert free_in_container(tmp_path) == 550
    (tmp_path / "memory.max").write_text("max\n")
    assert free_in_container(tmp_path) == math.inf
    assert free_in_container(tmp_path / "none") == math.inf


def test_styles_of_both_kinds_mix(photo, painting, tmp_path):
    """Each is painted by its own method; weights and masks blend the pictures."""
    trained = write_fast(tmp_path / "mine.safetensors", {"look": 1 - painting})
    stylizer = Stylizer(tiny_adain(), device="cpu")
    by_network = stylizer.stylize(photo, painting)
    by_look = Stylizer("fast", device="cpu").stylize(photo, trained)
    mixed = stylizer.stylize(photo, [impasto.Style(painting, 3.0), impasto.Style(trained, 1.0)])
    torch.testing.assert_close(mixed, 0.75 * by_network + 0.25 * by_look, atol=1e-5, rtol=0)
    left = np.zeros((48, 64), np.uint8)
    left[:, :24] = 255
    halves = [impasto.Style(painting, mask=left), impasto.Style(trained, mask=255 - left)]
    painted = stylizer.stylize(photo, halves, stroke_size=0)
    alone = [stylizer.stylize(photo, halves[0], stroke_size=0)]
    alone.append(Stylizer("fast", device="cpu").stylize(photo, halves[1], stroke_size=0))
    torch.testing.assert_close(painted[..., :20], alone[0][..., :20], atol=1e-5, rtol=0)
    torch.testing.assert_close(painted[..., 28:], alone[1][..., 28:], atol=1e-5, rtol=0)
    only = [impasto.Style(painting, mask=left), impasto.Style(trained, mask=left)]
    kept = stylizer.stylize(photo, only, strength=0.5)
    torch.testing.assert_close(kept[..., 24:], photo[..., 24:], atol=1e-6, rtol=0)
    torch.testing.assert_close(stylizer.stylize(photo, halves, strength=0), photo)


def test_the_optimiser_mixes_with_trained_looks_and_can_stop(photo, painting, tmp_path):
    trained = write_fast(tmp_path / "mine.safetensors", {"look": 1 - painting})
    stylizer, seen = Stylizer(tiny_gatys(), device="cpu"), []

    def watch(progress):
        seen.append((progress.step, progress.steps, progress.image()))
        if len(seen) == 5:
            raise Stop

    painted = stylizer.stylize(photo, [painting, trained], on_step=watch)
    assert [step for step, _, _ in seen] == [1, 2, 3, 4, 5]
    assert len({steps for _, steps, _ in seen}) == 1
    assert all(step <= steps for step, steps, _ in seen)
    torch.testing.assert_close(painted, seen[-1][2])
    history, counted = History(), []

    def on_step(progress):
        history(progress)
        counted.append((progress.step, progress.steps))

    whole = stylizer.stylize(photo, [trained, painting], on_step=on_step)
    assert not torch.allclose(whole, painted)
    assert counted == [(n, len(counted)) for n in range(1, len(counted) + 1)]
    for name in ("losses.csv", "losses.png"):
        (history.write_csv if name.endswith("csv") else history.write_plot)(tmp_path / name)
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert lines[0].startswith("step,content,style")
    assert len(lines) == 1 + len(counted)


def test_a_look_reports_all_that_painted(photo, painting, tmp_path):
    trained = write_fast(tmp_path / "mine.safetensors", {"look": painting})
    look = Stylizer("adain.small", device="cpu", blending="outputs").fit(photo, [painting, trained])
    recipe = look.recipe()
    assert (recipe["method"], recipe["blending"]) == ("adain", "outputs")
    assert set(recipe["sha256"]) == {"adain.small", "mine.safetensors"}


def test_a_folder_in_one_style_measures_the_style_once(photo, painting):
    method, measured = tiny_adain(), []
    encode = method.encode_style
    method.encode_style = lambda style: measured.append(style.shape) or encode(style)
    stylizer = Stylizer(method, device="cpu")
    styles = stylizer.encode(painting)
    for content in (photo, photo.flip(-1), photo.flip(-2)):
        stylizer.stylize(content, styles)
    assert len(measured) == 1
    stylizer.stylize(photo, styles, style_size=40)
    stylizer.stylize(photo, styles, style_size=40, preserve_color="coral")
    assert len(measured) == 3


def test_refine_can_be_asked_of_a_loaded_method(tiny_encoder, photo, painting):
    stylizer = Stylizer(tiny_adain(), device="cpu")
    refined = stylizer.stylize(photo, painting, refine=3)
    look = stylizer.fit(photo, painting, refine="3")
    assert torch.equal(look(), refined)
    assert look.recipe()["refine"] == 3
    assert not torch.equal(stylizer.stylize(photo, painting), refined)
    with pytest.raises(ControlError, match="gatys has iterations"):
        Stylizer(tiny_gatys(), device="cpu").stylize(photo, painting, refine=3)


def test_styles_that_were_encoded_for_another_method_are_measured_anew(photo, painting, tmp_path):
    trained = write_fast(tmp_path / "mine.safetensors", {"look": painting})
    one, other = Stylizer(tiny_adain(), device="cpu"), Stylizer(tiny_styletr(), device="cpu")
    encoded = one.encode([painting, trained])
    one.stylize(photo, encoded)
    expected = other.stylize(photo, [painting, trained])
    assert torch.equal(other.stylize(photo, encoded), expected)


def test_refine_alone_says_how_long(tiny_encoder, photo, painting):
    for more in ({"iterations": 5}, {"seconds": 5.0}):
        with pytest.raises(ControlError, match="refine says how long to optimise: leave out"):
            Stylizer("adain.small", refine=3, **more)


def test_a_method_that_is_given_takes_no_settings():
    with pytest.raises(ControlError, match="matching: a method that is given has its settings"):
        Stylizer(tiny_adain(), device="cpu", matching="wct")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.5}, "strength is for photos"),
        ({"preserve_color": "coral"}, "preserve_color is for photos"),
        ({"detail": 0.1}, "detail is for photos"),
        ({"content_weight": 3.0}, "content_weight is for photos"),
        ({"content_layers": "relu1_1"}, "content_layers is for photos"),
        ({"size": 40, "width": 30}, "give it, or width and height"),
    ],
)
def test_a_texture_refuses_what_needs_a_photo(tiny_encoder, painting, options, message):
    with pytest.raises(ControlError, match=message):
        impasto.texture(painting, iterations=1, **options)


def test_the_size_of_a_texture_is_its_longer_side(tiny_encoder, painting):
    assert impasto.texture(painting, size=28, iterations=1).size == (20, 28)


@pytest.fixture
def mosaic(tmp_path, monkeypatch):
    """The method that CONTRIBUTING.md shows, registered as it says."""
    page = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = page.split("```python\n", 1)[1].split("   ```\n", 1)[0]
    (tmp_path / "mosaic.py").write_text(textwrap.dedent(code), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "mosaic", Entry("mosaic:Mosaic", "blocks"))
    yield
    del sys.modules["mosaic"]


def test_the_method_of_the_contributors_page_paints(mosaic, photo, painting, tmp_path):
    options: dict[str, Any] = {"block": 4}
    stylizer = Stylizer("mosaic", device="cpu", **options)
    painted = stylizer.stylize(photo, painting, stroke_size=0)
    blocks = painted.unfold(2, 4, 4).unfold(3, 4, 4)
    assert blocks.std((-2, -1)).max() < 1e-5
    torch.testing.assert_close(painted.mean((2, 3)), painting.mean((2, 3)), atol=0.05, rtol=0)
    tiled = stylizer.stylize(as_tensor(photo_array(150, 203)), painting, tile=71)
    whole = stylizer.stylize(as_tensor(photo_array(150, 203)), painting, tile=1000)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    with pytest.raises(ControlError, match="block is 0"):
        Stylizer("mosaic", **(options | {"block": 0}))
    with pytest.raises(ControlError, match="mosaic has no weights to name; use mosaic"):
        Stylizer("mosaic.small")


def test_settings_of_trained_looks_beside_a_method_that_lacks_them(
    mosaic, photo, painting, tmp_path
):
    trained = write_fast(tmp_path / "mine.safetensors", {"look": 1 - painting})
    look = Stylizer("mosaic", device="cpu", precision="float32").fit(photo, [painting, trained])
    again = Recipe.of({k: v for k, v in look.recipe().items() if k != "impasto"}).stylizer("cpu")
    assert torch.equal(again.stylize(photo, [painting, trained]), look())
    with pytest.raises(ControlError, match="precision is for trained styles"):
        Stylizer("mosaic", device="cpu", precision="float32").stylize(photo, painting)
