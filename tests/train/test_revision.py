"""What networks are given when they learn to paint coarse to fine."""

import pytest
import torch
from PIL import Image

from impasto.images import resize
from impasto.train import fast
from impasto.train.loop import Run
from impasto.train.revision import photo_and_revision
from tests.helpers.networks import tiny_vgg
from tests.helpers.pictures import painting_array, photo_array

STYLES = torch.rand(3, 3, 40, 40)
PHOTOS = torch.rand(3, 3, 64, 64)


def given(step, style=STYLES, paint=lambda small: 1 - small):
    """What the network is given, and the pictures that were drafted."""
    drafted = []

    def watched(small):
        assert not torch.is_grad_enabled()
        drafted.append(small)
        return paint(small)

    return photo_and_revision(style, step, PHOTOS, watched), drafted


def wanted_of(small, detail):
    """(1 - d) (enlarged draft + d (photo - enlarged photo)) + d photo; the draft is 1 - photo."""
    size = PHOTOS.shape[-2:]
    lightness = PHOTOS.mean(1, keepdim=True) - resize(small.mean(1, keepdim=True), *size)
    revision = (1 - detail) * (resize(1 - small, *size) + detail * lightness) + detail * PHOTOS
    return revision.clamp(0, 1)


def test_the_second_half_are_drafts_enlarged_with_detail():
    sides = set()
    for step in range(0, 12, 2):
        found, (small,) = given(step, style=torch.full_like(STYLES, 0.5))  # no texture, no noise
        assert torch.equal(found[:3], PHOTOS)
        sides.add(small.shape[-1])
        torch.testing.assert_close(small, resize(PHOTOS, *small.shape[-2:]))
        shares = torch.linspace(0.25, 0.75, 501)
        errors = [(found[3:] - wanted_of(small, float(share))).abs().max() for share in shares]
        assert min(errors) < 2e-3  # of one of these shares, and far from others
        assert max(errors) > 0.05
    assert sides == {32, 48}


@pytest.mark.parametrize("style", [STYLES, None], ids=["texture", "plain"])
def test_drafts_have_noise_and_every_second_photo(style):
    for step in (4, 5):
        found, (small,) = given(step, style)
        noise = small - resize(PHOTOS, *small.shape[-2:])
        assert 0.01 < noise.std() < 0.3
        assert torch.equal(found[:3], PHOTOS) == (step == 4)
        assert 0 <= found.min() <= found.max() <= 1
        if style is not None:  # each has its own
            assert not torch.allclose(noise[0, 0], noise[1, 0], atol=1e-3)


def test_a_step_decides_what_is_random():
    assert torch.equal(given(7)[0], given(7)[0])
    assert not torch.equal(given(7)[0], given(9)[0])


def test_per_style_networks_are_given_both(tmp_path, monkeypatch):
    """Of two photos, four are painted, each pair in its looks; the losses are those of all four."""
    monkeypatch.setattr(fast, "load_encoder", lambda *_, **__: tiny_vgg())
    (tmp_path / "styles").mkdir()
    for name in "ab":
        Image.fromarray(painting_array()).save(tmp_path / f"styles/{name}.png")
    Image.fromarray(photo_array()).save(tmp_path / "photo.png")
    config = fast.FastTraining(width=4, residuals=1, revisions=True, distribution_weight=1.0)
    run = Run(tmp_path / "photo.png", tmp_path / "styles", tmp_path / "my.safetensors")
    task, seen = fast.FastTask(config, run), []

    def network(content, looks):
        seen.append((content.shape, looks.tolist()))
        return content

    found = task.losses(network, PHOTOS[:2], torch.tensor([1, 0]), 4)
    (small, drafted), (whole, painted) = seen
    assert (small[0], drafted) == (2, [1, 0])
    assert (whole, painted) == ((4, 3, 64, 64), [1, 0, 1, 0])
    assert float(found["distribution"]) > 0
    assert float(found["content"]) > 0  # of the revisions
