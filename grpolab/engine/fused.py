"""The weights that sampling runs on: adapters and norms folded in, rotary pairs side by side.

- An RMS norm is x / ‖(x, √(Hε))‖ · √H · w: √H · w goes into the columns of the linear behind it,
  and √(Hε) is a constant column behind the residual stream, so that one `vector_norm` is left.
- Queries and keys turn as complex numbers: the rows of their weights are reordered, alike for
  both, which no dot product notices. 1/√D goes into the queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.folder import Shape
from grpolab.engine.kernels import Linear
from grpolab.engine.layout import GATE_UP, QKV, stacked, stacked_bias

if TYPE_CHECKING:
    from grpolab.engine.decoder import NativeBackbone
    from grpolab.engine.lora import Lora


@dataclass(frozen=True)
class FusedLayer:
    qkv: Linear
    qk_norm: Tensor | None  # [heads + kv_heads, D], where queries and keys are normed (Qwen3)
    out: Linear
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class FusedWeights:
    """Made anew after each update, which costs less than two tokens."""

    layers: list[FusedLayer]
    embed: Tensor  # [V, H]
    head: Tensor  # [V, H] with the last norm in it
    turns: Tensor  # [positions, D / 2] complex: e^{iθ}
    shape: Shape

    @staticmethod
    @torch.no_grad()
    def of(
        model: NativeBackbone, w: dict[str, Tensor], lora: Lora | None, dtype: torch.dtype
    ) -> FusedWeights:
        """`dtype`: of the linears; everything between them is fp32."""
        s = model.shape
        root = s.hidden**0.5
        pairs = _pairs(s, model.device)
        queries = s.heads * s.head_dim

        def fused(at: str, *names: str, norm: str = "") -> Tensor:
            full = [f"{at}.{n}" for n in names]
            weight = stacked(w, full, "weight").detach()
            weight = weight if lora is None else lora.folded(weight, full)
            return weight * (w[f"{at}.{norm}.weight"] * root) if norm else weight

        def layer(at: str) -> FusedLayer:
            qkv = fused(at, *QKV, norm="input_layernorm")[pairs]
            bias = stacked_bias(w, [f"{at}.{n}" for n in QKV])
            bias = None if bias is None else bias[pairs]
            qk_norm = None
            if (q_norm := w.get(f"{at}.self_attn.q_norm.weight")) is not None:
                q = (q_norm * s.head_dim**-0.5).expand(s.heads, -1)
                k = w[f"{at}.self_attn.k_norm.weight"].expand(s.kv_heads, -1)
                qk_norm = torch.cat([q, k])[:, pairs[: s.head_dim]]
            else:
                for part in (qkv, bias):
                    if part is not None:
                        part[:queries] *= s.head_dim**-0.5
            gate_up = fused(at, *GATE_UP, norm="post_attention_layernorm")
            return FusedLayer(
                qkv=Linear(qkv, bias, dtype),
                qk_norm=qk_norm,
                out=Linear(fused(at, "self_attn.o_proj"), None, dtype),
                gate_up=Linear(gate_up, None, dtype),
                down=Linear(fused(at, "mlp.down_proj"), None, dtype),
            )

        return FusedWeights(
            layers=[layer(f"model.layers.{i}") for i in range(s.layers)],
            embed=w["model.embed_tokens.weight"],
            head=model.weights["lm_head.weight"] * (w["model.norm.weight"] * root),
            turns=torch.polar(torch.full_like(model.angle, model.stretch), model.angle),
            shape=s,
        )

    def held(self) -> list[object]:
        """What it keeps in memory."""
        linears = [y for x in self.layers for y in (x.qkv, x.out, x.gate_up, x.down)]
        norms = [x.qk_norm for x in self.layers]
        return [self.turns, self.head, norms, [y.held() for y in linears]]

    def enter(self, tokens: Tensor) -> Tensor:
        """The residual stream of tokens [n], with its constant column. [n, H + 1]."""
        x = self.embed.new_empty(len(tokens), self.shape.hidden + 1)
        x[:, :-1] = self.embed.index_select(0, tokens)
        x[:, -1] = (self.shape.hidden * self.shape.eps) ** 0.5
        return x

    def turns_at(self, positions: Tensor) -> Tensor:
        """Factors for the heads of queries, keys and values alike; those of values are 1. [n] ->
        [n, heads + 2 kv_heads, D / 2]."""
        s, n = self.shape, len(positions)
        turns = self.turns.new_ones(n, s.heads + 2 * s.kv_heads, s.head_dim // 2)
        turns[:, : s.heads + s.kv_heads] = self.turns.index_select(0, positions)[:, None]
        return turns

    def attention_inputs(self, layer: FusedLayer, x: Tensor, turns: Tensor) -> Tensor:
        """Queries, keys and values, turned. [n, H + 1], turns as above -> [n, heads + 2 kv_heads,
        D]."""
        s = self.shape
        y = layer.qkv(_normed(x)).float().view((*turns.shape, 2))
        if layer.qk_norm is not None:
            qk = y[:, : s.heads + s.kv_heads].flatten(-2)
            scale = (qk.square().mean(-1, keepdim=True) + s.eps).rsqrt_()
            qk *= scale * layer.qk_norm  # in place: flatten gave a view
        return torch.view_as_real(torch.view_as_complex(y) * turns).view(len(x), -1, s.head_dim)

    def rest(self, layer: FusedLayer, x: Tensor, attended: Tensor) -> None:
        """The layer after attention, added to the stream. x [n, H + 1], attended [n, heads · D]."""
        stream = x[:, :-1]
        stream += layer.out(attended)
        gate, up = layer.gate_up(_normed(x)).chunk(2, 1)
        stream += layer.down(F.silu(gate).mul_(up))

    def logits(self, x: Tensor) -> Tensor:
        """[n, H + 1] -> [n, V]."""
        return F.linear(_normed(x), self.head)


def _normed(x: Tensor) -> Tensor:
    """[n, H + 1] -> [n, H]: the stream at unit norm, ε counted in."""
    return x[:, :-1] / torch.linalg.vector_norm(x, dim=1, keepdim=True)


def _pairs(s: Shape, device: torch.device) -> Tensor:
    """The order of the stacked outputs in which element i of a query's or key's first half stands
    before element i of its second. [(heads + 2 kv_heads) · D]."""
    d = s.head_dim
    inside = torch.arange(d, device=device).view(2, d // 2).t().reshape(-1)
    turned = torch.arange(s.heads + s.kv_heads, device=device)[:, None] * d + inside
    values = torch.arange(s.kv_heads * d, device=device) + turned.numel()
    return torch.cat([turned.reshape(-1), values])
