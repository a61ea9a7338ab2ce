"""One linear in the dtype that is fastest here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""x [n, in] fp32 -> [n, out], fp32 or what is computed in."""


def linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Linear:
    """x Wᵀ + bias. In bf16 the weights are laid out once as oneDNN's kernels want them, where this
    torch lets one do so; plain weights would be laid out anew in every product."""
    if dtype == torch.float32:
        return partial(F.linear, weight=weight, bias=bias)
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if _packs():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
        return _Packed(packed, bias)
    return lambda x: F.linear(x.to(dtype), weight, bias)


class _Packed:
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.product = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, x: Tensor) -> Tensor:
        return self.product(x.bfloat16(), self.weight, self.bias, "none", [], "")


def _packs() -> bool:
    """Whether torch brings the packed kernel of its compiler's CPU backend."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )
