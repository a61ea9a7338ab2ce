"""A lane's policy at other times: the reference it is held against, and the policy as it sampled.
Each is an adapter that only remembers; the reference may also be the start, the bare backbone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from grpolab.engine.backbone.base import BASE, Backbone


class Snapshots:
    """Of the adapter `policy`."""

    def __init__(self, backbone: Backbone, policy: str) -> None:
        self.backbone, self.policy = backbone, policy
        self.reference: str | None = BASE
        self._names: set[str] = set()

    @property
    def snapshot(self) -> str:
        """The adapter that holds the rollout policy while an algorithm measures its way."""
        return f"{self.policy}/rollout"

    def take_rollout_policy(self) -> None:
        """Let `snapshot` be the policy of now."""
        self._remember(self.snapshot)

    def drop_rollout_policy(self) -> None:
        """Nothing measures its way any more."""
        self._forget(self.snapshot)

    def renew_reference(self) -> None:
        """The reference becomes the policy of now."""
        name = f"{self.policy}/reference"
        self._remember(name)
        self.reference = name

    def first_reference(self) -> None:
        """The reference becomes the start again."""
        self.reference = BASE
        self._forget(f"{self.policy}/reference")

    @torch.no_grad()
    def set_reference(self, tensors: Mapping[str, Tensor]) -> None:
        """The reference becomes an adapter with these values."""
        self.renew_reference()
        assert self.reference is not None
        for name, tensor in self.backbone.adapter(self.reference).items():
            tensor.copy_(tensors[name])
        self.backbone.refresh(self.reference)

    def drop(self) -> None:
        """Give up all of them."""
        for name in [*self._names]:
            self._forget(name)

    def tensors(self) -> list[dict[str, Tensor]]:
        """What they hold."""
        return [self.backbone.adapter(name) for name in self._names]

    def names(self) -> list[str]:
        """Their adapters' names, in order."""
        return sorted(self._names)

    def _remember(self, name: str) -> None:
        """Copy the policy's adapter to another one, which is made if need be."""
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

    def _forget(self, name: str) -> None:
        if name in self._names:
            self.backbone.drop_adapter(name)
            self._names.remove(name)
