"""What an algorithm's update can do with a lane: gradients of microbatches, optimizer steps, and
for second-order algorithms products with the Fisher information.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from grpolab.algorithms.types import Forward, LossOf, Measured, Microbatch
from grpolab.engine.backbone.sample import Rollout
from grpolab.engine.microbatches import few, room, rows_at_once, scored
from grpolab.engine.optimizer import AdamW
from grpolab.engine.score import compared, contexts, distinct, part, score
from grpolab.engine.seeds import torch_generator
from grpolab.scenario.spec import TrainSection

if TYPE_CHECKING:
    from grpolab.engine.lane import Lane


FISHER_ROWS = 4
"""Rows whose part of the Fisher information is computed together."""


class Learner:
    """The `Policy` protocol of `algorithms` for one lane and one rollout."""

    def __init__(self, lane: Lane, rollout: Rollout, step: int) -> None:
        self.lane, self.rollout, self.step_number = lane, rollout, step
        self.policy = lane.optimizer.tensors
        self.critic = lane.critic.optimizer.tensors if lane.critic is not None else {}
        self.agreement: float | None = None  # of the newest update's microbatches
        self.gap: float | None = None  # mean |log-prob of the sampler − of the trainer|, per token
        self.norms: list[float] = []  # of the policy's gradient in each update, before clipping
        # states of the rollout policy, by a piece's first row and how many it has
        self._old: dict[tuple[int, int], Tensor] = {}
        self._start = self._versions()

    @property
    def lr_scale(self) -> float:
        return scheduled(self.lane.train, self.step_number)

    # --- first order ---

    def minibatches(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        """The epoch's minibatches, each as microbatches of row indices: rows in order or, with
        several minibatches, whole groups in a seeded random order."""
        train, device = self.lane.train, self.lane.backbone.device
        if (ahead := self._ahead()) is not None:
            yield ahead
            return
        rows = torch.arange(len(self.rollout.group), device=device)
        if train.minibatches > 1:
            generator = torch_generator(self.lane.seed, "minibatch", self.step_number, epoch)
            groups = int(self.rollout.group.max()) + 1
            order = torch.randperm(groups, generator=generator).to(device)
            rows = torch.cat([rows[self.rollout.group == g] for g in order])
        size = -(-len(rows) // train.minibatches)
        for batch in rows.split(size):
            yield self.lane.oom.pieces(batch, rows_at_once(self.lane, self.rollout))

    def _ahead(self) -> list[Tensor] | None:
        """All rows in the microbatches whose critic graphs scoring kept, if it did. With those
        graphs in memory, the free memory would suggest smaller ones."""
        critic = self.lane.critic
        if critic is None or self.lane.train.minibatches > 1:
            return None
        pieces = critic.pieces()
        return pieces if sum(map(len, pieces)) == len(self.rollout.group) else None

    def accumulate(
        self, microbatches: Sequence[Tensor], loss: LossOf, *, critic_only: bool = False
    ) -> list[Microbatch]:
        lane = self.lane
        tensors = [*self.policy.values(), *self.critic.values()]
        bonus = lane.algorithm.settings.entropy_bonus > 0

        def work(rows: Tensor) -> tuple[Microbatch, tuple[Tensor | None, ...]]:
            piece, width = part(self.rollout, rows)
            if critic_only:
                logp, entropy = piece.logp, torch.zeros_like(piece.logp)
            else:
                logp, entropy = score(
                    lane.backbone, lane.adapter, piece, lane.rollout.temperature,
                    entropy_grad=bonus,
                )  # fmt: skip
            value = None
            if (critic := lane.critic) is not None:
                value = critic.recall(rows)
                value = critic.values(piece) if value is None else value
            now = Forward(logp, entropy, value)
            found = loss(rows, width, now)
            # the backward passes through the log-probs anyway: their gradient is free
            ends = tensors if critic_only else [*tensors, logp]
            grads = torch.autograd.grad(found.total, ends, allow_unused=True)
            terms = {k: v.detach() for k, v in found.terms.items()}
            log_rho = None if found.clip_log_ratio is None else found.clip_log_ratio.detach()
            ratio = found.ratio.detach()
            done = replace(found, terms=terms, ratio=ratio, clip_log_ratio=log_rho)
            seen = Forward(logp.detach(), entropy.detach(), None)
            grad_logp = None if critic_only else grads[-1]
            return Microbatch(rows, seen, done, grad_logp), grads[: len(tensors)]

        made: list[Microbatch] = []
        squares: list[Tensor] = []
        # one at a time, so that on a GPU no more than two sets of gradients exist
        for some in lane.workers.each(lambda rows: lane.oom.run(work, rows), microbatches):
            while some:
                piece, grads = some.pop(0)
                if made and not critic_only:  # before they are added up, in the first one's place
                    if not squares:
                        squares.append(_square([t.grad for t in self.policy.values()]))
                    squares.append(_square(grads[: len(self.policy)]))
                made.append(piece)
                _add(tensors, grads)
                del grads  # before the next set is computed
        if len(squares) > 1:
            whole = float(_square([t.grad for t in self.policy.values()]))
            self.agreement = _agreement([float(s) for s in squares], whole)
        if self.gap is None and not critic_only:  # before the first optimizer step
            self.gap = self._gap(made)
        return made

    def _gap(self, pieces: Sequence[Microbatch]) -> float:
        apart = tokens = self.rollout.mask.new_zeros(())
        for piece in pieces:
            mask, sampled = (
                x[piece.rows, : piece.now.logp.shape[1]]
                for x in (self.rollout.mask, self.rollout.logp)
            )
            apart = apart + ((piece.now.logp - sampled).abs() * mask).sum()
            tokens = tokens + mask.sum()
        return float(apart / tokens.clamp(min=1))

    def step(self) -> float:
        train, lane = self.lane.train, self.lane
        rate = self.lr_scale * lane.learning_rate * _warm(lane.optimizer, train)
        with lane.memory.phase("step", lane.doing):
            norm = lane.optimizer.step(rate, train.max_grad_norm, train.weight_decay)
            if (critic := lane.critic) is not None:
                rate = self.lr_scale * train.critic_learning_rate * _warm(critic.optimizer, train)
                critic.forget()
                critic.optimizer.step(rate, train.max_grad_norm, train.weight_decay)
        self.norms.append(norm)
        return norm

    def _versions(self) -> list[int]:
        """Version counts of the policy's tensors, which rise with every change in place."""
        return [t._version for t in self.policy.values()]

    # --- second order ---

    def take_gradient(self) -> Tensor:
        found = [
            (t.new_zeros(t.shape) if t.grad is None else t.grad).reshape(-1)
            for t in self.policy.values()
        ]
        self.lane.optimizer.clear()
        return torch.cat(found)

    def position(self) -> Tensor:
        return torch.cat([t.detach().reshape(-1) for t in self.policy.values()])

    @torch.no_grad()
    def move(self, to: Tensor) -> None:
        sizes = [t.numel() for t in self.policy.values()]
        for tensor, values in zip(self.policy.values(), to.split(sizes), strict=True):
            tensor.copy_(values.view_as(tensor))

    def measure(self) -> Measured:
        lane = self.lane
        logp, entropy = (torch.zeros_like(self.rollout.mask) for _ in range(2))
        unmoved = self._versions() == self._start

        @torch.no_grad()
        def work(rows: Tensor) -> float:
            piece, width = part(self.rollout, rows)
            states, at = contexts(lane.backbone, lane.adapter, piece)
            key = int(rows[0]), len(rows)
            if key not in self._old and unmoved:
                self._old[key] = states
            elif key not in self._old:
                self._old[key], _ = contexts(lane.backbone, lane.snapshots.rollout_policy, piece)
            now, spread, kl = compared(
                lane.backbone, states, self._old[key], at, piece.tokens,
                lane.rollout.temperature, room(lane) // 8,
            )  # fmt: skip
            logp[rows, :width], entropy[rows, :width] = now * piece.mask, spread * piece.mask
            return float((kl * piece.mask).double().sum())

        rows = scored(lane, self.rollout)
        done = lane.workers.map(lambda some: lane.oom.run(work, some), rows)
        total = sum(kl for some in done for kl in some)
        return Measured(logp, entropy, total / max(float(self.rollout.mask.sum()), 1.0))

    def fisher(self, share: float) -> Callable[[Tensor], Tensor]:
        """A function v -> F v, F the Fisher information of `share` of the rows, averaged over their
        tokens.

        F = Jᵀ diag(p) J, J the derivatives of all log-probs over the vocabulary. A backward pass is
        linear in the gradient it is given, so its derivative in that direction gives J v; Jᵀ is the
        backward pass itself. Both graphs are built once and kept for all products; what the policy
        computes is never differentiated twice.
        """
        lane, tensors = self.lane, list(self.policy.values())
        count = len(self.rollout.group)
        kept = max(1, round(share * count))
        rows = (torch.arange(kept, device=lane.backbone.device) * count) // kept  # spread evenly
        tokens = max(float(self.rollout.mask[rows].sum()), 1.0)
        width = self.rollout.mask.shape[1]

        def prepare(some: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            piece, _ = part(self.rollout, some)
            logp, at = distinct(lane.backbone, lane.adapter, piece, lane.rollout.temperature)
            count = logp.new_zeros(len(logp)).index_add_(0, at.flatten(), piece.mask.flatten())
            p = logp.detach().exp() * (count / tokens)[:, None]
            push = torch.zeros_like(logp, requires_grad=True)
            grads = torch.autograd.grad(
                logp, tensors, push, create_graph=True, materialize_grads=True
            )
            return logp, p, push, torch.cat([g.reshape(-1) for g in grads])

        # fused kernels have no second derivative
        with sdpa_kernel(SDPBackend.MATH), lane.backbone.differentiable_twice():
            alone = lane.workers.parallel
            some = rows.split(FISHER_ROWS) if alone else few(lane, rows, width)
            prepared = lane.workers.map(prepare, some)

        def product(v: Tensor) -> Tensor:
            def one(of: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
                logp, p, push, pulled = of
                (along,) = torch.autograd.grad(pulled, push, v, retain_graph=True)
                grads = torch.autograd.grad(
                    logp, tensors, p * along, retain_graph=True, materialize_grads=True
                )
                return torch.cat([g.reshape(-1) for g in grads])

            return torch.stack(lane.workers.map(one, prepared)).sum(0)

        return product


def _add(tensors: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
    """Add gradients to `.grad`, in place."""
    for tensor, grad in zip(tensors, grads, strict=True):
        if grad is not None:
            tensor.grad = grad if tensor.grad is None else tensor.grad.add_(grad)


def _square(grads: Sequence[Tensor | None]) -> Tensor:
    """Squared length of a gradient, [] on its device."""
    present = [g for g in grads if g is not None]
    if not present:
        return torch.zeros(())
    return torch.stack(torch._foreach_norm(present)).square().sum()


def _agreement(squares: Sequence[float], whole: float) -> float:
    """Mean inner product of every two microbatches' gradients over their mean squared norm: 1 where
    all are equal, 0 where they are orthogonal, so that their sum is noise. `squares`: squared norm
    of each; `whole`: of their sum."""
    total = sum(squares)
    return (whole - total) / ((len(squares) - 1) * total) if total else 0.0


def scheduled(train: TrainSection, step: int) -> float:
    """The schedule's factor on the learning rates in this step."""
    if train.schedule == "constant" or train.steps < 2:
        return 1.0
    return 1 - 0.9 * min(1.0, (step - 1) / (train.steps - 1))


def _warm(optimizer: AdamW, train: TrainSection) -> float:
    """Warm-up factor on the learning rate: rises to 1 over the first updates, while Adam's moments
    are still inaccurate."""
    return min(1.0, (optimizer.steps + 1) / max(train.warmup_updates, 1))
