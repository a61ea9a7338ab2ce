"""95 % intervals: of a mean over seeds (Student t), of a share of test prompts (Wilson), and of
both together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

Z975 = NormalDist().inv_cdf(0.975)

T975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def student_t(freedom: int) -> float:
    """The 0.975 quantile of Student's t: from the table, or by its expansion around the normal
    distribution's (Abramowitz and Stegun 26.7.5), accurate to 0.0002 from 11 degrees of freedom.
    """
    if freedom <= len(T975):
        return T975[freedom - 1]
    z = Z975
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % confidence interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    return student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values))


def wilson(share: float, prompts: int) -> float | None:
    """Half the 95 % Wilson score interval of a share of so many prompts, one answer to each. It is
    never 0, also where every answer is right. None without a prompt.
    """
    if prompts < 1 or not math.isfinite(share):
        return None
    share = min(1.0, max(0.0, share))
    z, n = Z975, float(prompts)
    return z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))


def accuracy_half_width(accuracies: Sequence[float], prompts: Sequence[int]) -> float | None:
    """Half the 95 % interval of a mean test accuracy over seeds, each with its number of prompts.

    Two things make it uncertain: another seed would have learned something else, and other test
    prompts, or other answers to them, would have been graded otherwise. The values of several
    seeds differ by both, but a few that happen to agree say nothing of the second: the wider of the
    Student t interval over the seeds and the Wilson interval over all their prompts is taken.
    """
    if not accuracies:
        return None
    mean = fmean(accuracies)
    known = [w for w in (half_width(accuracies), wilson(mean, sum(prompts))) if w]
    # two seeds alone say next to nothing: no more than that it is a share
    return min(max(known), max(mean, 1 - mean)) if known else None
