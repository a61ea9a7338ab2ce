"""What the hardware could do at best: bare matrix products, and weights read once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


def token_step(shapes: Sequence[tuple[int, int]], rows: int, threads: int) -> dict[str, float]:
    """Seconds of the bare matrix products [rows, in] × [in, out] of one token step, by dtype: the
    best of one thread, all threads in each product, and rows dealt out to threads."""
    found: dict[str, float] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        weights = [torch.randn(o, i).to(dtype) for i, o in shapes]
        inputs = {i: torch.randn(rows, i).to(dtype) for i, _ in shapes}
        best = min(
            _timed(lambda: _products(weights, inputs), 1),  # noqa: B023 (called at once)
            _timed(lambda: _products(weights, inputs), threads),  # noqa: B023
        )
        if threads > 1 and rows >= threads:
            parts = [{i: x[at::threads].contiguous() for i, x in inputs.items()}
                     for at in range(threads)]  # fmt: skip
            with ThreadPoolExecutor(threads) as pool:
                dealt = _timed(lambda: list(pool.map(lambda p: _products(weights, p), parts)), 1)  # noqa: B023
            best = min(best, dealt)
        found[name] = best
    return found


def _products(weights: Sequence[Any], inputs: dict[int, Any]) -> None:
    for w in weights:
        torch.mm(inputs[w.shape[1]], w.t())


def _timed(work: Callable[[], object], threads: int, at_least: float = 0.3) -> float:
    """Median seconds of one call, on this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(3):
            work()
        seconds, until = [], time.perf_counter() + at_least
        while time.perf_counter() < until or len(seconds) < 5:
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return statistics.median(seconds)


def peak_products(device: str, size: int, threads: int = 1) -> dict[str, float]:
    """Floating-point operations a second of large square products, by dtype."""
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

        def work(a: Any = a, b: Any = b) -> None:
            torch.mm(a, b)
            if device != "cpu":
                torch.cuda.synchronize()

        found[name] = 2 * size**3 / _timed(work, threads)
    return found


def read_rate(device: str, size: int) -> float:
    """Bytes a second that a copy of `size` bytes reads and writes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def work() -> None:
        target.copy_(source)
        if device != "cpu":
            torch.cuda.synchronize()

    return 2 * size / _timed(work, torch.get_num_threads())


def linears(config: dict[str, Any]) -> list[tuple[int, int]]:
    """(in, out) of every product of one token, in their order: fused q k v, o, fused gate and up,
    down, and the head."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    kv, inner = config.get("num_key_value_heads") or heads, config["intermediate_size"]
    layer = [
        (hidden, (heads + 2 * kv) * size), (heads * size, hidden),
        (hidden, 2 * inner), (inner, hidden),
    ]  # fmt: skip
    return layer * config["num_hidden_layers"] + [(hidden, config["vocab_size"])]


def learning_operations(config: dict[str, Any], tokens: int) -> float:
    """Floating-point operations of one forward and backward through frozen linears: 2 for each
    weight and token, and 2 for the gradient of the input."""
    return 4.0 * tokens * sum(i * o for i, o in linears(config))
