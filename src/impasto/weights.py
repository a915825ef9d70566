"""Weights files: the table of known ones, fetching, checking, reading.

A weights file is a safetensors file that describes itself in its metadata (all values are strings):

=====================  ==========================================================================
``impasto_format``     ``1``
``name``               ``architecture.tag``, for instance ``vgg16.imagenet``; never changes meaning
``architecture``       what builds the network: ``vgg16``, ``vgg19``, ``vit_small_patch14_dinov2``
``config``             JSON: what the architecture needs to be built
``family``             of a trained style: sha256 of the network that its training began with
``source``, ``licence``  where the weights come from and on what terms
=====================  ==========================================================================

A tensor ``NAME`` may be stored as 8-bit codes, ``NAME_code`` (uint8), with its 256 values in
``NAME_codebook``; `read` gives back ``NAME``. There is no pickle anywhere.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import platformdirs
import yaml

from impasto.errors import TooLargeError, WeightsError, is_want_of_memory

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "1"
_CHUNK = 1 << 20
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Record:
    """One known weights file, as ``data/weights.yaml`` lists it."""

    name: str
    sha256: str
    size: int
    """Bytes."""
    architecture: str
    trained_on: str
    source: str
    licence: str
    url: str | None = None
    """Where to download it; None for files inside the package."""

    @property
    def file(self) -> str:
        """The file's name, the same in the package, in the cache and at its address."""
        return f"{self.name}.safetensors"


@dataclass(frozen=True)
class WeightsFile:
    """A weights file that was read: its tensors by name, its metadata and its sha256."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


@cache
def table() -> dict[str, Record]:
    """All known weights by name."""
    text = (resources.files("impasto") / "data" / "weights.yaml").read_text(encoding="utf-8")
    return {name: Record(name=name, **fields) for name, fields in yaml.safe_load(text).items()}


def record(name: str) -> Record:
    """The record of ``name``.

    Raises:
        WeightsError: if no weights have that name.
    """
    known = table()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"known are {', '.join(known)}, and files that end with .safetensors"
        )
        raise WeightsError(f"unknown weights '{name}': {hint}")
    return known[name]


def embedded_folder() -> Path:
    """Where the weights inside the package lie."""
    return Path(str(resources.files("impasto") / "data"))


def cache_folder() -> Path:
    """Where downloads are kept: ``$IMPASTO_HOME/weights``, else the user's cache folder."""
    home = os.environ.get("IMPASTO_HOME")
    return (Path(home) if home else platformdirs.user_cache_path("impasto")) / "weights"


def find(wanted: Record) -> Path | None:
    """The file of a record if it is on this machine, embedded or in the cache; not yet checked."""
    for folder in (embedded_folder(), cache_folder()):
        if (folder / wanted.file).is_file():
            return folder / wanted.file
    return None


def fetch(name: str) -> Path:
    """The checked file of the weights ``name``: embedded, else cached, else downloaded.

    Set ``IMPASTO_OFFLINE=1`` to forbid the download. The sha256 is always checked.

    Raises:
        WeightsError: unknown name, wrong hash, no address, offline, or the download failed.
    """
    wanted = record(name)
    path = find(wanted)
    if path is not None:
        if sha256_of(path) == wanted.sha256:
            return path
        if path.parent == embedded_folder():
            raise WeightsError(f"{path}: damaged (wrong sha256); install impasto again")
    return _download(wanted)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wanted: Record) -> Path:
    """Downloads to a temporary file beside the target, hashing on the way, then renames."""
    if wanted.url is None:
        raise WeightsError(f"weights '{wanted.name}' belong inside the package; install it again")
    if os.environ.get("IMPASTO_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"weights '{wanted.name}' are not on this machine and IMPASTO_OFFLINE is set; "
            f"unset it, or put the file into {cache_folder()}"
        )
    target = cache_folder() / wanted.file
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=wanted.file)
        with (
            os.fdopen(handle, "wb") as file,
            urllib.request.urlopen(wanted.url, timeout=_TIMEOUT_S) as answer,
        ):
            digest = _copy_hashed(answer, file)
        if digest != wanted.sha256:
            raise WeightsError(
                f"{wanted.url}: not the file of '{wanted.name}' (its sha256 is {digest[:12]}..., "
                f"expected {wanted.sha256[:12]}...); try again later"
            )
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"cannot download weights '{wanted.name}' from {wanted.url} to {target.parent}: "
            f"{reason}; check the connection and the free space"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return target


def _copy_hashed(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def load(name: str) -> WeightsFile:
    """Reads weights by their name, checked as by `fetch`, or from the file that the name is.

    Raises:
        WeightsError: as `fetch` and `read`.
    """
    if name.endswith(".safetensors"):
        return read(Path(name))
    return read(fetch(name), record(name).sha256)


def read(path: Path, sha256: str | None = None) -> WeightsFile:
    """Reads a safetensors file and expands its 8-bit codebooks.

    Args:
        path: the file.
        sha256: of it, if it is known.

    Raises:
        WeightsError: if the file is missing, not safetensors, or its codebooks are incomplete.
    """
    with opened(path) as file:
        metadata, stored = contents(file)
        if metadata.get("impasto_format", FORMAT) != FORMAT:
            raise WeightsError(
                f"{path}: format {metadata['impasto_format']}, this version reads {FORMAT}; "
                "upgrade impasto"
            )
        tensors = _expand(stored, path)
    return WeightsFile(path, tensors, metadata, sha256 or sha256_of(path))


@contextmanager
def opened(path: Path, what: str = "weights file") -> Iterator[Any]:
    """Opens a safetensors file.

    Args:
        path: the file.
        what: how messages call such files.

    Raises:
        WeightsError: it is missing, must not be read, is damaged or something else.
        TooLargeError: it does not fit into memory.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb"):  # whose errors say more
            pass
        with safe_open(path, framework="pt") as file:
            yield file
    except (FileNotFoundError, IsADirectoryError) as error:
        raise WeightsError(f"{path}: no such {what}") from error
    except PermissionError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except (SafetensorError, OSError, RuntimeError, MemoryError) as error:
        if is_want_of_memory(error):
            raise TooLargeError(f"{path}: does not fit into the memory that is free") from error
        if isinstance(error, RuntimeError):
            raise
        raise WeightsError(f"{path}: not a readable {what} ({error})") from error


def contents(file: Any) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of an opened safetensors file."""
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return dict(file.metadata() or {}), tensors


def architecture(name: str) -> str:
    """The kind of network that weights are of (`impasto.networks.ARCHITECTURES`); "" if the file
    does not tell.

    Raises:
        WeightsError: unknown name, or the file cannot be read.
    """
    if not name.endswith(".safetensors"):
        return record(name).architecture
    with opened(Path(name)) as file:
        return str((file.metadata() or {}).get("architecture", ""))


def _expand(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    expanded = {}
    for name, tensor in tensors.items():
        if name.endswith("_code"):
            codebook = tensors.get(f"{name}book")
            if codebook is None or codebook.numel() != 256:
                raise WeightsError(
                    f"{path}: not weights of impasto ({name} lacks its codebook of 256 values)"
                )
            expanded[name.removesuffix("_code")] = codebook[tensor.int()]
        elif not name.endswith("_codebook"):
            expanded[name] = tensor
    return expanded
