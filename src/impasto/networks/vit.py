"""DINOv2's vision transformer ViT-S/14 (Dosovitskiy et al. 2021, Oquab et al. 2023).

Taps are ``keysN``: what the attention of block N = 1..12 compares places by, the vectors of all
heads side by side. Where two places show the same thing their keys agree, whatever the colours are.
And ``blockN``: the tokens that come out of it.

timm has this network too. But timm needs torchvision, which cannot be loaded beside PyTorch's CPU
build unless it comes from the same place; this is the smaller trouble. Parameters have timm's
names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

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
        heads: of each block's attention.
        patch: side of a patch in pixels.
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
        self, image: Tensor, taps: Iterable[str], tuned: Sequence[nn.Module] = ()
    ) -> dict[str, Tensor]:
        """See `Encoder.forward`; the class token is left out.

        Args:
            image, taps: as there.
            tuned: for each block, from the first one on, its `LoRA`.
        """
        wanted = set(taps)
        self.check(wanted)
        mean, std = (torch.tensor(v).to(image).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        patches = self.patch_embed["proj"]((image - mean) / std)
        height, width = patches.shape[-2:]
        tokens = torch.cat(
            (self.cls_token.expand(len(image), -1, -1), patches.flatten(2).mT), dim=1
        ) + self._positions(height, width)
        features: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks, 1):
            if len(features) == len(wanted):
                break
            assert isinstance(block, _Block)
            queries, keys, values = block.attend(tokens, tuned[number - 1] if tuned else None)
            found = {f"keys{number}": keys}
            if len(features) + (f"keys{number}" in wanted) < len(wanted):
                tokens = found[f"block{number}"] = block(tokens, queries, keys, values)
            for tap in wanted & found.keys():
                spread = found[tap][:, 1:].mT
                features[tap] = spread.reshape(len(spread), -1, height, width)
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

    def attend(self, tokens: Tensor, tuned: nn.Module | None) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (N, T, C), the heads side by side."""
        tokens = self.norm1(tokens)
        joined: Tensor = self.attn["qkv"](tokens)
        queries, keys, values = joined.chunk(3, dim=-1)
        if tuned is not None:
            more_queries, more_values = tuned(tokens)
            queries, values = queries + more_queries, values + more_values
        return queries, keys, values

    def forward(self, tokens: Tensor, *attended: Tensor) -> Tensor:
        """(N, T, C) -> (N, T, C), from the tokens and what `attend` made of them."""
        heads = (*tokens.shape[:2], self.heads, -1)
        queries, keys, values = (part.reshape(heads).transpose(1, 2) for part in attended)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        tokens = tokens + self.ls1(self.attn["proj"](mixed))
        hidden = F.gelu(self.mlp["fc1"](self.norm2(tokens)))
        scaled: Tensor = tokens + self.ls2(self.mlp["fc2"](hidden))
        return scaled


class LoRA(nn.Module):
    """What fine-tuning adds to a block's queries and values: maps of low rank (Hu et al. 2021),
    zero to begin with.

    Args:
        width: channels of a token.
        rank: of the maps.
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
        """What is added to queries and to values, from the normalised tokens (N, T, C)."""
        pairs = zip(self.down, self.up, strict=True)
        return [self.scale * up(down(tokens)) for down, up in pairs]


class _Scale(nn.Module):
    """A learned factor for each channel (Touvron et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


def load_vit(depth: int = 12) -> ViT:
    """The first blocks of DINOv2's ViT-S/14, with the embedded weights.

    Raises:
        WeightsError: the weights are damaged.
    """
    file = weights_files.read(weights_files.fetch(f"{ARCHITECTURE}.lvd142m"))
    vit = ViT(**{**json.loads(file.metadata["config"]), "depth": depth})
    parameters = vit.state_dict()
    # The last normalisation comes after all taps.
    vit.load_state_dict({name: file.tensors[name] for name in parameters})
    vit.name, vit.sha256 = file.metadata["name"], file.sha256
    return vit
