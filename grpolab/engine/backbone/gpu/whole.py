"""The decoder on a full trainable copy of the weights: `model.critic: full`, a second model as in
classical RLHF, at its true cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.gpu import ops
from grpolab.engine.backbone.gpu.attention import attend
from grpolab.engine.backbone.gpu.flat import Flat
from grpolab.engine.backbone.model_folder import GATE_UP, QKV

if TYPE_CHECKING:
    from grpolab.engine.backbone.gpu.backbone import HalfBackbone


def run_whole(model: HalfBackbone, w: dict[str, Tensor], ids: Tensor, flat: Flat) -> Tensor:
    """Master weights are fp32, cast where used. -> states after the final norm [M, H]."""
    s, dtype = model.shape, model.compute

    def linear(h: Tensor, at: str, *names: str) -> Tensor:
        weight = torch.cat([w[f"{at}.{n}.weight"] for n in names]).to(dtype)
        biases = [w[f"{at}.{n}.bias"] for n in names if f"{at}.{n}.bias" in w]
        return F.linear(h, weight, torch.cat(biases).to(dtype) if biases else None)

    x = F.embedding(ids, w["model.embed_tokens.weight"])
    for i in range(model.layers):
        at = f"model.layers.{i}"
        h = ops.plain_norm(x, w[f"{at}.input_layernorm.weight"], s.eps).to(dtype)
        qkv = linear(h, at, *QKV).view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
        if (norm := w.get(f"{at}.self_attn.q_norm.weight")) is not None:
            q, k, v = qkv.split((s.heads, s.kv_heads, s.kv_heads), 1)
            q = ops.plain_norm(q.float(), norm, s.eps).to(dtype)
            k = ops.plain_norm(k.float(), w[f"{at}.self_attn.k_norm.weight"], s.eps).to(dtype)
            qkv = torch.cat([q, k, v], 1)
        turned = s.heads + s.kv_heads
        qkv = ops.turn(qkv, None, model.cos, model.sin, flat.position, turned)
        x = x + linear(attend(qkv, flat, s.heads), at, "self_attn.o_proj").float()
        h = ops.plain_norm(x, w[f"{at}.post_attention_layernorm.weight"], s.eps).to(dtype)
        act = ops.plain_swiglu(linear(h, at, *GATE_UP))
        x = x + linear(act, at, "mlp.down_proj").float()
    return ops.plain_norm(x, w["model.norm.weight"], s.eps).to(dtype)
