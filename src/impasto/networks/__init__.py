"""Networks: every `torch.nn.Module`, each with the config that it is built from.

A network knows tensors alone: nothing of users, pictures in files, or how methods use it. Those
that are trained here derive from `Network`, stand in `ARCHITECTURES`, and are read and written by
`load_network` and `save_network`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from safetensors.torch import save
from torch import nn

from impasto import files, weights
from impasto.errors import WeightsError
from impasto.networks.encoder import Encoder

ARCHITECTURES = {
    "adain": "impasto.networks.adain:AdainNetwork",
    "fast": "impasto.networks.transform:TransformNetwork",
    "styletr": "impasto.networks.styletr:StyletrNetwork",
}
"""The class of each architecture that a weights file may name."""


class Network(nn.Module):
    """Base of the networks that are trained here."""

    architecture: ClassVar[str]
    """What weights files call it."""
    Config: ClassVar[type[Any]]
    """A frozen dataclass: what the network is built from, which stands in its weights file."""
    encoder_part: ClassVar[str] = ""
    """Name of the part that may be an encoder with published weights."""

    config: Any

    @classmethod
    def build(cls, config: Any, *, pretrained: bool) -> Self:  # noqa: ARG003 - for those who override
        """A network to be given the tensors of a weights file.

        Args:
            config: a `Config`.
            pretrained: whether its encoder has published weights, which are not in the file.
        """
        return cls(config)

    @property
    def published(self) -> str:
        """The sha256 of the weights of the encoder, if they are published; "" if there are none."""
        encoder = getattr(self, self.encoder_part, None)
        return encoder.sha256 if isinstance(encoder, Encoder) else ""


NetworkT = TypeVar("NetworkT", bound=Network)


@dataclass(frozen=True)
class TrainedNetwork(Generic[NetworkT]):
    """A network that was read from a weights file."""

    network: NetworkT
    sha256: str
    """Of the weights file."""
    family: str
    """The sha256 of the network that its training began with, else its own. The parameters of
    networks of one family can be mixed."""


def load_network(name: str, kind: type[NetworkT]) -> TrainedNetwork[NetworkT]:
    """Reads a trained network, in evaluation mode.

    Args:
        name: of known weights, or a file that `save_network` wrote.
        kind: the class that it must be of.

    Raises:
        WeightsError: missing, damaged, or the weights of another kind of network.
    """
    file = weights.load(name)
    home = ARCHITECTURES.get(file.metadata.get("architecture", ""))
    if home is None or not issubclass(_class(home), kind):
        article = "an" if kind.architecture[0] in "aeiou" else "a"
        raise WeightsError(
            f"{file.path}: these are not the weights of {article} {kind.architecture} network"
        )
    try:
        network = _built(file, kind)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{file.path}: damaged, its tensors and metadata disagree ({reason})"
        ) from error
    return TrainedNetwork(network.eval(), file.sha256, file.metadata.get("family", file.sha256))


def save_network(path: Path, network: Network, about: Mapping[str, str]) -> None:
    """Writes a weights file that describes itself; numbers are stored as float16.

    Args:
        path: the file, NAME.safetensors.
        network: what to save; published weights of its encoder are left out.
        about: more metadata; see `impasto.weights`.

    Raises:
        OutputError: it cannot be written.
    """
    metadata = {
        "impasto_format": weights.FORMAT,
        "name": path.stem,
        **description(network),
        **about,
    }
    left_out = f"{network.encoder_part}." if network.published else None
    tensors = {
        name: tensor.half().contiguous()
        for name, tensor in network.state_dict().items()
        if left_out is None or not name.startswith(left_out)
    }
    files.replace(path, save(tensors, metadata))


def description(network: Network) -> dict[str, str]:
    """What a weights file tells of how its network is built."""
    encoder = {"encoder_sha256": network.published} if network.encoder_part else {}
    return {
        "architecture": network.architecture,
        "config": json.dumps(asdict(network.config)),
        **encoder,
    }


def _class(home: str) -> type[Network]:
    module, _, name = home.partition(":")
    found: type[Network] = getattr(import_module(module), name)
    return found


def _built(file: weights.WeightsFile, kind: type[NetworkT]) -> NetworkT:
    published = file.metadata["encoder_sha256"] if kind.encoder_part else ""
    config = kind.Config(**json.loads(file.metadata["config"]))
    network = kind.build(config, pretrained=bool(published))
    if network.published != published:
        raise WeightsError(
            f"{file.path}: belongs to another {getattr(network, kind.encoder_part).name}, sha256 "
            f"{published[:12]}...; use the version of impasto that it was trained with"
        )
    left = network.load_state_dict(file.tensors, strict=False)
    elsewhere = f"{kind.encoder_part}." if published else None
    missing = [k for k in left.missing_keys if elsewhere is None or not k.startswith(elsewhere)]
    if missing or left.unexpected_keys:
        raise KeyError((missing or left.unexpected_keys)[0])
    return network
