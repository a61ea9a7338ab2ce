"""The frozen backbone and the adapters on it, as the rest of the engine sees them.

Three implementations: `cpu.backbone.NativeBackbone` and `gpu.backbone.HalfBackbone`, our own
forward for the Llama family, and `hf.TransformersBackbone`, transformers and PEFT for everything
else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from grpolab.engine.backbone.tokenizer import Text

BASE = None
"""Stands where an adapter's name may stand: the backbone with every adapter off, that is, the
reference."""


@dataclass(frozen=True)
class Prompts:
    """The distinct prompts of a rollout, left-padded. K prompts, P longest prompt."""

    ids: Tensor  # [K, P] long
    mask: Tensor  # [K, P] bool, True on real tokens

    @staticmethod
    def pad(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> Prompts:
        width = max(1, max(len(r) for r in rows))
        ids = torch.tensor([[pad] * (width - len(r)) + list(r) for r in rows], device=device)
        mask = torch.tensor(
            [[False] * (width - len(r)) + [True] * len(r) for r in rows], device=device
        )
        return Prompts(ids, mask)

    def take(self, index: Tensor) -> Prompts:
        return Prompts(self.ids[index], self.mask[index])


class Session(Protocol):
    """Decoding of many rows with a key/value cache. R rows, V vocabulary."""

    def step(self, tokens: Tensor) -> Tensor:
        """Feed each row's newest token [R]; logits of the next [R, V]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these of the present rows only."""
        ...

    @property
    def cache_bytes(self) -> int: ...


class Backbone(Protocol):
    """One model, frozen, and named adapters that learn."""

    text: Text
    device: torch.device
    name: str
    architecture: str
    backend: str
    parallel: bool  # whether several threads may use it at once
    parameters: int
    vocabulary: int
    layers: int
    hidden: int
    dtype: str

    @property
    def note(self) -> str:
        """What the user should know about how it runs."""
        ...

    @property
    def head_weight(self) -> Tensor | None:
        """[V, H] of the frozen head, where it is nothing but a product."""
        ...

    def create_adapter(self, name: str, seed: int, *, full: bool = False) -> None:
        """A new adapter that changes nothing yet. `full`: a whole trainable copy of the backbone
        instead."""
        ...

    def copy_adapter(self, source: str, target: str) -> None:
        """Make `target` a new adapter with the values of `source`."""
        ...

    def drop_adapter(self, name: str) -> None: ...

    def adapter(self, name: str) -> dict[str, Tensor]:
        """The adapter's trainable tensors by PEFT's names."""
        ...

    def contexts(
        self, adapter: str | None, prompts: Prompts, group: Tensor, answers: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden states from which answer tokens are predicted, after the final norm, and which of
        them predicts each token: rows that agree so far may share one.

        prompts: K of them; group [n]: which prompt each row answers; answers [n, T] and mask [n,
        T], right-padded
        -> states [U, H], index [n, T] into them, anything on padding. A row's first token is
        predicted from its last prompt token. Gradients reach the adapter.
        """
        ...

    def head(self, states: Tensor) -> Tensor:
        """Logits of hidden states. [..., H] -> [..., V]."""
        ...

    def warm(self) -> None:
        """Compile what sampling wants compiled, so that the first rollout does not wait."""
        ...

    def prepare(self, adapter: str | None) -> None:
        """Make whatever `decode` derives from the adapter, once, before threads ask for it."""
        ...

    def refresh(self, adapter: str) -> None:
        """The adapter's values have changed: forget what was derived from them."""
        ...

    def backbone_bytes(self) -> int: ...

    def give_up(self) -> str | None:
        """Give up something that only makes it faster, when memory has run out: what it was, in
        words, or None if there is nothing left."""
        ...

    def differentiable_twice(self) -> AbstractContextManager[None]:
        """Inside, `states` can be differentiated any number of times."""
        ...

    def tensors_by_owner(self) -> dict[str, object]:
        """What lasts of it, by owner (see `events.OWNERS`): nests of tensors, adapters left out."""
        ...


class Stepwise(Backbone, Protocol):
    """A backbone that is sampled from one position at a time, by the loop in `sample`."""

    def decode(
        self, adapter: str | None, prompts: Prompts, group: Tensor, max_tokens: int
    ) -> tuple[Session, Tensor]:
        """Read each prompt once; a session with one row for each entry of `group` and its first
        logits [R, V]."""
        ...


@runtime_checkable
class Looping(Protocol):
    """A backbone that brings its own sampling loop."""

    def rollout(
        self, adapter: str | None, prompts: Prompts, group: Tensor, *, max_tokens: int,
        temperature: float, top_p: float, generator: torch.Generator, greedy: Tensor | None,
        listener: Any,
    ) -> Any:  # fmt: skip
        """A `sample.Rollout`; the arguments are those of `sample.sample`."""
        ...


class ModelError(RuntimeError):
    """The model cannot be loaded as asked; the message says what to do."""
