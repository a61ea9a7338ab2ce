"""The weights that sampling runs on: the adapter folded in, and norms' weights folded into the
linears behind them, so that a norm is nothing but a division."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from grpolab.engine.cpu import kernels
from grpolab.engine.cpu.linear import Linear
from grpolab.engine.cpu.numbers import Array, F
from grpolab.engine.folder import Shape
from grpolab.engine.layout import GATE_UP, QKV, stacked_bias

if TYPE_CHECKING:
    from grpolab.engine.cpu.backbone import NativeBackbone
    from grpolab.engine.cpu.folded import Folded

Look = Callable[[int, Array, Array], None]
"""Attention of a layer: its number, its inputs [n, (heads + 2 kv) · D], and where to put what was
found [n, heads · D]."""


SAME_SIZES = 8
"""Rows of a product in bf16 are so many or a multiple."""


@dataclass(frozen=True)
class SamplingLayer:
    qkv: Linear
    norms: Array  # [heads + kv_heads, D], where queries and keys are normed (Qwen3), or [0, D]
    out: Linear
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class SamplingWeights:
    """Made anew after each update, which costs as much as two tokens."""

    layers: list[SamplingLayer]
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

        def layer(at: str) -> SamplingLayer:
            norms = torch.empty(0, s.head_dim)
            if (q := w.get(f"{at}.self_attn.q_norm.weight")) is not None:
                k = w[f"{at}.self_attn.k_norm.weight"]
                norms = torch.cat([q.expand(s.heads, -1), k.expand(s.kv_heads, -1)])
            return SamplingLayer(
                qkv=fused(at, *QKV, norm="input_layernorm"),
                norms=norms.numpy(),
                out=fused(at, "self_attn.o_proj"),
                gate_up=fused(at, *GATE_UP, norm="post_attention_layernorm"),
                down=fused(at, "mlp.down_proj"),
            )

        head = model.weights["lm_head.weight"] * w["model.norm.weight"]
        return SamplingWeights(
            layers=[layer(f"model.layers.{i}") for i in range(s.layers)],
            embed=w["model.embed_tokens.weight"].detach().numpy(),
            head=Linear(head, None, torch.float32),
            cos=model.cos.numpy(), sin=model.sin.numpy(),
            scale=F(s.head_dim**-0.5), eps=F(s.eps), shape=s, dtype=folded.dtype,
        )  # fmt: skip

    def held(self) -> list[object]:
        """What it keeps in memory."""
        linears = [y for x in self.layers for y in (x.qkv, x.out, x.gate_up, x.down)]
        return [y.held() for y in (*linears, self.head)]

    def run(self, tokens: Array, look: Look) -> Array:
        """The normed states behind the last layer of new tokens [n]. [n, H] fp32."""
        s, n = self.shape, len(tokens)
        stream = np.empty((n, s.hidden), F)
        normed, found = self._room(n, s.hidden), self._room(n, s.heads * s.head_dim)
        inner = self._room(n, self.layers[0].gate_up.outputs // 2)
        kernels.enter(tokens, self.embed, stream, normed[:n], self.eps)
        for i, layer in enumerate(self.layers):
            look(i, layer.qkv(normed)[:n], found[:n])
            kernels.add(stream, layer.out(found), normed[:n], self.eps)
            kernels.gate(layer.gate_up(normed), inner[:n])
            if i + 1 == len(self.layers):
                normed = np.empty((n, s.hidden), F)
            kernels.add(stream, layer.down(inner), normed[:n], self.eps)
        return normed

    def logits(self, normed: Array) -> Array:
        """[n, H] -> [n, V]."""
        return self.head(normed)

    def _room(self, rows: int, width: int) -> Array:
        """Inputs of a linear: in bf16 with some rows more behind those [rows, width], as oneDNN
        compiles and keeps a kernel for each size."""
        if self.dtype != torch.bfloat16:
            return np.zeros((rows, width), F)
        return np.zeros((rows + -rows % SAME_SIZES, width), np.uint16)
