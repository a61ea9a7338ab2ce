"""Frozen copies of a lane's policy: the reference of the KL term, and the policy that sampled the
rollout. Each is an adapter that does not learn; the reference may also be the initial policy, that
is, the backbone without an adapter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from grpolab.engine.backbone.base import BASE, Backbone


class Snapshots:
    """The frozen copies of the adapter `policy`."""

    def __init__(self, backbone: Backbone, policy: str) -> None:
        self.backbone, self.policy = backbone, policy
        self.reference: str | None = BASE
        self._names: set[str] = set()

    @property
    def rollout_policy(self) -> str:
        """The adapter with the policy that sampled, for algorithms that measure the KL to it."""
        return f"{self.policy}/rollout"

    def take_rollout_policy(self) -> None:
        """Copy the current policy to `rollout_policy`."""
        self._copy_to(self.rollout_policy)

    def drop_rollout_policy(self) -> None:
        """Free `rollout_policy`."""
        self._free(self.rollout_policy)

    def renew_reference(self) -> None:
        """Make the current policy the reference."""
        name = f"{self.policy}/reference"
        self._copy_to(name)
        self.reference = name

    def first_reference(self) -> None:
        """Make the initial policy the reference again."""
        self.reference = BASE
        self._free(f"{self.policy}/reference")

    @torch.no_grad()
    def set_reference(self, tensors: Mapping[str, Tensor]) -> None:
        """Make an adapter with these values the reference."""
        self.renew_reference()
        assert self.reference is not None
        for name, tensor in self.backbone.adapter(self.reference).items():
            tensor.copy_(tensors[name])
        self.backbone.refresh(self.reference)

    def drop(self) -> None:
        """Free all of them."""
        for name in [*self._names]:
            self._free(name)

    def tensors(self) -> list[dict[str, Tensor]]:
        """Their tensors."""
        return [self.backbone.adapter(name) for name in self._names]

    def names(self) -> list[str]:
        """Their adapters' names, sorted."""
        return sorted(self._names)

    def _copy_to(self, name: str) -> None:
        """Copy the policy's adapter to another, which is created if need be."""
        if name not in self._names:
            self.backbone.copy_adapter(self.policy, name)
            self._names.add(name)
            for tensor in self.backbone.adapter(name).values():
                tensor.requires_grad_(False)
        with torch.no_grad():
            policy = self.backbone.adapter(self.policy).values()
            for mine, now in zip(self.backbone.adapter(name).values(), policy, strict=True):
                mine.copy_(now)
        self.backbone.refresh(name)

    def _free(self, name: str) -> None:
        if name in self._names:
            self.backbone.drop_adapter(name)
            self._names.remove(name)
