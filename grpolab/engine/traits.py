"""By what a tensor's owner is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Traits:
    """By what a tensor is known."""

    vocabulary: int
    kv_heads: int
    head_dim: int
    trainable: frozenset[tuple[int, ...]]  # shapes of what learns, and of its gradients

    @staticmethod
    def of(backbone: Any, learns: Iterable[Mapping[str, Tensor]]) -> Traits:
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
        return Traits(backbone.vocabulary, kv_heads, head_dim, shapes - {(), (backbone.hidden,)})


def owner_of(tensor: Tensor, traits: Traits, phase: str, backward: bool) -> str:
    """The owner of a tensor that was made inside a phase, by its shape."""
    shape = tuple(tensor.shape)
    if len(shape) > 1 and shape[-1] == traits.vocabulary:
        return "loss_tiles"
    if phase in ("rollout", "evaluate"):
        if len(shape) >= 4 and (shape[-3], shape[-1]) == (traits.kv_heads, traits.head_dim):
            return "kv_cache"
    elif shape in traits.trainable:
        if phase == "step":
            return "optimizer"
        if backward:
            return "gradients"
    return "workspace"
