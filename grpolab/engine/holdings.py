"""The tensors in whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn


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
