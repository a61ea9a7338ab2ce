"""Out of memory: smaller pieces, then what the backbone can give up, then a plain word; and the
same numbers as without."""

from __future__ import annotations

import random

import pytest
import torch

from grpolab.engine import evaluate as evaluation
from grpolab.engine import lane as lanes
from grpolab.engine import learner
from grpolab.engine.memory.oom import MemoryExhausted, OomGuard
from grpolab.record import events as ev
from tests.engine.conftest import OpenLab, bytes_of, only, tiny

COUNTED = True  # see conftest.py


def limited(work, most: list[int]):
    """`work` that runs out of memory above `most[0]` rows."""

    def tight(rows: torch.Tensor):
        if len(rows) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(rows)

    return tight


def test_rows_are_halved_until_they_fit_and_that_is_remembered():
    said: list[str] = []
    oom = OomGuard(lambda: None, said.append)
    rows = torch.arange(13)
    done = oom.run(limited(lambda r: r.tolist(), [4]), rows)
    assert [r for d in done for r in d] == rows.tolist() and all(len(d) <= 4 for d in done)
    assert oom.row_limit is not None and oom.row_limit <= 4
    assert all(len(p) <= oom.row_limit for p in oom.pieces(rows, 16))
    assert said[-1] == f"out of memory: {oom.row_limit} rows at once from now on"


def test_then_the_backbone_gives_something_up():
    most, said = [0], []

    def give_up() -> str | None:
        most[0] += 1
        return "the copy"

    oom = OomGuard(give_up, said.append)
    assert oom.run(limited(len, most), torch.arange(2)) == [1, 1]
    assert "out of memory: the copy" in said


def test_then_it_says_what_to_change():
    oom = OomGuard(lambda: None, lambda what: None)
    with pytest.raises(MemoryExhausted, match=r"rollout\.max_tokens"):
        oom.run(limited(len, [0]), torch.arange(3))


def test_a_step_that_runs_out_of_memory_does_the_same_work(open_lab: OpenLab, monkeypatch):
    plan = tiny(algorithm="ppo", train={"steps": 1, "microbatch": 12})
    lab, _ = open_lab(plan)
    lab.advance()
    want = {k: t.detach().clone() for k, t in lab.lanes["main"].optimizer.tensors.items()}

    whole = learner.score

    def tight(backbone, adapter, rollout, temperature, **how):
        if len(rollout.group) > 4 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(backbone, adapter, rollout, temperature, **how)

    monkeypatch.setattr(learner, "score", tight)
    lab, seen = open_lab(plan)
    start = bytes_of(lab.lanes["main"].optimizer.tensors)
    lab.advance()
    assert [e.what for e in only(seen, ev.Relieved)] == [
        "out of memory: 6 rows at once from now on", "out of memory: 3 rows at once from now on",
    ]  # fmt: skip
    assert bytes_of(lab.lanes["main"].optimizer.tensors) != start
    for name, tensor in lab.lanes["main"].optimizer.tensors.items():
        torch.testing.assert_close(tensor, want[name], rtol=1e-3, atol=1e-5)


def test_a_rollout_that_runs_out_of_memory_is_sampled_in_parts(open_lab: OpenLab, monkeypatch):
    lab, seen = open_lab(tiny(rollout={"prompts": 2, "group_size": 8}))
    lane, whole = lab.lanes["main"], lanes.sample
    sizes: list[int] = []

    def tight(backbone, adapter, prompts, group, **how):
        if len(group) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(group))
        return whole(backbone, adapter, prompts, group, **how)

    monkeypatch.setattr(lanes, "sample", tight)
    prompt = lab.task.draw(random.Random(0), held_out=False).text
    rollout = lane.sample([lab.backbone.text.encode(prompt)] * 2, ("test",))
    assert sizes == [4, 4, 4, 4] and len(rollout.tokens) == 16
    assert rollout.group.tolist() == [0] * 8 + [1] * 8
    parts = rollout.tokens.view(4, 4, -1)
    assert not torch.equal(parts[0], parts[1])  # they do not repeat each other's noise
    assert only(seen, ev.Relieved)


def test_an_evaluation_that_runs_out_of_memory_is_made_in_parts(open_lab: OpenLab, monkeypatch):
    lab, seen = open_lab(tiny(evaluate={"every": 2, "prompts": 8}))
    whole, sizes = evaluation.sample, list[int]()

    def tight(backbone, adapter, prompts, group, **how):
        if len(group) > 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(group))
        assert group.tolist() == list(range(len(group) // 2)) * 2
        assert how["greedy"].tolist() == [False] * (len(group) // 2) + [True] * (len(group) // 2)
        return whole(backbone, adapter, prompts, group, **how)

    lab.evaluate()
    lab.evaluated = (-1, 0)
    monkeypatch.setattr(evaluation, "sample", tight)
    lab.evaluate()
    first, second = (e for e in seen if isinstance(e, ev.Evaluated))
    assert sizes == [8, 8] and only(seen, ev.Relieved)
    assert second.prompts == 8 and second.greedy_accuracy == first.greedy_accuracy
    sizes.clear()
    lab.evaluated = (-1, 0)
    lab.evaluate()  # it is remembered: nothing is tried in vain
    assert sizes == [8, 8] and len([e for e in seen if isinstance(e, ev.Relieved)]) == 1
