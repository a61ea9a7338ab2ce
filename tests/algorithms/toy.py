"""A policy of a few logits for each state, small enough that everything about it can be computed
densely: the whole `Policy` protocol, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from grpolab.algorithms.base import Batch, Forward
from grpolab.algorithms.types import LossOf, Measured, Microbatch


class Toy:
    """π(a | s) = softmax of (θ_s, 0): S states, A actions, P = S·(A − 1) parameters, so that the
    Fisher information has no null space. A critic holds one value for each state.

    One rollout: states and actions [N, T]. The optimizer is plain gradient descent.
    """

    def __init__(
        self, theta: Tensor, states: Tensor, actions: Tensor, mask: Tensor, pieces: int = 1
    ) -> None:
        self.theta = theta.clone()
        self.value = torch.zeros(len(theta), dtype=torch.float64)
        self.states, self.actions, self.mask, self.pieces = states, actions, mask, pieces
        self.old = self.distribution(self.theta).detach()  # [S, A]
        self.lr_scale = 1.0  # of a step's full size
        self.gradient = torch.zeros_like(theta)
        self.value_gradient = torch.zeros_like(self.value)
        self.products = 0  # Fisher products asked for
        self.moves: list[Tensor] = []

    # --- what tests ask ---

    def distribution(self, theta: Tensor) -> Tensor:
        """log π [S, A]."""
        return torch.cat([theta, theta.new_zeros(len(theta), 1)], 1).log_softmax(1)

    def visits(self, rows: Tensor) -> Tensor:
        """How often each state is met in these rows [S]."""
        met = self.states[rows][self.mask[rows].bool()]
        return torch.bincount(met, minlength=len(self.theta)).double()

    def divergence(self, theta: Tensor) -> Tensor:
        """KL(π_old‖π_θ) averaged over the tokens."""
        visits = self.visits(torch.arange(len(self.states)))
        kl = (self.old.exp() * (self.old - self.distribution(theta))).sum(1)
        return (visits * kl).sum() / visits.sum()

    def dense_fisher(self, rows: Tensor) -> Tensor:
        """Σ_s visits · (diag π − ππᵀ) / tokens over the free logits, by hand [P, P]."""
        visits = self.visits(rows)
        p = self.distribution(self.theta).exp()[:, :-1]
        blocks = [
            n * (torch.diag(pi) - torch.outer(pi, pi)) for n, pi in zip(visits, p, strict=True)
        ]
        return torch.block_diag(*blocks) / visits.sum()

    def logp(self, theta: Tensor, rows: Tensor, width: int) -> Tensor:
        where = self.states[rows, :width], self.actions[rows, :width]
        return self.distribution(theta)[where] * self.mask[rows, :width]

    # --- the protocol ---

    def minibatches(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        yield torch.arange(len(self.states)).chunk(self.pieces)

    def accumulate(
        self, pieces: Sequence[Tensor], loss: LossOf, *, critic_only: bool = False
    ) -> list[Microbatch]:
        done = []
        for rows in pieces:
            width = int(self.mask[rows].sum(1).max())
            theta, value = (x.clone().requires_grad_() for x in (self.theta, self.value))
            mask, everything = self.mask[rows, :width], self.distribution(theta)
            entropy = -(everything.exp() * everything).sum(1)[self.states[rows, :width]] * mask
            of_state = value[self.states[rows, :width]] * mask
            logp = self.logp(theta, rows, width)
            found = loss(rows, width, Forward(logp, entropy, of_state))
            slopes = torch.autograd.grad(
                found.total, [theta, value], allow_unused=True, materialize_grads=True
            )
            self.gradient += slopes[0]
            self.value_gradient += slopes[1]
            terms = {name: term.detach() for name, term in found.terms.items()}
            found = replace(found, terms=terms, ratio=found.ratio.detach())
            done.append(Microbatch(rows, Forward(logp.detach(), entropy.detach(), None), found))
        return done

    def step(self) -> float:
        norm = float(self.gradient.norm())
        self.theta = self.theta - 0.5 * self.gradient
        self.value = self.value - 0.5 * self.value_gradient
        self.gradient = torch.zeros_like(self.gradient)
        self.value_gradient = torch.zeros_like(self.value_gradient)
        return norm

    def measure(self) -> Measured:
        n, t = self.mask.shape
        everything = self.distribution(self.theta)
        entropy = -(everything.exp() * everything).sum(1)[self.states] * self.mask
        logp = self.logp(self.theta, torch.arange(n), t)
        return Measured(logp, entropy, float(self.divergence(self.theta)))

    def take_gradient(self) -> Tensor:
        taken, self.gradient = self.gradient.reshape(-1), torch.zeros_like(self.gradient)
        return taken

    def fisher(self, share: float) -> Callable[[Tensor], Tensor]:
        """By autograd: the Hessian of KL(sg(π_θ)‖π_θ), times v."""
        count = len(self.states)
        kept = max(1, round(share * count))
        visits = self.visits(torch.arange(kept) * count // kept)
        theta = self.theta.clone().requires_grad_()
        now = self.distribution(theta)
        kl = (visits * (now.detach().exp() * (now.detach() - now)).sum(1)).sum() / visits.sum()
        (slope,) = torch.autograd.grad(kl, [theta], create_graph=True)

        def product(v: Tensor) -> Tensor:
            self.products += 1
            (found,) = torch.autograd.grad(slope.reshape(-1) @ v, [theta], retain_graph=True)
            return found.reshape(-1)

        return product

    def position(self) -> Tensor:
        return self.theta.reshape(-1).clone()

    def move(self, to: Tensor) -> None:
        self.moves.append(to.clone())
        self.theta = to.reshape(self.theta.shape).clone()


class Wavy(Toy):
    """The same with logits sin(3θ): far along a direction the surrogate may fall again."""

    def distribution(self, theta: Tensor) -> Tensor:
        return super().distribution((3 * theta).sin())


def toy_problem(
    seed: int,
    *,
    kind: type[Toy] = Toy,
    states: int = 3,
    actions: int = 3,
    rows: int = 6,
    longest: int = 5,
    sharpness: float = 1.0,
    group: int = 3,
    pieces: int = 1,
) -> tuple[Toy, Batch]:
    """A random policy, a rollout of it that meets every state, and random rewards."""
    g = torch.Generator().manual_seed(seed)
    theta = torch.randn(states, actions - 1, generator=g, dtype=torch.float64) * sharpness
    lengths = torch.randint(1, longest + 1, (rows,), generator=g)
    lengths[0] = max(longest, states)
    width = int(lengths.max())
    mask = (torch.arange(width) < lengths[:, None]).double()
    met = torch.randint(0, states, (rows, width), generator=g)
    met[0, :states] = torch.arange(states)
    toy = kind(theta, met, torch.zeros_like(met), mask, pieces)
    drawn = torch.multinomial(toy.old.exp()[met.reshape(-1)], 1, generator=g)
    toy.actions = drawn.reshape(rows, width)
    reward = torch.randn(rows, generator=g, dtype=torch.float64)
    value = torch.randn(states, generator=g, dtype=torch.float64) * 0.3
    toy.value = value
    batch = Batch(
        mask=mask, group=torch.arange(rows) // group, reward=reward,
        old_logp=toy.logp(theta, torch.arange(rows), width), ref_logp=None,
        value=value[met] * mask, max_tokens=width,
    )  # fmt: skip
    return toy, batch
