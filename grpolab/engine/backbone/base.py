"""The frozen backbone and the adapters on it, as the rest of the engine sees them.

Three implementations: `cpu.backbone.NativeBackbone` and `gpu.backbone.HalfBackbone`, our own
decoder for the Llama family, and `hf.TransformersBackbone`, transformers and PEFT for everything
else. `load.load_backbone` chooses one.
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
"""In place of an adapter's name: the backbone with every adapter off, that is, the initial policy.
"""


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
        """Continue with these of the present rows only."""
        ...

    @property
    def cache_bytes(self) -> int: ...


class Backbone(Protocol):
    """One frozen model and named, trainable adapters on it."""

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
        """What the user should know about how the model runs; empty if nothing."""
        ...

    @property
    def head_weight(self) -> Tensor | None:
        """Weight of the frozen head [V, H]; None where the head is more than a product."""
        ...

    def create_adapter(self, name: str, seed: int, *, full: bool = False) -> None:
        """Create an adapter that does not change the output yet. `full`: a full trainable copy of
        the backbone instead."""
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
        """Hidden states after the final norm from which answer tokens are predicted, and the index
        of each token's state: rows with the same tokens so far may share one.

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
        """Compile what sampling needs, so that the first rollout does not wait for it."""
        ...

    def prepare(self, adapter: str | None) -> None:
        """Compute what sampling derives from the adapter, once, before several threads need it."""
        ...

    def refresh(self, adapter: str) -> None:
        """Drop what was derived from the adapter: its values have changed."""
        ...

    def backbone_bytes(self) -> int: ...

    def give_up(self) -> str | None:
        """Free something that only saves time, because memory has run out. Returns what, in words;
        None if nothing is left."""
        ...

    def differentiable_twice(self) -> AbstractContextManager[None]:
        """Inside this context, states can be differentiated any number of times."""
        ...

    def tensors_by_owner(self) -> dict[str, object]:
        """Its tensors by memory owner (see `events.OWNERS`), as nested containers, without the
        adapters."""
        ...


class Stepwise(Backbone, Protocol):
    """A backbone that decodes one position at a time, for the loop in `sample`."""

    def decode(
        self, adapter: str | None, prompts: Prompts, group: Tensor, max_tokens: int
    ) -> tuple[Session, Tensor]:
        """Read each prompt once; returns a session with one row for each entry of `group`, and the
        first logits [R, V]."""
        ...


@runtime_checkable
class Looping(Protocol):
    """A backbone with a sampling loop of its own."""

    def rollout(
        self, adapter: str | None, prompts: Prompts, group: Tensor, *, max_tokens: int,
        temperature: float, top_p: float, generator: torch.Generator, greedy: Tensor | None,
        listener: Any,
    ) -> Any:  # fmt: skip
        """A `sample.Rollout`; the arguments are those of `sample.sample`."""
        ...


class ModelError(RuntimeError):
    """The model cannot be loaded or run as asked; the message says what to change."""
