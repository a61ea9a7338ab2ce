"""Every storage that lives while some work is done, by owner, and who held what at the peak.

A dispatch mode sees each operation and notes the storages that it makes; weak references tell when
they go. That costs some microseconds an operation, so only some steps are tallied (see `memory`).
Tensors are told apart by what is known of them: what autograd keeps is an activation, what is as
wide as the vocabulary a loss tile, and what nothing is known of is a temporary: workspace.

Some operations take more while they run than they give (a library's attention does, backwards).
Where the allocator counts tensors alone it tells so: what its peak, reached in an operation, has
above all storages then known is that operation's workspace.
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
"""The peak is noted again when it has grown by this factor: the last note is within half a percent
of it."""

NEAR = 0.75
"""What operations took while they ran is asked for where storages hold this share of the peak: the
question costs more than most operations, and the answer stands until it is asked."""

Classify = Callable[[Tensor, bool], str]
"""The owner of a new tensor; told whether a backward pass made it."""


@dataclass(eq=False, slots=True)
class Held:
    """One storage."""

    owner: str
    size: int  # bytes


@dataclass
class Peak:
    """The moment of a part of the work at which owners held most."""

    total: int = 0  # bytes of all storages known
    held: list[Held] = field(default_factory=list)
    resident: int = 0  # what the process held then
    free: int = 0  # what the allocator kept free then
    highest: int = 0  # the most that the process, or a GPU's allocator, held at any moment seen
    hidden: int = 0  # of it no known storage's

    @property
    def kept(self) -> int:
        """Free in the allocator where the process held most: that moment had no more in use."""
        return self.free + self.highest - self.resident

    def by_owner(self) -> dict[str, int]:
        out: dict[str, int] = {}
        for h in self.held:
            out[h.owner] = out.get(h.owner, 0) + h.size
        return out


class Tally:
    """Counts what `watching` sees, in any number of threads at once.

    `parts`: whether forward and backward are told apart; in parallel threads they overlap.
    `highest`: the allocator's peak since the last `turned`, where it counts tensors alone.
    """

    def __init__(
        self, classify: Classify, resident: Callable[[], int], free: Callable[[], int], *,
        parts: bool,
        turned: Callable[[str], None] = lambda part: None,
        highest: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._classify, self._resident, self._free = classify, resident, free
        self._parts, self._turned, self._highest = parts, turned, highest
        self._live: dict[int, Held] = {}
        self._refs: dict[int, Any] = {}
        self._lock = threading.RLock()  # a reference may die while this very thread holds it
        self._here = threading.local()
        self.paused = False  # what is made meanwhile is another tally's
        self.total = 0
        self.part = "forward"
        self.peaks: dict[str, Peak] = {}

    def know(self, tensors_by_owner: Mapping[str, Iterable[Tensor]]) -> None:
        """Take these as owners' from now on, whether they are seen for the first time or not."""
        with self._lock:
            new = [
                self._add(tensor, owner, claim=True)
                for owner, tensors in tensors_by_owner.items()
                for tensor in tensors
            ]
            if any(new):
                self._note()  # once: one after the other they are no moments of the work

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
        """An operation gave `out`; storages of `inputs` are not new."""
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
        """The allocator's peak, where it counts tensors alone; if it has grown, the newest
        operation reached it."""
        if self._highest is None:
            return
        highest = self._highest()
        with self._lock:
            peak = self.peaks.setdefault(self.part, Peak())
            if highest > peak.highest * CLOSE:
                peak.highest, peak.held = highest, list(self._live.values())
                peak.total, peak.hidden = self.total, max(0, highest - self.total)

    def _add(self, tensor: Tensor, owner: str, *, claim: bool = False) -> bool:
        """Whether its storage is new."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if (known := self._live.get(key)) is not None:
            if claim:
                known.owner = owner
            return False
        self._live[key] = Held(owner, size)
        self._refs[key] = weakref.ref(storage, lambda ref: self._gone(key, ref))
        self.total += size
        return True

    def _note(self) -> None:
        """The peak, where the process is asked for it. That costs more than most operations."""
        if self._highest is not None:
            return
        peak, resident = self.peaks.setdefault(self.part, Peak()), self._resident()
        peak.highest = max(peak.highest, resident)
        if self.total > peak.total * CLOSE:
            peak.total, peak.held = self.total, list(self._live.values())
            peak.resident, peak.free = resident, self._free()

    def _gone(self, key: int, ref: Any) -> None:
        with self._lock:
            if self._refs.get(key) is ref:  # the address may be another storage's by now
                del self._refs[key]
                self.total -= self._live.pop(key).size

    def _keep(self, tensor: Tensor) -> Tensor:
        """What autograd keeps is an activation, unless it is known for something else."""
        storage = storage_of(tensor)
        held = None if storage is None else self._live.get(storage._cdata)
        if held is not None and held.owner == "workspace":
            held.owner = "activations"
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
        """Marking the method for the compiler would import it: two seconds and 100 MB."""
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
