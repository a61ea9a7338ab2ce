"""One linear of the sampler, in the dtype that is fastest here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Linear:
    """x Wᵀ + bias, computed in `dtype`. x [n, in] fp32 -> [n, out], fp32 or `dtype`.

    In bf16 the weights are laid out once as oneDNN's kernels want them, where this torch lets one
    do so; plain weights would be laid out anew in every product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.bytes = weight.numel() * dtype.itemsize
        self.bias = None if bias is None else bias.to(dtype)
        self._packed = None
        if dtype == torch.bfloat16 and weight.device.type == "cpu" and packs():
            self._packed = torch.ops.mkldnn._linear_pointwise.default
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), ROWS)
        else:
            self.weight = weight.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if self._packed is not None:
            return self._packed(x, self.weight, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)


ROWS = 16
"""For about so many rows the packed layout is chosen."""


def packs() -> bool:
    """Whether torch brings the packed kernel of its compiler's CPU backend."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )
