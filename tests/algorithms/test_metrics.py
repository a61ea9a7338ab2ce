"""What an algorithm says its steps report is what they report, each number with its hint."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.metrics import step_metrics
from grpolab.analysis.metric_help import METRICS
from grpolab.headless.catalog import metric_hints
from tests.algorithms.batches import NAMES, make, steps_of
from tests.algorithms.toy import toy_problem

OF_THE_ROLLOUT = {
    "reward", "reward_std", "accuracy", "format", "process", "length", "truncated",
    "zero_std_groups", "groups_replaced", "grad_agreement", "learning_rate", "tokens_per_second",
    "updates_skipped", "updates_clipped",
}  # fmt: skip
"""Not of the algorithm: the lab adds these."""


@pytest.mark.parametrize("name", NAMES)
def test_each_metric_has_a_hint_and_no_hint_is_without_its_metric(name):
    toy, batch = toy_problem(2)
    last = batch.mask.sum(1).long() - 1
    batch = replace(
        batch,
        ref_logp=batch.old_logp - 0.1 * batch.mask,
        greedy_reward=torch.zeros_like(batch.reward),
        steps=steps_of([[(int(t), float(r))] for t, r in zip(last, batch.reward, strict=True)]),
    )
    algorithm = make(name)
    credit = algorithm.credit(batch)
    found = step_metrics(algorithm, batch, credit, algorithm.update(toy, batch, credit, 1))
    told = metric_hints(ALGORITHMS[name])
    assert set(found) == set(told) - OF_THE_ROLLOUT
    assert all(told[key] == METRICS[key] for key in told)


def test_what_only_some_report_is_told_of_nobody_else():
    assert "line_search" in metric_hints(ALGORITHMS["trpo"])
    assert "line_search" not in metric_hints(ALGORITHMS["ppo"])
    assert "groups_replaced" in metric_hints(ALGORITHMS["dapo"])
    assert "groups_replaced" not in metric_hints(ALGORITHMS["grpo"])


def test_the_first_update_s_loss_and_the_advantages_explain_each_other():
    """At ratio 1 the surrogate is minus the mean advantage, in the algorithm's own mean."""
    rows = len(toy_problem(2)[1].reward)
    for name, expected in (
        ("grpo", lambda m: -m["advantage_sum"] / rows),
        ("ppo", lambda m: -m["advantage_mean"]),
    ):
        toy, batch = toy_problem(2)
        batch = replace(batch, ref_logp=batch.old_logp - 0.1 * batch.mask)
        algorithm = make(name)
        credit = algorithm.credit(batch)
        found = step_metrics(algorithm, batch, credit, algorithm.update(toy, batch, credit, 2))
        assert found["policy_loss_first"] == pytest.approx(expected(found), abs=1e-6)
    assert abs(found["advantage_mean"]) < 1e-6 and found["advantage_std"] > 0.5  # whitened


def test_clipped_tokens_are_told_by_side():
    toy, batch = toy_problem(2)
    algorithm = make("grpo", beta=0.0, clip_low=0.0, clip_high=0.0)
    credit = algorithm.credit(batch)
    found = step_metrics(algorithm, batch, credit, algorithm.update(toy, batch, credit, 3))
    assert found["clip_fraction_high"] > 0 and found["clip_fraction_low"] > 0
    both = found["clip_fraction_high"] + found["clip_fraction_low"]
    assert both == pytest.approx(found["clip_fraction"])
