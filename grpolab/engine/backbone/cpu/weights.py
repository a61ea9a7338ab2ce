"""Weights with the adapter, and the weights of the norm before, folded in: `Folded` for training
and sampling alike, made once until the adapter's values change; `SamplingWeights` for the sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.backbone.cpu.linear import Linear
from grpolab.engine.backbone.cpu.loop import F32, Array, Loop
from grpolab.engine.backbone.lora import Lora
from grpolab.engine.backbone.model_folder import GATE_UP, QKV, Shape, stacked, stacked_bias

if TYPE_CHECKING:
    from grpolab.engine.backbone.cpu.backbone import NativeBackbone

_layers = Loop("decoding.layers")


class Folded:
    """(W + scale · B A) N of stacked linears for the adapter's present values. N is diagonal, the
    weights of the norm before, so that the norm itself only divides."""

    def __init__(
        self, weights: dict[str, Tensor], lora: Lora | None, dtype: torch.dtype, *, keep: bool
    ) -> None:
        self.weights, self.lora, self.dtype, self.keep = weights, lora, dtype, keep
        self.stamp = lora.stamp() if lora is not None else ()
        self._made: dict[str, Tensor] = {}
        self._lock = Lock()

    def current(self, lora: Lora | None) -> bool:
        """Whether this was made from that adapter's present values."""
        return self.lora is lora and (lora is None or self.stamp == lora.stamp())

    def __call__(self, names: Sequence[str], norm: Tensor | None) -> Tensor:
        """The folded weight of these linears, stacked. [Σ out, in]."""
        if not self.keep:
            return self._make(names, norm)
        with self._lock:  # threads reach a layer at the same time
            found = self._made.get(names[0])
            if found is None:
                found = self._made[names[0]] = self._make(names, norm)
            return found

    @torch.no_grad()
    def _make(self, names: Sequence[str], norm: Tensor | None) -> Tensor:
        weight = stacked(self.weights, list(names), "weight")
        weight = weight if self.lora is None else self.lora.folded(weight, names)
        return (weight if norm is None else weight * norm).to(self.dtype)

    def tensors(self) -> list[Tensor]:
        """The tensors it keeps; the backbone's own where nothing is folded in and dtype is fp32."""
        with self._lock:
            return list(self._made.values())


@dataclass(frozen=True)
class SamplingLayer:
    """The linears of one layer."""

    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class SamplingWeights:
    """All weights of the sampler. Made anew after each update, at the cost of about two tokens."""

    layers: list[SamplingLayer]
    norms: Array  # [L, heads + kv_heads, D] of queries and keys (Qwen3), or [L, 0, D]
    embed: Array  # [V, H]
    head: Linear  # [V, H] with the last norm folded in
    cos: Array  # [positions, D / 2]
    sin: Array
    scale: np.float32  # on queries
    eps: np.float32
    shape: Shape

    @staticmethod
    @torch.no_grad()
    def of(model: NativeBackbone, w: dict[str, Tensor], folded: Folded) -> SamplingWeights:
        s = model.shape

        def fused(at: str, *names: str, norm: str = "") -> Linear:
            full = [f"{at}.{n}" for n in names]
            weight = folded(full, w[f"{at}.{norm}.weight"] if norm else None)
            return Linear(weight, stacked_bias(w, full))

        def norms(at: str) -> Tensor:
            if (q := w.get(f"{at}.self_attn.q_norm.weight")) is None:
                return torch.empty(0, s.head_dim)
            k = w[f"{at}.self_attn.k_norm.weight"]
            return torch.cat([q.expand(s.heads, -1), k.expand(s.kv_heads, -1)])

        def layer(at: str) -> SamplingLayer:
            return SamplingLayer(
                qkv=fused(at, *QKV, norm="input_layernorm"),
                out=fused(at, "self_attn.o_proj"),
                gate_up=fused(at, *GATE_UP, norm="post_attention_layernorm"),
                down=fused(at, "mlp.down_proj"),
            )

        head = model.weights["lm_head.weight"] * w["model.norm.weight"]
        every = [f"model.layers.{i}" for i in range(s.layers)]
        return SamplingWeights(
            layers=[layer(at) for at in every],
            norms=torch.stack([norms(at) for at in every]).numpy(),
            embed=w["model.embed_tokens.weight"].detach().numpy(),
            head=Linear(head, None),
            cos=model.cos.numpy(), sin=model.sin.numpy(),
            scale=F32(s.head_dim**-0.5), eps=F32(s.eps), shape=s,
        )  # fmt: skip

    def tensors(self) -> list[object]:
        """The tensors it keeps."""
        linears = [y for x in self.layers for y in (x.qkv, x.out, x.gate_up, x.down)]
        return [y.tensors() for y in (*linears, self.head)]

    @cached_property
    def _linears(self) -> Array:
        """`Linear.about` of every layer's linears, for the loop over all layers. [L, 4, 4]."""
        return np.array([[y.about() for y in (x.qkv, x.out, x.gate_up, x.down)]
                         for x in self.layers])  # fmt: skip

    def room(self, rows: int) -> list[Array]:
        """Scratch memory for up to `rows` rows, allocated by torch so that the memory account
        counts it."""
        x, s = self.layers[0], self.shape
        widths = [s.hidden, s.hidden, x.qkv.width, s.heads * s.head_dim, x.out.width,
                  x.gate_up.width, x.gate_up.outputs // 2]  # fmt: skip
        return [torch.empty(rows, width).numpy() for width in widths]

    def run(self, tokens: Array, seen: tuple[Any, ...], room: list[Array]) -> Array:
        """The normalized states after the last layer of new tokens [n] -> [n, H], inside `room`.
        `seen`: the arguments of `loops.decoding.attend`, from `prompt` to its own `room`."""
        s, room = self.shape, [x[: len(tokens)] for x in room]
        _layers(
            tokens, self.embed, self._linears, s.heads, self.scale, self.norms, self.eps, self.cos,
            self.sin, *seen, *room,
        )  # fmt: skip
        return room[1]

    def logits(self, normed: Array) -> Array:
        """[n, H] -> [n, V]."""
        return self.head(normed)
