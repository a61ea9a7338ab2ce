"""One linear of the sampler, in the dtype that is fastest here."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.cpu import product
from grpolab.engine.cpu.numbers import Array, array
from grpolab.engine.cpu.width import WIDTH
from grpolab.engine.holdings import Opaque


class Linear:
    """x Wᵀ + bias, computed in `dtype`. x [n, in] -> [n, out], both of `dtype`, bf16 as its bits.

    The weights are laid out once: for fp32 as `product` has them, for bf16 as oneDNN's kernels want
    them, where this torch lets one do so; plain bf16 weights would be laid out in every product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.dtype, self.outputs = dtype, len(weight)
        self.width = max(self.outputs, WIDTH)  # of what a product in fp32 writes
        self.bytes = weight.numel() * dtype.itemsize
        self.bias = None if bias is None else bias.detach().to(dtype)
        self._packed = None
        if dtype == torch.float32:
            self.weight = product.pack(weight.detach())
            self._start = np.zeros((1, self.width), np.float32)
            if self.bias is not None:
                self._start[0, : self.outputs] = self.bias.numpy()
        elif packs():
            self._packed = torch.ops.mkldnn._linear_pointwise.default
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), ROWS)
        else:
            self.weight = weight.detach().to(dtype)

    def about(self) -> list[int]:
        """What a loop knows an fp32 linear by: where its panels begin, how many they are, inputs,
        where the sums start, and `width`."""
        panels, start = self.weight, self._start
        return [panels.data_ptr(), len(panels), panels.shape[1], start.ctypes.data, self.width]

    def held(self) -> list[Tensor | Opaque]:
        """What it keeps in memory."""
        weight = self.weight if self._packed is None else Opaque(self.bytes)
        return [weight] if self.bias is None else [weight, self.bias]

    def __call__(self, x: Array) -> Array:
        if self.dtype == torch.float32:
            out = np.empty((len(x), self.width), np.float32)
            product.multiply(x, self.weight.numpy(), self._start, out)
            narrow = self.outputs < WIDTH
            return np.ascontiguousarray(out[:, : self.outputs]) if narrow else out
        half = torch.from_numpy(x).view(self.dtype)
        if self._packed is not None:
            return array(self._packed(half, self.weight, self.bias, "none", [], ""))
        return array(F.linear(half, self.weight, self.bias))


ROWS = 16
"""For about so many rows the packed layout is chosen."""


@cache
def packs() -> bool:
    """Whether torch brings the packed kernel of its compiler's CPU backend, and this CPU has what
    it takes; without AVX-512, packing raises an error."""
    ops = torch.ops.mkldnn
    names = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    return all(hasattr(ops, name) for name in names) and ops._is_mkldnn_bf16_supported()


CLEARLY = 0.85
"""bf16 must take at most this share of fp32's time, so that noise does not decide."""

MEASURED_BYTES = 4 * 2**20
"""Weights that the measurement goes through, more than the nearest cache holds."""


def choose(asked: str, weight: Tensor) -> torch.dtype:
    """The dtype to sample in: as asked, or for `auto` the faster one, from some ten milliseconds of
    products with `weight` [out, in], one of the model's.

    Weights that bf16 holds exactly stay in fp32: an adapter folded into them would be rounded away.
    So do all where there is no packed kernel: unpacked, bf16 is slower on every CPU seen.
    """
    if asked != "auto":
        return getattr(torch, asked)
    exact = torch.equal(weight, weight.bfloat16().float())
    if weight.device.type != "cpu" or exact or not packs():
        return torch.float32
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        full, half = _seconds(weight, torch.float32), _seconds(weight, torch.bfloat16)
    finally:
        torch.set_num_threads(threads)
    return torch.bfloat16 if half < CLEARLY * full else torch.float32


@torch.no_grad()
def _seconds(weight: Tensor, dtype: torch.dtype) -> float:
    """The fastest of several passes over as many copies of the weight as pass a cache."""
    copies = max(1, min(16, MEASURED_BYTES // weight.nbytes))
    linears = [Linear(weight, None, dtype) for _ in range(copies)]
    x = array(weight.new_ones(ROWS, weight.shape[1], dtype=dtype))
    best = float("inf")
    for _ in range(6):
        start = time.thread_time()
        for linear in linears:
            linear(x)
        best = min(best, time.thread_time() - start)
    return best
