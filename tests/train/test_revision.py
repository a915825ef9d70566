"""What networks are given when they learn to paint coarse to fine."""

import pytest
import torch
from PIL import Image

from impasto.images import resize
from impasto.train import fast
from impasto.train.revision import photo_and_revision
from impasto.train.run import Run
from tests.helpers.pictures import painting_array, photo_array

STYLES = torch.rand(3, 3, 40, 40)
PHOTOS = torch.rand(3, 3, 64, 64)


def inputs(step, style=STYLES, paint=lambda small: 1 - small):
    """What the network is given, and the pictures that were drafted."""
    drafted = []

    def watched(small):
        assert not torch.is_grad_enabled()
        drafted.append(small)
        return paint(small)

    return photo_and_revision(style, step, PHOTOS, watched), drafted


def expected_revision(small, detail):
    """(1 - d) (enlarged draft + d (photo - enlarged photo)) + d photo; the draft is 1 - photo."""
    size = PHOTOS.shape[-2:]
    lightness = PHOTOS.mean(1, keepdim=True) - resize(small.mean(1, keepdim=True), *size)
    revision = (1 - detail) * (resize(1 - small, *size) + detail * lightness) + detail * PHOTOS
    return revision.clamp(0, 1)


@pytest.mark.slow
def test_the_second_half_are_drafts_enlarged_with_detail():
    sides = set()
    for step in range(0, 12, 2):
        found, (small,) = inputs(step, style=torch.full_like(STYLES, 0.5))  # no texture, no noise
        assert torch.equal(found[:3], PHOTOS)
        sides.add(small.shape[-1])
        torch.testing.assert_close(small, resize(PHOTOS, *small.shape[-2:]))
        shares = torch.linspace(0.25, 0.75, 501)
        errors = [
            (found[3:] - expected_revision(small, float(share))).abs().max() for share in shares
        ]
        assert min(errors) < 2e-3  # of one of these shares, and far from others
        assert max(errors) > 0.05
    assert sides == {32, 48}


@pytest.mark.parametrize("style", [STYLES, None], ids=["texture", "plain"])
def test_drafts_have_noise_and_every_second_photo(style):
    for step in (4, 5):
        found, (small,) = inputs(step, style)
        noise = small - resize(PHOTOS, *small.shape[-2:])
        assert 0.01 < noise.std() < 0.3
        assert torch.equal(found[:3], PHOTOS) == (step == 4)
        assert 0 <= found.min() <= found.max() <= 1
        if style is not None:  # each has its own
            assert not torch.allclose(noise[0, 0], noise[1, 0], atol=1e-3)


def test_a_step_decides_what_is_random():
    assert torch.equal(inputs(7)[0], inputs(7)[0])
    assert not torch.equal(inputs(7)[0], inputs(9)[0])


def test_per_style_networks_are_given_both(tmp_path, tiny_losses):
    """Of two photos, four are painted, each pair in its style; all four count in the losses."""
    (tmp_path / "styles").mkdir()
    for name in "ab":
        Image.fromarray(painting_array()).save(tmp_path / f"styles/{name}.png")
    Image.fromarray(photo_array()).save(tmp_path / "photo.png")
    config = fast.FastTraining(width=4, residuals=1, revisions=True, distribution_weight=1.0)
    run = Run(tmp_path / "photo.png", tmp_path / "styles", tmp_path / "my.safetensors")
    calls = []

    class Network(torch.nn.Module):
        def forward(self, content, style):
            calls.append((content.shape, style.tolist()))
            return content

    values = fast.FastTask(config, run).losses(Network(), PHOTOS[:2], torch.tensor([1, 0]), 4)
    (draft_shape, draft_styles), (shape, styles) = calls
    assert (draft_shape[0], draft_styles) == (2, [1, 0])
    assert (shape, styles) == ((4, 3, 64, 64), [1, 0, 1, 0])
    assert float(values["distribution"]) > 0
    assert float(values["content"]) > 0  # of the revisions
