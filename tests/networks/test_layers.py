"""Layers that several networks share: against SciPy, and torch's own."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate

from impasto.networks.layers import Conv, adaptive_pool, calculated_in, full_precision

PADS: dict[str, Any] = {"replicate": "edge", "reflect": "reflect"}


@pytest.mark.parametrize("mode", PADS)
@pytest.mark.parametrize(("side", "stride"), [(1, 1), (3, 1), (3, 2), (9, 1)])
def test_the_picture_goes_on_beyond_its_border(mode, side, stride):
    conv = Conv(2, 3, side, stride, padding_mode=mode).double()
    image = torch.rand(1, 2, 12, 10, dtype=torch.float64)
    margin = side // 2
    wide = np.pad(image[0].numpy(), ((0, 0), (margin, margin), (margin, margin)), PADS[mode])
    weight, bias = (tensor.detach().numpy() for tensor in (conv.weight, conv.bias))
    expected = [
        correlate(wide, kernel, "valid")[0] + b for kernel, b in zip(weight, bias, strict=True)
    ]
    found = conv(image)[0].detach()
    np.testing.assert_allclose(found, np.stack(expected)[:, ::stride, ::stride], atol=1e-12)


@pytest.mark.parametrize("mode", PADS)
def test_a_flat_picture_has_no_frame(mode):
    painted = Conv(3, 4, 3, padding_mode=mode)(torch.full((1, 3, 8, 8), 0.7))
    assert painted.std((2, 3)).max() < 1e-6


def test_convolutions_take_part_in_lower_precision():
    conv, image = Conv(3, 4, 3, padding_mode="reflect"), torch.rand(1, 3, 8, 8)
    exact = conv(image)
    with calculated_in(torch.bfloat16, image):
        coarse = conv(image)
        with full_precision(image):
            assert torch.equal(conv(image), exact)
    with calculated_in(torch.float32, image):
        assert torch.equal(conv(image), exact)
    assert coarse.dtype == torch.bfloat16
    assert 0 < (coarse - exact).abs().max() < 0.02


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_pooling_is_torchs(height, width, rows, columns):
    maps = torch.rand(2, 3, height, width)
    pooled = adaptive_pool(maps, (rows, columns))
    expected = torch.nn.functional.adaptive_avg_pool2d(maps, (rows, columns))
    torch.testing.assert_close(pooled, expected)
