"""One lane: a policy adapter with its algorithm, its optimizer and, where the algorithm needs one,
its critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grpolab.algorithms.base import Algorithm, Batch, Credit, Report
from grpolab.algorithms.types import Steps
from grpolab.engine import microbatches
from grpolab.engine.backbone.base import Backbone, Prompts
from grpolab.engine.backbone.sample import Rollout, join, sample
from grpolab.engine.critic import Critic
from grpolab.engine.learner import Learner
from grpolab.engine.memory.account import Memory
from grpolab.engine.memory.oom import OomGuard
from grpolab.engine.optimizer import AdamW
from grpolab.engine.score import part, score
from grpolab.engine.seeds import seed_of, torch_generator
from grpolab.engine.snapshots import Snapshots
from grpolab.engine.workers import Workers
from grpolab.scenario.spec import (
    AlgorithmSection,
    RolloutSection,
    Scenario,
    TrainSection,
    make_algorithm,
)

if TYPE_CHECKING:
    from grpolab.engine.rollout import LastStep

Listener = Callable[[Tensor, Tensor, Tensor, int], None]
"""Called with (rows [n], tokens [n, T], lengths [n], position) while rows are sampled."""


class Lane:
    """All that a step of one lane changes. `adapter` is the policy's name on the backbone."""

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
        self.optimizer = AdamW(backbone.adapter(name))
        self.critic: Critic | None = None
        self.preset = section.preset
        self.algorithm: Algorithm = make_algorithm(section)
        self.snapshots = Snapshots(backbone, self.adapter)
        self.model_shape = microbatches.shape_of(scenario.model.path)
        self.oom = OomGuard(backbone.give_up, lambda what: None, self._forget_ahead)
        self.digest = ""
        self.last_step: LastStep | None = None
        self.match_critic()

    # --- the phases of a step, in order ---

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        purpose: Sequence[object],
        listener: Listener | None = None,
    ) -> Rollout:
        """Sample `group_size` answers to each prompt (token ids), in chunks of rows. The random
        numbers depend on the seed, the purpose (such as the step) and the chunk alone."""
        r, device = self.rollout, self.backbone.device
        padded = Prompts.pad(prompts, self.backbone.text.pad, device)
        group = torch.arange(len(prompts), device=device).repeat_interleave(r.group_size)
        chunks = microbatches.sampled(self, len(group))

        def work(item: tuple[int, Tensor]) -> list[Rollout]:
            index, chunk = item

            def some(rows: Tensor) -> Rollout:
                used, inside = group[rows].unique(return_inverse=True)
                tell = None if listener is None else partial(listener, rows)
                # part of a chunk, where memory was short, has random numbers of its own
                part_of = () if len(rows) == len(chunk) else (int(rows[0]), len(rows))
                seeds = (self.seed, "sample", *purpose, index, *part_of)
                return sample(
                    self.backbone, self.adapter, padded.take(used), inside,
                    max_tokens=r.max_tokens, temperature=r.temperature, top_p=r.top_p,
                    listener=tell, generator=torch_generator(*seeds, device=device),
                )  # fmt: skip

            return self.oom.run(some, chunk)

        # first, so that weights derived from the adapter are made once and not by every thread
        self.backbone.prepare(self.adapter)
        parts = [part for done in self.workers.map(work, enumerate(chunks)) for part in done]
        rollout = join(padded, group, parts, self.backbone.text.pad)
        self.memory.note("kv_cache", rollout.cache_bytes)
        return rollout

    def greedy(self, prompts: Sequence[Sequence[int]]) -> Rollout:
        """The greedy answer to each prompt (token ids)."""
        device = self.backbone.device
        padded = Prompts.pad(prompts, self.backbone.text.pad, device)
        group = torch.arange(len(prompts), device=device)
        return sample(
            self.backbone, self.adapter, padded, group, max_tokens=self.rollout.max_tokens,
            temperature=1.0, top_p=1.0, generator=torch_generator("none", device=device),
            greedy=torch.ones(len(prompts), dtype=torch.bool, device=device),
        )  # fmt: skip

    def score(
        self,
        rollout: Rollout,
        reward: Tensor,
        *,
        greedy_reward: Tensor | None = None,
        steps: Steps | None = None,
        reference: bool = True,
    ) -> Batch:
        """The batch for the algorithm: log-probs of the sampler; of the reference, if it needs them
        or `reference`; the critic's values, entropies and the trainer's own log-probs where it
        asks for them."""
        algorithm = self.algorithm
        ref = value = entropy = sampler = None
        if reference or algorithm.needs_reference:
            ref = self.reference_logp(rollout, self.rollout.temperature)
        old = rollout.logp
        if self.critic is not None:
            value = self._values(self.critic, rollout)
        if algorithm.needs_entropy or algorithm.needs_sampler_gap:
            own, entropy = self._each(rollout, self._scores)
            if algorithm.needs_sampler_gap:
                old, sampler = own, rollout.logp
        return Batch(
            mask=rollout.mask, group=rollout.group, reward=reward, old_logp=old,
            ref_logp=ref, value=value, max_tokens=self.rollout.max_tokens,
            greedy_reward=greedy_reward, steps=steps, entropy=entropy, sampler_logp=sampler,
            critic_age=self.critic.age if self.critic is not None else 0,
        )  # fmt: skip

    def _values(self, critic: Critic, rollout: Rollout) -> Tensor:
        """The critic's value of every state [N, T], in the microbatches of the update. Where the
        update works on all of them at once anyway, their graphs are kept for it."""
        critic.forget()
        every = torch.arange(len(rollout.group), device=self.backbone.device)
        learned = self.oom.pieces(every, microbatches.rows_at_once(self, rollout))
        keep = self.train.minibatches == 1 and len(learned) <= self.workers.at_once
        # with threads always those microbatches: keeping graphs must not change the numbers
        split = learned if keep or self.workers.parallel else None
        (value,) = self._each(
            rollout, lambda rows, p: (critic.ahead(rows, p) if keep else critic.values(p),), split
        )
        return value

    def _forget_ahead(self) -> bool:
        """Free the critic's graphs that are kept for the update; the first to go when memory runs
        out."""
        return self.critic is not None and self.critic.forget()

    def reference_logp(self, rollout: Rollout, temperature: float) -> Tensor:
        """Log-probs of the rollout under the reference. [N, T]."""
        of = self.snapshots.reference
        (logp,) = self._each(rollout, lambda rows, p: score(self.backbone, of, p, temperature)[:1])
        return logp

    def policy_logp(self, rollout: Rollout, temperature: float) -> Tensor:
        """Log-probs of the rollout under the current policy. [N, T]."""
        of = self.adapter
        (logp,) = self._each(rollout, lambda rows, p: score(self.backbone, of, p, temperature)[:1])
        return logp

    def _scores(self, rows: Tensor, rollout: Rollout) -> tuple[Tensor, Tensor]:
        return score(self.backbone, self.adapter, rollout, self.rollout.temperature)

    def update(self, rollout: Rollout, batch: Batch, credit: Credit, step: int) -> Report:
        """Run the algorithm's updates on this rollout."""
        if self.algorithm.needs_kl_to_rollout:
            self.snapshots.take_rollout_policy()
        learner = Learner(self, rollout, step)
        report = self.algorithm.update(learner, batch, credit, self.train.updates_per_rollout)
        if learner.agreement is not None:
            report.extra["grad_agreement"] = learner.agreement
        if learner.gap is not None:
            report.extra["sampler_gap"] = learner.gap
        if norms := learner.norms:
            fit = [norm for norm in norms if norm < float("inf")]
            report.extra["updates_skipped"] = float(len(norms) - len(fit))
            over = sum(norm > self.train.max_grad_norm for norm in fit)
            report.extra["updates_clipped"] = over / len(norms)
        self.algorithm.observe(batch, report)
        if self.critic is not None:
            self.critic.forget()  # the update may not have used the graphs
            self.critic.age += 1
        self.backbone.refresh(self.adapter)
        if self.algorithm.wants_new_reference():
            self.snapshots.renew_reference()
        return report

    def wants_pretraining(self) -> bool:
        """Whether value pretraining of a new critic is still to come."""
        critic, wanted = self.critic, self.algorithm.value_pretraining
        return critic is not None and critic.age == 0 and critic.pretrained < wanted

    def _each(
        self, rollout: Rollout, of: Callable[[Tensor, Rollout], tuple[Tensor, ...]],
        split: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Per-token quantities of every row, without gradient, computed by `of` for some rows at a
        time. `split`: those rows, if not as many as are scored together. Each [N, T]."""

        def work(rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            with torch.no_grad():
                return rows, of(rows, part(rollout, rows)[0])

        split = microbatches.scored(self, rollout) if split is None else split
        found = [
            piece
            for done in self.workers.map(lambda rows: self.oom.run(work, rows), split)
            for piece in done
        ]
        out = tuple(torch.zeros_like(rollout.mask) for _ in found[0][1])
        for rows, values in found:
            for whole, value in zip(out, values, strict=True):
                whole[rows, : value.shape[1]] = value
        return out

    # --- changes ---

    def switch(self, section: AlgorithmSection) -> tuple[list[str], list[str]]:
        """Change the algorithm; returns what was kept and what was reset, in words."""
        kept = ["policy adapter", "random state", "curves"]
        reset = ["optimizer moments"]
        had_critic, rate = self.critic is not None, self.learning_rate
        if self.algorithm.state() != type(self.algorithm)(self.algorithm.settings).state():
            reset.append(f"state of {self.algorithm.name}")
        self.algorithm, self.preset = make_algorithm(section), section.preset
        self.optimizer = AdamW(self.optimizer.tensors)
        self.match_critic()
        if not self.algorithm.needs_kl_to_rollout:
            self.snapshots.drop_rollout_policy()
        if self.snapshots.reference is not None:
            self.snapshots.first_reference()
            reset.append("reference: initial policy")
        if rate != self.learning_rate:
            reset.append(f"learning rate {rate:g} to {self.learning_rate:g}")
        if had_critic and self.critic is None:
            reset.append("critic dropped")
        elif had_critic:
            kept.append("critic")
        elif self.critic is not None:
            reset.append("new, untrained critic")
        return kept, reset

    @property
    def learning_rate(self) -> float:
        """The policy's learning rate before the schedule: the scenario's, else the algorithm's."""
        given = self.train.learning_rate
        return self.algorithm.learning_rate if given is None else given

    @property
    def doing(self) -> str:
        """The memory account's name for this lane's work in a phase."""
        return f"{self.name}/{self.algorithm.name}"

    def match_critic(self) -> None:
        """Create or drop the critic, as the algorithm needs."""
        if self.algorithm.needs_critic and self.critic is None:
            self.critic = Critic(
                self.backbone, self.name, seed_of(self.seed, "critic"),
                full=self.model.critic == "full",
            )  # fmt: skip
        elif not self.algorithm.needs_critic and self.critic is not None:
            self.critic.drop()
            self.critic = None

    def drop(self) -> None:
        """Free this lane's adapters on the backbone."""
        if self.critic is not None:
            self.critic.drop()
        self.snapshots.drop()
        self.backbone.drop_adapter(self.adapter)

    def copy_from(self, other: Lane) -> None:
        """Become a fork of another lane: take its adapter, optimizer moments and, where both have
        one, critic."""
        _copy(self.optimizer, other.optimizer)
        if self.critic is not None and other.critic is not None:
            _copy(self.critic.optimizer, other.critic.optimizer)
            self.critic.load_state(other.critic.state())
        if type(self.algorithm) is type(other.algorithm):
            self.algorithm.load_state(other.algorithm.state())
        self.train, self.rollout = other.train, other.rollout
        self.backbone.refresh(self.adapter)
        if (reference := other.snapshots.reference) is not None:
            self.snapshots.set_reference(other.backbone.adapter(reference))

    def learns(self) -> dict[str, Tensor]:
        """All trainable tensors by name, the critic's as `critic/…`."""
        critic = self.critic.optimizer.tensors if self.critic is not None else {}
        return self.optimizer.tensors | {f"critic/{k}": v for k, v in critic.items()}

    def tensors_by_owner(self) -> dict[str, object]:
        """The lane's tensors that outlive a phase, by memory owner, as nested containers."""
        learns = [self.optimizer] + ([self.critic.optimizer] if self.critic is not None else [])
        return {
            "adapters": self.optimizer.tensors,
            "critic": [o.tensors for o in learns[1:]],
            "reference": self.snapshots.tensors(),
            "optimizer": [(o.first, o.second) for o in learns],
            "gradients": [[t.grad for t in o.tensors.values()] for o in learns],
            "activations": self.critic.kept() if self.critic is not None else [],
            "workspace": [] if self.last_step is None else self.last_step.tensors(),
        }


def _copy(target: AdamW, source: AdamW) -> None:
    state = {k: v.clone() for k, v in source.state("x").items()}
    target.load_state(state, "x")
    with torch.no_grad():
        for mine, theirs in zip(target.tensors.values(), source.tensors.values(), strict=True):
            mine.copy_(theirs)
