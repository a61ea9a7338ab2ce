"""What passes between a lane and its algorithm: the scored rollout, the credit, a forward pass, a
loss, and the protocol through which an algorithm moves the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Steps:
    """Graded steps of every answer, padded to S."""

    end: Tensor  # [N, S] long: index of the step's last token
    reward: Tensor  # [N, S]
    mask: Tensor  # [N, S] 1.0 on steps

    def plus(self, more: Tensor) -> Steps:
        """With `more` [N] added to the reward of each row's last step."""
        last = (self.mask.sum(1).long() - 1).clamp(min=0)[:, None]
        there = self.mask.gather(1, last) * more[:, None]
        return replace(self, reward=self.reward.scatter_add(1, last, there))


@dataclass(frozen=True)
class Batch:
    """A scored rollout, or some of its rows. N rows, T answer tokens, right-padded."""

    mask: Tensor  # [N, T] 1.0 on answer tokens, the end token included
    group: Tensor  # [N] group of each row, 0…K−1
    reward: Tensor  # [N]
    old_logp: Tensor  # [N, T] under the rollout policy
    ref_logp: Tensor | None  # [N, T] under the reference
    value: Tensor | None  # [N, T] V of the state before each token, where there is a critic
    max_tokens: int  # longest answer allowed
    greedy_reward: Tensor | None = None  # [N] of the greedy answer to the row's prompt
    steps: Steps | None = None
    entropy: Tensor | None = None  # [N, T] of the rollout policy's next-token distribution
    sampler_logp: Tensor | None = None  # [N, T] as the sampler gave them, where `old_logp` is not
    token_reward: Tensor | None = None  # [N, T] set by `Algorithm.credit`: `reward` spread out
    critic_age: int = 0  # rollouts the critic has learned from

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
            greedy_reward=None if self.greedy_reward is None else self.greedy_reward[index],
            steps=None,  # spent: they became credit
            entropy=cut(self.entropy),
            sampler_logp=cut(self.sampler_logp),
            token_reward=cut(self.token_reward),
        )


@dataclass(frozen=True)
class Credit:
    """What the rollout says about each token: how much better it did than expected."""

    advantage: Tensor  # [N, T], 0 on padding
    returns: Tensor | None = None  # [N, T] targets for the critic
    focus: Tensor | None = None  # [N, T] bool: the only tokens that the policy learns from
    imitation: Tensor | None = None  # [N, T] weights of a plain likelihood term

    def rows(self, index: Tensor, width: int) -> Credit:
        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index, :width]

        return Credit(
            self.advantage[index, :width], cut(self.returns), cut(self.focus), cut(self.imitation)
        )


@dataclass(frozen=True)
class Forward:
    """The current policy on some rows, with gradients."""

    logp: Tensor  # [n, T]
    entropy: Tensor  # [n, T], without gradient unless the algorithm asked for it
    value: Tensor | None  # [n, T]


@dataclass(frozen=True)
class Whole:
    """Totals of the minibatch that one optimizer step is made from: what a mean divides by."""

    rows: int
    tokens: int
    max_tokens: int

    @staticmethod
    def of(batch: Batch, pieces: Sequence[Tensor]) -> Whole:
        """The totals of these microbatches."""
        lengths = batch.mask.sum(1)
        tokens = sum(lengths[rows].sum() for rows in pieces)
        return Whole(sum(len(rows) for rows in pieces), int(tokens), batch.max_tokens)


@dataclass(frozen=True)
class Objective:
    """What the policy is to maximise, before it becomes one number."""

    gain: Tensor  # [n, T], or [n, 1] where a whole answer is one thing
    ratio: Tensor  # [n, T] or [n, 1]: the ratio that the surrogate uses
    clipped: Tensor | None = None  # same shape, bool: the clipped branch won here
    judged: Tensor | None = None  # log of what the clip looked at, where that is not `ratio`


@dataclass(frozen=True)
class Loss:
    """A piece's share of the loss: shares of all pieces add up to the minibatch's loss."""

    terms: dict[str, Tensor]  # signed addends: "policy", "kl", "value"; their sum is the loss
    ratio: Tensor  # [n, T] or [n, 1]
    clipped: Tensor | None = None
    judged: Tensor | None = None  # as in Objective

    @property
    def total(self) -> Tensor:
        return sum(list(self.terms.values())[1:], next(iter(self.terms.values())))


@dataclass(frozen=True)
class Piece:
    """One microbatch after its forward and backward; tensors are detached."""

    rows: Tensor  # [n]
    now: Forward
    loss: Loss
    slope: Tensor | None = None  # [n, T] ∂loss/∂log π; None where the policy was not run


LossOf = Callable[["Tensor", int, "Forward"], "Loss"]
"""Given row indices [n], their width and the forward of those rows: the loss."""


@dataclass(frozen=True)
class Measured:
    """The policy as it is now against the policy that sampled, over the whole rollout."""

    logp: Tensor  # [N, T]
    entropy: Tensor  # [N, T]
    divergence: float  # KL(rollout policy ‖ policy now), exact over the vocabulary, mean per token


class Policy(Protocol):
    """All that an algorithm may do with a lane."""

    @property
    def share(self) -> float:
        """The share of a step's full size that the schedule leaves now."""
        ...

    def minibatches(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        """For each optimizer step of one pass: its microbatches, as row indices."""
        ...

    def accumulate(
        self, pieces: Sequence[Tensor], loss: LossOf, *, critic_only: bool = False
    ) -> list[Piece]:
        """Forward and backward of each microbatch; gradients add up in the order of the pieces.
        `critic_only`: the policy is not run, and `Forward.logp` is the sampler's."""
        ...

    def step(self) -> float:
        """One optimizer step of policy and critic, each if it has gradients; returns the policy's
        gradient norm before clipping and clears the gradients."""
        ...

    def measure(self) -> Measured:
        """Where the policy stands now; no gradient."""
        ...

    def take_gradient(self) -> Tensor:
        """The accumulated gradient of the policy [P], which is cleared; the critic's stays."""
        ...

    def fisher(self, share: float) -> Callable[[Tensor], Tensor]:
        """v ↦ F v [P] at the present parameters, F the Fisher information of the next-token
        distributions, averaged over the tokens of a share of the rows."""
        ...

    def position(self) -> Tensor:
        """The policy's parameters as one vector [P], a copy."""
        ...

    def move(self, to: Tensor) -> None:
        """Set the policy's parameters [P]."""
        ...


@dataclass
class Report:
    """What the updates of one step did. Per-token tensors [N, T] are what each row's newest update
    saw."""

    updates: int = 0
    grad_norm: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)  # of the newest update
    first: dict[str, float] = field(default_factory=dict)  # of the first, where every ratio is 1
    extra: dict[str, float] = field(default_factory=dict)  # metrics of this algorithm alone
    logp: Tensor | None = None
    ratio: Tensor | None = None
    entropy: Tensor | None = None
    clipped: Tensor | None = None
    side: Tensor | None = None  # of a clip: +1 held at the upper bound, −1 at the lower, 0 free
    slope: Tensor | None = None  # ∂loss/∂log π: what really pushed each token

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
            if (clipped := piece.loss.clipped) is not None:
                self.clipped[rows, :width] = clipped.expand(len(rows), width)
                self.side = zeros.clone() if self.side is None else self.side
                judged = piece.loss.judged
                away = piece.loss.ratio - 1 if judged is None else judged
                self.side[rows, :width] = (clipped * away.sign()).expand(len(rows), width)
            if piece.slope is not None:
                self.slope = zeros.clone() if self.slope is None else self.slope
                self.slope[rows, :width] = piece.slope
            for name, term in piece.loss.terms.items():
                self.terms[name] = self.terms.get(name, 0.0) + float(term)
        self.first = self.first or dict(self.terms)
