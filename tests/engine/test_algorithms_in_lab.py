"""Every algorithm in a real lab, and what a lane prepares for those that ask for more than a
rollout: steps, greedy answers, groups with a signal, a critic that learned before, a reference
that moves on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grpolab.algorithms import ALGORITHMS
from grpolab.algorithms.base import Batch, BatchTotals, Forward, Loss
from grpolab.analysis.metric_help import METRICS
from grpolab.engine import apply_cue, checkpoint, lab_checkpoint, value_pretraining
from grpolab.engine import lane as lane_module
from grpolab.engine import learner as learner_module
from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.sample import Rollout
from grpolab.engine.lab import Lab
from grpolab.engine.lane import Lane
from grpolab.engine.learner import Learner
from grpolab.engine.rollout import collect
from grpolab.engine.score import distributions, score
from grpolab.record import events as ev
from tests.engine.conftest import (
    EveryText,
    OpenLab,
    bytes_of,
    finish,
    only,
    state_of,
    tiny,
)

QUICK: dict[str, dict[str, Any]] = {  # what would take long at its default
    "vc-ppo": {"value_pretraining": 1},
    "vapo": {"value_pretraining": 1},
    "trpo": {"cg_steps": 2, "fisher_share": 0.25},
    "grpo-iterative": {"iteration_steps": 1},
}
NAMES = list(ALGORITHMS)
ONE_STEP = {"train": {"steps": 1}, "rollout": {"max_tokens": 8}}
TWO_STEPS = {"train": {"steps": 2, "checkpoint_every": 1}, "rollout": {"max_tokens": 8}}


def section(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name} | QUICK.get(name, {}) | settings


class Same(EveryText):
    """Every answer is worth the same."""

    def score(self, prompt: Any, completion: Any, grade: Any, steps: Any) -> float:
        return 0.5


# ---------------------------------------------------------------- all of them


def assert_stepped(lab: Lab, step: ev.StepDone, name: str) -> None:
    lane = lab.lanes[step.lane]
    assert step.algorithm == name
    assert set(step.metrics) <= set(METRICS)
    assert all(math.isfinite(x) for x in step.metrics.values()), step.metrics
    assert step.metrics["grad_norm"] > 0 and step.metrics["reward_std"] > 0
    assert ("value_loss" in step.metrics) == lane.algorithm.needs_critic
    assert (lane.critic is not None) == lane.algorithm.needs_critic


def assert_asked_for(lab: Lab, graded: ev.Graded) -> None:
    algorithm = lab.lanes[graded.lane].algorithm
    assert bool(graded.greedy_reward) == algorithm.needs_greedy
    assert bool(graded.steps) == algorithm.needs_steps


def test_every_algorithm_makes_a_step(open_small: OpenLab):
    """All in one lab."""
    lanes = [{"name": name, "algorithm": section(name)} for name in NAMES]
    lab, seen = open_small(
        lanes=lanes, train={"updates_per_rollout": 1}, rollout={"max_tokens": 6},
        record={"tokens": False},
    )  # fmt: skip
    start = {name: bytes_of(lane.optimizer.tensors) for name, lane in lab.lanes.items()}
    for lane in lab.lanes.values():
        lab.step(lane)
    steps, graded = only(seen, ev.StepDone), only(seen, ev.Graded)
    assert [s.lane for s in steps] == NAMES == [g.lane for g in graded]
    assert not only(seen, ev.Refused) and not only(seen, ev.Failed)
    for step in steps:
        assert_stepped(lab, step, step.lane)
        assert bytes_of(lab.lanes[step.lane].optimizer.tensors) != start[step.lane]
    for event in graded:
        assert_asked_for(lab, event)


DIFFERENT = {
    "reinforce", "remax", "trpo", "ppo-adaptive-kl", "grpo", "grpo-process", "grpo-iterative",
    "dapo", "vapo",
}  # fmt: skip
"""What a lane does for the others it does for one of these too."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in DIFFERENT else pytest.mark.slow) for n in NAMES],
)
def test_every_algorithm_makes_its_steps_and_makes_them_again(
    name, open_small: OpenLab, tmp_path: Path
):
    """Two steps; the same digest where a run is resumed after the first, on two threads."""
    lab, seen = open_small(section(name), folder=tmp_path / "a", **TWO_STEPS)
    lane = lab.lanes["main"]
    start = state_of(lane)
    digest = finish(lab)
    steps, graded = only(seen, ev.StepDone), only(seen, ev.Graded)
    assert [s.step for s in steps] == [1, 2] == [g.step for g in graded]
    assert not only(seen, ev.Refused) and not only(seen, ev.Failed)
    for step in steps:
        assert step.updates == 2
        assert_stepped(lab, step, name)
    assert state_of(lane)["policy"] != start["policy"]
    for event in graded:
        assert_asked_for(lab, event)

    resumed, _ = open_small(section(name), threads=2, folder=tmp_path / "b", **TWO_STEPS)
    assert lab_checkpoint.restore(resumed, checkpoint.folder(tmp_path / "a", 1)) == []
    assert finish(resumed) == digest
    assert state_of(resumed.lanes["main"])["moments"] == state_of(lane)["moments"]


@pytest.mark.parametrize(
    "name",
    [  # one for each loop of updates; the critic's before the first step is in no resumed run
        "vc-ppo",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("grpo", "ppo", "ppo-adaptive-kl", "trpo")
        ),
    ],
)
def test_a_run_on_two_threads_has_the_digest_of_one(name, open_small: OpenLab, tmp_path: Path):
    one, two = (
        finish(open_small(section(name), threads=n, folder=tmp_path / str(n), **ONE_STEP)[0])
        for n in (1, 2)
    )
    assert one == two


def test_another_seed_is_another_run(open_small: OpenLab, tmp_path: Path):
    found = {
        finish(open_small("grpo", folder=tmp_path / str(s), seed=s, train={"steps": 1})[0])
        for s in (0, 1)
    }
    assert len(found) == 2


MEMORY = [
    {"name": "grpo-iterative", "iteration_steps": 2},
    {"name": "ppo-adaptive-kl"},
    {"name": "reinforce", "baseline": "moving"},
    {"name": "grpo", "kl_controller": "adaptive", "kl_target": 0.01},
    {"name": "vc-ppo", "value_pretraining": 1},
]
SHOWN_ELSEWHERE = {"grpo", "vc-ppo"}  # by ppo-adaptive-kl's controller; where pretraining is tested


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(
            a, id=a["name"], marks=pytest.mark.slow if a["name"] in SHOWN_ELSEWHERE else []
        )
        for a in MEMORY
    ],
)
def test_what_an_algorithm_remembers_is_forked_and_resumed(
    algorithm, open_small: OpenLab, tmp_path: Path
):
    how = {
        "train": {"steps": 4, "checkpoint_every": 1, "updates_per_rollout": 1},
        "rollout": {"max_tokens": 6}, "cues": [{"at": 3, "do": "fork", "name": "twin"}],
    }  # fmt: skip
    lab, seen = open_small(algorithm, folder=tmp_path / "a", **how)
    digest = finish(lab)
    main, twin = lab.lanes["main"], lab.lanes["twin"]
    assert twin.algorithm.state() == main.algorithm.state()
    assert state_of(twin)["policy"] == state_of(main)["policy"]
    steps = {(s.lane, s.step): s.metrics for s in only(seen, ev.StepDone)}
    timed = ("tokens_per_second",)
    mine, theirs = (
        {k: v for k, v in steps[lane, 4].items() if k not in timed} for lane in ("main", "twin")
    )
    assert mine == theirs
    again, _ = open_small(algorithm, folder=tmp_path / "b", **how)
    lab_checkpoint.restore(again, checkpoint.folder(tmp_path / "a", 3))
    assert finish(again) == digest
    assert again.lanes["main"].algorithm.state() == main.algorithm.state()


def test_a_step_of_one_lane_leaves_every_byte_of_the_others(open_small: OpenLab):
    lanes = [
        {"name": "iterative", "algorithm": section("grpo-iterative")},
        {"name": "critic", "algorithm": section("vapo")},
        {"name": "natural", "algorithm": section("trpo")},
        {"name": "penalty", "algorithm": section("ppo-adaptive-kl")},
        {"name": "plain", "algorithm": section("grpo", tis_cap=1.0, entropy_bonus=0.1)},
    ]
    lab, _ = open_small(
        lanes=lanes, rollout={"max_tokens": 6}, record={"tokens": False},
        train={"updates_per_rollout": 1},
    )  # fmt: skip
    for lane in lab.lanes.values():  # so that references, snapshots and moments are there
        lab.step(lane)
    backbone = bytes_of(lab.backbone.weights)  # pyright: ignore[reportAttributeAccessIssue]
    for lane in lab.lanes.values():
        others = {k: state_of(x) for k, x in lab.lanes.items() if x is not lane}
        mine = state_of(lane)
        lab.step(lane)
        assert {k: state_of(x) for k, x in lab.lanes.items() if x is not lane} == others
        changed = {key for key, digest in state_of(lane).items() if digest != mine[key]}
        wanted = set(mine) - ({"moments"} if lane.name == "natural" else set())
        assert changed == wanted, lane.name
    assert bytes_of(lab.backbone.weights) == backbone  # pyright: ignore[reportAttributeAccessIssue]
    copies = (len(lab.lanes[name].snapshots.names()) for name in ("iterative", "natural"))
    assert [*copies] == [1, 1]


# ---------------------------------------------------------------- dynamic sampling


class HalfDead(EveryText):
    """Groups of half of the prompts have equal rewards, whatever the answers."""

    @staticmethod
    def dead(text: str) -> bool:
        return sum(map(ord, text)) % 2 == 0

    def score(self, prompt: Any, completion: Any, grade: Any, steps: Any) -> float:
        if self.dead(prompt.text):
            return 0.25
        return super().score(prompt, completion, grade, steps) + 0.01 * len(completion.text)


def sampling(open_small: OpenLab, reward: EveryText, resample: int, **how: Any):
    algorithm = {"name": "dapo", "resample": resample, "overlong_buffer": 0.0}
    rollout = {"prompts": 5, "group_size": 3, "max_tokens": 9}
    lab, seen = open_small(algorithm, rollout=rollout, **how)
    lab.parts = [(reward, 1.0)]
    return lab, seen


def test_groups_without_a_signal_are_sampled_again(open_small: OpenLab):
    lab, seen = sampling(open_small, HalfDead(), 3)
    lane = lab.lanes["main"]
    collected = collect(lab, lane, 1)
    started = only(seen, ev.RolloutStarted)
    # what was announced: the first draw, what was missing each time, and the whole at the end
    assert 3 <= len(started) <= 5
    drawn = [p for e in started[:-1] for p in e.prompts]
    assert collected.drawn == len(drawn) > 5
    missing = 5
    for event in started[:-1]:
        assert len(event.prompts) == missing
        missing -= sum(not HalfDead.dead(p) for p in event.prompts)
    assert missing <= 0 or len(started) == 5
    alive = [p for p in drawn if not HalfDead.dead(p)]
    dead = [p for p in drawn if HalfDead.dead(p)]
    assert [p.text for p in collected.prompts] == [*alive, *dead][:5] == started[-1].prompts

    # rows, prompts, texts and log-probs belong together after they were put together
    rollout = collected.rollout
    assert rollout.tokens.shape[0] == 15 == len(collected.graded) == len(collected.ids)
    assert rollout.group.tolist() == [i // 3 for i in range(15)]
    assert rollout.lengths.tolist() == [len(row) for row in collected.ids]
    text = lab.backbone.text
    for k, prompt in enumerate(collected.prompts):
        ids = rollout.prompts.ids[k][rollout.prompts.mask[k]].tolist()
        assert ids == text.encode(prompt.text)
    for i, (row, answer) in enumerate(zip(collected.ids, collected.answers, strict=True)):
        assert rollout.tokens[i, : len(row)].tolist() == row and text.decode([row]) == [answer]
        whose = collected.prompts[i // 3]
        fake = type("Completion", (), {"text": answer})
        assert collected.reward[i] == HalfDead().score(whose, fake, None, ())
    logp, _ = score(lab.backbone, lane.adapter, rollout, 1.0)
    torch.testing.assert_close(logp.detach(), rollout.logp, rtol=1e-4, atol=1e-4)


def test_a_step_with_dynamic_sampling_tells_what_it_drew(open_small: OpenLab):
    lab, seen = sampling(open_small, HalfDead(), 3)
    lab.advance()
    (step,), (graded,) = only(seen, ev.StepDone), only(seen, ev.Graded)
    started = only(seen, ev.RolloutStarted)
    drawn = sum(len(e.prompts) for e in started[:-1])
    assert step.metrics["groups_replaced"] == drawn - 5 > 0
    assert len(graded.text) == 15 and len(started[-1].prompts) == 5
    assert step.tokens > sum(graded.length)  # those of the groups that were dropped too
    zero = sum(map(HalfDead.dead, started[-1].prompts)) / 5
    assert step.metrics["zero_std_groups"] == pytest.approx(zero)
    details = [e.detail for e in only(seen, ev.PhaseChanged) if "zero variance" in e.detail]
    assert len(details) == len(started) - 2


@pytest.mark.parametrize("resample", [0, 2])
def test_where_no_group_teaches_the_search_ends(resample, open_small: OpenLab):
    lab, seen = sampling(open_small, Same(), resample)
    lane = lab.lanes["main"]
    before = bytes_of(lane.optimizer.tensors)
    lab.advance()
    (step,) = only(seen, ev.StepDone)
    assert step.metrics.get("groups_replaced", 0) == 5 * resample
    assert len(only(seen, ev.Graded)[0].text) == 15
    assert step.metrics["zero_std_groups"] == 1.0 and step.metrics["grad_norm"] == 0.0
    assert bytes_of(lane.optimizer.tensors) == before


# ---------------------------------------------------------------- greedy answers, graded steps


def test_remax_compares_with_the_greedy_answer(open_small: OpenLab):
    lab, seen = open_small("remax", rollout={"prompts": 3, "max_tokens": 6})
    lane, text = lab.lanes["main"], lab.backbone.text
    wanted: list[float] = []
    for prompt in collect(lab, lane, 1, quiet=True).prompts:  # token by token, one prompt at a time
        ids = text.encode(prompt.text)
        answer: list[int] = []
        while len(answer) < 6 and (not answer or answer[-1] not in text.eos):
            answer.append(0)
            tokens = torch.tensor([answer])
            padded = Prompts.pad([ids], text.pad, lab.device)
            group, mask = torch.tensor([0]), torch.ones(1, len(answer))
            rollout = Rollout(padded, group, tokens, mask, mask, mask[:, 0] > 0, 0)
            answer[-1] = int(
                distributions(lab.backbone, lane.adapter, rollout, 1.0)[0, -1].argmax()
            )
        fake = type("Completion", (), {"text": text.decode([answer])[0]})
        wanted.append(EveryText().score(prompt, fake, None, ()))
    lab.advance()
    assert only(seen, ev.Graded)[0].greedy_reward == wanted
    assert lane.last_step is not None and lane.last_step.batch.greedy_reward is not None
    assert lane.last_step.batch.greedy_reward.tolist() == pytest.approx(
        [r for r in wanted for _ in range(4)]
    )
    first = lane.last_step.credit.advantage[:, 0]
    torch.testing.assert_close(
        first, lane.last_step.batch.reward - lane.last_step.batch.greedy_reward
    )


def test_steps_reach_the_batch_and_the_record(open_lab: OpenLab):
    """With the embedded policy, whose answers have steps."""
    plan = tiny(
            task={"name": "slots", "k": 2},
            algorithm={"name": "grpo-process", "std_epsilon": 0.0},
            rollout={"prompts": 2, "group_size": 4, "max_tokens": 36},
            train={"updates_per_rollout": 1, "microbatch": 8},
    )  # fmt: skip
    lab, seen = open_lab(plan)
    lane, text = lab.lanes["main"], lab.backbone.text
    lab.step(lane)
    (graded,) = only(seen, ev.Graded)
    assert lane.last_step is not None and lane.last_step.batch.steps is not None
    collected, steps = lane.last_step.collected, lane.last_step.batch.steps
    assert max(map(len, graded.steps)) == 3  # two parts, and the whole at the end
    assert len({score for row in graded.steps for _, score in row}) > 1
    for i, (row, grade) in enumerate(zip(graded.steps, collected.graded, strict=True)):
        assert row[-1] == (graded.length[i] - 1, graded.reward[i])
        pieces = text.pieces(collected.ids[i])
        for (end, given), step in zip(row[:-1], grade.steps, strict=True):
            assert given == step.score
            before = len("".join(pieces[:end]))
            assert before < step.end <= before + len(pieces[end])
        n = len(row)
        assert steps.mask[i].tolist() == [1.0] * n + [0.0] * (steps.mask.shape[1] - n)
        assert steps.end[i, :n].tolist() == [end for end, _ in row]
        assert steps.reward[i, :n].tolist() == pytest.approx([r for _, r in row])

    found = lane.last_step.credit.advantage
    for k in range(2):  # by hand: Σ of the later steps' normalised rewards
        rows = graded.steps[4 * k : 4 * k + 4]
        pool = [r for row in rows for _, r in row]
        mean = math.fsum(pool) / len(pool)
        std = math.sqrt(math.fsum((r - mean) ** 2 for r in pool) / len(pool))
        for i, row in enumerate(rows):
            for t in range(graded.length[4 * k + i]):
                wanted = math.fsum((r - mean) / std for end, r in row if end >= t) if std else 0.0
                assert found[4 * k + i, t].item() == pytest.approx(wanted, abs=1e-4)


# ---------------------------------------------------------------- the reference moves on


def test_grpo_iterative_renews_its_reference(open_small: OpenLab, tmp_path: Path):
    how = {"train": {"steps": 6, "checkpoint_every": 1}}
    algorithm = {"name": "grpo-iterative", "iteration_steps": 2}
    lab, seen = open_small(algorithm, folder=tmp_path / "a", **how)
    lane = lab.lanes["main"]
    assert lane.snapshots.reference is None
    references = []
    for number in range(1, 6):
        lab.advance()
        kl = only(seen, ev.StepDone)[-1].metrics["kl_ref"]
        if number in (1, 3, 5):  # the first step after the start and after each renewal
            assert abs(kl) < 1e-6
        else:
            assert kl > 1e-3
        if number < 2:
            continue
        assert lane.snapshots.reference is not None
        policy, reference = (
            bytes_of(t)
            for t in (lane.optimizer.tensors, lab.backbone.adapter(lane.snapshots.reference))
        )
        assert (policy == reference) == (number in (2, 4))
        references.append(reference)
        assert (
            bytes_of(_only_of(lab_checkpoint.learned(lane), "reference.")) == reference
        )  # part of digest and checkpoint
    assert references[0] == references[1] != references[2] == references[3]

    again, _ = open_small(algorithm, folder=tmp_path / "b", **how)
    lab_checkpoint.restore(again, checkpoint.folder(tmp_path / "a", 3))
    restored = again.lanes["main"]
    assert restored.snapshots.reference is not None and restored.algorithm.state() == {
        "kl_scale": 1.0, "since": 1.0,
    }  # fmt: skip
    assert bytes_of(again.backbone.adapter(restored.snapshots.reference)) == references[0]
    assert finish(again) == finish(lab)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("kl_scale", marks=pytest.mark.slow),
        "leash",
    ],  # the second is of earlier versions
)
def test_an_adaptive_beta_is_restored_from_old_and_new_checkpoints(
    key: str, open_small: OpenLab, tmp_path: Path
):
    algorithm = {"name": "grpo", "kl_controller": "adaptive", "kl_target": 0.1}
    how = {"train": {"steps": 3, "checkpoint_every": 1}, "rollout": {"max_tokens": 6}}
    lab, _ = open_small(algorithm, folder=tmp_path / "a", **how)
    lab.advance()
    lab.advance()
    scale = lab.lanes["main"].algorithm.kl_scale
    assert scale != 1
    file = checkpoint.folder(tmp_path / "a", 2) / "state.json"
    state = json.loads(file.read_text())
    assert state["lanes"][0]["memory"] == {"kl_scale": scale}
    state["lanes"][0]["memory"] = {key: scale}
    file.write_text(json.dumps(state))
    again, _ = open_small(algorithm, folder=tmp_path / "b", **how)
    lab_checkpoint.restore(again, checkpoint.folder(tmp_path / "a", 2))
    assert again.lanes["main"].algorithm.kl_scale == scale
    assert finish(again) == finish(lab)


def _only_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def test_what_an_algorithm_alone_needs_goes_with_it(open_small: OpenLab):
    """The snapshot of those that measure; a critic that a setting does without, and back."""
    lab, seen = open_small(section("trpo"), rollout={"max_tokens": 5})
    lane = lab.lanes["main"]
    lab.step(lane)
    first = only(seen, ev.StepDone)[-1].memory_phases["update"]
    assert first["reference"] == first["adapters"]
    for value_, critic in (("group", "gone"), ("gae", "cold")):
        cue = apply_cue.SetCue(at=1, do="set", key="advantage", value=value_)
        apply_cue.apply(lab, cue, "command")
        assert only(seen, ev.CriticChanged)[-1].state == critic
        assert (lane.critic is None) == (critic == "gone")
        lab.step(lane)
    apply_cue.apply(lab, apply_cue.SwitchCue.model_validate(TO_GRPO), "command")
    assert not lane.snapshots.names()
    lab.step(lane)
    last = only(seen, ev.StepDone)[-1].memory_phases["update"]
    assert last["reference"] == 0 and last["adapters"] == first["adapters"]
    with pytest.raises(KeyError):
        lab.backbone.adapter(lane.snapshots.rollout_policy)


TO_GRPO = {"at": 1, "do": "switch", "algorithm": {"name": "grpo"}}


def test_adapters_made_after_others_were_dropped_are_new_ones(open_small: OpenLab):
    """Through PEFT, whose adapters are known by names that the backbone makes up."""
    lab, seen = open_small(section("trpo"), kind="gpt2", rollout={"max_tokens": 5})
    lane = lab.lanes["main"]
    lab.step(lane)  # policy, critic, snapshot
    apply_cue.change_setting(lab, lane, "advantage", "group", "command")
    assert lane.critic is None
    snapshot = bytes_of(lab.backbone.adapter(lane.snapshots.rollout_policy))
    lane.snapshots.renew_reference()
    assert lane.snapshots.reference is not None
    reference = bytes_of(lab.backbone.adapter(lane.snapshots.reference))
    assert reference == bytes_of(lane.optimizer.tensors) != snapshot
    assert bytes_of(lab.backbone.adapter(lane.snapshots.rollout_policy)) == snapshot
    lab.step(lane)
    assert bytes_of(lab.backbone.adapter(lane.snapshots.reference)) == reference
    assert only(seen, ev.StepDone)[-1].metrics["kl_step"] > 0


# ---------------------------------------------------------------- the critic learns before


@pytest.mark.parametrize(
    "name",
    [
        "trpo",
        "ppo-adaptive-kl",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("ppo", "vapo")),
    ],
)
def test_in_the_critic_s_warm_up_the_policy_waits(name, open_small: OpenLab, monkeypatch):
    asked = []
    monkeypatch.setattr(
        learner_module, "score", lambda *a, **k: asked.append(a[1]) or score(*a, **k)
    )
    algorithm = section(name, critic_warmup=2)
    lab, seen = open_small(algorithm, rollout={"max_tokens": 6}, train={"weight_decay": 0.1})
    lane = lab.lanes["main"]
    for number in range(1, 4):
        before = state_of(lane)
        lab.advance()
        after = state_of(lane)
        waits = number <= 2
        assert (after["policy"] == before["policy"]) is waits
        if name != "trpo":  # which has no moments
            assert (after["moments"] == before["moments"]) is waits
        assert after["critic"] != before["critic"]
        metrics = only(seen, ev.StepDone)[-1].metrics
        assert ("policy_loss" in metrics) is not waits and "value_loss" in metrics
        # nor is it run: there is no entropy to tell
        assert (asked == []) is waits and ("entropy" in metrics) is not waits
        channels = only(seen, ev.Tokens)[-1].channels
        assert ("entropy" in channels) is not waits and {"value", "advantage"} <= set(channels)
    if name == "ppo-adaptive-kl":
        assert lane.algorithm.beta in (0.5, 2.0)  # moved once


def pretraining(events: list[ev.Event]) -> int:
    """Rollouts of value pretraining that were sampled."""
    phases = [e for e in only(events, ev.PhaseChanged) if "value pretraining" in e.detail]
    return sum(e.phase == "sampling" for e in phases)


def test_value_pretraining_teaches_the_critic_alone_and_once(open_small: OpenLab, tmp_path: Path):
    algorithm = {"name": "vc-ppo", "value_pretraining": 3}
    how = {"train": {"steps": 3, "checkpoint_every": 1}, "rollout": {"max_tokens": 6}}
    lab, seen = open_small(algorithm, folder=tmp_path / "a", **how)
    lane = lab.lanes["main"]
    before = state_of(lane)
    assert lane.critic is not None and lane.wants_pretraining()
    value_pretraining.pretrain(lab, lane)
    after = state_of(lane)
    assert after["policy"] == before["policy"] and after["moments"] == before["moments"]
    assert after["critic"] != before["critic"]
    assert (lane.critic.pretrained, lane.critic.age) == (3, 0)
    assert lane.critic.optimizer.steps == 3 * value_pretraining.PASSES * 1
    assert pretraining(seen) == 3 and not lane.wants_pretraining()
    assert not only(seen, ev.Graded) and not only(seen, ev.RolloutStarted)  # quiet
    assert lane.critic.explained is not None

    whole, events = open_small(algorithm, folder=tmp_path / "b", **how)
    digest = finish(whole)
    assert pretraining(events) == 3 and len(only(events, ev.StepDone)) == 3
    again, later = open_small(algorithm, folder=tmp_path / "c", **how)
    lab_checkpoint.restore(again, checkpoint.folder(tmp_path / "b", 1))
    assert finish(again) == digest and pretraining(later) == 0
    critic = again.lanes["main"].critic
    assert critic is not None and (critic.pretrained, critic.age) == (3, 3)


def test_a_critic_that_comes_with_a_switch_is_pretrained_then(open_small: OpenLab):
    cues = [
        {"at": 1, "do": "switch", "algorithm": {"name": "vc-ppo", "value_pretraining": 2}},
        {"at": 2, "do": "switch", "algorithm": {"name": "vapo", "value_pretraining": 2}},
    ]
    lab, seen = open_small("grpo", train={"steps": 3}, rollout={"max_tokens": 6}, cues=cues)
    finish(lab)
    assert pretraining(seen) == 2  # the second switch keeps the critic
    critic = lab.lanes["main"].critic
    assert critic is not None and (critic.pretrained, critic.age) == (2, 2)


def test_pretraining_fits_the_returns(open_small: OpenLab):
    """The critic is nearer to the returns of the unchanged policy after it than before."""
    lab, _ = open_small(
        {"name": "vc-ppo", "value_pretraining": 6}, train={"critic_learning_rate": 0.03},
        rollout={"prompts": 4},
    )  # fmt: skip
    lane = lab.lanes["main"]
    collected = collect(lab, lane, 99, quiet=True)

    def error() -> float:
        batch = lab.score(lane, collected)
        assert batch.value is not None
        return float((((batch.value - batch.reward[:, None]) ** 2) * batch.mask).sum())

    before = error()
    value_pretraining.pretrain(lab, lane)
    assert error() < 0.5 * before


# ---------------------------------------------------------------- settings that combine


def test_the_entropy_bonus_raises_the_entropy_and_its_gradient_is_exact(open_small: OpenLab):
    entropies = []
    for bonus in (0.0, 0.5):
        algorithm = {"name": "dr-grpo", "entropy_bonus": bonus, "aggregation": "token-mean"}
        lab, _ = open_small(algorithm)
        lab.parts = [(Same(), 1.0)]  # nothing else to learn from
        lane = lab.lanes["main"]
        before = bytes_of(lane.optimizer.tensors)
        rollout = collect(lab, lane, 77, quiet=True).rollout
        old = mean_entropy(lane, rollout).item()
        batch = lane.score(rollout, torch.zeros(8))
        if bonus:
            learner = Learner(lane, rollout, 1)
            found = gradient_of(lane, learner, batch)
            direct = torch.autograd.grad(
                -bonus * mean_entropy(lane, rollout), list(lane.optimizer.tensors.values())
            )
            flat = torch.cat([g.reshape(-1) for g in direct])
            torch.testing.assert_close(found, flat, rtol=1e-3, atol=1e-6)
            assert flat.norm() > 0
        for _ in range(2):
            lab.advance()
        assert (bytes_of(lane.optimizer.tensors) == before) is (bonus == 0)
        entropies.append(mean_entropy(lane, rollout).item() - old)
    assert entropies[0] == pytest.approx(0, abs=1e-6) and entropies[1] > 0.01


def mean_entropy(lane: Lane, rollout: Rollout) -> Tensor:
    logp = distributions(lane.backbone, lane.adapter, rollout, lane.rollout.temperature)
    each = -(logp.exp() * logp).sum(-1) * rollout.mask
    return each.sum() / rollout.mask.sum()


def whole_of(batch: Batch) -> BatchTotals:
    return BatchTotals(len(batch.mask), int(batch.mask.sum()), batch.max_tokens)


def gradient_of(lane: Lane, learner: Learner, batch: Batch) -> Tensor:
    """Of the algorithm's loss on a whole batch, as the learner accumulates it."""
    credit = lane.algorithm.credit(batch)
    whole = whole_of(batch)

    def loss(rows: Tensor, width: int, now: Forward) -> Loss:
        return lane.algorithm.loss(batch.rows(rows, width), credit.rows(rows, width), now, whole)

    learner.accumulate(next(learner.minibatches(0)), loss)
    return learner.take_gradient()


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, 1),
        ({"tis_cap": 2.0}, 2),
        ({"top_entropy": 0.3}, 2),
        ({"tis_cap": 2.0, "top_entropy": 0.3}, 2),
    ],
)
def test_the_trainer_scores_the_rollout_again_where_it_must(
    settings, passes, open_small: OpenLab, monkeypatch
):
    lab, seen = open_small({"name": "grpo"} | settings)
    lane = lab.lanes["main"]
    asked = []
    monkeypatch.setattr(lane_module, "score", lambda *a: asked.append(a[1]) or score(*a))
    collected = collect(lab, lane, 5, quiet=True)
    batch = lab.score(lane, collected)
    rollout = collected.rollout
    assert asked == [None, "main"][:passes]  # the reference, and perhaps the policy
    logp, entropy = (x.detach() for x in score(lab.backbone, lane.adapter, rollout, 1.0))
    if "tis_cap" in settings:  # the trainer's own log-probs are the old ones
        assert batch.sampler_logp is rollout.logp
        torch.testing.assert_close(batch.old_logp, logp, rtol=1e-5, atol=1e-6)
    else:
        assert batch.sampler_logp is None and batch.old_logp is rollout.logp
    assert (batch.entropy is not None) == (passes == 2)
    if batch.entropy is not None:
        torch.testing.assert_close(batch.entropy, entropy, rtol=1e-5, atol=1e-6)
    lab.advance()
    metrics = only(seen, ev.StepDone)[0].metrics
    assert 0 <= metrics["sampler_gap"] < 1e-3
    if "top_entropy" in settings:
        assert lane.last_step is not None and lane.last_step.credit.token_mask is not None
        tokens = int(lane.last_step.batch.mask.sum())
        assert int(lane.last_step.credit.token_mask.sum()) == math.ceil(0.3 * tokens - 1e-9)


# ---------------------------------------------------------------- the KL bench


@pytest.fixture
def trained(open_small: OpenLab):
    """A lab whose policy has gone some way from its reference."""
    lab, seen = open_small("is-pg", rollout={"prompts": 4, "max_tokens": 10, "temperature": 0.9})
    for _ in range(3):
        lab.advance()
    return lab, seen


def test_the_kl_bench_against_direct_sums(trained):
    lab, seen = trained
    lane = lab.lanes["main"]
    before = state_of(lane)
    apply_cue.apply(lab, apply_cue.KlBenchCue(at=3, do="kl-bench"), "command")
    assert state_of(lane) == before
    assert all(t.grad is None for t in lane.optimizer.tensors.values())
    (found,) = only(seen, ev.KlBenched)
    assert (found.step, found.lane) == (3, "main")

    # the same rollout again: its noise depends on step and purpose alone
    rollout = collect(lab, lane, 3, purpose="kl-bench", quiet=True).rollout
    assert found.tokens == int(rollout.mask.sum())
    tensors = list(lane.optimizer.tensors.values())
    logp = distributions(lab.backbone, lane.adapter, rollout, 0.9)
    ref = distributions(lab.backbone, None, rollout, 0.9).detach()
    on = rollout.mask.bool()
    each = (logp.exp() * (logp - ref)).sum(-1)
    exact = each[on].mean()
    assert found.exact == pytest.approx(exact.item(), rel=1e-3) and found.exact > 0.05
    slope = flat(torch.autograd.grad(exact, tensors, retain_graph=True))
    assert found.gradient == pytest.approx(slope.norm().item(), rel=1e-3)

    by_name = {e.estimator: e for e in found.estimates}
    assert list(by_name) == ["k1", "k2", "k3", "unbiased"]
    drawn = rollout.tokens.unsqueeze(-1)
    d = (ref - logp).gather(-1, drawn).squeeze(-1).detach()[on].double()
    direct = {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - 1 - d}
    for name, values in direct.items():
        one = by_name[name]
        assert one.value == pytest.approx(values.mean().item(), rel=1e-3, abs=1e-5)
        assert one.std == pytest.approx(values.std().item(), rel=1e-3)
        off = values - each.detach()[on].double()
        assert one.bias == pytest.approx(off.mean().item(), rel=1e-2, abs=1e-4)
        assert one.bias_se == pytest.approx((off.std() / len(off) ** 0.5).item(), rel=1e-2)
    for name in ("k1", "k3", "unbiased"):  # unbiased in value
        assert abs(by_name[name].bias) <= 4 * by_name[name].bias_se

    right = {("unbiased", "loss"), ("k2", "loss"), ("k1", "reward")}
    for name, one in by_name.items():
        for place in ("loss", "reward"):
            cosine, error = getattr(one, f"{place}_cosine"), getattr(one, f"{place}_error")
            if (name, place) in right:
                assert cosine == pytest.approx(1, abs=1e-4) and error < 0.01, (name, place)
            else:
                assert cosine < 0.999 and error > 0.05, (name, place)
    # k3 in the loss has the gradient of KL(π_ref‖π) instead
    other = (ref.exp() * (ref - logp)).sum(-1)[on].mean()
    turned = flat(torch.autograd.grad(other, tensors))
    cosine = float(turned @ slope / turned.norm() / slope.norm())
    assert by_name["k3"].loss_cosine == pytest.approx(cosine, abs=1e-3)


def in_float64(batch: Batch) -> Batch:
    tensors = {k: v for k, v in vars(batch).items() if isinstance(v, Tensor)}
    return replace(batch, **{k: v.double() for k, v in tensors.items() if v.is_floating_point()})


def flat(grads: Any) -> Tensor:
    return torch.cat([g.reshape(-1) for g in grads]).double()


def test_a_kl_bench_at_the_reference_has_nothing_to_tell(open_small: OpenLab):
    lab, seen = open_small("grpo")
    apply_cue.apply(lab, apply_cue.KlBenchCue(at=0, do="kl-bench"), "command")
    (found,) = only(seen, ev.KlBenched)
    assert found.exact == pytest.approx(0, abs=1e-6)
    assert all(math.isfinite(x) for e in found.estimates for x in (e.bias_se, e.loss_cosine))


# ---------------------------------------------------------------- the lens on a live lane


def test_cues_that_look_are_done_before_the_checkpoint_of_their_step(open_small: OpenLab):
    cues = [{"at": 1, "do": "lens"}, {"at": 1, "do": "kl-bench"}]
    lab, seen = open_small("grpo", cues=cues, train={"steps": 2, "checkpoint_every": 1})
    lab.advance()
    order = [e for e in seen if isinstance(e, ev.LensMade | ev.KlBenched | ev.Checkpointed)]
    assert [type(e) for e in order] == [ev.LensMade, ev.KlBenched, ev.Checkpointed]
    assert lab.cues_done == 2 and lab.apply_cues() == []


def test_the_lens_shows_the_lane_s_own_settings_whatever_was_set_since(open_small: OpenLab):
    lab, seen = open_small({"name": "grpo", "beta": 0.3, "preset": "verl"})
    lab.advance()
    apply_cue.apply(lab, apply_cue.SetCue(at=1, do="set", key="beta", value=0.7), "command")
    apply_cue.apply(
        lab, apply_cue.SetCue(at=1, do="set", key="rollout.group_size", value=2), "command"
    )
    apply_cue.apply(lab, apply_cue.LensCue(at=1, do="lens"), "command")
    (made,) = only(seen, ev.LensMade)
    found = json.loads((lab.run_dir / made.path).read_text())
    own = found["algorithms"]["grpo"]
    assert own["settings"]["beta"] == 0.3 and own["preset"] == "verl"
    last = lab.lanes["main"].last_step
    assert last is not None
    assert sum(len(g["samples"]) for g in found["groups"]) == len(last.collected.ids)


def test_a_what_if_without_a_change_is_what_the_lens_found(open_small: OpenLab):
    from grpolab.lens.whatif import Session, rollout

    lab, seen = open_small({"name": "grpo", "beta": 0.3})
    lab.advance()
    apply_cue.apply(lab, apply_cue.LensCue(at=1, do="lens"), "command")
    (made,) = only(seen, ev.LensMade)
    own = json.loads((lab.run_dir / made.path).read_text())["algorithms"]["grpo"]
    session = Session(rollout(lab.run_dir, made.step, made.lane, made.path))
    asked = {"algorithm": "grpo", "preset": own["preset"], "settings": own["settings"]}
    again = session.score(asked | {"base": True})
    assert again["loss"] == own["loss"] and again["cosine"] == pytest.approx(1.0)
    pushes = [[s["gradient"] for s in g["samples"]] for g in again["groups"]]
    assert pushes == [[s["gradient"] for s in g["samples"]] for g in own["groups"]]


def test_weight_decay_is_what_it_was_set_to(open_small: OpenLab):
    found = []
    for decay in (None, 5.0):
        lab, _ = open_small("grpo", train={"steps": 3})
        lab.advance()
        if decay is not None:
            cue = apply_cue.SetCue(at=1, do="set", key="train.weight_decay", value=decay)
            apply_cue.apply(lab, cue, "command")
        lab.advance()
        found.append(lab_checkpoint.digest(lab))
    assert found[0] != found[1]


def test_the_lens_cue_writes_what_every_algorithm_makes_of_the_step(open_small: OpenLab):
    lab, seen = open_small("grpo", train={"steps": 3}, rollout={"temperature": 0.9})
    lane = lab.lanes["main"]
    for _ in range(2):
        lab.advance()
    before = state_of(lane)
    apply_cue.apply(lab, apply_cue.LensCue(at=2, do="lens", parameters=True), "command")
    assert state_of(lane) == before and all(t.grad is None for t in lane.optimizer.tensors.values())
    (made,) = only(seen, ev.LensMade)
    assert (made.step, made.lane, made.parameters) == (2, "main", True)
    found = json.loads((lab.run_dir / made.path).read_text())
    assert (found["step"], found["lane"], found["current"]) == (2, "main", "grpo")
    without = {n for n, a in ALGORITHMS.items() if not a(a.Settings()).needs_critic}
    assert set(found["algorithms"]) == without and set(found["left_out"]) == set(NAMES) - without
    assert made.loss == {n: a["loss"] for n, a in found["algorithms"].items()}

    last = lane.last_step
    assert last is not None and last.report.logp is not None
    shown = [s for group in found["groups"] for s in group["samples"]]
    assert [s["reward"] for s in shown] == pytest.approx(last.collected.reward)
    assert ["".join(s["tokens"]) for s in shown] == [
        "".join(lab.backbone.text.pieces(ids)) for ids in last.collected.ids
    ]

    # two algorithms directly, in float64, and their gradients through the policy as it is
    rollout, tensors = last.collected.rollout, list(lane.optimizer.tensors.values())
    through, _ = score(lab.backbone, lane.adapter, rollout, 0.9)
    on = last.batch.mask.bool()
    doubled = in_float64(last.batch)
    directions = {}
    for name in ("grpo", "rloo"):
        cls = ALGORITHMS[name]
        algorithm = cls(cls.Settings())
        logp = last.report.logp.double().requires_grad_()
        now = Forward(logp, torch.zeros_like(logp), None)
        credit = algorithm.credit(doubled)
        loss = algorithm.loss(doubled, credit, now, whole_of(doubled)).total
        (push,) = torch.autograd.grad(loss, [logp])
        entry = found["algorithms"][name]
        assert entry["loss"] == pytest.approx(loss.item(), abs=1e-9)
        listed = [s["gradient"] for group in entry["groups"] for s in group["samples"]]
        assert [x for row in listed for x in row] == pytest.approx(push[on].tolist(), abs=1e-9)
        directions[name] = flat(
            torch.autograd.grad((through * push.float()).sum(), tensors, retain_graph=True)
        )
    a, b = directions.values()
    table = found["parameter_cosine"]
    assert set(table) == without and all(table[n][n] == 1.0 for n in without)
    assert table["grpo"]["rloo"] == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-4)
    assert table["grpo"]["rloo"] == table["rloo"]["grpo"] < 0.9999
    lab.advance()  # and the run goes on


def test_with_a_critic_nobody_is_left_out_of_the_lens(open_small: OpenLab):
    lab, seen = open_small("ppo", rollout={"max_tokens": 6})
    lab.advance()
    apply_cue.apply(lab, apply_cue.LensCue(at=1, do="lens"), "command")
    (made,) = only(seen, ev.LensMade)
    found = json.loads((lab.run_dir / made.path).read_text())
    assert set(found["algorithms"]) == set(NAMES) and not found["left_out"]
    assert "parameter_cosine" not in found


def test_there_is_nothing_to_look_at_before_the_first_step(open_small: OpenLab):
    lab, seen = open_small("grpo")
    apply_cue.apply(lab, apply_cue.LensCue(at=0, do="lens"), "command")
    assert not only(seen, ev.LensMade) and "make a step first" in only(seen, ev.Refused)[0].reason
