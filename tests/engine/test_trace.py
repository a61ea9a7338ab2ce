"""What the viewer reckons along an answer is what the engine credited."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from grpolab.algorithms.functional import whiten
from grpolab.engine import apply_cue
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.tui.credit_trace.model import algorithm_of, trace, trace_of, verdict_of
from tests.engine.conftest import OpenLab, only

CRITICS: list[dict[str, Any]] = [
    {"name": "ppo", "beta": 0.3, "gamma": 0.9, "gae_lambda": 0.7},
    pytest.param({"name": "ppo", "preset": "verl"}, marks=pytest.mark.slow),
    pytest.param(
        {"name": "ppo", "beta": 0.4, "kl_controller": "adaptive", "kl_target": 0.01},
        marks=pytest.mark.slow,
    ),
    {"name": "ppo-adaptive-kl", "beta": 0.4, "kl_target": 0.01},
    pytest.param(
        {"name": "vc-ppo", "value_pretraining": 1, "beta": 0.2, "kl_estimator": "k3"},
        marks=pytest.mark.slow,
    ),
    {"name": "vapo", "value_pretraining": 1, "length_alpha": 0.4},
    {"name": "trpo", "cg_steps": 2, "fisher_share": 0.25, "whiten": False},
]


def folded(seen: list[ev.Event]) -> LabState:
    state = LabState()
    for event in seen:
        state.apply(event)
    return state


def padded(rows: list[list[float]], like: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(like)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row)
    return out


@pytest.mark.parametrize("section", CRITICS, ids=lambda s: s["name"])
def test_values_rewards_and_returns_are_the_engine_s(section: dict[str, Any], open_small: OpenLab):
    lab, seen = open_small(section, train={"updates_per_rollout": 1})
    for _ in range(3):
        lab.advance()
    last, state = lab.lanes["main"].last_step, folded(seen)
    assert last is not None and last.credit.returns is not None and last.batch.value is not None
    lane = state.lanes["main"]
    r = lane.rollouts[3]
    made = algorithm_of(lane, r)
    assert made is not None and made.beta == pytest.approx(last.algorithm.beta, rel=1e-6)
    found = [trace_of(lane, r, row) for row in range(len(last.collected.ids))]
    traces = [t for t in found if t is not None]
    assert len(traces) == len(found) and all(t.critic for t in traces)
    mask = last.batch.mask
    like = {
        "reward": last.algorithm.shape(last.batch).token_reward,
        "returns": last.credit.returns,
        "value": last.batch.value,
    }
    for name, wanted in like.items():
        assert wanted is not None
        ours = padded([getattr(t, name) for t in traces], mask)
        torch.testing.assert_close(ours, wanted * mask, rtol=3e-3, atol=3e-3)
    gae = padded([t.gae for t in traces], mask)
    s = last.algorithm.settings
    credit = whiten(gae, mask, s.ddof) if s.whiten else gae
    torch.testing.assert_close(credit, last.credit.advantage, rtol=1e-2, atol=2e-2)

    metric = only(seen, ev.StepDone)[-1].metrics["explained_variance"]
    judged = verdict_of(made, r)
    assert judged is not None and judged.critic and judged.answers == len(traces)
    assert judged.explained == pytest.approx(metric, abs=2e-2)
    first = torch.tensor([(t.value[0] - t.outcome[0]) ** 2 for t in traces]).mean()
    assert judged.first_critic == pytest.approx(first.item(), rel=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "grpo",
        "rloo",
        "remax",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("reinforce", "raft", "maxrl")),
    ],
)
def test_without_a_critic_the_stand_in_explains_the_advantage(name: str, open_small: OpenLab):
    lab, seen = open_small({"name": name, "kl_place": "loss"})
    for _ in range(2):
        lab.advance()
    state = folded(seen)
    lane = state.lanes["main"]
    r = lane.rollouts[2]
    made = algorithm_of(lane, r)
    assert made is not None and r.graded is not None
    for row in range(len(r.graded.reward)):
        t = trace(made, r, row)
        assert t is not None and not t.critic and not t.delta
        assert sum(t.reward) == pytest.approx(r.graded.reward[row])
        if name in ("rloo", "reinforce", "remax"):
            assert t.baseline == "b"
            assert t.reward[-1] - t.value[0] == pytest.approx(t.advantage[0], abs=2e-3)
        elif name == "grpo":
            group = [r.graded.reward[i] for i in r.rows(row // r.group_size)]
            assert t.baseline == "m" and t.value[0] == pytest.approx(sum(group) / len(group))
            assert (t.reward[-1] - t.value[0]) * t.advantage[0] >= 0


@pytest.mark.parametrize("name", ["ppo", "ppo-adaptive-kl"])
def test_beta_is_the_one_that_the_step_was_made_with(name: str, open_small: OpenLab):
    how = {"beta": 0.4, "kl_controller": "adaptive", "kl_target": 0.01}
    lab, seen = open_small({"name": name} | how)
    for _ in range(2):
        lab.advance()
    apply_cue.apply(lab, apply_cue.SetCue(at=2, do="set", key="beta", value=0.8), "command")
    lab.advance()
    last, lane = lab.lanes["main"].last_step, folded(seen).lanes["main"]
    made = algorithm_of(lane, lane.rollouts[3])
    assert last is not None and made is not None
    assert made.beta == pytest.approx(last.algorithm.beta, rel=1e-6) and made.beta != 0.8
