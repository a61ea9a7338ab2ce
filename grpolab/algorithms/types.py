"""The records that a lane and its algorithm exchange: scored rollout, credit, forward pass, loss,
report, and the protocol through which an algorithm moves the policy.

N rows of the rollout, n rows of a microbatch, T answer tokens, G groups of rows, P parameters.
"""

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
    critic_age: int = 0  # rollouts that the critic was trained on

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
            steps=None,  # they are in the credit already
            entropy=cut(self.entropy),
            sampler_logp=cut(self.sampler_logp),
            token_reward=cut(self.token_reward),
        )


@dataclass(frozen=True)
class Credit:
    """What the rollout says about each token: its advantage, and what the critic should learn."""

    advantage: Tensor  # [N, T], 0 on padding
    returns: Tensor | None = None  # [N, T] targets for the critic
    token_mask: Tensor | None = None  # [N, T] bool: tokens that get a policy gradient; None: all
    imitation: Tensor | None = None  # [N, T] weights of an extra log-likelihood term

    def rows(self, index: Tensor, width: int) -> Credit:
        """The rows `index` [n], cut to `width` tokens."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index, :width]

        return Credit(
            advantage=self.advantage[index, :width],
            returns=cut(self.returns),
            token_mask=cut(self.token_mask),
            imitation=cut(self.imitation),
        )


@dataclass(frozen=True)
class Forward:
    """The current policy on some rows, with gradients."""

    logp: Tensor  # [n, T]
    entropy: Tensor  # [n, T], without gradient unless the algorithm asked for it
    value: Tensor | None  # [n, T]


@dataclass(frozen=True)
class BatchTotals:
    """Totals of one minibatch, that is of one optimizer step: what a mean divides by, whatever
    microbatches it is split into."""

    rows: int
    tokens: int
    max_tokens: int

    @staticmethod
    def of(batch: Batch, microbatches: Sequence[Tensor]) -> BatchTotals:
        """The totals of these microbatches, each a tensor of row indices."""
        lengths = batch.mask.sum(1)
        rows = sum(len(index) for index in microbatches)
        tokens = sum(lengths[index].sum() for index in microbatches)
        return BatchTotals(rows, int(tokens), batch.max_tokens)


@dataclass(frozen=True)
class Objective:
    """What the policy is to maximize, before it is averaged to one number."""

    surrogate: Tensor  # [n, T], or [n, 1] where a whole answer has one
    ratio: Tensor  # [n, T] or [n, 1]: ρ as the surrogate uses it
    clipped: Tensor | None = None  # same shape, bool: min() chose the clipped branch
    clip_log_ratio: Tensor | None = None  # log of the ratio that is clipped, if not `ratio`


@dataclass(frozen=True)
class Loss:
    """A microbatch's part of the loss; the parts of all microbatches add up to the minibatch's."""

    terms: dict[str, Tensor]  # signed addends: "policy", "kl", "value", …; their sum is the loss
    ratio: Tensor  # [n, T] or [n, 1]
    clipped: Tensor | None = None
    clip_log_ratio: Tensor | None = None  # as in Objective

    @property
    def total(self) -> Tensor:
        return sum(list(self.terms.values())[1:], next(iter(self.terms.values())))


@dataclass(frozen=True)
class Microbatch:
    """One microbatch after its forward and backward pass; tensors are detached."""

    rows: Tensor  # [n]
    now: Forward
    loss: Loss
    grad_logp: Tensor | None = None  # [n, T] ∂loss/∂log π; None where the policy was not run


LossOf = Callable[["Tensor", int, "Forward"], "Loss"]
"""From row indices [n], their width and the forward pass of those rows to the loss."""


@dataclass(frozen=True)
class Measured:
    """The policy as it is now, and how far it is from the policy that sampled the rollout."""

    logp: Tensor  # [N, T]
    entropy: Tensor  # [N, T]
    divergence: float  # KL(rollout policy ‖ policy now), exact over the vocabulary, mean per token


class Policy(Protocol):
    """All that an algorithm may do with a lane."""

    @property
    def lr_scale(self) -> float:
        """The factor of the learning rate schedule at this step, 0 to 1."""
        ...

    def minibatches(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        """For each optimizer step of one epoch: its microbatches, as row indices [n]."""
        ...

    def accumulate(
        self, microbatches: Sequence[Tensor], loss: LossOf, *, critic_only: bool = False
    ) -> list[Microbatch]:
        """Forward and backward pass of each microbatch; gradients are summed in their order.
        `critic_only`: the policy is not run, and `Forward.logp` is the sampler's."""
        ...

    def step(self) -> float:
        """One optimizer step of policy and critic, each if it has gradients; returns the policy's
        gradient norm before clipping and clears the gradients."""
        ...

    def measure(self) -> Measured:
        """Log-probs of the whole rollout under the policy as it is now; no gradient."""
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
    """What the updates of one step did. Per-token tensors [N, T] hold, for each row, the values of
    the newest update that it was part of."""

    updates: int = 0
    grad_norm: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)  # of the newest update
    first: dict[str, float] = field(default_factory=dict)  # of the first, where every ratio is 1
    extra: dict[str, float] = field(default_factory=dict)  # metrics of this algorithm alone
    logp: Tensor | None = None
    ratio: Tensor | None = None
    entropy: Tensor | None = None
    clipped: Tensor | None = None
    side: Tensor | None = None  # +1 clipped at the upper bound, −1 at the lower, 0 not clipped
    grad_logp: Tensor | None = None  # ∂loss/∂log π: the weight of each token's gradient

    def take(self, batch: Batch, done: Sequence[Microbatch]) -> None:
        """Note one optimizer step's microbatches."""
        zeros = batch.old_logp.new_zeros(batch.old_logp.shape)
        if self.logp is None:
            self.logp, self.entropy = zeros, zeros.clone()
            self.ratio, self.clipped = zeros + 1, zeros.bool()
        assert self.entropy is not None and self.ratio is not None and self.clipped is not None
        self.terms = {}
        for micro in done:
            rows, width = micro.rows, micro.now.logp.shape[1]
            self.logp[rows, :width] = micro.now.logp
            self.entropy[rows, :width] = micro.now.entropy
            self.ratio[rows, :width] = micro.loss.ratio.expand(len(rows), width)
            if (clipped := micro.loss.clipped) is not None:
                self.clipped[rows, :width] = clipped.expand(len(rows), width)
                self.side = zeros.clone() if self.side is None else self.side
                log_rho = micro.loss.clip_log_ratio
                above_one = micro.loss.ratio - 1 if log_rho is None else log_rho
                self.side[rows, :width] = (clipped * above_one.sign()).expand(len(rows), width)
            if micro.grad_logp is not None:
                self.grad_logp = zeros.clone() if self.grad_logp is None else self.grad_logp
                self.grad_logp[rows, :width] = micro.grad_logp
            for name, term in micro.loss.terms.items():
                self.terms[name] = self.terms.get(name, 0.0) + float(term)
        self.first = self.first or dict(self.terms)
