"""Which precision training multiplies in on this CPU."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

CLEARLY = 0.85
"""bf16 must take at most this share of fp32's time, so that noise does not decide."""

ROWS = 64
"""Tokens of the measured product."""

MEASURED_BYTES = 4 * 2**20
"""Bytes of weights that the measurement reads: more than the nearest cache holds."""


@cache
def fast_half() -> bool:
    """Whether torch has bf16 kernels for this CPU: they need AVX-512 at least."""
    ops = torch.ops.mkldnn
    return hasattr(ops, "_is_mkldnn_bf16_supported") and ops._is_mkldnn_bf16_supported()


def choose(asked: str, weight: Tensor) -> torch.dtype:
    """The dtype of products in training: as asked, or for `auto` the faster one, measured in about
    ten milliseconds of products with `weight` [out, in], one of the model's.

    Weights that bf16 represents exactly stay in fp32: an adapter folded into them would be rounded
    away. So do all on a CPU without bf16 kernels, where bf16 was slower in every measurement.
    """
    if asked != "auto":
        return getattr(torch, asked)
    exact = torch.equal(weight, weight.bfloat16().float())
    if weight.device.type != "cpu" or exact or not fast_half():
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
    """The fastest of several passes over copies of the weight that exceed the cache together."""
    copies = max(1, min(16, MEASURED_BYTES // weight.nbytes))
    weights = [weight.to(dtype, copy=True) for _ in range(copies)]
    x = weight.new_ones(ROWS, weight.shape[1], dtype=dtype)
    best = float("inf")
    for _ in range(6):
        start = time.thread_time()
        for own in weights:
            F.linear(x, own)
        best = min(best, time.thread_time() - start)
    return best
