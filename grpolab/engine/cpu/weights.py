"""The weights that sampling runs on: the adapter folded in, and norms' weights folded into the
linears behind them, so that a norm is nothing but a division."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.cpu.linear import Linear
from grpolab.engine.cpu.loop import Loop
from grpolab.engine.cpu.numbers import Array, F
from grpolab.engine.folder import Shape
from grpolab.engine.layout import GATE_UP, QKV, stacked_bias

if TYPE_CHECKING:
    from grpolab.engine.cpu.backbone import NativeBackbone
    from grpolab.engine.cpu.folded import Folded

_layers, _attend = Loop("decoding.layers"), Loop("decoding.attend")
_enter, _add, _gate = Loop("decoding.enter"), Loop("decoding.add"), Loop("decoding.gate")

SAME_SIZES = 8
"""Rows of a product in bf16 are so many or a multiple."""


@dataclass(frozen=True)
class SamplingLayer:
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class SamplingWeights:
    """Made anew after each update, which costs as much as two tokens."""

    layers: list[SamplingLayer]
    norms: (
        Array  # [L, heads + kv_heads, D], where queries and keys are normed (Qwen3), or [L, 0, D]
    )
    embed: Array  # [V, H]
    head: Linear  # [V, H] with the last norm in it, always fp32
    cos: Array  # [positions, D / 2]
    sin: Array
    scale: np.float32  # on queries
    eps: np.float32
    shape: Shape
    dtype: torch.dtype  # of the layers' linears; everything between them is fp32

    @staticmethod
    @torch.no_grad()
    def of(model: NativeBackbone, w: dict[str, Tensor], folded: Folded) -> SamplingWeights:
        s = model.shape

        def fused(at: str, *names: str, norm: str = "") -> Linear:
            full = [f"{at}.{n}" for n in names]
            weight = folded(full, w[f"{at}.{norm}.weight"] if norm else None)
            return Linear(weight, stacked_bias(w, full), folded.dtype)

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
            head=Linear(head, None, torch.float32),
            cos=model.cos.numpy(), sin=model.sin.numpy(),
            scale=F(s.head_dim**-0.5), eps=F(s.eps), shape=s, dtype=folded.dtype,
        )  # fmt: skip

    def held(self) -> list[object]:
        """What it keeps in memory."""
        linears = [y for x in self.layers for y in (x.qkv, x.out, x.gate_up, x.down)]
        return [y.held() for y in (*linears, self.head)]

    @cached_property
    def _linears(self) -> Array:
        """[L, 4, 5]: what the loops over all layers know fp32 linears by."""
        return np.array([[y.about() for y in (x.qkv, x.out, x.gate_up, x.down)]
                         for x in self.layers])  # fmt: skip

    def room(self, rows: int) -> list[Array]:
        """For so many rows to be run on, at most."""
        x, s = self.layers[0], self.shape
        widths = [s.hidden, s.hidden, x.qkv.width, s.heads * s.head_dim, x.out.width,
                  x.gate_up.width, x.gate_up.outputs // 2]  # fmt: skip
        whole = self.dtype == torch.float32
        return [np.empty((rows, width), F) for width in widths] if whole else []

    def run(self, tokens: Array, seen: tuple[Any, ...], room: list[Array]) -> Array:
        """The normed states behind the last layer of new tokens [n]. [n, H] fp32, in the room where
        there is one. `seen`: what `loops.decoding.attend` takes, from `prompt` to its `room`."""
        s, n = self.shape, len(tokens)
        seen = (s.heads, self.scale, self.norms, self.eps, self.cos, self.sin, *seen)
        if room:
            room = [x[:n] for x in room]
            _layers(tokens, self.embed, self._linears, *seen, *room)
            return room[1]
        stream = np.empty((n, s.hidden), F)
        normed, found = self._padded(n, s.hidden), self._padded(n, s.heads * s.head_dim)
        inner = self._padded(n, self.layers[0].gate_up.outputs // 2)
        _enter(tokens, self.embed, stream, normed[:n], self.eps)
        for i, layer in enumerate(self.layers):
            _attend(layer.qkv(normed)[:n], i, *seen, found[:n])
            _add(stream, layer.out(found), normed[:n], self.eps)
            _gate(layer.gate_up(normed), inner[:n])
            if i + 1 == len(self.layers):
                normed = np.empty((n, s.hidden), F)
            _add(stream, layer.down(inner), normed[:n], self.eps)
        return normed

    def logits(self, normed: Array) -> Array:
        """[n, H] -> [n, V]."""
        return self.head(normed)

    def _padded(self, rows: int, width: int) -> Array:
        """Inputs of a linear in bf16, with some rows more behind those [rows, width], as oneDNN
        compiles and keeps a kernel for each size."""
        return np.zeros((rows + -rows % SAME_SIZES, width), np.uint16)
