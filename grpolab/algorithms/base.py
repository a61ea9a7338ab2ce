"""What an algorithm is: settings, credit for every token, a loss, and the first-order update loop
that most share.

An algorithm sees the lane only through `Policy`. Nothing here or in the algorithm files imports
torch when it runs: tensors come in and their methods are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from grpolab.algorithms.pieces import kl_estimate, masked_mean, terminal_reward

if TYPE_CHECKING:
    from torch import Tensor


class Settings(BaseModel):
    """Base of every algorithm's settings: strict types, unknown names refused, never changed in
    place."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Batch:
    """A scored rollout, or some of its rows. N rows, T answer tokens, right-padded."""

    mask: Tensor  # [N, T] 1.0 on answer tokens, the end token included
    group: Tensor  # [N] group of each row, 0…K−1
    reward: Tensor  # [N]
    old_logp: Tensor  # [N, T] under the policy that sampled
    ref_logp: Tensor | None  # [N, T] under the reference, where the algorithm asked for it
    value: Tensor | None  # [N, T] V of the state before each token, where there is a critic
    max_tokens: int  # longest answer allowed

    def rows(self, index: Tensor, width: int) -> Batch:
        """The rows `index` [n], cut to `width` tokens."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index, :width]

        return replace(
            self,
            mask=self.mask[index, :width],
            group=self.group[index],
            reward=self.reward[index],
            old_logp=self.old_logp[index, :width],
            ref_logp=cut(self.ref_logp),
            value=cut(self.value),
        )


@dataclass(frozen=True)
class Credit:
    """What the rollout says about each token: how much better it did than expected."""

    advantage: Tensor  # [N, T], 0 on padding
    returns: Tensor | None = None  # [N, T] targets for the critic

    def rows(self, index: Tensor, width: int) -> Credit:
        returns = None if self.returns is None else self.returns[index, :width]
        return Credit(self.advantage[index, :width], returns)


@dataclass(frozen=True)
class Forward:
    """The current policy on some rows, with gradients."""

    logp: Tensor  # [n, T]
    entropy: Tensor  # [n, T], no gradient unless asked for
    value: Tensor | None  # [n, T]


@dataclass(frozen=True)
class Whole:
    """Totals of the minibatch that one optimizer step is made from: what a mean divides by."""

    rows: int
    tokens: int
    max_tokens: int


@dataclass(frozen=True)
class Loss:
    """A piece's share of the loss: shares of all pieces add up to the minibatch's loss."""

    terms: dict[str, Tensor]  # signed addends: "policy", "kl", "value"; their sum is the loss
    ratio: Tensor  # [n, T] or broadcast to it: the ratio that the surrogate uses
    clipped: Tensor | None = None  # [n, T] bool: the clipped branch won here

    @property
    def total(self) -> Tensor:
        return sum(list(self.terms.values())[1:], next(iter(self.terms.values())))


@dataclass(frozen=True)
class Piece:
    """One microbatch after its forward and backward; tensors are detached."""

    rows: Tensor  # [n]
    now: Forward
    loss: Loss


LossOf = Callable[["Tensor", int, "Forward"], "Loss"]
"""Given row indices [n], their width and the forward of those rows: the loss."""


class Policy(Protocol):
    """All that an algorithm may do with a lane."""

    def minibatches(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        """For each optimizer step of one pass: its microbatches, as row indices."""
        ...

    def accumulate(self, pieces: Sequence[Tensor], loss: LossOf) -> list[Piece]:
        """Forward and backward of each microbatch; gradients add up in the order of the pieces."""
        ...

    def step(self) -> float:
        """One optimizer step; returns the gradient norm before clipping and clears the
        gradients."""
        ...


@dataclass
class Report:
    """What the updates of one step did. Per-token tensors [N, T] are what each row's newest update
    saw."""

    updates: int = 0
    grad_norm: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)  # of the newest update
    logp: Tensor | None = None
    ratio: Tensor | None = None
    entropy: Tensor | None = None
    clipped: Tensor | None = None

    def take(self, batch: Batch, done: Sequence[Piece]) -> None:
        """Note one optimizer step's microbatches."""
        zeros = batch.old_logp.new_zeros(batch.old_logp.shape)
        if self.logp is None:
            self.logp, self.entropy, self.ratio, self.clipped = (
                zeros,
                zeros.clone(),
                zeros + 1,
                zeros.bool(),
            )
        assert self.entropy is not None and self.ratio is not None and self.clipped is not None
        self.terms = {}
        for piece in done:
            rows, width = piece.rows, piece.now.logp.shape[1]
            self.logp[rows, :width] = piece.now.logp
            self.entropy[rows, :width] = piece.now.entropy
            self.ratio[rows, :width] = piece.loss.ratio.expand(len(rows), width)
            if piece.loss.clipped is not None:
                self.clipped[rows, :width] = piece.loss.clipped.expand(len(rows), width)
            for name, term in piece.loss.terms.items():
                self.terms[name] = self.terms.get(name, 0.0) + float(term)


class Algorithm:
    """Base of the family. A subclass names its paper, formula and settings, and defines `credit`
    and `loss`."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    formula: ClassVar[str]  # readable in a terminal, one statement a line
    aggregation: ClassVar[str]
    needs_critic: ClassVar[bool] = False
    learning_rate: ClassVar[float] = 1.5e-3  # of a small adapter, where the scenario names none
    Settings: ClassVar[type[Settings]]
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    @property
    def needs_reference(self) -> bool:
        """Whether a step must run the reference: only where a KL against it counts."""
        return getattr(self.settings, "beta", 0.0) > 0

    def credit(self, batch: Batch) -> Credit:
        """Advantage of every token [N, T], and returns where a critic learns. No gradient flows
        through it."""
        raise NotImplementedError

    def loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        """This piece's share of the loss."""
        raise NotImplementedError

    def observe(self, batch: Batch, report: Report) -> None:
        """Called once after the step's updates: move whatever the algorithm remembers between
        steps."""

    def state(self) -> dict[str, float]:
        """What the algorithm remembers between steps; JSON, part of a checkpoint."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Restore what `state` gave."""

    def update(self, policy: Policy, batch: Batch, credit: Credit, epochs: int) -> Report:
        """`epochs` passes over the rollout, one optimizer step for each minibatch."""
        report = Report()
        for epoch in range(epochs):
            for pieces in policy.minibatches(epoch):
                tokens = sum(int(batch.mask[rows].sum().item()) for rows in pieces)
                whole = Whole(sum(len(rows) for rows in pieces), tokens, batch.max_tokens)

                def loss(rows: Tensor, width: int, now: Forward, whole: Whole = whole) -> Loss:
                    return self.loss(batch.rows(rows, width), credit.rows(rows, width), now, whole)

                done = policy.accumulate(pieces, loss)
                report.grad_norm = policy.step()
                report.updates += 1
                report.take(batch, done)
        return report


def token_ratio(batch: Batch, now: Forward) -> Tensor:
    """ρ_t = π(token)/π_old(token), 1 on padding. [n, T]."""
    return ((now.logp - batch.old_logp) * batch.mask).exp()


def shaped_reward(batch: Batch, beta: float) -> Tensor:
    """Per-token reward: the row's reward at its last token, minus β·k1 against the reference
    everywhere. [N, T]."""
    reward = terminal_reward(batch.reward, batch.mask)
    if beta > 0 and batch.ref_logp is not None:
        reward = reward - beta * kl_estimate(batch.old_logp, batch.ref_logp, "k1") * batch.mask
    return reward


def step_metrics(batch: Batch, credit: Credit, report: Report) -> dict[str, float]:
    """The numbers of a step that mean the same under every algorithm, plus its loss terms."""
    mask, on = batch.mask, batch.mask.bool()
    out = {"loss": sum(report.terms.values()), "grad_norm": report.grad_norm}
    out |= {f"{name}_loss": value for name, value in report.terms.items()}
    advantage = credit.advantage[on]
    out["advantage_std"] = float(advantage.std(unbiased=False)) if advantage.numel() else 0.0
    if report.logp is not None and report.ratio is not None and on.any():
        ratio = report.ratio[on]
        out |= {"ratio_max": float(ratio.max()), "ratio_min": float(ratio.min())}
        out["kl_old"] = float(masked_mean(kl_estimate(batch.old_logp, report.logp, "k3"), mask))
    if report.entropy is not None:
        out["entropy"] = float(masked_mean(report.entropy, mask))
    if report.clipped is not None:
        out["clip_fraction"] = float(masked_mean(report.clipped.to(mask.dtype), mask))
    if batch.ref_logp is not None:
        out["kl_ref"] = float(masked_mean(kl_estimate(batch.old_logp, batch.ref_logp, "k3"), mask))
    if credit.returns is not None and batch.value is not None:
        returns, value = credit.returns[on], batch.value[on]
        spread = float(returns.var(unbiased=False))
        error = float((returns - value).var(unbiased=False))
        out["explained_variance"] = 1 - error / spread if spread > 1e-12 else 0.0
    return out
