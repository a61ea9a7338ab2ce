"""The tensors in whatever holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn


def storage_of(tensor: Tensor) -> UntypedStorage | None:
    """What holds a tensor's bytes, where torch can name it."""
    return tensor.untyped_storage() if tensor.layout == torch.strided else None


def packed(tensor: Tensor) -> Tensor:
    """What a saved-tensors hook may keep of a tensor: the same numbers without a way back.

    An operation that saves its own result (softmax, tanh) would otherwise be kept by it for ever.
    torch hangs what is unpacked into the graph by itself, also for second derivatives."""
    return tensor.detach()


def tensors_in(nest: Any) -> list[Tensor]:
    """Every tensor in a nest of mappings, sequences, dataclasses and modules, of a 4-bit weight its
    scales too. A tensor may come twice."""
    found, left = list[Tensor](), [nest]
    while left:  # thousands of them, twice a phase: no recursion
        x = left.pop()
        kind = type(x)
        if kind is Tensor or (kind is nn.Parameter and not x.__dict__):
            found.append(x)
        elif x is None:
            continue
        elif kind is dict:
            left.extend(x.values())
        elif kind is list or kind is tuple:
            left.extend(x)
        else:
            left.extend(_inside(x, found))
    return found


def _inside(x: Any, found: list[Tensor]) -> Iterable[Any]:
    """What a rarer thing holds; a tensor of a class of its own goes to `found`."""
    if isinstance(x, Tensor):
        found.append(x)
        if (state := getattr(x, "quant_state", None)) is not None:  # bitsandbytes
            found.extend(_scales(state))
        return [getattr(x, name, None) for name in ("CB", "SCB")]
    if isinstance(x, nn.Module):
        return [*x.parameters(), *x.buffers()]
    if isinstance(x, Mapping):
        return x.values()
    if isinstance(x, set | frozenset | list | tuple):
        return x
    if is_dataclass(x) and not isinstance(x, type):
        return [getattr(x, f.name) for f in fields(x)]
    return ()


def _scales(state: Any) -> Iterator[Tensor]:
    for name in ("absmax", "offset", "code"):
        if isinstance(found := getattr(state, name, None), Tensor):
            yield found
    if (nested := getattr(state, "state2", None)) is not None:
        yield from _scales(nested)
