"""The tensors in whatever holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
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


# --- traits ---
# By what a tensor's owner is known.


@dataclass(frozen=True)
class OwnerRules:
    """By what a tensor is known."""

    vocabulary: int
    kv_heads: int
    head_dim: int
    trainable: frozenset[tuple[int, ...]]  # shapes of what learns, and of its gradients

    @staticmethod
    def of(backbone: Any, learns: Iterable[Mapping[str, Tensor]]) -> OwnerRules:
        """Of a `backbone.Backbone` and the tensors that learn on it."""
        shape = getattr(backbone, "shape", None)  # of the own decoder
        if shape is not None:
            kv_heads, head_dim = shape.kv_heads, shape.head_dim
        else:
            c = backbone.model.config.get_text_config()
            heads = c.num_attention_heads
            kv_heads = getattr(c, "num_key_value_heads", None) or heads
            head_dim = getattr(c, "head_dim", None) or c.hidden_size // heads
        shapes = frozenset(tuple(t.shape) for tensors in learns for t in tensors.values())
        shapes |= getattr(backbone, "stacked_gradients", frozenset())
        return OwnerRules(backbone.vocabulary, kv_heads, head_dim, shapes - {(), (backbone.hidden,)})


def owner_of(tensor: Tensor, owner_rules: OwnerRules, phase: str, backward: bool) -> str:
    """The owner of a tensor that was made inside a phase, by its shape."""
    shape = tuple(tensor.shape)
    if len(shape) > 1 and shape[-1] == owner_rules.vocabulary:
        return "loss_tiles"
    if phase in ("rollout", "evaluate"):
        if len(shape) >= 4 and (shape[-3], shape[-1]) == (owner_rules.kv_heads, owner_rules.head_dim):
            return "kv_cache"
    elif shape in owner_rules.trainable:
        if phase == "step":
            return "optimizer"
        if backward:
            return "gradients"
    return "workspace"
