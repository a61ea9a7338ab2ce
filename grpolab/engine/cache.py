"""Sampling with the own decoder: fused weights, a static key/value cache, the prompt read once for
its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone import Prompts
from grpolab.engine.layout import GATE_UP, QKV, rotate, stacked, stacked_bias

if TYPE_CHECKING:
    from grpolab.engine.decoder import NativeBackbone
    from grpolab.engine.lora import Lora


@dataclass(frozen=True)
class _Layer:
    norm1: Tensor
    qkv: Tensor  # [(heads + 2 kv_heads) · D, H]
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Tensor
    norm2: Tensor
    gate_up: Tensor  # [2 I, H]
    down: Tensor


@dataclass(frozen=True)
class FusedWeights:
    """Weights with the adapter folded in; made anew after each update, which costs less than one
    token."""

    layers: list[_Layer]
    embed: Tensor
    norm: Tensor

    @staticmethod
    @torch.no_grad()
    def of(model: NativeBackbone, w: dict[str, Tensor], lora: Lora | None) -> FusedWeights:
        def fused(at: str, *names: str) -> Tensor:
            full = [f"{at}.{n}" for n in names]
            weight = stacked(w, full, "weight").detach()
            return weight if lora is None else lora.folded(weight, full)

        layers = []
        for i in range(model.layers):
            at = f"model.layers.{i}"
            layers.append(
                _Layer(
                    norm1=w[f"{at}.input_layernorm.weight"],
                    qkv=fused(at, *QKV),
                    qkv_bias=stacked_bias(w, [f"{at}.{n}" for n in QKV]),
                    q_norm=w.get(f"{at}.self_attn.q_norm.weight"),
                    k_norm=w.get(f"{at}.self_attn.k_norm.weight"),
                    out=fused(at, "self_attn.o_proj"),
                    norm2=w[f"{at}.post_attention_layernorm.weight"],
                    gate_up=fused(at, *GATE_UP),
                    down=fused(at, "mlp.down_proj"),
                )
            )
        return FusedWeights(layers, w["model.embed_tokens.weight"], w["model.norm.weight"])


class NativeSession:
    """Rows that decode together. The cache is [R, kv_heads, P + max_tokens, D] for each layer,
    keys and values."""

    def __init__(
        self, model: NativeBackbone, weights: FusedWeights, keys: list[Tensor],
        values: list[Tensor], visible: Tensor, position: Tensor, width: int,
    ) -> None:  # fmt: skip
        self.model, self.weights = model, weights
        self.keys, self.values = keys, values
        self.visible = (
            visible  # [R, P + max_tokens] bool: which prompt columns are real; answers: all
        )
        self.position = position  # [R] rotary position of the next token
        self.width = width  # columns in use
        self._peak = self._bytes()

    @staticmethod
    @torch.no_grad()
    def open(
        model: NativeBackbone,
        weights: FusedWeights,
        prompts: Prompts,
        group: Tensor,
        max_tokens: int,
    ) -> tuple[NativeSession, Tensor]:
        s = model.shape
        count, width = prompts.ids.shape
        position = (prompts.mask.cumsum(1) - 1).clamp(min=0)
        cos, sin = model.cos[position], model.sin[position]
        causal = torch.ones(width, width, dtype=torch.bool, device=model.device).tril()
        eye = torch.eye(width, dtype=torch.bool, device=model.device)
        attn = (causal & prompts.mask[:, None, :] | eye)[:, None]
        x = F.embedding(prompts.ids, weights.embed)
        keys, values = [], []
        for layer in weights.layers:
            q, k, v = _qkv(model, layer, x)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            out = F.scaled_dot_product_attention(
                q, k, v, attn_mask=attn, enable_gqa=s.heads != s.kv_heads
            )
            x = _rest(model, layer, x, out.transpose(1, 2).reshape(count, width, -1))
            for cache, new in ((keys, k), (values, v)):
                room = new.new_empty(len(group), s.kv_heads, width + max_tokens, s.head_dim)
                room[:, :, :width] = new[group]
                cache.append(room)
        visible = torch.ones(len(group), width + max_tokens, dtype=torch.bool, device=model.device)
        visible[:, :width] = prompts.mask[group]
        session = NativeSession(
            model, weights, keys, values, visible, prompts.mask.sum(1)[group], width
        )
        last = F.rms_norm(x[:, -1], (s.hidden,), weights.norm, s.eps)
        return session, model.head(last)[group]

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        model, s, at = self.model, self.model.shape, self.width
        cos, sin = model.cos[self.position], model.sin[self.position]
        rows = len(tokens)
        attn = self.visible[:, None, None, : at + 1]
        x = F.embedding(tokens, self.weights.embed)
        for i, layer in enumerate(self.weights.layers):
            q, k, v = _qkv(model, layer, x)
            keys, values = self.keys[i], self.values[i]
            keys[:, :, at] = rotate(k, cos, sin)
            values[:, :, at] = v
            out = F.scaled_dot_product_attention(
                rotate(q, cos, sin).unsqueeze(2), keys[:, :, : at + 1], values[:, :, : at + 1],
                attn_mask=attn, enable_gqa=s.heads != s.kv_heads,
            )  # fmt: skip
            x = _rest(model, layer, x, out.reshape(rows, -1))
        self.width += 1
        self.position = self.position + 1
        return model.head(F.rms_norm(x, (s.hidden,), self.weights.norm, s.eps))

    def keep(self, rows: Tensor) -> None:
        self.keys = [k[rows] for k in self.keys]
        self.values = [v[rows] for v in self.values]
        self.visible, self.position = self.visible[rows], self.position[rows]

    def _bytes(self) -> int:
        return sum(t.nbytes for t in (*self.keys, *self.values))

    @property
    def cache_bytes(self) -> int:
        """Largest size that the cache had."""
        return self._peak


def _qkv(model: NativeBackbone, layer: _Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[..., H] -> q [..., heads, D], k and v [..., kv_heads, D], before rotation."""
    s = model.shape
    h = F.rms_norm(x, (s.hidden,), layer.norm1, s.eps)
    packed = F.linear(h, layer.qkv, layer.qkv_bias).unflatten(
        -1, (s.heads + 2 * s.kv_heads, s.head_dim)
    )
    q, k, v = packed.split((s.heads, s.kv_heads, s.kv_heads), -2)
    if layer.q_norm is not None and layer.k_norm is not None:
        q = F.rms_norm(q, (s.head_dim,), layer.q_norm, s.eps)
        k = F.rms_norm(k, (s.head_dim,), layer.k_norm, s.eps)
    return q, k, v


def _rest(model: NativeBackbone, layer: _Layer, x: Tensor, attended: Tensor) -> Tensor:
    """The layer after attention. [..., H] -> [..., H]."""
    s = model.shape
    x = x + F.linear(attended, layer.out)
    h = F.rms_norm(x, (s.hidden,), layer.norm2, s.eps)
    gate, up = F.linear(h, layer.gate_up).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, layer.down)
