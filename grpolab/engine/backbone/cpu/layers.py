"""The layers of the Llama family on flat tokens, for training: matrix products by torch with
compiled loops between them, or torch alone where second derivatives are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.cpu.attention import Padded, Rotary, attention
from grpolab.engine.backbone.cpu.elementwise import add_norm, gate
from grpolab.engine.backbone.cpu.plan import Plan
from grpolab.engine.backbone.model_folder import GATE_UP, QKV, Shape, rotate
from grpolab.engine.backbone.norm import rms_norm

Linears = Callable[[Tensor, list[str], Tensor | None], Tensor]
"""(inputs [M, in], names of the linears that are stacked, weights [in] of the norm before them
where the linears apply them) -> [M, Σ out], of the inputs' dtype."""


@dataclass(frozen=True)
class Layers:
    """All layers with one adapter or full copy. M flat tokens, H hidden size, D head size."""

    shape: Shape
    w: dict[str, Tensor]
    linears: Linears
    learned: bool  # the norms are trained too
    dtype: torch.dtype  # of the products of `compiled`; the residual stream is fp32
    cos: Tensor  # [positions, D / 2]
    sin: Tensor

    def compiled(self, x: Tensor, plan: Plan) -> Tensor:
        """The residual stream after the last layer. [M, H] -> [M, H]. Once differentiable."""
        s = self.shape
        rotary = Rotary(plan=plan, heads=s.heads, kv=s.kv_heads, cos=self.cos, sin=self.sin)
        x, h = self._add(x, None, 0, INPUT)
        for i in range(s.layers):
            found = attention(self._queries(i, h), rotary)
            x, h = self._add(x, self._linear(i, found, "self_attn.o_proj"), i, POST)
            inner = gate(self._linear(i, h, *GATE_UP, norm=POST))
            change = self._linear(i, inner, "mlp.down_proj")
            if i + 1 == s.layers:
                return x + change
            x, h = self._add(x, change, i + 1, INPUT)
        return x

    def _queries(self, i: int, h: Tensor) -> Tensor:
        """Queries, keys and values; normalized where the model does so (Qwen3)."""
        qkv = self._linear(i, h, *QKV, norm=INPUT)
        if f"model.layers.{i}.self_attn.q_norm.weight" not in self.w:
            return qkv
        return torch.cat(self._heads(i, qkv.float()), 1).view(len(h), -1).to(self.dtype)

    def _add(self, x: Tensor, change: Tensor | None, i: int, norm: str) -> tuple[Tensor, Tensor]:
        """The residual stream with `change` added, and the input of the linears after its norm."""
        if self.learned:
            x = x if change is None else x + change
            return x, rms_norm(x, self._norm(i, norm), self.shape.eps)
        if change is None:
            change = torch.zeros_like(x, dtype=self.dtype)
        return add_norm(x, change, self.shape.eps)

    def plain(self, x: Tensor, plan: Plan) -> Tensor:
        """`compiled` by torch, in fp32, differentiable any number of times."""
        s, padded = self.shape, Padded.of(plan.stretches)
        cos, sin = self.cos[plan.position], self.sin[plan.position]
        cos, sin = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
        for i in range(s.layers):
            h = rms_norm(x, self._norm(i, INPUT), s.eps)
            q, k, v = self._heads(i, self._linear(i, h, *QKV))
            q, k = rotate(torch.cat([q, k], 1), cos, sin).split((s.heads, s.kv_heads), 1)
            x = x + self._linear(i, padded.attend(q, k, v), "self_attn.o_proj")
            h = rms_norm(x, self._norm(i, POST), s.eps)
            g, up = self._linear(i, h, *GATE_UP).chunk(2, 1)
            x = x + self._linear(i, F.silu(g) * up, "mlp.down_proj")
        return x

    def _heads(self, i: int, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[M, (heads + 2 kv) · D] -> queries [M, heads, D], keys and values [M, kv, D]."""
        s, at = self.shape, f"model.layers.{i}.self_attn"
        q, k, v = qkv.view(len(qkv), -1, s.head_dim).split((s.heads, s.kv_heads, s.kv_heads), 1)
        if (norm := self.w.get(f"{at}.q_norm.weight")) is not None:
            q, k = rms_norm(q, norm, s.eps), rms_norm(k, self.w[f"{at}.k_norm.weight"], s.eps)
        return q, k, v

    def _linear(self, i: int, h: Tensor, *names: str, norm: str = "") -> Tensor:
        """`norm`: the norm whose weights these linears apply, unless they are trained."""
        left = self._norm(i, norm) if norm and not self.learned else None
        return self.linears(h, [f"model.layers.{i}.{n}" for n in names], left)

    def _norm(self, i: int, name: str) -> Tensor:
        return self.w[f"model.layers.{i}.{name}.weight"]


INPUT, POST = "input_layernorm", "post_attention_layernorm"


def warm(dtype: torch.dtype) -> None:
    """Compile the loops for products of this dtype, or load them from the cache."""
    none = torch.zeros(1, 1, dtype=torch.long)
    real = torch.ones(1, 1, dtype=torch.bool)
    plan = Plan.of(Prompts(none, real), none[0], none, real.float())
    rotary = Rotary(plan=plan, heads=1, kv=1, cos=torch.ones(1, 1), sin=torch.zeros(1, 1))
    qkv = torch.zeros(1, 6, dtype=dtype, requires_grad=True)
    found = gate(attention(qkv, rotary))
    stream, normed = add_norm(torch.zeros(1, 1), found, 1e-6)
    (stream.sum() + normed.sum()).backward()
