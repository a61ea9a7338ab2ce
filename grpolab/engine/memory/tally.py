"""Counts every storage that lives while some work is done, by owner, and who had what at the peak.

A dispatch mode sees each operation and notes the storages that it makes; weak references tell when
they are freed. That costs some microseconds per operation, so only some steps are tallied (see
`account`). Owners are told by what is known of a tensor: what autograd saves is an activation, what
is as wide as the vocabulary a loss tile, and a temporary of which nothing is known is workspace.

Some operations take more memory while they run than they return (the backward of a library's
attention does). Where the allocator counts tensors alone, that is the difference between its peak,
reached inside an operation, and all storages known at that time: the operation's workspace.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from grpolab.engine.memory.owners import packed, storage_of

CLOSE = 1.004
"""The peak is recorded again when it has grown by this factor, so the record is within half a
percent of it."""

NEAR = 0.75
"""The allocator's peak is read where known storages make this share of it: reading costs more than
most operations, and the peak stays until it is reset."""

Classify = Callable[[Tensor, bool], str]
"""The owner of a new tensor; told whether a backward pass made it."""


@dataclass(eq=False, slots=True)
class Owned:
    """A storage and its owner."""

    owner: str
    size: int  # bytes


@dataclass
class Peak:
    """The moment of a part of the work at which owners had the most."""

    total: int = 0  # bytes of all storages known
    storages: list[Owned] = field(default_factory=list)
    resident: int = 0  # resident set of the process at that moment
    free: int = 0  # bytes free in the allocator at that moment
    highest: int = 0  # the highest resident set, or peak of a GPU's allocator, that was read
    hidden: int = 0  # bytes of it in no known storage

    @property
    def kept(self) -> int:
        """Bytes free in the allocator where the resident set was highest: none were taken since."""
        return self.free + self.highest - self.resident

    def by_owner(self) -> dict[str, int]:
        out: dict[str, int] = {}
        for s in self.storages:
            out[s.owner] = out.get(s.owner, 0) + s.size
        return out


class Tally:
    """Counts what is done inside `watching`, in any number of threads at once.

    `parts`: tell forward from backward; in parallel threads they overlap. `turned` is called with
    the part that ends. `highest`: the allocator's peak since then, where it counts tensors alone.
    """

    def __init__(
        self, classify: Classify, resident: Callable[[], int], free: Callable[[], int], *,
        parts: bool,
        turned: Callable[[str], None] = lambda part: None,
        highest: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._classify, self._resident, self._free = classify, resident, free
        self._parts, self._turned, self._highest = parts, turned, highest
        self._live: dict[int, Owned] = {}
        self._refs: dict[int, Any] = {}
        self._lock = threading.RLock()  # a weak reference may die while this thread has the lock
        self._here = threading.local()
        self.paused = False  # storages made meanwhile belong to another tally
        self.total = 0
        self.part = "forward"
        self.peaks: dict[str, Peak] = {}

    def know(self, tensors_by_owner: Mapping[str, Iterable[Tensor]]) -> None:
        """Count these tensors under their owners from now on, new or known."""
        with self._lock:
            new = [
                self._add(tensor, owner, claim=True)
                for owner, tensors in tensors_by_owner.items()
                for tensor in tensors
            ]
            if any(new):
                self._note()  # once for all: the states in between are no moments of the work

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what this thread does inside."""
        if getattr(self._here, "inside", False):
            yield
            return
        self._here.inside = True
        try:
            with ExitStack() as stack:
                stack.enter_context(
                    torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)
                )
                stack.enter_context(_Mode(self))
                yield
        finally:
            self._ask()
            self._here.inside = False

    def seen(self, out: Any, inputs: set[int]) -> None:
        """Count what an operation returned; storages of its `inputs` are not new."""
        if self.paused:
            return
        backward = torch._C._current_graph_task_id() != -1
        part = "backward" if self._parts and backward else "forward"
        if part != self.part:
            self._ask()
            self._turned(self.part)
            self.part = part
        for tensor in out if isinstance(out, list | tuple) else (out,):
            if not isinstance(tensor, Tensor) or (storage := storage_of(tensor)) is None:
                continue
            if storage._cdata not in inputs:
                owner = self._classify(tensor, backward)
                with self._lock:
                    if self._add(tensor, owner):
                        self._note()
        so_far = self.peaks.get(self.part)
        if so_far is None or self.total > NEAR * so_far.highest:
            self._ask()

    def _ask(self) -> None:
        """Read the allocator's peak, where it counts tensors alone; if it has grown, the latest
        operation reached it."""
        if self._highest is None:
            return
        highest = self._highest()
        with self._lock:
            peak = self.peaks.setdefault(self.part, Peak())
            if highest > peak.highest * CLOSE:
                peak.highest, peak.storages = highest, list(self._live.values())
                peak.total, peak.hidden = self.total, max(0, highest - self.total)

    def _add(self, tensor: Tensor, owner: str, *, claim: bool = False) -> bool:
        """Follow a tensor's storage; returns whether it is new."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if (known := self._live.get(key)) is not None:
            if claim:
                known.owner = owner
            return False
        self._live[key] = Owned(owner, size)
        self._refs[key] = weakref.ref(storage, lambda ref: self._gone(key, ref))
        self.total += size
        return True

    def _note(self) -> None:
        """Record the peak by the resident set, which costs more to read than most operations."""
        if self._highest is not None:
            return
        peak, resident = self.peaks.setdefault(self.part, Peak()), self._resident()
        peak.highest = max(peak.highest, resident)
        if self.total > peak.total * CLOSE:
            peak.total, peak.storages = self.total, list(self._live.values())
            peak.resident, peak.free = resident, self._free()

    def _gone(self, key: int, ref: Any) -> None:
        with self._lock:
            if self._refs.get(key) is ref:  # the address may be another storage's by now
                del self._refs[key]
                self.total -= self._live.pop(key).size

    def _keep(self, tensor: Tensor) -> Tensor:
        """A saved-tensors hook: what autograd saves is an activation, unless it has an owner."""
        storage = storage_of(tensor)
        known = None if storage is None else self._live.get(storage._cdata)
        if known is not None and known.owner == "workspace":
            known.owner = "activations"
        return packed(tensor)

    def close(self) -> None:
        """Stop following what still lives."""
        with self._lock:
            self._refs.clear()
            self._live.clear()


class _Mode(TorchDispatchMode):
    """One thread's part of a tally."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """The base class would import torch's compiler here: two seconds and 100 MB."""
        return False

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # pyright: ignore
        kwargs = kwargs or {}
        inputs: set[int] = set()
        for x in (*args, *kwargs.values()):
            for t in x if isinstance(x, list | tuple) else (x,):
                if isinstance(t, Tensor) and (storage := storage_of(t)) is not None:
                    inputs.add(storage._cdata)
        out = func(*args, **kwargs)
        self._tally.seen(out, inputs)
        return out
