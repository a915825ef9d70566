"""DINOv2's vision transformer ViT-S/14 (Dosovitskiy et al. 2021, arXiv:2010.11929; Oquab et al.
2023, arXiv:2304.07193).

The taps of block N = 1..12 are ``blockN``, the tokens that come out of it, and ``keysN``, the keys
of its attention, those of all heads side by side. Where two patches show the same thing their keys
agree, whatever the colours are.

timm has this network too. But timm needs torchvision, which cannot be loaded beside PyTorch's CPU
build unless it comes from the same index. Parameters have timm's names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto import weights as weights_files
from impasto.networks.encoder import Encoder, Tap

ARCHITECTURE = "vit_small_patch14_dinov2"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPSILON = 1e-6


class ViT(Encoder):
    """A vision transformer with learned positions and layer scale.

    Args:
        width: channels of a token.
        depth: number of blocks.
        heads: attention heads of each block.
        patch: side of a patch, in pixels.
        grid: patches along each side of the pictures that the positions were learned on.
    """

    def __init__(
        self, *, width: int = 384, depth: int = 12, heads: int = 6, patch: int = 14, grid: int = 37
    ) -> None:
        super().__init__()
        self.name, self.sha256 = ARCHITECTURE, ""
        self.grid, self.patch = grid, patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.taps = {
            f"{kind}{number}": Tap(width, patch)
            for kind in ("block", "keys")
            for number in range(1, depth + 1)
        }
        self.requires_grad_(False)

    def forward(
        self, image: Tensor, taps: Iterable[str], lora: Sequence[nn.Module] = ()
    ) -> dict[str, Tensor]:
        """Computes the features of pictures at some taps, without the class token.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1].
            taps: names of taps; nothing behind the deepest of them is computed.
            lora: the `LoRA` of each block, from the first one on; none if it is not fine-tuned.

        Returns:
            For each tap (N, C, H / patch, W / patch), sizes rounded down.

        Raises:
            ControlError: there is no such tap.
        """
        requested = set(taps)
        self.check(requested)
        mean, std = (torch.tensor(v).to(image).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        patches = self.patch_embed["proj"]((image - mean) / std)  # (N, C, h, w)
        height, width = patches.shape[-2:]
        tokens = torch.cat(
            (self.cls_token.expand(len(image), -1, -1), patches.flatten(2).mT), dim=1
        ) + self._positions(height, width)  # (N, 1 + h w, C)
        features: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks, 1):
            if len(features) == len(requested):
                break
            assert isinstance(block, _Block)
            queries, keys, values = block.project(tokens, lora[number - 1] if lora else None)
            outputs = {f"keys{number}": keys}
            if len(features) + (f"keys{number}" in requested) < len(requested):
                tokens = outputs[f"block{number}"] = block(tokens, queries, keys, values)
            for tap in requested & outputs.keys():
                patchwise = outputs[tap][:, 1:].mT  # (N, C, h w), without the class token
                features[tap] = patchwise.reshape(len(patchwise), -1, height, width)
        return features

    def _positions(self, height: int, width: int) -> Tensor:
        """(1, 1 + height * width, C): the learned positions, resized to another grid."""
        first, learned = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = learned.mT.reshape(1, -1, self.grid, self.grid)
        if (height, width) != (self.grid, self.grid):
            square = F.interpolate(square, (height, width), mode="bicubic", antialias=True)
        return torch.cat((first, square.flatten(2).mT), dim=1)


class _Block(nn.Module):
    """Attention and a two-layer perceptron, each normalised before and scaled after."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.ls1 = _Scale(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )
        self.ls2 = _Scale(width)

    def project(self, tokens: Tensor, lora: nn.Module | None) -> tuple[Tensor, ...]:
        """The queries, keys and values of tokens (N, T, C), each (N, T, C), heads side by side."""
        tokens = self.norm1(tokens)
        joined: Tensor = self.attn["qkv"](tokens)
        queries, keys, values = joined.chunk(3, dim=-1)
        if lora is not None:
            more_queries, more_values = lora(tokens)
            queries, values = queries + more_queries, values + more_values
        return queries, keys, values

    def forward(self, tokens: Tensor, *projected: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, C), from the tokens and their queries, keys and values."""
        heads = (*tokens.shape[:2], self.heads, -1)
        # (N, T, C) -> (N, heads, T, C / heads)
        queries, keys, values = (part.reshape(heads).transpose(1, 2) for part in projected)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        tokens = tokens + self.ls1(self.attn["proj"](mixed))
        hidden = F.gelu(self.mlp["fc1"](self.norm2(tokens)))
        scaled: Tensor = tokens + self.ls2(self.mlp["fc2"](hidden))
        return scaled


class LoRA(nn.Module):
    """Low-rank maps that fine-tuning adds to a block's queries and values (Hu et al. 2021,
    arXiv:2106.09685). They are zero to begin with.

    Args:
        width: channels of a token.
        rank: rank of the maps.
        alpha: the maps are multiplied by alpha / rank.
    """

    def __init__(self, width: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.ModuleList(nn.Linear(width, rank, bias=False) for _ in "qv")
        self.up = nn.ModuleList(nn.Linear(rank, width, bias=False) for _ in "qv")
        for up in self.up:
            nn.init.zeros_(up.weight)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Returns what is added to queries and to values, (N, T, C) each.

        Args:
            tokens: the block's normalised tokens, (N, T, C).
        """
        pairs = zip(self.down, self.up, strict=True)
        return [self.scale * up(down(tokens)) for down, up in pairs]


class _Scale(nn.Module):
    """A learned factor for each channel (LayerScale, Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


def load_vit(depth: int = 12) -> ViT:
    """Loads the first blocks of DINOv2's ViT-S/14, with the bundled weights.

    Args:
        depth: how many of the 12 blocks.

    Raises:
        WeightsError: the weights are damaged.
    """
    file = weights_files.read(weights_files.fetch(f"{ARCHITECTURE}.lvd142m"))
    vit = ViT(**{**json.loads(file.metadata["config"]), "depth": depth})
    parameters = vit.state_dict()
    # The file's other tensors are not needed: deeper blocks, and the last normalisation.
    vit.load_state_dict({name: file.tensors[name] for name in parameters})
    vit.name, vit.sha256 = file.metadata["name"], file.sha256
    return vit
