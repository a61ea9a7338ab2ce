"""Whether both sides compute the same, asked before anything is timed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from tests.benchmarks.report import Check

SIGMAS = 4.0
"""Two means of samples may differ by so many standard errors."""


def same_logprobs(
    ours: Sequence[Sequence[float]],
    peer: Sequence[Sequence[float]],
    *,
    mean: float,
    bias: float,
    name: str = "log-probs of the same sequences",
) -> Check:
    """Token by token: the mean of |difference| is at most `mean`, |mean difference| at most
    `bias`."""
    if [len(row) for row in ours] != [len(row) for row in peer]:
        return Check(name, False, "the two sides see different numbers of tokens")
    gaps = [
        a - b
        for row_a, row_b in zip(ours, peer, strict=True)
        for a, b in zip(row_a, row_b, strict=True)
    ]
    if not gaps or not all(map(math.isfinite, gaps)):
        return Check(name, False, "no tokens, or log-probs that are not finite")
    far, shift = statistics.fmean(map(abs, gaps)), statistics.fmean(gaps)
    return Check(
        name,
        far <= mean and abs(shift) <= bias,
        f"{len(gaps)} tokens, mean |Δ| {far:.2g} (≤ {mean:g}), mean Δ {shift:.2g} (≤ {bias:g}), "
        f"largest {max(map(abs, gaps)):.2g}",
    )


def same_mean(name: str, ours: Sequence[float], peer: Sequence[float]) -> Check:
    """Two samples of one distribution have means within `SIGMAS` standard errors."""
    if len(ours) < 2 or len(peer) < 2:
        return Check(name, False, "too few samples")
    a, b = statistics.fmean(ours), statistics.fmean(peer)
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(peer) / len(peer))
    allowed = SIGMAS * error + 1e-9
    return Check(
        name,
        abs(a - b) <= allowed,
        f"{a:.4g} of {len(ours)} against {b:.4g} of {len(peer)}, allowed ± {allowed:.2g}",
    )


def close(name: str, ours: float, peer: float, tolerance: float) -> Check:
    """Two figures agree to a relative tolerance."""
    gap = abs(ours - peer) / max(abs(peer), 1e-12)
    passed = math.isfinite(gap) and gap <= tolerance
    return Check(name, passed, f"{ours:.5g} against {peer:.5g}, {gap:.2g} apart (≤ {tolerance:g})")


def within(name: str, found: float, most: float) -> Check:
    """A figure that must not pass a bound."""
    return Check(name, math.isfinite(found) and found <= most, f"{found:.2g} (≤ {most:g})")
