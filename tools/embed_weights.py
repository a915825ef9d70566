"""Puts a trained network into the package: the file, and its record in the table.

    python tools/embed_weights.py adain.small mine.safetensors

Do this only with a network that is better than the one that is there, by docs/weights.md.
"""

import json
import sys
from pathlib import Path

import yaml
from safetensors.torch import save_file

from impasto import weights

DATA = Path(__file__).parent.parent / "src" / "impasto" / "data"
ABOUT = {
    "trained_on": "the photos and paintings that docs/weights.md names",
    "source": "trained by the impasto authors; see docs/weights.md",
    "licence": "Apache-2.0",
}


def main(name, path):
    file = weights.read(Path(path))
    target = DATA / f"{name}.safetensors"
    about = {**ABOUT, "architecture": file.metadata["architecture"]}
    save_file(file.tensors, target, {**file.metadata, **about, "name": name})
    table = DATA / "weights.yaml"
    head, records = table.read_text().split("\n", 1)
    known = yaml.safe_load(records)
    known[name] = {"sha256": weights.sha256_of(target), "size": target.stat().st_size, **about}
    listed = yaml.safe_dump(known, sort_keys=False, width=100)
    table.write_text(f"{head}\n{listed}")
    print(json.dumps(known[name], indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
