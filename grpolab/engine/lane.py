"""One lane: a policy adapter with its algorithm, its optimizer and, where the algorithm wants one,
its critic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from grpolab.algorithms.base import Algorithm, Batch, Credit, Forward, LossOf, Piece, Report
from grpolab.engine.backbone import BASE, Backbone, Prompts
from grpolab.engine.critic import Critic
from grpolab.engine.memory import Memory
from grpolab.engine.optimizer import AdamW
from grpolab.engine.sample import Rollout, sample
from grpolab.engine.score import part, score
from grpolab.engine.seeds import seed_of, torch_generator
from grpolab.engine.workers import Workers
from grpolab.scenario import (
    AlgorithmSection,
    RolloutSection,
    Scenario,
    TrainSection,
    make_algorithm,
)

CHUNK = 32
"""Rows that one thread samples or scores together."""

Listener = Callable[[Tensor, Tensor, Tensor, int], None]
"""Told (rows [n], tokens [n, T], lengths [n], position) while rows are sampled."""


class Lane:
    """Everything of one lane that a step changes. `adapter` is its name on the backbone."""

    def __init__(
        self, name: str, section: AlgorithmSection, scenario: Scenario, backbone: Backbone,
        workers: Workers, memory: Memory,
    ) -> None:  # fmt: skip
        self.name = name
        self.backbone, self.workers, self.memory = backbone, workers, memory
        self.seed = scenario.seed
        self.model = scenario.model
        self.train: TrainSection = scenario.train
        self.rollout: RolloutSection = scenario.rollout
        self.adapter = name
        backbone.create_adapter(name, seed_of(self.seed, "adapter"))
        self.optimizer = AdamW(backbone.adapter(name), self.train.weight_decay)
        self.critic: Critic | None = None
        self.preset = section.preset
        self.algorithm: Algorithm = make_algorithm(section)
        self.cache_bytes = 0
        self.gradient_bytes = 0
        self.digest = ""
        self.match_critic()

    # --- the parts of a step, in their order ---

    def sample(
        self, prompts: Sequence[Sequence[int]], step: int, listener: Listener | None
    ) -> Rollout:
        """`group_size` answers to each prompt, in chunks of rows; noise depends on seed, step and
        chunk alone."""
        r, device = self.rollout, self.backbone.device
        padded = Prompts.pad(prompts, self.backbone.text.pad, device)
        group = torch.arange(len(prompts), device=device).repeat_interleave(r.group_size)
        chunks = self._chunks(len(group))

        def work(item: tuple[int, Tensor]) -> Rollout:
            index, rows = item
            used, inside = group[rows].unique(return_inverse=True)
            tell = None if listener is None else partial(listener, rows)
            return sample(
                self.backbone, self.adapter, padded.take(used), inside, max_tokens=r.max_tokens,
                temperature=r.temperature, top_p=r.top_p, listener=tell,
                generator=torch_generator(self.seed, "sample", step, index, device=device),
            )  # fmt: skip

        # first, so that weights derived from the adapter are made once and not by every thread
        self.backbone.prepare(self.adapter)
        rollout = join(
            padded, group, self.workers.map(work, enumerate(chunks)), self.backbone.text.pad
        )
        self.cache_bytes = rollout.cache_bytes
        return rollout

    def score(self, rollout: Rollout, reward: Tensor, *, reference: bool) -> Batch:
        """What the algorithm may know: the sampler's log-probs, and the reference's and the
        critic's where asked."""
        logp = self._each(
            rollout, lambda p: score(self.backbone, BASE, p, self.rollout.temperature).logp
        )
        value = self._each(rollout, self.critic.values) if self.critic is not None else None
        return Batch(
            mask=rollout.mask, group=rollout.group, reward=reward, old_logp=rollout.logp,
            ref_logp=logp if reference else None, value=value, max_tokens=self.rollout.max_tokens,
        )  # fmt: skip

    def update(self, rollout: Rollout, batch: Batch, credit: Credit, step: int) -> Report:
        """The algorithm's updates on this rollout."""
        learner = Learner(self, rollout, step)
        report = self.algorithm.update(learner, batch, credit, self.train.updates_per_rollout)
        self.algorithm.observe(batch, report)
        self.backbone.refresh(self.adapter)
        return report

    def _chunks(self, rows: int) -> list[Tensor]:
        size = CHUNK if self.workers.parallel else max(rows, 1)
        return list(torch.arange(rows, device=self.backbone.device).split(size))

    def _each(self, rollout: Rollout, of: Callable[[Rollout], Tensor]) -> Tensor:
        """A per-token quantity of every row, without gradient. [N, T]."""
        out = torch.zeros_like(rollout.mask)

        def work(rows: Tensor) -> None:
            with torch.no_grad():
                piece, width = part(rollout, rows)
                out[rows, :width] = of(piece)

        self.workers.map(work, self._chunks(len(rollout.group)))
        return out

    # --- changes ---

    def switch(self, section: AlgorithmSection) -> tuple[list[str], list[str]]:
        """Take another algorithm; what was kept and what was reset, in words."""
        kept = ["policy adapter", "random state", "curves"]
        reset = ["optimizer moments"]
        had_critic, rate = self.critic is not None, self.learning_rate
        self.algorithm, self.preset = make_algorithm(section), section.preset
        self.optimizer = AdamW(self.optimizer.tensors, self.train.weight_decay)
        self.match_critic()
        if rate != self.learning_rate:
            reset.append(f"learning rate {rate:g} to {self.learning_rate:g}")
        if had_critic and self.critic is None:
            reset.append("critic dropped")
        elif had_critic:
            kept.append("critic")
        elif self.critic is not None:
            reset.append("new critic, cold")
        return kept, reset

    @property
    def learning_rate(self) -> float:
        """The policy's, before the schedule: the scenario's, or else the algorithm's own."""
        given = self.train.learning_rate
        return self.algorithm.learning_rate if given is None else given

    def match_critic(self) -> None:
        """Create or drop the critic, as the algorithm wants it."""
        if self.algorithm.needs_critic and self.critic is None:
            self.critic = Critic(
                self.backbone, self.name, seed_of(self.seed, "critic"),
                full=self.model.critic == "full", weight_decay=self.train.weight_decay,
            )  # fmt: skip
        elif not self.algorithm.needs_critic and self.critic is not None:
            self.critic.drop()
            self.critic = None

    def copy_from(self, other: Lane) -> None:
        """Become a fork: the other's adapter, optimizer moments and, where both want one,
        critic."""
        _copy(self.optimizer, other.optimizer)
        if self.critic is not None and other.critic is not None:
            _copy(self.critic.optimizer, other.critic.optimizer)
            self.critic.explained, self.critic.warm = other.critic.explained, other.critic.warm
        if type(self.algorithm) is type(other.algorithm):
            self.algorithm.load_state(other.algorithm.state())
        self.train, self.rollout = other.train, other.rollout
        self.backbone.refresh(self.adapter)

    def owners(self) -> dict[str, int]:
        """Bytes that this lane holds."""
        critic = self.critic
        return {
            "adapters": sum(t.nbytes for t in self.optimizer.tensors.values()),
            "critic": critic.bytes() if critic is not None else 0,
            "optimizer": self.optimizer.bytes()
            + (critic.optimizer.bytes() if critic is not None else 0),
            "gradients": self.gradient_bytes,
            "kv_cache": self.cache_bytes,
        }


def _copy(target: AdamW, source: AdamW) -> None:
    state = {k: v.clone() for k, v in source.state("x").items()}
    target.load_state(state, "x")
    with torch.no_grad():
        for mine, theirs in zip(target.tensors.values(), source.tensors.values(), strict=True):
            mine.copy_(theirs)


class Learner:
    """The `Policy` that an algorithm's update sees: one lane and one rollout."""

    def __init__(self, lane: Lane, rollout: Rollout, step: int) -> None:
        self.lane, self.rollout, self.step_number = lane, rollout, step
        self.policy = lane.optimizer.tensors
        self.critic = lane.critic.optimizer.tensors if lane.critic is not None else {}
        self._watched = False

    def minibatches(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        """Rows in their order; with several minibatches, groups are dealt out in a seeded order."""
        train, device = self.lane.train, self.lane.backbone.device
        rows = torch.arange(len(self.rollout.group), device=device)
        if train.minibatches > 1:
            generator = torch_generator(self.lane.seed, "minibatch", self.step_number, epoch)
            groups = int(self.rollout.group.max()) + 1
            order = torch.randperm(groups, generator=generator).to(device)
            rows = torch.cat([rows[self.rollout.group == g] for g in order])
        size = -(-len(rows) // train.minibatches)
        for batch in rows.split(size):
            yield batch.split(train.microbatch)

    def accumulate(self, pieces: Sequence[Tensor], loss: LossOf) -> list[Piece]:
        lane = self.lane
        tensors = [*self.policy.values(), *self.critic.values()]

        def work(rows: Tensor) -> tuple[Piece, tuple[Tensor | None, ...]]:
            piece, width = part(self.rollout, rows)
            scores = score(lane.backbone, lane.adapter, piece, lane.rollout.temperature)
            value = lane.critic.values(piece) if lane.critic is not None else None
            now = Forward(scores.logp, scores.entropy, value)
            share = loss(rows, width, now)
            grads = torch.autograd.grad(share.total, tensors, allow_unused=True)
            terms = {k: v.detach() for k, v in share.terms.items()}
            done = replace(share, terms=terms, ratio=share.ratio.detach())
            return Piece(rows, Forward(scores.logp.detach(), scores.entropy, None), done), grads

        def watched(rows: Tensor) -> tuple[Piece, tuple[Tensor | None, ...]]:
            with lane.memory.watching(min(len(pieces), lane.workers.at_once)):
                return work(rows)

        # one microbatch of each step is watched: enough to know what activations take
        first, self._watched = not self._watched, True
        results = lane.workers.map(
            lambda item: (watched if first and item[0] == 0 else work)(item[1]), enumerate(pieces)
        )
        for _, grads in results:
            for tensor, grad in zip(tensors, grads, strict=True):
                if grad is not None:
                    tensor.grad = grad if tensor.grad is None else tensor.grad.add_(grad)
        lane.gradient_bytes = sum(t.nbytes for t in tensors)
        return [piece for piece, _ in results]

    def step(self) -> float:
        train, lane = self.lane.train, self.lane
        share = scheduled(train, self.step_number)
        rate = share * lane.learning_rate * _warm(lane.optimizer, train)
        norm = lane.optimizer.step(rate, train.max_grad_norm)
        if (critic := lane.critic) is not None:
            rate = share * train.critic_learning_rate * _warm(critic.optimizer, train)
            critic.optimizer.step(rate, train.max_grad_norm)
        return norm


def scheduled(train: TrainSection, step: int) -> float:
    """The share of the learning rates that counts in this step, by the schedule."""
    if train.schedule == "constant" or train.steps < 2:
        return 1.0
    return 1 - 0.9 * min(1.0, (step - 1) / (train.steps - 1))


def _warm(optimizer: AdamW, train: TrainSection) -> float:
    """A factor that rises to 1 over the first updates, when Adam knows no scale yet."""
    return min(1.0, (optimizer.steps + 1) / max(train.warmup_updates, 1))


def join(prompts: Prompts, group: Tensor, parts: Sequence[Rollout], pad: int) -> Rollout:
    """Chunks of one rollout put together again, in order."""
    width = max(p.tokens.shape[1] for p in parts)

    def wide(x: Tensor, fill: float) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=fill)

    return Rollout(
        prompts=prompts,
        group=group,
        tokens=torch.cat([wide(p.tokens, pad) for p in parts]),
        mask=torch.cat([wide(p.mask, 0) for p in parts]),
        logp=torch.cat([wide(p.logp, 0) for p in parts]),
        finished=torch.cat([p.finished for p in parts]),
        cache_bytes=sum(p.cache_bytes for p in parts),
    )
