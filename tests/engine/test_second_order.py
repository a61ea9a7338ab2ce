"""The Fisher information of a lane's policy against one built densely from the Jacobian of the
log-probs, and what TRPO does with it on real models."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from grpolab.algorithms.base import BatchTotals
from grpolab.engine.backbone.sample import Rollout
from grpolab.engine.lab import Lab
from grpolab.engine.lane import Lane
from grpolab.engine.learner import Learner
from grpolab.engine.memory.owners import tensors_in
from grpolab.engine.microbatches import few
from grpolab.engine.score import contexts, part
from grpolab.record import events as ev
from tests.engine.conftest import OpenLab, bytes_of, only, state_of

PROMPTS = [[20, 21, 22], [23, 24]]
LENGTHS = [4, 1, 3, 2, 4, 2, 1, 3]
MANY = 20  # rows: more than are measured in one piece


def stir(lane: Lane, size: float, seed: int = 0) -> None:
    """Move an adapter away from where it changes nothing."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in lane.optimizer.tensors.values():
            tensor.add_(torch.randn(tensor.shape, generator=g) * size)
    lane.backbone.refresh(lane.adapter)


@dataclass(frozen=True)
class Bench:
    lane: Lane
    rollout: Rollout
    learner: Learner
    size: int  # parameters


def bench(open_small: OpenLab, kind: str, threads: int = 1, rows: int = 8) -> Bench:
    """A lane with a very small adapter, a rollout of ragged answers, and its learner."""
    lab, _ = open_small(
        "trpo", kind=kind, threads=threads,
        rollout={"max_tokens": 4, "temperature": 0.8, "group_size": rows // 2},
        model={"lora": {"rank": 1, "targets": ["q_proj", "down_proj"]}},
    )  # fmt: skip
    lane = lab.lanes["main"]
    stir(lane, 0.3)
    rollout = lane.sample([*PROMPTS], ("test",))
    mask = (torch.arange(4) < torch.tensor((LENGTHS * 3)[:rows])[:, None]).float() * rollout.mask
    rollout = replace(rollout, mask=mask, logp=rollout.logp * mask)
    learner = Learner(lane, rollout, 1)
    return Bench(lane, rollout, learner, len(learner.position()))


def jacobians(b: Bench) -> list[list[tuple[Tensor, Tensor]]]:
    """For every token of every row: the probabilities [V] and ∂log p/∂θ [V, P], in float64. One
    row at a time, the hidden states' Jacobian by single backward passes."""
    lane, out = b.lane, []
    tensors = list(lane.optimizer.tensors.values())
    head = lane.backbone.head(torch.eye(lane.backbone.hidden)).T.double()  # [V, H]
    for row in range(len(b.rollout.group)):
        piece, width = part(b.rollout, torch.tensor([row]))
        states, at = contexts(lane.backbone, lane.adapter, piece)
        states = states[at[0]]
        out.append([])
        for t in range(width):
            slopes = []
            for x in states[t]:
                found = torch.autograd.grad(x, tensors, retain_graph=True, materialize_grads=True)
                slopes.append(torch.cat([g.reshape(-1) for g in found]).double())
            temperature = lane.rollout.temperature
            p = (head @ states[t].detach().double() / temperature).softmax(0)
            logits = head @ torch.stack(slopes) / temperature  # [V, P]
            out[-1].append((p, logits - p @ logits))
    return out


def dense_fisher(tokens: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Σ_t Σ_v p ∇log p ∇log pᵀ / tokens."""
    each = [(p[:, None] * j).T @ j for p, j in tokens]
    return torch.stack(each).mean(0)


def assert_close(found: Tensor, wanted: Tensor) -> None:
    assert (found.double() - wanted).norm() <= 1e-3 * wanted.norm() > 0


@pytest.mark.parametrize("kind", ["llama", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_fisher_products_are_those_of_the_dense_fisher(kind, open_small: OpenLab):
    b = bench(open_small, kind, threads=2)
    assert b.rollout.lengths.tolist() == LENGTHS  # ragged, and more rows than one piece has
    rows = jacobians(b)
    dense = dense_fisher([token for row in rows for token in row])
    product = b.learner.fisher(1.0)
    g = torch.Generator().manual_seed(1)
    v, w = torch.randn(2, b.size, generator=g)
    assert_close(product(v), dense @ v.double())
    assert_close(product(w), dense @ w.double())
    # symmetric and nowhere negative
    assert float(v @ product(w)) == pytest.approx(float(w @ product(v)), rel=1e-3)
    eigenvalues, vectors = torch.linalg.eigh(dense)
    assert eigenvalues.min() > -1e-9 * eigenvalues.max()
    top = vectors[:, -1].float()
    assert float(top @ product(top)) == pytest.approx(eigenvalues[-1].item(), rel=1e-3)
    for _ in range(5):
        u = torch.randn(b.size, generator=g)
        assert float(u @ product(u)) > 0

    # a share of the rows: evenly spread ones, averaged over their own tokens
    some = b.learner.fisher(0.375)
    assert_close(some(v), dense_fisher([*rows[0], *rows[2], *rows[5]]) @ v.double())


def test_fisher_products_leave_no_trace(open_small: OpenLab):
    b = bench(open_small, "llama")
    before = state_of(b.lane)
    product = b.learner.fisher(1.0)
    product(torch.ones(b.size))
    assert state_of(b.lane) == before
    assert all(t.grad is None for t in b.lane.optimizer.tensors.values())


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_divergence_by_direct_summation(kind, open_small: OpenLab):
    b = bench(open_small, kind, threads=2, rows=MANY)
    lane = b.lane
    assert len(few(lane, torch.arange(MANY), 4)) > 1
    lane.snapshots.take_rollout_policy()
    assert b.learner.measure().divergence == pytest.approx(0, abs=1e-7)
    for seed in (1, 2):  # also a second time, from another place
        stir(lane, 0.1, seed)
        total = 0.0
        found = b.learner.measure()
        for row in range(MANY):
            new, old = (
                logits_of(b, row, a).log_softmax(1)
                for a in (lane.adapter, lane.snapshots.rollout_policy)
            )
            total += float((old.exp() * (old - new)).sum())
            n = len(new)
            drawn = new.gather(1, b.rollout.tokens[row, :n, None])[:, 0]
            torch.testing.assert_close(found.logp[row, :n].double(), drawn, rtol=1e-4, atol=1e-4)
            entropy = -(new.exp() * new).sum(1)
            torch.testing.assert_close(
                found.entropy[row, :n].double(), entropy, rtol=1e-3, atol=1e-4
            )
            assert found.logp[row, n:].abs().sum() == 0 == found.entropy[row, n:].abs().sum()
        direct = total / float(b.rollout.mask.sum())
        assert found.divergence == pytest.approx(direct, rel=1e-3) and direct > 1e-3


def logits_of(b: Bench, row: int, adapter: str) -> Tensor:
    """Of one row alone, in float64, at the rollout's temperature."""
    piece, _ = part(b.rollout, torch.tensor([row]))
    with torch.no_grad():
        states, at = contexts(b.lane.backbone, adapter, piece)
        return b.lane.backbone.head(states[at[0]]).double() / b.lane.rollout.temperature


def test_moving_there_and_back(open_small: OpenLab):
    b = bench(open_small, "llama")
    before, here = bytes_of(b.lane.optimizer.tensors), b.learner.position()
    there = here + torch.randn(b.size, generator=torch.Generator().manual_seed(0))
    b.learner.move(there)
    assert torch.equal(b.learner.position(), there)
    at = 0
    for tensor in b.lane.optimizer.tensors.values():  # in the order of the adapter's tensors
        assert torch.equal(tensor.detach().reshape(-1), there[at : at + tensor.numel()])
        assert tensor.requires_grad
        at += tensor.numel()
    b.learner.move(here)
    assert bytes_of(b.lane.optimizer.tensors) == before
    here += 1  # a copy: nothing moves with it
    assert bytes_of(b.lane.optimizer.tensors) == before


def test_the_gradient_is_taken_once_and_the_critic_keeps_its_own(open_small: OpenLab):
    b = bench(open_small, "llama")
    lane = b.lane
    assert lane.critic is not None
    batch = lane.score(b.rollout, torch.linspace(0, 1, 8))
    credit = lane.algorithm.credit(batch)
    whole = BatchTotals(8, int(batch.mask.sum()), batch.max_tokens)

    def loss(rows, width, now):
        return lane.algorithm.loss(batch.rows(rows, width), credit.rows(rows, width), now, whole)

    b.learner.accumulate(next(b.learner.minibatches(0)), loss)
    grads = [t.grad for t in lane.optimizer.tensors.values()]
    wanted = torch.cat([g.reshape(-1) for g in grads if g is not None]).clone()
    taken = b.learner.take_gradient()
    assert torch.equal(taken, wanted) and taken.norm() > 0
    assert all(t.grad is None for t in lane.optimizer.tensors.values())
    assert any(t.grad is not None for t in lane.critic.optimizer.tensors.values())
    before = state_of(lane)
    b.learner.step()
    after = state_of(lane)
    assert after["policy"] == before["policy"] and after["moments"] == before["moments"]
    assert after["critic"] != before["critic"]
    assert b.learner.take_gradient().abs().sum() == 0


# ---------------------------------------------------------------- TRPO in a lab


def divergence(lab: Lab, lane: Lane) -> float:
    """KL of the newest step, of its rollout policy from the policy now, row by row."""
    assert lane.last_step is not None
    rollout = lane.last_step.collected.rollout
    b = Bench(lane, rollout, Learner(lane, rollout, 0), 0)
    total = 0.0
    for row in range(len(rollout.group)):
        new, old = (
            logits_of(b, row, a).log_softmax(1)
            for a in (lane.adapter, lane.snapshots.rollout_policy)
        )
        total += float((old.exp() * (old - new)).sum())
    return total / float(rollout.mask.sum())


@pytest.mark.parametrize(
    ("kind", "advantage"),
    [("llama", "group"), pytest.param("qwen3", "gae", marks=pytest.mark.slow)],
)
def test_every_trpo_step_of_a_lab_stays_in_its_trust_region(kind, advantage, open_small: OpenLab):
    limit = 0.003
    settings = {"advantage": advantage, "max_kl": limit, "fisher_share": 0.5, "cg_steps": 6}
    lab, seen = open_small(
        {"name": "trpo"} | settings, kind=kind, train={"updates_per_rollout": 3, "steps": 9},
        rollout={"max_tokens": 8, "temperature": 0.9},
    )  # fmt: skip
    lane = lab.lanes["main"]
    taken = []
    for _ in range(3):
        before = bytes_of(lane.optimizer.tensors)
        lab.advance()
        metrics = only(seen, ev.StepDone)[-1].metrics
        assert only(seen, ev.StepDone)[-1].updates == 3
        direct = divergence(lab, lane)
        assert direct <= limit * 1.001
        if "kl_step" in metrics:
            assert metrics["kl_step"] <= limit
            assert metrics["kl_step"] == pytest.approx(direct, rel=1e-2, abs=1e-6)
        moved = bytes_of(lane.optimizer.tensors) != before
        assert moved == ("kl_step" in metrics) == (direct > 1e-7)
        taken.append(metrics.get("kl_step", 0.0))
        assert bytes_of(lane.backbone.adapter(lane.snapshots.rollout_policy)) == before
    assert max(taken) > limit / 4  # it makes use of its room
    assert lane.optimizer.steps == 0  # never by AdamW
    assert (lane.critic is None) == (advantage == "group")
    if lane.critic is not None:
        assert lane.critic.optimizer.steps == 9


@pytest.mark.parametrize(
    ("kind", "quantize"),
    [("gpt2", "none"), pytest.param("gpt2", "nf4", marks=pytest.mark.slow), ("llama", "nf4")],
)
def test_trpo_on_other_backbones(kind, quantize, open_small: OpenLab):
    """A second derivative through PEFT and bitsandbytes, and through own 4 bit: against
    differences of the exact KL, and one whole step."""
    lab, seen = open_small(
        {"name": "trpo", "fisher_share": 1.0, "max_kl": 0.01, "damping": 0.01}, kind=kind,
        model={"quantize": quantize}, rollout={"max_tokens": 6},
    )  # fmt: skip
    assert lab.backbone.backend == ("native" if kind == "llama" else "transformers")
    lane = lab.lanes["main"]
    stir(lane, 0.05)
    rollout = lane.sample([*PROMPTS], ("test",))
    lane.snapshots.take_rollout_policy()
    learner = Learner(lane, rollout, 1)
    here, g = learner.position(), torch.Generator().manual_seed(2)
    product = learner.fisher(1.0)
    directions = [torch.nn.functional.normalize(torch.randn(len(here), generator=g), dim=0)]
    directions.append(torch.nn.functional.normalize(product(directions[0]), dim=0))
    curvature = [float(v @ product(v)) for v in directions]
    assert curvature[1] > curvature[0] > 0
    for v, wanted in zip(directions, curvature, strict=True):
        h = (0.01 / wanted) ** 0.5 / 12
        sides = []
        for sign in (-1, 1):
            learner.move(here + sign * h * v)
            sides.append(learner.measure().divergence)
        assert sum(sides) / h**2 == pytest.approx(wanted, rel=0.03)
    learner.move(here)

    frozen = {
        str(i): t for i, t in enumerate(tensors_in(lab.backbone.tensors_by_owner()["backbone"]))
    }
    base = bytes_of(frozen)
    before = bytes_of(lane.optimizer.tensors)
    lab.advance()
    metrics = only(seen, ev.StepDone)[0].metrics
    assert 0 < metrics["kl_step"] <= 0.01 and metrics["surrogate_gain"] > 0
    assert divergence(lab, lane) == pytest.approx(metrics["kl_step"], rel=1e-2)
    assert bytes_of(lane.optimizer.tensors) != before
    assert bytes_of(frozen) == base
