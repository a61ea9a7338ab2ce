"""The tensors in whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn


@dataclass(frozen=True)
class Opaque:
    """Memory that no storage stands for, as in a layout of oneDNN's own."""

    nbytes: int


def storage_of(tensor: Tensor) -> UntypedStorage | None:
    """What holds a tensor's bytes, where torch can name it."""
    return tensor.untyped_storage() if tensor.layout == torch.strided else None


def opaque_in(nest: Any) -> int:
    """Bytes of all that is `Opaque` in mappings and lists."""
    if isinstance(nest, Opaque):
        return nest.nbytes
    if isinstance(nest, Mapping):
        return sum(opaque_in(x) for x in nest.values())
    return sum(opaque_in(x) for x in nest) if isinstance(nest, list) else 0


def tensors_in(nest: Any) -> Iterator[Tensor]:
    """Every tensor in a nest of mappings, sequences, dataclasses and modules; of a 4-bit weight
    its scales too. A tensor may come twice."""
    if isinstance(nest, Tensor):
        yield nest
        if (state := getattr(nest, "quant_state", None)) is not None:  # bitsandbytes
            yield from _scales(state)
        for scale in ("CB", "SCB"):
            if isinstance(found := getattr(nest, scale, None), Tensor):
                yield found
    elif isinstance(nest, nn.Module):
        for tensor in (*nest.parameters(), *nest.buffers()):
            yield from tensors_in(tensor)
    elif isinstance(nest, Mapping):
        for value in nest.values():
            yield from tensors_in(value)
    elif isinstance(nest, list | tuple | set | frozenset):
        for value in nest:
            yield from tensors_in(value)
    elif is_dataclass(nest) and not isinstance(nest, type):
        for f in fields(nest):
            yield from tensors_in(getattr(nest, f.name))


def _scales(state: Any) -> Iterator[Tensor]:
    for name in ("absmax", "offset", "code"):
        if isinstance(found := getattr(state, name, None), Tensor):
            yield found
    if (nested := getattr(state, "state2", None)) is not None:
        yield from _scales(nested)
