"""Tiles: they cover the picture once, bring their surroundings along, and strips change nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import Stop
from impasto.tiling import Tiling, by_strips, render


@given(
    height=st.integers(16, 200),
    width=st.integers(16, 200),
    tile=st.integers(8, 250),
    halo=st.integers(0, 40),
)
def test_boxes_cover_each_pixel_once_with_its_surroundings(height, width, tile, halo):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    covered = torch.zeros(height, width)
    for box in Tiling(halo, 8).boxes(height, width, tile):
        seen = box.outer(torch.stack((rows, columns)))
        inner = box.inner(seen, 1)
        covered[inner[0], inner[1]] += 1
        for n, size in enumerate((height, width)):
            assert seen[n].min() <= max(inner[n].min() - halo, 0)
            assert seen[n].max() >= min(inner[n].max() + halo, size - 1)
            assert seen[n].min() % 8 == 0
        assert max(inner.shape[1:]) <= max(tile, 8)
    assert (covered == 1).all()


def test_without_tiles_there_is_one_box():
    (box,) = Tiling(24, 8).boxes(37, 51, None)
    assert box.outer(torch.zeros(37, 51)).shape == (37, 51)
    assert box.inner(torch.zeros(5, 7), 8).shape == (5, 7)  # the last feature is a partial one


@pytest.mark.parametrize("halo", [4, 5, 11])
def test_a_local_function_is_the_same_in_tiles(halo):
    def blur(image):
        kernel = torch.ones(3, 1, 2 * halo + 1, 2 * halo + 1) / (2 * halo + 1) ** 2
        return torch.nn.functional.conv2d(image, kernel, padding=halo, groups=3)

    image = torch.rand(1, 3, 61, 83)

    def tiled(tiling):
        boxes = list(tiling.boxes(61, 83, 16))
        return render((blur(box.outer(image)) for box in boxes), image, boxes, lambda *_: None)

    torch.testing.assert_close(tiled(Tiling(halo, 4)), blur(image))
    assert not torch.allclose(tiled(Tiling(0, 4)), blur(image), atol=1e-2)


def test_stopping_keeps_what_is_painted():
    def stop(done, image):
        if done == 2:
            raise Stop

    image = torch.zeros(1, 3, 16, 64)
    boxes = list(Tiling(0, 8).boxes(16, 64, 16))
    painted = render((box.outer(image) + 1 for box in boxes), image, boxes, stop)
    assert painted[..., :32].eq(1).all()
    assert painted[..., 32:].eq(0).all()
    assert image.eq(0).all()


def test_strips_are_put_together():
    """Of a picture of nine megapixels."""
    one, other, heights = torch.rand(1, 1, 9, 10**6), torch.rand(1, 1, 9, 10**6), []

    def product(one, other):
        heights.append(one.shape[-2])
        return one * other

    assert torch.equal(by_strips(product, one, other), one * other)
    assert len(heights) > 1
    assert sum(heights) == 9
