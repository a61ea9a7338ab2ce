"""How the Llama family's weights are named and laid out, for learning and sampling alike."""

from __future__ import annotations

import torch
from torch import Tensor

LINEARS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
QKV, GATE_UP = LINEARS[:3], LINEARS[4:6]
"""Linears on one input, stacked into one product."""


def stack(w: dict[str, Tensor], names: list[str]) -> None:
    """Lay the linears' tensors one above the other; the single names become views of the whole."""
    for what in ("weight", "bias"):
        parts = [w.get(f"{n}.{what}") for n in names]
        if parts[0] is None:
            continue
        sizes = [len(p) for p in parts if p is not None]
        whole = torch.cat([p for p in parts if p is not None])
        w["+".join(names) + f".{what}"] = whole
        for name, view in zip(names, whole.split(sizes), strict=True):
            w[f"{name}.{what}"] = view


def stacked(w: dict[str, Tensor], names: list[str], what: str) -> Tensor:
    """Tensors of several linears one above the other; they lie so already, unless `w` is a
    trainable copy."""
    if len(names) == 1:
        return w[f"{names[0]}.{what}"]
    together = w.get("+".join(names) + f".{what}")
    return together if together is not None else torch.cat([w[f"{n}.{what}"] for n in names])


def stacked_bias(w: dict[str, Tensor], names: list[str]) -> Tensor | None:
    """The same of their biases, where they have any."""
    return stacked(w, names, "bias") if f"{names[0]}.bias" in w else None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, halves convention. x [..., heads, D]; cos and sin [..., D], the first half
    of sin negated."""
    half = x.shape[-1] // 2
    turned = torch.cat([x[..., half:], x[..., :half]], -1)
    return x * cos.unsqueeze(-2) + turned * sin.unsqueeze(-2)
