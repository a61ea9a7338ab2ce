"""The critic of a lane: an adapter (or a whole copy) of the backbone with a value head, and what
it is worth.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from grpolab.engine.backbone.base import Backbone
from grpolab.engine.backbone.sample import Rollout
from grpolab.engine.memory.owners import packed
from grpolab.engine.optimizer import AdamW
from grpolab.engine.score import contexts

if TYPE_CHECKING:
    pass

WARM_AT = 0.1
"""Smoothed explained variance from which a critic counts as warm."""


@dataclass(frozen=True)
class Ahead:
    """A forward whose backward is still to come."""

    rows: Tensor  # [n] of the rollout
    value: Tensor  # [n, T] with its graph
    saved: list[weakref.ref[Tensor]]  # what the graph keeps


class Critic:
    """V(state) = head(h(state)); the head starts at zero, so a new critic predicts 0 everywhere."""

    def __init__(self, backbone: Backbone, lane: str, seed: int, *, full: bool) -> None:
        self.backbone = backbone
        self.adapter = f"{lane}/critic"
        backbone.create_adapter(self.adapter, seed, full=full)
        self.weight = torch.zeros(backbone.hidden, device=backbone.device, requires_grad=True)
        self.bias = torch.zeros((), device=backbone.device, requires_grad=True)
        self.optimizer = AdamW(self.tensors())
        self.explained: float | None = None  # moving mean of the explained variance
        self.warm = False
        self.age = 0  # steps that it has learned from
        self.pretrained = 0  # rollouts before the first of them
        self._ahead: dict[int, Ahead] = {}  # by their first row

    def state(self) -> dict[str, Any]:
        """What it knows about itself; JSON, part of a checkpoint."""
        return {
            "explained": self.explained, "warm": self.warm, "age": self.age,
            "pretrained": self.pretrained,
        }  # fmt: skip

    def take(self, state: dict[str, Any]) -> None:
        """Restore what `state` gave."""
        self.explained, self.warm = state["explained"], state["warm"]
        self.age, self.pretrained = state["age"], state["pretrained"]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that learns, by name."""
        own = self.backbone.adapter(self.adapter)
        return own | {"value_head.weight": self.weight, "value_head.bias": self.bias}

    def bytes(self) -> int:
        return sum(t.nbytes for t in self.tensors().values())

    def values(self, rollout: Rollout) -> Tensor:
        """V of the state before each token, 0 on padding. [n, T]."""
        states, at = contexts(self.backbone, self.adapter, rollout)
        return (states.float() @ self.weight + self.bias)[at] * rollout.mask

    # --- the forward of scoring is also that of the first update ---

    def ahead(self, rows: Tensor, rollout: Rollout) -> Tensor:
        """`values` of these rows, without gradient, and their graph kept for `recall`. What it
        depends on must not change meanwhile: behind hooks, torch does not watch that."""
        saved: list[weakref.ref[Tensor]] = []

        def keep(tensor: Tensor) -> Tensor:
            kept = packed(tensor)
            saved.append(weakref.ref(kept))
            return kept

        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            value = self.values(rollout)
        self._ahead[int(rows[0])] = Ahead(rows, value, saved)
        return value.detach()

    def recall(self, rows: Tensor) -> Tensor | None:
        """The values of these rows with their graph, once, where it was kept. Where it was for
        other rows, none of it is of use any more."""
        found = self._ahead.pop(int(rows[0]), None)
        if found is not None and torch.equal(found.rows, rows):
            return found.value
        self.forget()
        return None

    def pieces(self) -> list[Tensor]:
        """The rows of each graph that is kept, in their order."""
        return [self._ahead[first].rows for first in sorted(self._ahead)]

    def forget(self) -> bool:
        """Keep no graph any longer; whether there was one."""
        kept = bool(self._ahead)
        self._ahead.clear()
        return kept

    def kept(self) -> list[Tensor]:
        """What the graphs hold that are kept."""
        found = [ref() for ahead in list(self._ahead.values()) for ref in ahead.saved]
        return [tensor for tensor in found if tensor is not None]

    def judge(self, explained_variance: float) -> bool:
        """Take in one step's explained variance; True when it has just become warm, or cold
        again."""
        seen = self.explained
        self.explained = (
            explained_variance if seen is None else 0.7 * seen + 0.3 * explained_variance
        )
        was, self.warm = self.warm, self.explained >= (WARM_AT if not self.warm else WARM_AT / 2)
        return was != self.warm

    def drop(self) -> None:
        self.backbone.drop_adapter(self.adapter)
