"""In which precision learning multiplies on this CPU."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

CLEARLY = 0.85
"""bf16 must take at most this share of fp32's time, so that noise does not decide."""

ROWS = 64
"""Tokens of a measured product."""

MEASURED_BYTES = 4 * 2**20
"""Weights that the measurement goes through, more than the nearest cache holds."""


@cache
def fast_half() -> bool:
    """Whether torch has kernels of its own for bf16 on this CPU: those want AVX-512 at least."""
    ops = torch.ops.mkldnn
    return hasattr(ops, "_is_mkldnn_bf16_supported") and ops._is_mkldnn_bf16_supported()


def choose(asked: str, weight: Tensor) -> torch.dtype:
    """The dtype to learn in: as asked, or for `auto` the faster one, from some ten milliseconds of
    products with `weight` [out, in], one of the model's.

    Weights that bf16 holds exactly stay in fp32: an adapter folded into them would be rounded away.
    So do all where there are no kernels for it: by others, bf16 is slower on every CPU seen.
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
    """The fastest of several passes over as many copies of the weight as pass a cache."""
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
