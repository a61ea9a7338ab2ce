"""The critic's forward of scoring serves the first update too, where that holds all rows anyway."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grpolab.algorithms.base import BatchTotals, Forward, Loss, Report
from grpolab.engine import learner as learner_module
from grpolab.engine.critic import Critic
from grpolab.engine.lab import Lab
from grpolab.engine.learner import Learner
from grpolab.record import events as ev
from tests.engine.conftest import TRPO, OpenLab, only, random_model, small, state_of

COUNTED = True  # see conftest.py


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("wide")
    return functools.cache(lambda kind: random_model(kind, folder, wide=True))


@pytest.fixture
def forwards(monkeypatch) -> list[int]:
    """Rows of every forward of a critic, as they are made."""
    seen: list[int] = []
    values = Critic.values

    def counted(self: Critic, rollout: Any):
        seen.append(len(rollout.group))
        return values(self, rollout)

    monkeypatch.setattr(Critic, "values", counted)
    return seen


def steps(lab: Lab, count: int) -> None:
    for _ in range(count):
        lab.advance()


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param("ppo", id="ppo"),
        pytest.param(TRPO, id="trpo", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("kind", "quantize"),
    [
        ("llama", "none"),
        pytest.param("gpt2", "none", marks=pytest.mark.slow),
        pytest.param("llama", "nf4", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_changed_by_it(
    algorithm: Any, kind: str, quantize: str, open_small: OpenLab, forwards: list[int], monkeypatch
):  # fmt: skip
    def run(folder: str) -> tuple[dict[str, str], list[int]]:
        lab, _ = open_small(
            algorithm, kind=kind, model={"quantize": quantize}, rollout={"max_tokens": 5},
            train={"microbatch": 8, "steps": 9},
        )  # fmt: skip
        forwards.clear()
        steps(lab, 2)
        critic = lab.lanes["main"].critic
        assert critic is not None and not critic.kept()
        return state_of(lab.lanes["main"]), [*forwards]

    kept, fewer = run("kept")
    monkeypatch.setattr(Critic, "ahead", lambda self, rows, piece: self.values(piece))
    again, more = run("again")
    assert kept == again
    # of a step one scoring and two updates; the first update's is that of scoring
    assert fewer == [8, 8] * 2 and more == [8, 8, 8] * 2


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("llama", {}), ("llama", {"critic": "full"}), ("llama", {"quantize": "nf4"}),
        ("llama", {"quantize": "nf4", "copy_weights": "never"}),
        ("gpt2", {}), ("gpt2", {"critic": "full"}),
    ],
)  # fmt: skip
def test_the_gradient_is_that_of_a_forward_of_its_own(
    device: str,
    kind: str,
    model: dict[str, Any],
    tmp_path: Path,
    wide_model: Callable[[str], Path],
):
    """Also where the policy ran through the same modules in between."""
    plan = small(
        wide_model(kind), algorithm="ppo",
        model={"lora": {"rank": 2}} | model, train={"microbatch": 8},
    )  # fmt: skip
    lab = Lab(plan, tmp_path, lambda event: None, torch.device(device), 1)
    lane = lab.lanes["main"]
    assert lane.critic is not None
    g = torch.Generator().manual_seed(0)
    learns = [*lane.optimizer.tensors.values(), *lane.critic.optimizer.tensors.values()]
    with torch.no_grad():
        for tensor in learns:  # away from where both are alike, or nothing
            tensor.add_(torch.randn(tensor.shape, generator=g).to(device) * 0.05)
    rollout = lane.sample([[20, 21, 22], [23, 24]], ("test",))
    batch = lane.score(rollout, torch.linspace(0, 1, 8, device=device))
    assert lane.critic.kept()
    credit = lane.algorithm.credit(batch)
    whole = BatchTotals(8, int(batch.mask.sum()), batch.max_tokens)

    def loss(rows: Tensor, width: int, now: Forward) -> Loss:
        return lane.algorithm.loss(batch.rows(rows, width), credit.rows(rows, width), now, whole)

    learner, found = Learner(lane, rollout, 1), []
    for _ in range(2):
        learner.accumulate(next(learner.minibatches(0)), loss)
        assert not lane.critic.kept()
        grads = [t.new_zeros(t.shape) if t.grad is None else t.grad for t in learns]
        found.append(torch.cat([grad.flatten() for grad in grads]))
        for tensor in learns:
            tensor.grad = None
    kept, own = found
    if device == "cpu":
        assert torch.equal(kept, own)
    assert (kept - own).norm() <= 0.01 * own.norm() > 0


@pytest.mark.parametrize(
    ("threads", "train", "kept"),
    [
        (1, {"microbatch": 8}, True),
        (1, {"microbatch": 4}, False),  # two pieces, one at a time
        pytest.param(2, {"microbatch": 4}, True, marks=pytest.mark.slow),
        (2, {"microbatch": 4, "minibatches": 2}, False),
    ],
)
def test_no_more_is_held_than_in_the_update(
    threads: int, train: dict[str, int], kept: bool, open_small: OpenLab, forwards: list[int]
):
    lab, seen = open_small("ppo", threads=threads, train=train | {"steps": 9})
    steps(lab, 3)
    assert sum(forwards) == 3 * (16 if kept else 24)  # scoring and two updates
    score = only(seen, ev.StepDone)[-1].memory_phases["score"]["activations"]  # still there
    # as tallied: what the account makes of it depends on how the process has grown
    tallied = {phase: found.passing.values() for (phase, _), found in lab.memory._seen.items()}
    update = max(owners.get("activations", 0) for owners in tallied["update"])
    assert (score > 0) == kept
    assert score < update


def test_threads_do_not_change_the_values(open_small: OpenLab):
    found = []
    for threads in (1, 2):
        lab, _ = open_small(
            "ppo", threads=threads, train={"microbatch": 4, "steps": 9}, rollout={"max_tokens": 5}
        )
        steps(lab, 2)
        found.append(state_of(lab.lanes["main"]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "room",
    [
        10,
        5,
        *(pytest.param(room, marks=pytest.mark.slow) for room in (16, 6, 3)),
    ],
)
def test_where_memory_runs_out_the_kept_graphs_go_first(
    room: int, open_small: OpenLab, monkeypatch
):
    """As many rows are found to fit as if nothing had been kept, in scoring and in the update."""
    score, values = learner_module.score, Critic.values

    def most(*, keep: bool) -> int | None:
        """Rows at once after a step, where graphs of `room` rows fit: kept ones, and the policy's
        beside the critic's."""
        lab, _ = open_small("ppo", kind="gpt2", train={"microbatch": 8}, rollout={"max_tokens": 5})
        lane = lab.lanes["main"]
        critic, policy = lane.critic, [0]
        assert critic is not None

        def fits(rows: int) -> int:
            held = sum(map(len, critic.pieces()))
            if torch.is_grad_enabled() and held + rows > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return rows

        def scored(backbone: Any, adapter: Any, piece: Any, *more: Any, **how: Any):
            policy[0] = fits(len(piece.group))
            return score(backbone, adapter, piece, *more, **how)

        def judged(self: Critic, piece: Any):
            fits(policy[0] + len(piece.group))
            return values(self, piece)

        with monkeypatch.context() as patch:
            patch.setattr(learner_module, "score", scored)
            patch.setattr(Critic, "values", judged)
            if not keep:
                patch.setattr(Critic, "ahead", lambda self, rows, piece: values(self, piece))
            lab.advance()
        return lane.oom.row_limit

    assert most(keep=True) == most(keep=False)


def test_an_update_that_asks_for_no_loss_keeps_nothing(open_small: OpenLab, monkeypatch):
    lab, _ = open_small("ppo", train={"microbatch": 8})
    lane = lab.lanes["main"]
    seen: list[int] = []

    def update(self: Any, policy: Any, *more: Any) -> Report:
        assert lane.critic is not None
        seen.append(len(lane.critic.kept()))
        return Report()

    monkeypatch.setattr(type(lane.algorithm), "update", update)
    lab.step(lane)
    assert lane.critic is not None and seen[0] > 0 and not lane.critic.kept()


def test_what_is_out_of_date_is_not_used(open_small: OpenLab):
    lab, _ = open_small("ppo", train={"microbatch": 8})
    lane = lab.lanes["main"]
    critic = lane.critic
    assert critic is not None
    rollout = lane.sample([[20, 21], [23, 24]], ("test",))
    every = torch.arange(8)

    def scored() -> None:
        lane.score(rollout, torch.linspace(0, 1, 8))
        assert critic.kept()

    scored()
    assert critic.recall(every[:4]) is None  # other rows: memory was short
    assert critic.recall(every) is None and not critic.kept()
    scored()
    found = critic.recall(every)
    assert found is not None and found.requires_grad
    assert critic.recall(every) is None
    del found
    assert not critic.kept()
    scored()
    Learner(lane, rollout, 1).step()  # the critic may have moved
    assert critic.recall(every) is None and not critic.kept()
