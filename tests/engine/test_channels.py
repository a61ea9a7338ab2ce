"""What a step records of every token beside what it learned: the gradient that pushed it, the side
on which a clip held it, and where the updates have taken it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from grpolab.algorithms.base import Forward
from grpolab.engine import apply_cue, lab_checkpoint
from grpolab.engine.score import distributions
from grpolab.lens.compute import look
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.state import LabState
from tests.engine.conftest import OpenLab, only, state_of

AFTER = apply_cue.AfterCue(at=1, do="after")


def channel(seen: list[ev.Event], name: str) -> list[list[float]]:
    tokens = only(seen, ev.Tokens)[-1]
    return codec.unpack(tokens.channels[name], [len(p) for p in tokens.pieces])


def table(rows: list[list[float]], width: int) -> torch.Tensor:
    return torch.tensor([row + [0.0] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("name", ["grpo", "ppo", "gspo", "gmpo", "cispo", "trpo", "kimi-md"])
def test_the_push_is_the_loss_s_gradient(name: str, open_small: OpenLab):
    """Of the newest update, all rows in one minibatch: what the lens computes in float64."""
    trpo: dict[str, Any] = {"cg_steps": 2} if name == "trpo" else {}
    lab, seen = open_small({"name": name, "beta": 0.1, "kl_place": "loss"} | trpo)
    lab.advance()
    last = lab.lanes["main"].last_step
    assert last is not None and last.report.logp is not None and last.report.entropy is not None
    now = Forward(last.report.logp, last.report.entropy, last.batch.value)
    wanted = -look(last.batch, now, {name: last.algorithm})[name].gradient * last.batch.mask.sum()
    found = table(channel(seen, "push"), wanted.shape[1])
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(found, wanted.float(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["grpo", "gspo", "gspo-token", "gmpo", "cispo"])
def test_a_clip_says_which_bound_held(name: str, open_small: OpenLab):
    """Where nothing but the surrogate pushes: a token that a clip held has no gradient, and stands
    on that side."""
    lab, seen = open_small(
        {"name": name, "beta": 0.0, "clip_low": 0.01, "clip_high": 0.01}, train={"microbatch": 8}
    )
    for _ in range(3):
        lab.advance()
    side, push, advantage, moved = (
        channel(seen, x) for x in ("clip", "push", "advantage", "log_ratio")
    )
    clipped = 0
    for i, row in enumerate(side):
        answer = sum(moved[i])
        for j, x in enumerate(row):
            assert x in (-1.0, 0.0, 1.0)
            if not x:
                continue
            clipped += 1
            away = answer if name.startswith("gspo") else moved[i][j]
            assert away * x > 0
            if name != "cispo":  # there a held weight still pushes
                assert push[i][j] == 0.0 and advantage[i][j] * x > 0
    assert clipped > 3
    metric = only(seen, ev.StepDone)[-1].metrics["clip_fraction"]
    assert clipped / sum(map(len, side)) == pytest.approx(metric, abs=1e-6)


def test_without_a_clip_there_is_none(open_small: OpenLab):
    lab, seen = open_small("reinforce")
    lab.advance()
    assert "clip" not in only(seen, ev.Tokens)[-1].channels


def test_while_the_policy_waits_for_its_critic_nothing_is_pushed(open_small: OpenLab):
    lab, seen = open_small({"name": "ppo", "critic_warmup": 1})
    lab.advance()
    assert "push" not in only(seen, ev.Tokens)[-1].channels
    lab.advance()
    assert "push" in only(seen, ev.Tokens)[-1].channels


def test_after_is_where_the_updates_took_the_tokens(open_small: OpenLab):
    lab, seen = open_small("grpo", rollout={"temperature": 0.8})
    lane = lab.lanes["main"]
    lab.advance()
    before = state_of(lane)
    apply_cue.apply(lab, AFTER, "command")
    assert state_of(lane) == before
    (found,) = only(seen, ev.After)
    assert (found.step, found.lane) == (1, "main") and found.divergence > 0
    last = lane.last_step
    assert last is not None
    rollout = last.collected.rollout
    with torch.no_grad():
        everything = distributions(lab.backbone, lane.adapter, rollout, 0.8)
    now = everything.gather(-1, rollout.tokens[..., None])[..., 0]
    wanted = (now - rollout.logp) * rollout.mask
    rows = codec.unpack(found.change, [len(r) for r in last.collected.ids])
    torch.testing.assert_close(table(rows, wanted.shape[1]), wanted, rtol=2e-3, atol=1e-4)
    assert wanted.abs().max() > 0.01

    state = LabState()
    for event in seen:
        state.apply(event)
    view = state.lanes["main"].rollouts[1]
    assert view.channel("after") == rows and view.channel("ratio") is not None


def test_before_the_first_step_there_is_nothing_to_measure(open_small: OpenLab):
    lab, seen = open_small("grpo")
    apply_cue.apply(lab, AFTER, "command")
    assert "make a step first" in only(seen, ev.Refused)[0].reason


def test_record_after_measures_every_step_and_changes_no_digest(open_small: OpenLab, tmp_path):
    digests = []
    for name, record in (("a", {"after": True, "tokens_every": 2}), ("b", {})):
        lab, seen = open_small("grpo", folder=tmp_path / name, record=record)
        for _ in range(3):
            lab.advance()
        digests.append(lab_checkpoint.digest(lab))
        assert [e.step for e in only(seen, ev.After)] == ([1, 3] if record else [])
    assert digests[0] == digests[1]
