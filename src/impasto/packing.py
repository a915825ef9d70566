"""Packing: dataclasses of tensors to JSON and tensors, and back. Looks are saved so, not pickled.

In the JSON a tensor is referred to by its number. When a file is read, only dataclasses of this
package are made. Networks are not stored: whoever reads the file supplies them.
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
# Names of classes and of their fields in looks that were saved before these were renamed.
_RENAMED = {
    "impasto.networks.styletr:Given": "impasto.networks.styletr:StyleStats",
    "impasto.methods.fast:LookStyle": "impasto.methods.fast:LoadedLook",
    "Tokens.plain": "frozen",
    "Tokens.tuned": "finetuned",
    "StyletrTransfer.given": "styles",
    "StyletrTransfer.own": "content",
    "LoadedLook.number": "index",
}


def pack(value: Any, modules: Mapping[str, nn.Module]) -> tuple[Any, dict[str, Tensor]]:
    """Takes a value apart into what can be written as JSON, and tensors.

    Args:
        value: any nesting of this package's dataclasses, lists, dictionaries with text keys,
            tensors, dtypes, numbers and texts.
        modules: networks and methods that may occur in the value, by name; they are not stored.

    Returns:
        What can be written as JSON, and the tensors by the names under which it refers to them.

    Raises:
        TypeError: the value holds something else.
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
            values = {one.name: packed(getattr(part, one.name)) for one in fields(part)}
            return {"type": f"{kind.__module__}:{kind.__qualname__}", "fields": values}
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
    """Puts together again what `pack` took apart.

    Args:
        packed: the part that was written as JSON.
        tensors: the tensors by name.
        modules: networks and methods by the names that they had in `pack`.
        device: where the tensors go.

    Returns:
        The value that was packed.

    Raises:
        KeyError, TypeError, ValueError: the parts are not what `pack` returned.
    """

    def unpacked(part: Any) -> Any:
        if isinstance(part, list):
            return [unpacked(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "dict" in part:
            return {key: unpacked(one) for key, one in part["dict"].items()}
        if "type" in part:
            kind = _class(part["type"])
            values = {
                _RENAMED.get(f"{kind.__name__}.{key}", key): unpacked(one)
                for key, one in part["fields"].items()
            }
            return kind(**values)
        return leaf(*part.items())

    def leaf(item: tuple[str, str]) -> Any:
        kind, name = item
        if kind == "tensor":
            return tensors[name].to(device)
        return modules[name] if kind == "module" else _DTYPES[name]

    return unpacked(packed)


def _class(name: str) -> Any:
    module, _, kind = _RENAMED.get(name, name).partition(":")
    if module.split(".")[0] != _PACKAGE:
        raise ValueError(f"{name} is none of ours")
    packed_class = getattr(import_module(module), kind, None)
    if not (isinstance(packed_class, type) and is_dataclass(packed_class)):
        raise ValueError(f"there is no {name}")
    return packed_class
