"""Puts a trained network into the package: the file, and its record in the table.

    python tools/embed_weights.py adain.small mine.safetensors
    python tools/embed_weights.py fast.starry-night mine.safetensors --codebooks

Do this only with a network that is better than the one that is there, by docs/weights.md.
``--codebooks`` stores large tensors as 8-bit codes: half the size.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from impasto import weights

DATA = Path(__file__).parent.parent / "src" / "impasto" / "data"
ABOUT = {
    "trained_on": "the photos and paintings that docs/weights.md names",
    "source": "trained by the impasto authors; see docs/weights.md",
    "licence": "Apache-2.0",
}
LARGE, ROUNDS = 4096, 60


def codebook(tensor):
    """Codes (uint8) and 256 values of a tensor, by one-dimensional k-means (Lloyd 1982)."""
    values = np.sort(tensor.numpy().astype(np.float64).ravel())
    centres = np.quantile(values, (np.arange(256) + 0.5) / 256)
    for _ in range(ROUNDS):
        edges = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        parts = np.split(values, edges)
        centres = np.array(
            [part.mean() if len(part) else old for part, old in zip(parts, centres, strict=True)]
        )
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, tensor.numpy().astype(np.float64))
    return torch.from_numpy(nearest.astype(np.uint8)), torch.from_numpy(centres).float()


def coded(tensors):
    """The tensors as `impasto.weights.read` takes them, the large ones as codes."""
    stored = {}
    for name, tensor in tensors.items():
        if tensor.numel() < LARGE:
            stored[name] = tensor
        else:
            stored[f"{name}_code"], stored[f"{name}_codebook"] = codebook(tensor)
    return stored


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("path", type=Path)
    parser.add_argument("--codebooks", action="store_true")
    given = parser.parse_args()
    file = weights.read(given.path)
    target = DATA / f"{given.name}.safetensors"
    about = {**ABOUT, "architecture": file.metadata["architecture"]}
    tensors = coded(file.tensors) if given.codebooks else file.tensors
    save_file(tensors, target, {**file.metadata, **about, "name": given.name})
    target.chmod(0o644)
    table = DATA / "weights.yaml"
    head, records = table.read_text().split("\n", 1)
    known = yaml.safe_load(records)
    size = target.stat().st_size
    known[given.name] = {"sha256": weights.sha256_of(target), "size": size, **about}
    listed = yaml.safe_dump(known, sort_keys=False, width=100)
    table.write_text(f"{head}\n{listed}")
    print(json.dumps(known[given.name], indent=2))


if __name__ == "__main__":
    main()
