"""Dataclasses of tensors as a safetensors file and back: how a look is kept. There is no pickle.

A value is written as JSON in which tensors stand by their numbers. Only dataclasses of this package
are made when a file is read, and networks are those of whoever reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

_PACKAGE = __name__.partition(".")[0]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def pack(value: Any, modules: Mapping[str, nn.Module]) -> tuple[Any, dict[str, Tensor]]:
    """Takes a value apart.

    Args:
        value: dataclasses, lists, dictionaries by names, tensors, numbers and texts.
        modules: by name, the networks and methods that may occur; they are not stored.

    Returns:
        What can be written as JSON, and the tensors that it refers to by name.

    Raises:
        TypeError: there is something else in it.
    """
    names = {id(module): name for name, module in modules.items()}
    tensors: dict[str, Tensor] = {}

    def packed(part: Any) -> Any:
        if part is None or isinstance(part, (bool, int, float, str)):
            return part
        if isinstance(part, (list, tuple)):
            return [packed(one) for one in part]
        if isinstance(part, dict) and all(isinstance(key, str) for key in part):
            return {"dict": {key: packed(one) for key, one in part.items()}}
        kind = type(part)
        if is_dataclass(part) and kind.__module__.split(".")[0] == _PACKAGE:
            held = {one.name: packed(getattr(part, one.name)) for one in fields(part)}
            return {"type": f"{kind.__module__}:{kind.__qualname__}", "fields": held}
        return leaf(part)

    def leaf(part: Any) -> dict[str, str]:
        if isinstance(part, Tensor):
            name = str(len(tensors))
            tensors[name] = part.detach().cpu().contiguous().clone()
            return {"tensor": name}
        if isinstance(part, torch.dtype):
            return {"dtype": str(part).removeprefix("torch.")}
        if id(part) in names:
            return {"module": names[id(part)]}
        raise TypeError(f"a {type(part).__name__} cannot be stored")

    return packed(value), tensors


def unpack(
    packed: Any,
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    device: torch.device,
) -> Any:
    """Puts together what `pack` took apart.

    Args:
        packed, tensors: of `pack`.
        modules: networks and methods by the names that they had.
        device: for the tensors.

    Raises:
        KeyError, TypeError, ValueError: it is not what `pack` gave.
    """

    def made(part: Any) -> Any:
        if isinstance(part, list):
            return [made(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "dict" in part:
            return {key: made(one) for key, one in part["dict"].items()}
        if "type" in part:
            return _class(part["type"])(**{key: made(one) for key, one in part["fields"].items()})
        return leaf(*part.items())

    def leaf(item: tuple[str, str]) -> Any:
        kind, name = item
        if kind == "tensor":
            return tensors[name].to(device)
        return modules[name] if kind == "module" else _DTYPES[name]

    return made(packed)


def _class(name: str) -> Any:
    module, _, kind = name.partition(":")
    if module.split(".")[0] != _PACKAGE:
        raise ValueError(f"{name} is none of ours")
    found = getattr(import_module(module), kind, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ValueError(f"there is no {name}")
    return found
