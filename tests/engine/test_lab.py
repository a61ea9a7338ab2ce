"""The lab: steps, switches, critics, lanes that leave each other alone, digests, resuming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from grpolab.analysis.metric_help import METRICS
from grpolab.engine import apply_cue, checkpoint, lab_checkpoint
from grpolab.engine.memory.owners import tensors_in
from grpolab.engine.optimizer import AdamW
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.scenario.spec import AlgorithmSection
from tests.engine.conftest import OpenLab, bytes_of, finish, only, tiny


def test_adamw_is_torch_s():
    torch.manual_seed(0)
    mine = {k: torch.randn(3, 2).requires_grad_() for k in "ab"}
    theirs = [v.detach().clone().requires_grad_() for v in mine.values()]
    own = AdamW(mine)
    reference = torch.optim.AdamW(theirs, lr=0.02, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.01)
    for _ in range(7):
        for a, b in zip(mine.values(), theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        reference.step()
        assert own.step(0.02, 1.0, 0.01) == pytest.approx(norm.item(), rel=1e-5)
        for a, b in zip(mine.values(), theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_adamw_skips_what_is_not_finite():
    one = {"a": torch.ones(2, requires_grad=True)}
    optimizer = AdamW(one)
    one["a"].grad = torch.tensor([1.0, float("nan")])
    optimizer.step(0.1, 1.0)
    assert one["a"].tolist() == [1.0, 1.0] and one["a"].grad is None and optimizer.steps == 0


@pytest.mark.parametrize("name", ["reinforce", "rloo", "grpo", "ppo"])
def test_a_step_tells_everything_and_moves_the_adapter(name, open_lab: OpenLab):
    lab, seen = open_lab(tiny(algorithm=name))
    lane = lab.lanes["main"]
    before = bytes_of(lane.optimizer.tensors)
    lab.advance()
    assert bytes_of(lane.optimizer.tensors) != before
    (rollout,), (graded,), (tokens,), (step,) = (
        only(seen, kind) for kind in (ev.RolloutStarted, ev.Graded, ev.Tokens, ev.StepDone)
    )
    rows = 12
    assert len(rollout.prompts) == 3 and len(graded.text) == rows == len(tokens.pieces)
    assert [len(p) for p in tokens.pieces] == graded.length
    for text, pieces, done in zip(graded.text, tokens.pieces, graded.finished, strict=True):
        assert "".join(pieces[:-1] if done else pieces) == text
    wanted = {"advantage", "push", "ratio", "kl", "entropy", "logprob", *ev.FOR_THE_LENS}
    wanted |= {"clip"} if name in ("grpo", "ppo", "rloo") else set()
    assert set(tokens.channels) == wanted | ({"value", "return"} if name == "ppo" else set())
    view = codec.unpack(tokens.channels["advantage"], graded.length)
    assert [len(r) for r in view] == graded.length
    assert step.updates == 2 and step.tokens == sum(graded.length)
    assert set(step.memory) == set(ev.OWNERS)
    assert (step.memory["critic"] > 0) == (name == "ppo")
    assert set(step.metrics) <= set(METRICS)
    assert all(isinstance(v, float | int) for v in step.metrics.values())


@pytest.mark.parametrize("policy", ["small", pytest.param("embedded", marks=pytest.mark.slow)])
def test_the_digest_is_the_same_twice_and_on_any_number_of_threads(
    policy: str, open_lab: OpenLab, open_small: OpenLab, tmp_path: Path
):
    def digest(folder: str, threads: int = 1, seed: int = 0) -> str:
        how = {"seed": seed, "cues": [cue], "rollout": short, "train": train}
        where: dict[str, Any] = {"threads": threads, "folder": tmp_path / folder}
        opened = (
            open_lab(tiny(**how), **where) if policy == "embedded" else open_small(**how, **where)
        )
        return finish(opened[0])

    cue = {"at": 2, "do": "switch", "algorithm": "ppo"}
    # more rows than one thread samples at once, and more microbatches than threads
    short = {"prompts": 10, "max_tokens": 8}
    updates = {"embedded": 2, "small": 1}[policy]
    train = {"steps": 3, "microbatch": 8, "updates_per_rollout": updates}
    digests = {digest(f"{n}", threads=n) for n in (1, 2, 3)}
    assert len(digests) == 1
    assert digest("other", seed=1) not in digests


def test_a_restored_lab_goes_on_as_if_nothing_had_happened(open_small: OpenLab, tmp_path: Path):
    cues = [
        {"at": 1, "do": "switch", "algorithm": "ppo"},
        {"at": 3, "do": "switch", "algorithm": {"name": "reinforce", "baseline": "moving"}},
        {"at": 1, "do": "set", "key": "rollout.temperature", "value": 0.9},
        {"at": 3, "do": "fork", "name": "twin"},
    ]
    train = {"steps": 6, "checkpoint_every": 1, "updates_per_rollout": 1}
    how = {"cues": cues, "train": train}
    whole, _ = open_small("grpo", folder=tmp_path / "a", **how)
    digest = finish(whole)
    for step in (2, 4, 5):
        again, _ = open_small("grpo", folder=tmp_path / f"b{step}", **how)
        assert lab_checkpoint.restore(again, checkpoint.folder(tmp_path / "a", step)) == []
        assert again.step_number == step
        assert finish(again) == digest, f"from step {step}"


def test_checkpoints_appear_whole_and_old_ones_go(tmp_path: Path):
    for step in range(1, 41):
        checkpoint.save(tmp_path, step, {"x": torch.tensor([float(step)])}, {"step": step})
    there = [int(p.name[5:]) for p in sorted((tmp_path / "checkpoints").iterdir())]
    assert there[-5:] == [36, 37, 38, 39, 40] and len(there) == 16
    assert there[0] < 8  # spread over the run's life
    (checkpoint.folder(tmp_path, 41)).mkdir()  # cut off before its files were there
    found = checkpoint.newest(tmp_path)
    assert found is not None and found[0] == 40
    tensors, state = checkpoint.load(found[1])
    assert tensors["x"].item() == 40 and state == {"step": 40}


def test_switching_keeps_the_adapter_and_brings_and_drops_the_critic(open_lab: OpenLab):
    lab, seen = open_lab(tiny(record={"tokens": False}))
    lane = lab.lanes["main"]
    lab.advance()
    adapter = bytes_of(lane.optimizer.tensors)
    apply_cue.switch(lab, lane, AlgorithmSection(name="ppo"), "command")
    assert bytes_of(lane.optimizer.tensors) == adapter
    switched, critic = only(seen, ev.Switched)[0], only(seen, ev.CriticChanged)[0]
    assert (switched.before, switched.after, switched.step) == ("grpo", "ppo", 1)
    assert "policy adapter" in switched.kept and any("critic" in r for r in switched.reset)
    assert critic.state == "cold" and critic.bytes > 0
    lab.advance()
    memory = [s.memory["critic"] for s in only(seen, ev.StepDone)]
    apply_cue.switch(lab, lane, AlgorithmSection(name="rloo"), "command")
    lab.advance()
    memory = [s.memory["critic"] for s in only(seen, ev.StepDone)]
    assert memory[0] == 0 and memory[1] > 0 and memory[2] == 0
    assert only(seen, ev.CriticChanged)[-1].state == "gone"


def test_the_agreement_of_microbatches_is_that_of_their_gradients(open_lab: OpenLab, monkeypatch):
    """Not of sums: gradients are added up in the place of the first one."""
    lab, seen = open_lab(tiny(train={"updates_per_rollout": 1, "microbatch": 4}))
    found: list[torch.Tensor] = []
    grad = torch.autograd.grad

    def watched(*args, **how):
        out = grad(*args, **how)
        parameters = out[:-1]  # the last is of the log-probs
        found.append(torch.cat([g.reshape(-1) for g in parameters]).clone())
        return out

    monkeypatch.setattr(torch.autograd, "grad", watched)
    lab.advance()
    assert len(found) == 3
    pairs = [(found[i] @ found[j]).item() for i, j in ((0, 1), (0, 2), (1, 2))]
    wanted = sum(pairs) / 3 / (sum((g @ g).item() for g in found) / 3)
    agreement = only(seen, ev.StepDone)[0].metrics["grad_agreement"]
    assert agreement == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_a_critic_becomes_warm_by_its_explained_variance(open_lab: OpenLab):
    lab, _ = open_lab(tiny(algorithm="ppo"))
    critic = lab.lanes["main"].critic
    assert critic is not None and not critic.warm
    assert not critic.judge(-0.2)
    turned = [critic.judge(0.9) for _ in range(6)]
    assert turned.count(True) == 1 and critic.warm
    turned = [critic.judge(-1.0) for _ in range(6)]
    assert turned.count(True) == 1 and not critic.warm


def test_lanes_start_equal_and_leave_each_other_alone(open_lab: OpenLab):
    lanes = [{"name": n, "algorithm": a} for n, a in (("one", "grpo"), ("two", "ppo"))]
    lab, seen = open_lab(tiny(lanes=lanes))
    one, two = lab.lanes["one"], lab.lanes["two"]
    backbone = bytes_of(lab.backbone.weights)  # pyright: ignore[reportAttributeAccessIssue]
    assert two.critic is not None
    other = bytes_of(two.optimizer.tensors | two.critic.tensors())
    lab.step(one)
    assert bytes_of(two.optimizer.tensors | two.critic.tensors()) == other
    mine = bytes_of(one.optimizer.tensors)
    lab.step(two)
    assert bytes_of(one.optimizer.tensors) == mine
    assert bytes_of(lab.backbone.weights) == backbone  # pyright: ignore[reportAttributeAccessIssue]
    first, second = only(seen, ev.Graded)
    assert first.text == second.text  # same prompts, same noise, same adapter


def test_a_fork_goes_on_like_its_parent(open_small: OpenLab):
    lab, seen = open_small("grpo", cues=[{"at": 2, "do": "fork", "name": "twin"}])
    finish(lab)
    steps = {(s.lane, s.step): s.metrics["reward"] for s in only(seen, ev.StepDone)}
    assert steps["twin", 3] == steps["main", 3] and steps["twin", 4] == steps["main", 4]
    assert bytes_of(lab.lanes["twin"].optimizer.tensors) == bytes_of(
        lab.lanes["main"].optimizer.tensors
    )


def test_what_cannot_be_done_is_refused_and_the_run_goes_on(open_lab: OpenLab):
    lab, seen = open_lab()
    apply_cue.apply(lab, apply_cue.SetCue(at=0, do="set", key="beat", value=1), "command")
    apply_cue.apply(lab, apply_cue.SetCue(at=0, do="set", key="beta", value=-1.0), "command")
    apply_cue.apply(lab, apply_cue.ForkCue(at=0, do="fork", name="main"), "command")
    refused = only(seen, ev.Refused)
    assert "beta" in refused[0].reason and len(refused) == 3
    apply_cue.apply(lab, apply_cue.SetCue(at=0, do="set", key="beta", value=0.2), "command")
    assert lab.lanes["main"].algorithm.settings.beta == 0.2
    lab.advance()


def test_training_and_evaluation_never_share_a_prompt(open_small: OpenLab):
    from grpolab.tasks import is_held_out

    lab, seen = open_small(rollout={"prompts": 3}, evaluate={"every": 2, "prompts": 6})
    finish(lab)
    assert all(is_held_out(p.key) for p in lab.test_prompts)
    trained = {p for e in only(seen, ev.RolloutStarted) for p in e.prompts}
    assert not trained & {p.text for p in lab.test_prompts}


def test_the_fold_of_a_real_run(open_small: OpenLab):
    how = {"evaluate": {"every": 2, "prompts": 6}, "record": {"stream": True}}
    lab, seen = open_small("ppo", **how)
    finish(lab)
    state = LabState()
    for event in seen:
        decoded = codec.decode(codec.encode(event, 0.0))
        assert decoded is not None
        state.apply(decoded[1], 0.0)
    lane = state.lanes["main"]
    assert [s.step for s in lane.steps] == [1, 2, 3, 4] and [e.step for e in lane.evals] == [
        0,
        2,
        4,
    ]
    assert lane.rollout is not None and lane.rollout.channel("value") is not None


OWN = ("llama", "nf4")  # 4 bit by the own decoder


@pytest.mark.parametrize(
    ("kind", "quantize"), [("gpt2", "none"), ("gpt2", "nf4"), ("llama", "nf4"), ("llama", "int8")]
)
def test_any_model_learns(kind, quantize, open_lab: OpenLab, model: Callable[[str], Path]):
    how = {"path": str(model(kind)), "quantize": quantize, "lora": {"rank": 4}}
    rollout = {"prompts": 2, "group_size": 3, "max_tokens": 8}
    plan = tiny(
        model=how, algorithm="ppo", rollout=rollout, train={"steps": 2, "microbatch": 3},
        evaluate={"prompts": 2}, cues=[{"at": 1, "do": "switch", "algorithm": "grpo"}],
    )  # fmt: skip
    lab, seen = open_lab(plan)
    lane = lab.lanes["main"]
    before = {k: v.detach().clone() for k, v in lane.optimizer.tensors.items()}
    frozen = [t.detach() for t in tensors_in(lab.backbone.holdings()["backbone"])]
    base = [t.clone() for t in frozen]
    finish(lab)
    assert lab.backbone.backend == ("native" if (kind, quantize) == OWN else "transformers")
    first = only(seen, ev.StepDone)[0]
    assert first.metrics["grad_norm"] >= 0 and first.memory["critic"] > 0
    critic_moved = first.metrics["value_loss"] > 0
    moved = any(not torch.equal(before[k], v) for k, v in lane.optimizer.tensors.items())
    assert critic_moved or not moved
    assert frozen and all(torch.equal(a, b) for a, b in zip(base, frozen, strict=True))


def test_a_full_critic_is_a_whole_model(open_lab: OpenLab):
    lab, seen = open_lab(tiny(algorithm="ppo", model={"critic": "full"}))
    lab.advance()
    memory = only(seen, ev.StepDone)[0].memory
    assert memory["critic"] >= memory["backbone"] * 0.9
