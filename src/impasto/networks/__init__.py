"""Networks: every `torch.nn.Module`, each with the config that it is built from.

A network knows tensors alone: nothing of users, pictures in files, or how methods use it. Those
that are trained here derive from `Network`, are listed in `ARCHITECTURES`, and are read and written
by `load_network` and `save_network`.
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
    """Name of the architecture in `ARCHITECTURES` and in weights files."""
    Config: ClassVar[type[Any]]
    """Frozen dataclass of what the network is built from; its values are kept in weights files."""
    encoder_part: ClassVar[str] = ""
    """Name of the attribute that may be an encoder with published weights; "" if there is none."""

    config: Any
    """What this network was built from, a ``Config``."""

    @classmethod
    def build(cls, config: Any, *, pretrained: bool) -> Self:  # noqa: ARG003 - for those who override
        """Builds a network whose parameters are going to be loaded from a weights file.

        Args:
            config: what it is built from.
            pretrained: whether its encoder has published weights, which are not in the file.
        """
        return cls(config)

    @property
    def published(self) -> str:
        """The sha256 of the encoder's published weights; "" if it has none."""
        encoder = getattr(self, self.encoder_part, None)
        return encoder.sha256 if isinstance(encoder, Encoder) else ""


NetworkT = TypeVar("NetworkT", bound=Network)


@dataclass(frozen=True)
class TrainedNetwork(Generic[NetworkT]):
    """A network that was read from a weights file."""

    network: NetworkT
    """The network itself, in evaluation mode."""
    sha256: str
    """Hash of the weights file."""
    base_sha256: str
    """Hash of the network that its training began with; its own if there was none. The parameters
    of networks with a common base can be averaged."""


def load_network(name: str, kind: type[NetworkT]) -> TrainedNetwork[NetworkT]:
    """Reads a trained network, in evaluation mode.

    Args:
        name: name of bundled or downloadable weights, or a file that `save_network` wrote.
        kind: the class that the network must be of.

    Raises:
        WeightsError: the weights are missing, damaged, or those of another kind of network.
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
    base = file.metadata.get("family", file.sha256)
    return TrainedNetwork(network.eval(), file.sha256, base)


def save_network(path: Path, network: Network, about: Mapping[str, str]) -> None:
    """Writes a network to a weights file that says what it is built from.

    Args:
        path: the file, NAME.safetensors.
        network: the network; its parameters are stored as float16, published weights of its encoder
            are left out.
        about: further metadata, such as licence and training settings.

    Raises:
        OutputError: the file cannot be written.
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
    """Returns the metadata from which `load_network` builds a network again."""
    encoder = {"encoder_sha256": network.published} if network.encoder_part else {}
    return {
        "architecture": network.architecture,
        "config": json.dumps(asdict(network.config)),
        **encoder,
    }


def _class(home: str) -> type[Network]:
    module, _, name = home.partition(":")
    network_class: type[Network] = getattr(import_module(module), name)
    return network_class


def _built(file: weights.WeightsFile, kind: type[NetworkT]) -> NetworkT:
    published = file.metadata["encoder_sha256"] if kind.encoder_part else ""
    config = kind.Config(**json.loads(file.metadata["config"]))
    network = kind.build(config, pretrained=bool(published))
    if network.published != published:
        raise WeightsError(
            f"{file.path}: belongs to another {getattr(network, kind.encoder_part).name}, sha256 "
            f"{published[:12]}...; use the version of impasto that it was trained with"
        )
    result = network.load_state_dict(file.tensors, strict=False)
    elsewhere = f"{kind.encoder_part}." if published else None
    missing = [k for k in result.missing_keys if elsewhere is None or not k.startswith(elsewhere)]
    if missing or result.unexpected_keys:
        raise KeyError((missing or result.unexpected_keys)[0])
    return network
