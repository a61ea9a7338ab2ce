"""The critic of a lane: an adapter (or a full copy) of the backbone with a value head, and how well
it predicts returns.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from grpolab.engine.backbone.base import Backbone
from grpolab.engine.backbone.sample import Rollout
from grpolab.engine.memory.owners import packed
from grpolab.engine.optimizer import AdamW
from grpolab.engine.score import contexts

WARM_AT = 0.1
"""Smoothed explained variance from which a critic counts as warm; below half of it, as cold again.
"""


@dataclass(frozen=True)
class KeptForward:
    """A forward pass whose backward is still to come."""

    rows: Tensor  # [n] of the rollout
    value: Tensor  # [n, T] with its graph
    saved: list[weakref.ref[Tensor]]  # the tensors that the graph keeps


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
        self.age = 0  # steps that it was trained on
        self.pretrained = 0  # rollouts of value pretraining before the first step
        self._kept: dict[int, KeptForward] = {}  # by their first row

    def state(self) -> dict[str, Any]:
        """Its counters and its explained variance, as JSON for a checkpoint."""
        return {
            "explained": self.explained, "warm": self.warm, "age": self.age,
            "pretrained": self.pretrained,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.explained, self.warm = state["explained"], state["warm"]
        self.age, self.pretrained = state["age"], state["pretrained"]

    def tensors(self) -> dict[str, Tensor]:
        """Its trainable tensors by name."""
        own = self.backbone.adapter(self.adapter)
        return own | {"value_head.weight": self.weight, "value_head.bias": self.bias}

    def bytes(self) -> int:
        """Size of its trainable tensors."""
        return sum(t.nbytes for t in self.tensors().values())

    def values(self, rollout: Rollout) -> Tensor:
        """V of the state before each token, 0 on padding. [n, T]."""
        states, at = contexts(self.backbone, self.adapter, rollout)
        return (states.float() @ self.weight + self.bias)[at] * rollout.mask

    # --- scoring and the first update share one forward pass ---

    def ahead(self, rows: Tensor, rollout: Rollout) -> Tensor:
        """`values` of these rows, without gradient, with their graph kept for `recall`. What they
        depend on must not change in between: with hooks on saved tensors, torch does not check."""
        saved: list[weakref.ref[Tensor]] = []

        def keep(tensor: Tensor) -> Tensor:
            kept = packed(tensor)
            saved.append(weakref.ref(kept))
            return kept

        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            value = self.values(rollout)
        self._kept[int(rows[0])] = KeptForward(rows, value, saved)
        return value.detach()

    def recall(self, rows: Tensor) -> Tensor | None:
        """The values of these rows with their graph, if it was kept; only once. If other rows were
        kept, all graphs are dropped, because none will be used."""
        found = self._kept.pop(int(rows[0]), None)
        if found is not None and torch.equal(found.rows, rows):
            return found.value
        self.forget()
        return None

    def pieces(self) -> list[Tensor]:
        """The rows of each kept graph, in their order."""
        return [self._kept[first].rows for first in sorted(self._kept)]

    def forget(self) -> bool:
        """Drop all kept graphs; returns whether there were any."""
        kept = bool(self._kept)
        self._kept.clear()
        return kept

    def kept(self) -> list[Tensor]:
        """The tensors that the kept graphs hold in memory."""
        found = [ref() for forward in list(self._kept.values()) for ref in forward.saved]
        return [tensor for tensor in found if tensor is not None]

    def judge(self, explained_variance: float) -> bool:
        """Take in one step's explained variance; True where the critic has just become warm, or
        cold again."""
        seen = self.explained
        self.explained = (
            explained_variance if seen is None else 0.7 * seen + 0.3 * explained_variance
        )
        was, self.warm = self.warm, self.explained >= (WARM_AT if not self.warm else WARM_AT / 2)
        return was != self.warm

    def drop(self) -> None:
        """Free its adapter on the backbone."""
        self.backbone.drop_adapter(self.adapter)
