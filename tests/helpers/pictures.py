"""Pictures made by code, and how alike two of them are."""

import numpy as np
import torch


def photo_array(height=48, width=64):
    """A landscape of sorts: gradients, an edge, a disc. (H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 255 * x / width
    green = 255 * y / height
    blue = np.where(x + y > (height + width) / 2, 200.0, 60.0)
    disc = (x - width / 3) ** 2 + (y - height / 3) ** 2 < (height / 5) ** 2
    picture = np.stack((red, green, blue), -1)
    picture[disc] = (250, 240, 120)
    return picture.round().astype(np.uint8)


def painting_array(height=56, width=40):
    """Warm diagonal strokes. (H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    wave = 0.5 + 0.5 * np.sin((x + 2 * y) / 3)
    noise = np.random.default_rng(1).uniform(0, 0.3, (height, width))
    picture = np.stack((0.7 + 0.3 * wave, 0.3 + 0.4 * wave * noise, 0.1 + noise), -1)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def as_tensor(array):
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255


def psnr(one, other):
    """Peak signal to noise ratio of two pictures in [0, 1], in dB."""
    error = (one - other).square().mean()
    return float(-10 * torch.log10(error.clamp_min(1e-12)))


def features(seed, channels=5, height=6, width=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(channels, height, width, generator=generator, dtype=dtype)
    return values * 3 + torch.arange(channels, dtype=dtype)[:, None, None]
