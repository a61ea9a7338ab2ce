"""Which tensor belongs to which memory owner: all tensors in a nest of objects, and the rules that
map a tensor made inside a phase to its owner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn


@dataclass(frozen=True)
class OwnerRules:
    """Rules that map a tensor to its memory owner, by its shape."""

    vocabulary: int
    kv_heads: int
    head_dim: int
    trainable: frozenset[tuple[int, ...]]  # shapes of trainable tensors and their gradients

    @staticmethod
    def of(backbone: Any, learns: Iterable[Mapping[str, Tensor]]) -> OwnerRules:
        """The rules for a `Backbone` and the trainable tensors on it."""
        shape = getattr(backbone, "shape", None)  # our own decoder's
        if shape is not None:
            kv_heads, head_dim = shape.kv_heads, shape.head_dim
        else:
            c = backbone.model.config.get_text_config()
            heads = c.num_attention_heads
            kv_heads = getattr(c, "num_key_value_heads", None) or heads
            head_dim = getattr(c, "head_dim", None) or c.hidden_size // heads
        shapes = frozenset(tuple(t.shape) for tensors in learns for t in tensors.values())
        shapes |= getattr(backbone, "stacked_gradients", frozenset())
        return OwnerRules(
            vocabulary=backbone.vocabulary,
            kv_heads=kv_heads,
            head_dim=head_dim,
            trainable=shapes - {(), (backbone.hidden,)},
        )


def owner_of(tensor: Tensor, rules: OwnerRules, phase: str, backward: bool) -> str:
    """The owner of a tensor made inside a phase; `backward`: by a backward pass."""
    shape = tuple(tensor.shape)
    if len(shape) > 1 and shape[-1] == rules.vocabulary:
        return "loss_tiles"
    if phase in ("rollout", "evaluate"):
        if len(shape) >= 4 and (shape[-3], shape[-1]) == (rules.kv_heads, rules.head_dim):
            return "kv_cache"
    elif shape in rules.trainable:
        if phase == "step":
            return "optimizer"
        if backward:
            return "gradients"
    return "workspace"


def storage_of(tensor: Tensor) -> UntypedStorage | None:
    """The storage of a tensor's bytes; None where torch has none to show (sparse tensors)."""
    return tensor.untyped_storage() if tensor.layout == torch.strided else None


def packed(tensor: Tensor) -> Tensor:
    """What a saved-tensors hook may keep of a tensor: the same numbers without its graph.

    Otherwise an operation that saves its own result (softmax, tanh) would keep itself alive. torch
    puts what is unpacked back into the graph itself, also for second derivatives."""
    return tensor.detach()


def tensors_in(nest: Any) -> list[Tensor]:
    """Every tensor in a nest of mappings, sequences, dataclasses and modules, with the scales of
    4-bit weights. A tensor may come twice."""
    found, left = list[Tensor](), [nest]
    while left:  # thousands of tensors, twice per phase: no recursion
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
    """The members of a rarer object; a tensor of another class goes to `found`."""
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
