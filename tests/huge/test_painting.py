"""A picture painted on disk is the one that is painted in memory, and work can be gone on with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import Style, Stylizer, images
from impasto.controls import Controls
from impasto.errors import (
    ControlError,
    ImageError,
    ImpastoError,
    OutputError,
    Stop,
    TooLargeError,
)
from impasto.huge import Commission, is_large, is_scaled, paint
from impasto.huge.store import Store
from tests.helpers.networks import tiny_adain, tiny_styletr, write_fast
from tests.helpers.pictures import as_tensor, painting_array, photo_array

pytest.importorskip("pyvips")

pytestmark = pytest.mark.slow

SIZE = (150, 210)
TILE = 64
"""Of `SIZE`, there are several tiles at the last levels."""
CLOSE = 1.01 / 255
"""8 bits may be rounded to either side; before, it is far less."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch, tmp_path):
    """Strips of a few rows, and measuring at a size that has to be scaled down to."""
    monkeypatch.setattr("impasto.huge.store.STRIP_PIXELS", 40 * SIZE[1])
    for module in ("coarse_to_fine", "huge.levels", "huge.painting"):
        monkeypatch.setattr(f"impasto.{module}.MEASURED_AREA", 90 * 90)
    # The last level is smaller than the picture, which is abstracted in several tiles.
    monkeypatch.setattr("impasto.coarse_to_fine._FINEST", 0.0)
    monkeypatch.setattr("impasto.coarse_to_fine._COARSEST_SIDE", 40)
    monkeypatch.setattr("impasto.abstraction._TILE", 64)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo_array(*SIZE)).save("photo.png")
    Image.fromarray(painting_array()).save("painting.png")
    return tmp_path


@pytest.fixture(scope="module")
def stylizers():
    return {
        "adain": Stylizer(tiny_adain(), device="cpu"),
        "styletr": Stylizer(tiny_styletr(sharpness=20), device="cpu"),
        "fast": Stylizer("fast", device="cpu", precision="float32"),
    }


def commission(stylizer, styles="painting.png", photo="photo.png", output="out.png", **controls):
    knobs = Controls(**{"tile": TILE, **controls})
    return Commission(stylizer, stylizer.encode(styles), knobs, Path(photo), Path(output))


def check_same(stylizer, styles="painting.png", photo="photo.png", close=CLOSE, **controls):
    """Paints on disk and in memory; returns both."""
    order = commission(stylizer, styles, photo, **controls)
    assert not order.paint().stopped
    assert not list(Path().glob("*.parts"))
    whole = stylizer.stylize(images.read(photo), styles, tile=TILE, **controls)
    painted = images.read("out.png")
    eight = (whole.pixels * 255).round() / 255
    seen = 1 if painted.alpha is None else (painted.alpha > 0).float()
    torch.testing.assert_close(painted.pixels * seen, eight * seen, atol=close, rtol=0)
    return painted, whole


@pytest.mark.parametrize(
    ("name", "controls"),
    [
        ("adain", {"strength": 0.6, "seed": 3}),
        ("adain", {"strength": 0.0}),
        ("adain", {"preserve_color": "luminance"}),
        ("adain", {"preserve_color": "histogram"}),
        ("adain", {"stroke_size": 0.0}),
        ("adain", {"size": 260}),
        ("styletr", {}),
        ("styletr", {"size": 90, "preserve_color": "luminance"}),
    ],
    ids=str,
)
def test_a_picture_on_disk_is_the_one_in_memory(stylizers, name, controls):
    check_same(stylizers[name], **controls)


def test_trained_looks_and_several_styles_at_once(stylizers):
    mine = write_fast(Path("mine.safetensors"), {"look": as_tensor(painting_array())})
    check_same(stylizers["fast"], mine, preserve_color="coral")
    Image.fromarray(painting_array()[::-1, :, ::-1].copy()).save("other.png")
    check_same(stylizers["adain"], [Style("painting.png", 2), Style("other.png")])
    check_same(stylizers["adain"], [Style("painting.png", 2), Style(mine)], strength=0.8)


@pytest.mark.parametrize(("most", "apart"), [(2**24, 1.01), (5000, 12)])
def test_masks(stylizers, monkeypatch, most, apart):
    for module in ("levels", "painting"):
        monkeypatch.setattr(f"impasto.huge.{module}.MASK_AREA", most)
    height, width = SIZE
    across = np.linspace(0, 255, width).astype(np.uint8)[None].repeat(height, 0)
    Image.fromarray(across).save("mask.png")
    Image.fromarray(255 - across).save("rest.png")
    mine = write_fast(Path("mine.safetensors"), {"look": as_tensor(painting_array())})
    styles = [Style("painting.png", mask="mask.png"), Style(mine, mask="rest.png")]
    check_same(stylizers["adain"], styles, close=apart / 255)
    Image.fromarray(across[:-1]).save("mask.png")
    with pytest.raises(ImageError, match=r"mask mask.png: it is 210x149, the photo is 210x150"):
        commission(stylizers["adain"], styles).paint()


def test_a_saved_look_paints(stylizers, monkeypatch):
    monkeypatch.setattr("impasto.stylizer.load_method", lambda *_, **__: tiny_adain())
    stylizer = Stylizer("adain", device="cpu")
    look = stylizer.fit("photo.png", "painting.png", seed=2)
    look.save("mine.look")
    again = type(look).load("mine.look", device="cpu")
    order = commission(again.stylizer, list(again.styles), seed=2)
    order.paint()
    whole = (look.fit("photo.png", tile=TILE)(images.read("photo.png")).pixels * 255).round() / 255
    torch.testing.assert_close(images.read("out.png").pixels, whole, atol=CLOSE, rtol=0)


def test_transparency_is_kept(stylizers):
    picture = Image.fromarray(photo_array(*SIZE))
    picture.putalpha(Image.fromarray(np.arange(SIZE[1], dtype=np.uint8)[None].repeat(SIZE[0], 0)))
    picture.save("clear.png")
    painted, whole = check_same(stylizers["adain"], photo="clear.png")
    assert torch.equal(painted.alpha, whole.alpha)


def stopping_after(tiles):
    def on_step(progress):
        if progress.step >= tiles:
            raise Stop

    return on_step


@pytest.mark.parametrize("tiles", [1, -2])
def test_work_that_was_stopped_is_gone_on_with(stylizers, tiles):
    whole = commission(stylizers["adain"], output="whole.tif").paint()
    tiles %= whole.tiles  # the first level is not there any more when the last one is painted
    order = commission(stylizers["adain"], output="out.tif")
    stopped = order.paint(on_step=stopping_after(tiles))
    assert stopped.stopped
    assert stopped.tiles == tiles
    assert not Path("out.tif").exists()
    steps = []
    result = order.paint(resume=True, on_step=steps.append)
    assert (result.tiles, result.stopped) == (result.tiles_in_all, False)
    assert sum(step.step <= tiles for step in steps) < len(steps)
    assert Path("out.tif").read_bytes() == Path("whole.tif").read_bytes()
    assert not list(Path().glob("*.parts"))


def test_progress_goes_from_nothing_to_all(stylizers):
    steps = []
    result = commission(stylizers["adain"]).paint(on_step=steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert fractions[-1] == pytest.approx(1, abs=0.02)
    assert result.tiles == result.tiles_in_all > 8


def test_unfinished_work_is_neither_lost_nor_mixed_with_other_work(stylizers):
    order = commission(stylizers["adain"])
    order.paint(on_step=stopping_after(2))
    with pytest.raises(OutputError, match=r"out.png.parts: holds 2 painted tiles .* --resume"):
        order.paint()
    other = replace(order, controls=replace(order.controls, strength=0.5))
    with pytest.raises(OutputError, match=r"with another strength \(1.0 then, 0.5 now\)"):
        other.paint(resume=True)
    for text in ("{", "[]"):
        Path("out.png.parts/picture.json").write_text(text)
        with pytest.raises(OutputError, match="is damaged; delete this folder"):
            order.paint(resume=True)


def test_a_photo_that_was_retouched_is_another(stylizers):
    """An uncompressed file keeps its length, and its beginning."""
    photo = np.tile(photo_array(*SIZE), (14, 1, 1))
    Image.fromarray(photo).save("photo.tif")
    order = commission(stylizers["adain"], photo="photo.tif", size=260)
    order.paint(on_step=stopping_after(1))
    length, photo[-10:] = Path("photo.tif").stat().st_size, 0
    Image.fromarray(photo).save("photo.tif")
    assert Path("photo.tif").stat().st_size == length > 2**20
    with pytest.raises(OutputError, match=r"was painted with another photo; leave it as it was"):
        order.paint(resume=True)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("photo.raw", None),
        ("photo.raw", 100),
        ("apainting1.raw", None),
        ("apainting1.raw", 100),
        ("photo.safetensors", 100),
    ],
)
def test_damaged_work_is_not_gone_on_with(stylizers, name, length):
    order = commission(stylizers["adain"])
    order.paint(on_step=stopping_after(6))
    path = Path("out.png.parts", name)
    if length is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(OutputError, match=r"out.png.parts: is damaged; delete .* begin anew$"):
        order.paint(resume=True)
    assert not Path("out.png").exists()


def test_a_result_that_is_cut_short_is_not_written(stylizers, monkeypatch):
    order = commission(stylizers["adain"])
    with monkeypatch.context() as patch:
        patch.setattr("impasto.huge.writing._loaded", lambda *_, **__: 1 // 0)
        with pytest.raises(ImpastoError, match="add --resume"):
            order.paint()
    Path("out.png.parts/result.raw").write_bytes(b"short")
    with pytest.raises(OutputError, match=r"out.png.parts: is damaged"):
        order.paint(resume=True)


def test_what_others_put_into_the_folder_is_left_alone(stylizers):
    Path("out.png.parts").mkdir()
    Path("out.png.parts/mine.raw").write_text("mine")
    with pytest.raises(OutputError, match=r"out.png.parts: is not of an earlier run"):
        commission(stylizers["adain"]).paint()
    assert Path("out.png.parts/mine.raw").read_text() == "mine"


@pytest.mark.parametrize("name", ["photo.png", "painting.png"])
def test_what_is_painted_from_is_not_painted_over(stylizers, name):
    before = Path(name).read_bytes()
    with pytest.raises(OutputError, match=f"{name}: is also an input"):
        commission(stylizers["adain"], output=name).paint()
    assert Path(name).read_bytes() == before


def test_stopping_before_a_tile_leaves_nothing(stylizers):
    result = commission(stylizers["adain"]).paint(on_step=stopping_after(0))
    assert result.stopped
    assert {path.name for path in Path().iterdir()} == {"photo.png", "painting.png"}


def test_a_broken_photo_leaves_nothing(stylizers):
    data = Path("photo.png").read_bytes()
    Path("photo.png").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ImageError, match=r"photo.png: cannot be read, perhaps damaged or cut off"):
        commission(stylizers["adain"]).paint()
    assert {path.name for path in Path().iterdir()} == {"photo.png", "painting.png"}


def test_a_full_disk_is_said_before_and_during_the_work(stylizers, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
        with pytest.raises(OutputError, match=r"out.png: needs at least 1 MB and 0 MB are free"):
            commission(stylizers["adain"]).paint()
        assert not Path("out.png.parts").exists()
    order, write = commission(stylizers["adain"]), Store.write

    def full(self, part, pixels):
        if "painting1" in self.path.name:
            raise OSError(28, "No space left on device")
        write(self, part, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", full)
        with pytest.raises(OutputError, match=r"No space left.*out.png.parts: add --resume"):
            order.paint()
    assert not Path("out.png").exists()
    assert not order.paint(resume=True).stopped


def test_what_does_not_paint_in_tiles_is_refused(stylizers):
    with pytest.raises(ControlError, match="does not paint in tiles"):
        paint("photo.png", "out.tif", "painting.png", method="gatys", device="cpu")
    with pytest.raises(ControlError, match="stop_after"):
        commission(stylizers["adain"], stop_after=3).paint()
    for name, text in (
        ("out.webp", "so large a picture is written as .dzi"),
        ("a/b.tif", "folder"),
    ):
        with pytest.raises(OutputError, match=text):
            commission(stylizers["adain"], output=name).paint()


def test_a_folder_that_is_in_the_way_of_tiles_is_left_alone(stylizers):
    Path("out_files").mkdir()
    Path("out_files/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"would be replaced by the tiles of out\.dzi"):
        commission(stylizers["adain"], output="out.dzi").paint()
    Path("out.dzi").write_text("mine, too")
    with pytest.raises(OutputError, match=r"would be replaced by the tiles of out\.dzi"):
        commission(stylizers["adain"], output="out.dzi").paint()
    assert Path("out_files/mine.txt").exists()
    assert not Path("out.dzi.parts").exists()


def test_a_run_that_ends_while_tiles_are_moved_can_be_gone_on_with(stylizers):
    order = commission(stylizers["adain"], output="out.dzi")
    order.paint(on_step=stopping_after(6))
    # As if the power had failed between the two steps.
    Path("out.dzi.parts/.impasto-1").mkdir()
    Path("out.dzi.parts/.impasto-1/new.dzi").touch()
    Path("out_files").mkdir()
    assert not order.paint(resume=True).stopped
    assert Path("out.dzi").exists()
    assert not list(Path().glob("*.parts"))


def test_a_tile_that_does_not_fit_says_which_option_helps(stylizers):
    with pytest.raises(TooLargeError, match=r"photo.png: a tile does not fit .* smaller --tile"):
        commission(stylizers["adain"], tile=200_000).paint()


def test_which_pictures_are_painted_on_disk(stylizers, monkeypatch):
    def large(output="out.tif", **controls):
        stylizer = stylizers["adain"]
        styles = stylizer.encode("painting.png")
        return is_large(Path("photo.png"), Path(output), stylizer, styles, Controls(**controls))

    assert not large()
    assert large("out.dzi")
    assert large(size=12_000)
    assert not is_scaled(Path("photo.png"), Controls(size=100))
    with monkeypatch.context() as patch:
        patch.setattr("impasto.huge.choice.LARGE_AREA", 10_000)
        assert large()
        assert not large("out.webp")
        assert not large(size=100)
        assert is_scaled(Path("photo.png"), Controls(size=100))
        assert not is_scaled(Path("photo.png"), Controls())
    monkeypatch.setattr("impasto.memory.free_memory", lambda _: 10_000_000)
    assert large()
    assert large("out.webp")
    assert is_scaled(Path("photo.png"), Controls(size=100)) is False
