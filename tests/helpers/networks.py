"""Networks of an eighth of the width and less, with weights made by code."""

from typing import Any

import torch
from torch import nn

from impasto.methods.adain import Adain, AdainConfig
from impasto.methods.gatys import Gatys, GatysConfig
from impasto.methods.styletr import Styletr, StyletrConfig
from impasto.networks import save_network
from impasto.networks.adain import AdainNetwork, AdainNetworkConfig
from impasto.networks.styletr import SHARPNESS, StyletrNetwork, StyletrNetworkConfig
from impasto.networks.transform import TransformNetwork, TransformNetworkConfig
from impasto.networks.vgg import VGG
from impasto.networks.vit import LoRA, ViT

TINY_PATH: dict[str, Any] = {"widths": (8, 8, 16), "blocks": (1, 1, 1)}


def tiny_vgg(architecture="vgg16", **options):
    """A VGG of an eighth of the width with random weights that keep activations in range."""
    torch.manual_seed(0)
    vgg = VGG(architecture, width=8, **options)
    for conv in vgg.convs.values():
        assert isinstance(conv, nn.Conv2d)
        conv.weight.normal_(0, (2 / (9 * conv.in_channels)) ** 0.5)
        conv.bias.zero_()
    return vgg


def tiny_vit():
    """Two blocks over 3 x 3 patches of 4 x 4 pixels, all parameters random."""
    vit = ViT(width=8, depth=2, heads=2, patch=4, grid=3)
    for parameter in vit.parameters():
        parameter.normal_(0, 0.5)
    return vit


def tiny_gatys(**settings):
    """The optimiser over a tiny network, with few steps."""
    defaults: dict[str, Any] = {"iterations": 12, "content_layers": "relu3_1"}
    defaults["style_layers"] = "relu1_1,relu2_1,relu3_1"
    return Gatys(GatysConfig(**(defaults | settings)), encoder=tiny_vgg())


def tiny_adain(matching="adain", precision="float32"):
    """A small network of random weights, but for what `carrying_colours` does to it."""
    torch.manual_seed(0)
    network = carrying_colours(AdainNetwork(AdainNetworkConfig(**TINY_PATH)))
    return Adain(AdainConfig(matching=matching, precision=precision), network)


def tiny_styletr(precision="float32", sharpness=SHARPNESS):
    """The same with attention, by one block of a vision transformer of random weights."""
    torch.manual_seed(0)
    vit = ViT(width=16, depth=1, heads=2, patch=4, grid=3)
    for parameter in vit.parameters():
        parameter.normal_(0, 0.3)
    config = StyletrNetworkConfig(depth=1, width=16, layers=1, heads=2, rank=2, **TINY_PATH)
    network = StyletrNetwork(config, vit)
    # These begin as zeros.
    begun = [up for m in network.tuned.modules() if isinstance(m, LoRA) for up in m.up.children()]
    for layer in (network.added, *begun):
        layer.get_parameter("weight").data.normal_(0, 0.1)
    carrying_colours(network.path)
    settings = StyletrConfig(precision=precision, sharpness=sharpness)
    return Styletr(settings, network)


def carrying_colours(network):
    """Lets three channels of a convolutional path carry the mean colour of every 4 x 4 pixels
    through.
    """
    first, second, _ = network.encoder.convs
    into_shallow, into_middle = network.ups
    with torch.no_grad():
        carriers = [first, second, network.laterals[0], into_middle, into_shallow, network.head]
        for conv in (*carriers, *(blocks[0].second for blocks in network.blocks)):
            colours = 12 if conv is network.head else 3
            conv.weight[:colours] = conv.bias[:colours] = 0
        for n in range(3):
            first.weight[n, 4 * n : 4 * n + 4, 1, 1] = 1 / 4
            second.weight[n, n, 1:, 1:] = 1 / 4
            network.laterals[0].weight[n, n] = into_shallow.weight[n, n] = 1
            network.head.weight[4 * n : 4 * n + 4, n, 1, 1] = 1
    return network


def tiny_fast(looks):
    """A network that gives photos, coarsely, means and deviations of colours: of each look's
    picture, (1, 3, H, W). All of the style is in the last gains and biases.
    """
    network = TransformNetwork(TransformNetworkConfig(list(looks), width=9, residuals=1))
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])  # f(z) - f(-z) is z or, leaky, 1.2 z
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for gain in network.gains:
            gain.fill_(1)
        convs: list[Any] = [*network.downs, *network.ups]
        first, *carriers = convs
        for n in range(3):
            both = [n, n + 3]
            first.weight[both, n, 4, 4] = signs[0]
            for conv in carriers:  # from the pixel and its neighbour, both ways
                conv.weight[both, n, 1:, 1:] = signs[0][:, None, None] / 4
                conv.weight[both, n + 3, 1:, 1:] = signs[1][:, None, None] / 4
            network.out.weight[n, both, 4, 4] = signs[0] / 1.2
            network.out.weight[n, n + 6, 4, 4] = 1
            network.out.bias[n] = -0.5
        for look, picture in enumerate(looks.values()):
            deviation, mean = torch.std_mean(picture, (0, 2, 3))
            network.gains[-1][look, :6] = deviation.repeat(2)
            network.biases[-1][look, 6:] = mean
    return network


def write_fast(path, looks, family=""):
    """The weights file of `tiny_fast`; returns the path as text."""
    save_network(path, tiny_fast(looks), {"family": family} if family else {})
    return str(path)
