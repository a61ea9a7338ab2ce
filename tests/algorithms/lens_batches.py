"""Batches as `grpolab lens` reads them, as plain dictionaries: random ones and hypothesis ones."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import settings
from hypothesis import strategies as st

FEW = settings.default.max_examples * 2 // 5
"""Examples of a property of which each is tried with every algorithm."""


def make_batch(groups: Sequence[dict], max_tokens: int) -> dict:
    return {"format": "grpolab.batch/1", "max_tokens": max_tokens, "groups": list(groups)}


def random_batch(
    seed: int,
    *,
    groups: int = 2,
    size: int = 4,
    lengths: tuple[int, int] = (1, 8),
    max_tokens: int | None = None,
    noise: float = 0.3,
    rewards: str = "normal",
    refs: bool = True,
    values: bool = True,
    greedy: bool = True,
    step_rewards: bool = True,
    sampler: bool = True,
    entropies: bool = True,
) -> dict:
    """A ragged batch: lengths drawn from [first, last], `noise` the spread of logp − old.

    rewards: "normal", or "binary" (0 and 1, so that ties, all-right and all-wrong groups occur).
    Each key has its own generator, so leaving one out changes no other.
    """
    last = lengths[1]
    size_of, reward_of, greedy_of, step_of, old_of, new_of, ref_of, value_of, sampler_of = (
        Random(f"{seed}/{i}") for i in range(9)
    )
    entropy_of = Random(f"{seed}/9")

    def reward(source: Random) -> float:
        if rewards == "binary":
            return float(source.random() < 0.4)
        return source.gauss(0.3, 1.0)

    def near(logp: list[float], source: Random, spread: float) -> list[float]:
        return [min(-0.01, x + source.gauss(0.0, spread)) for x in logp]

    def sample() -> dict:
        n = size_of.randint(*lengths)
        old = [-old_of.expovariate(1.0) - 2.0 for _ in range(n)]
        row: dict = {
            "tokens": [f"t{t}" for t in range(n)],
            "reward": reward(reward_of),
            "logprobs": near(old, new_of, noise),
            "old_logprobs": old,
        }
        if refs:
            row["ref_logprobs"] = near(old, ref_of, 0.4)
        if values:
            row["values"] = [value_of.gauss(0.2, 0.7) for _ in range(n)]
        if sampler:
            row["sampler_logprobs"] = near(old, sampler_of, 0.4)
        if entropies:
            row["entropies"] = [entropy_of.uniform(0.0, 2.0) for _ in range(n)]
        if step_rewards:
            ends = sorted(step_of.sample(range(n), step_of.randint(1, min(3, n))))
            row["step_rewards"] = [{"end": end, "reward": reward(step_of)} for end in ends]
        return row

    def group(i: int) -> dict:
        whole: dict = {"prompt": f"prompt {i}", "samples": [sample() for _ in range(size)]}
        if greedy:
            whole["greedy_reward"] = reward(greedy_of)
        return whole

    return make_batch([group(i) for i in range(groups)], max_tokens or last + 1)


def token_count(batch: dict) -> int:
    return sum(len(row["logprobs"]) for group in batch["groups"] for row in group["samples"])


# Multiples of a power of two: exact sums, so that a tie is a tie in every order of adding.
EXACT_REWARDS = (0.0, 1.0, 0.5, -1.0, 0.25, 2.0)
NEARLY_NOTHING = (2.0**-10, -(2.0**-16))


@st.composite
def group_rewards(draw: st.DrawFn, size: int) -> list[float]:
    kind = draw(st.sampled_from(("free", "equal", "near tie")))
    if kind == "free":
        return draw(st.lists(st.sampled_from(EXACT_REWARDS), min_size=size, max_size=size))
    same = [draw(st.sampled_from(EXACT_REWARDS))] * size
    if kind == "near tie" and size > 1:
        same[draw(st.integers(0, size - 1))] += draw(st.sampled_from(NEARLY_NOTHING))
    return same


@st.composite
def samples(draw: st.DrawFn, reward: float, max_length: int, wild: bool) -> dict:
    n = draw(st.integers(1, max_length))
    logp = st.sampled_from((-1e-9, -700.0, -0.5, 0.0)) | st.floats(-8.0, 0.0)

    def each(strategy: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(strategy, min_size=n, max_size=n))

    old = each(logp)

    def beside() -> list[float]:
        if wild and draw(st.booleans()):
            return each(logp)
        steps = each(st.sampled_from((0.0, 1e-9, -1e-9, 0.3, -0.3)) | st.floats(-1.0, 1.0))
        return [min(0.0, x + step) for x, step in zip(old, steps, strict=True)]

    ends = draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=3))
    step_reward = st.sampled_from(EXACT_REWARDS)
    return {
        "reward": reward,
        "logprobs": beside(),
        "old_logprobs": old,
        "ref_logprobs": beside(),
        "sampler_logprobs": beside(),
        "values": each(st.floats(-2.0, 2.0)),
        "entropies": each(st.floats(0.0, 5.0)),
        "step_rewards": [{"end": end, "reward": draw(step_reward)} for end in sorted(ends)],
    }


@st.composite
def batches(
    draw: st.DrawFn,
    *,
    wild: bool = False,
    max_groups: int = 3,
    max_size: int = 4,
    max_length: int = 5,
) -> dict:
    """Groups of one, answers of one token, equal and nearly equal rewards, log-probs of −1e-9 and
    −700; with `wild` the policies also disagree by that much on a token."""
    groups = []
    for i in range(draw(st.integers(1, max_groups))):
        rewards = draw(group_rewards(draw(st.integers(1, max_size))))
        groups.append(
            {
                "prompt": f"prompt {i}",
                "greedy_reward": draw(st.sampled_from(EXACT_REWARDS)),
                "samples": [draw(samples(reward, max_length, wild)) for reward in rewards],
            }
        )
    return make_batch(groups, max_length + draw(st.integers(0, 3)))
