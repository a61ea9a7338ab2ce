"""How many bytes each owner has, phase by phase.

Tensors that outlive a phase are summed over their storages whenever a phase ends. What a phase
allocates and frees is counted by a `Tally`, operation by operation: the first time that a phase
runs (on a CPU the second, so that the first step does not wait), when its peak has grown, and every
`EVERY` times. In between the last tally stands, on a GPU scaled to the present peak. The peak of
every phase is the allocator's (see `allocator`). What no owner accounts for is reported as `other`:
on a GPU the rest beside known tensors, workspaces of operations, and what torch gives cuBLAS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from grpolab.engine.memory.allocator import Reading, allocator_of
from grpolab.engine.memory.owners import OwnerRules, owner_of, storage_of, tensors_in
from grpolab.engine.memory.tally import Tally
from grpolab.record.events import OWNERS

Work = TypeVar("Work", bound=Callable)

EVERY = 100
"""A phase is tallied again after it has run this many times: a tally doubles the time of a small
model's phase on a CPU."""

GROWN = 1.03
"""It is also tallied again when its peak has grown by this factor, but not before it has run twice
as often as it was tallied: a process that is still filling its caches grows at every step."""

UNTALLIED = ("load", "rollout", "evaluate")
"""Phases that are not tallied on a GPU: captured graphs and compiled code run in them, which no
dispatch mode sees."""


@dataclass
class _Seen:
    """What a tally found in a phase, in bytes."""

    passing: dict[str, dict[str, int]]  # by part of the phase and owner: temporary, at the peak
    free: dict[str, int]  # by part: free in the allocator at that moment
    peaks: dict[str, int]  # by part: the allocator's peak, 0 where not measured
    unseen: dict[str, int]  # by part: in use by no known tensor, at the peak and at the end
    highest: int
    age: int = 0  # how often the phase has run since


@dataclass
class _Window:
    """A phase that is under way."""

    name: str
    of: str
    start: Reading
    lasting: int  # bytes of lasting tensors at its start; 0 where the allocator is exact
    highest: int = 0
    parts: dict[str, int] = field(default_factory=dict)  # allocator's peak in forward, backward
    noted: dict[str, int] = field(default_factory=dict)
    tally: Tally | None = None


@dataclass(frozen=True)
class Lasting:
    """Tensors that outlive a phase, by owner, each storage once; and their bytes."""

    tensors: dict[str, list[Tensor]]
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.sizes.values())


class Memory:
    """The account of one device. `tensors_by_owner` and `owner_rules`: see `follow`."""

    def __init__(
        self,
        device: torch.device,
        tensors_by_owner: Callable[[], Mapping[str, object]] = dict,
        owner_rules: Callable[[], OwnerRules] | None = None,
    ) -> None:
        self.device = device
        self.allocator = allocator_of(device)
        self.peak = 0  # of the whole run, in bytes: the process, or a GPU allocator's reserve
        self.most = 0  # the highest peak of any phase, in bytes
        self.parts = True  # tell forward from backward; in parallel threads they overlap
        self.phases: dict[str, dict[str, int]] = {}  # since `take`, by phase and owner
        self._tensors_by_owner, self._owner_rules = tensors_by_owner, owner_rules
        self._open: list[_Window] = []
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._tallies: dict[tuple[str, str], int] = {}
        self._times: dict[tuple[str, str], int] = {}  # of phases that no tally has seen
        self._baseline = self.allocator.now().in_use  # interpreter and libraries, on a CPU

    def follow(
        self,
        tensors_by_owner: Callable[[], Mapping[str, object]],
        owner_rules: Callable[[], OwnerRules] | None = None,
    ) -> None:
        """Ask these from now on: for the tensors that outlive a phase, by owner, as nested
        containers; and for the rules that find the owner of a tensor made inside one. Without rules
        nothing is tallied."""
        self._tensors_by_owner, self._owner_rules = tensors_by_owner, owner_rules

    # --- phases ---

    @contextmanager
    def phase(self, name: str, of: str = "") -> Iterator[None]:
        """Account for what is done inside as phase `name`; `of` separates different work in one
        phase, such as that of two algorithms. A phase inside another is taken out of it."""
        outer = self._open[-1] if self._open else None
        if outer is not None:
            self._mark(outer)
            if outer.tally is not None:
                outer.tally.paused = True
        lasting = 0 if self.allocator.exact else self.lasting().total
        window = _Window(name, of, self.allocator.now(), lasting)
        self._open.append(window)
        self.allocator.reset()
        try:
            with ExitStack() as stack:
                if self._wants(name, of):
                    window.tally = self._tally(window)
                    stack.enter_context(window.tally.watching())
                yield
        finally:
            self._mark(window)
            self._close(window)
            self._open.pop()
            self.allocator.reset()
            if outer is not None and outer.tally is not None:
                outer.tally.know(self.lasting().tensors)
                outer.tally.paused = False

    def watched(self, work: Work) -> Work:
        """`work` for another thread: it is counted where the present phase is tallied."""
        tally = self._open[-1].tally if self._open else None
        if tally is None:
            return work

        def counted(*args, **kwargs):
            with tally.watching():
                return work(*args, **kwargs)

        return counted  # pyright: ignore[reportReturnType]

    def note(self, owner: str, size: int) -> None:
        """Report an owner's bytes in the present phase, where no tally can count them."""
        if self._open:
            self._open[-1].noted[owner] = max(self._open[-1].noted.get(owner, 0), size)

    def take(self) -> dict[str, dict[str, int]]:
        """Bytes by phase since the last call, by owner at the phase's peak; they add up to it."""
        taken, self.phases = self.phases, {}
        return taken

    def lasting(self) -> Lasting:
        """The tensors that outlive a phase; every storage once, at the first owner with it."""
        taken, tensors, sizes = set[int](), dict[str, list[Tensor]](), dict[str, int]()
        for owner, nest in self._tensors_by_owner().items():
            mine = tensors.setdefault(owner, [])
            size = 0
            for tensor in tensors_in(nest):
                storage = storage_of(tensor)
                if storage is not None and (key := storage._cdata) not in taken:
                    taken.add(key)
                    mine.append(tensor)
                    size += storage.nbytes()
            sizes[owner] = sizes.get(owner, 0) + size
        return Lasting(tensors, sizes)

    def _wants(self, name: str, of: str) -> bool:
        if self._owner_rules is None or name == "load":
            return False
        if self.device.type == "cuda" and name in UNTALLIED:
            return False
        if (seen := self._seen.get((name, of))) is not None:
            return seen.age >= EVERY
        times = self._times[name, of] = self._times.get((name, of), 0) + 1
        return self.allocator.exact or times > 1

    def _tally(self, window: _Window) -> Tally:
        assert self._owner_rules is not None
        rules, phase = self._owner_rules(), window.name

        def classify(tensor: Tensor, backward: bool) -> str:
            return owner_of(tensor, rules, phase, backward)

        def turned(part: str) -> None:
            self._mark(window, part)
            self.allocator.reset()

        parts = self.parts and phase == "update"
        allocator = self.allocator

        def free() -> int:
            return 0 if allocator.exact else allocator.now().free

        tally = Tally(
            classify, allocator.resident, free, parts=parts, turned=turned,
            highest=allocator.highest if allocator.exact else None,
        )  # fmt: skip
        tally.know(self.lasting().tensors)
        return tally

    def _mark(self, window: _Window, part: str | None = None) -> None:
        """Take the allocator's peak since its reset into the window."""
        highest = self.allocator.highest()
        window.highest = max(window.highest, highest)
        if window.tally is not None:
            part = part or window.tally.part
            window.parts[part] = max(window.parts.get(part, 0), highest)

    # --- accounts ---

    def _close(self, window: _Window) -> None:
        found = self.lasting()
        lasting = found.sizes
        now, name = self.allocator.now(), window.name
        key = name, window.of
        if (tally := window.tally) is not None:
            tally.know(found.tensors)
            self._tallies[key] = self._tallies.get(key, 0) + 1
            self._seen[key] = _found(window, tally, lasting, now)
            tally.close()
        seen = self._seen.get(key)
        if seen is None:
            accounts = {name: self._untallied(window, lasting, now)}
        else:
            seen.age += 1
            if window.highest > seen.highest * GROWN and seen.age >= 2 * self._tallies[key]:
                seen.age = EVERY
            accounts = {
                _phase_name(name, part, seen): self._tallied(window, part, seen, lasting, now)
                for part in seen.passing
            }
        for phase, account in accounts.items():
            old = self.phases.get(phase)
            if old is None or sum(old.values()) < sum(account.values()):
                self.phases[phase] = account
        self.most = max(self.most, window.highest)
        reserve = now.in_use + now.free if self.allocator.exact else 0
        self.peak = max(self.peak, window.highest, reserve)

    def _tallied(
        self, window: _Window, part: str, seen: _Seen, lasting: dict[str, int], now: Reading
    ) -> dict[str, int]:
        owners = dict.fromkeys(OWNERS, 0) | lasting
        highest = window.highest
        if len(seen.passing) > 1 and seen.highest:  # the share that this part had of the phase
            highest = round(highest * seen.peaks.get(part, seen.highest) / seen.highest)
        passing, unseen = seen.passing[part], seen.unseen[part]
        if self.allocator.exact:
            if window.tally is None:  # lasting tensors counted anew, temporaries as last tallied
                unseen = max(0, now.in_use - sum(lasting.values()))
                passing = _scaled(passing, highest - sum(lasting.values()) - unseen)
            owners["workspace"] += min(unseen, self.allocator.libraries)
        else:
            owners["outside"] += unseen
            free = seen.free[part]
            if window.tally is None:  # free at the start, less what was allocated, plus new pages
                came = sum(lasting.values()) + sum(passing.values()) - window.lasting
                free = window.start.free - came + highest - window.start.in_use
            owners["fragmentation"] += max(0, free)
        rest = highest - sum(owners.values()) - sum(passing.values())
        if rest < 0:  # smaller than when it was tallied
            passing = _scaled(passing, sum(passing.values()) + rest)
            rest = highest - sum(owners.values()) - sum(passing.values())
        if rest < 0 and not self.allocator.exact:  # and less was free
            owners["fragmentation"] = max(0, owners["fragmentation"] + rest)
        for owner, size in passing.items():
            owners[owner] = owners.get(owner, 0) + size
        owners["other"] += max(0, rest)
        return self._around(owners, window, now)

    def _untallied(self, window: _Window, lasting: dict[str, int], now: Reading) -> dict[str, int]:
        """The account of a phase that was never tallied: what is neither lasting nor noted is
        workspace where the allocator counts tensors alone, else `other`."""
        owners = dict.fromkeys(OWNERS, 0) | lasting
        for owner, size in window.noted.items():
            owners[owner] = max(owners.get(owner, 0), size)
        if not self.allocator.exact:
            owners["outside"] += min(self._baseline, window.highest)
        rest = "workspace" if self.allocator.exact else "other"
        owners[rest] += max(0, window.highest - sum(owners.values()))
        return self._around(owners, window, now)

    def _around(self, owners: dict[str, int], window: _Window, now: Reading) -> dict[str, int]:
        """On a GPU: add the allocator's free bytes and non-model memory."""
        if self.allocator.exact:
            owners["fragmentation"] += max(0, now.in_use + now.free - window.highest)
            owners["outside"] += now.non_model or 0
        return owners


def _found(window: _Window, tally: Tally, lasting: dict[str, int], now: Reading) -> _Seen:
    passing, free, unseen = {}, {}, {}
    exact = now.non_model is not None
    last = max(0, now.in_use - tally.total - (0 if exact else now.free))
    for part, peak in tally.peaks.items():
        owners, unseen[part] = peak.by_owner(), last
        if exact:  # what an operation took while it ran is gone by now
            unseen[part] = min(last, peak.hidden)
            owners["workspace"] = owners.get("workspace", 0) + peak.hidden - unseen[part]
        passing[part] = {k: n for k, v in owners.items() if (n := v - lasting.get(k, 0)) > 0}
        free[part] = peak.kept
    return _Seen(
        passing=passing, free=free, peaks=window.parts, unseen=unseen, highest=window.highest
    )


def _scaled(owners: dict[str, int], to: int) -> dict[str, int]:
    """The same shares of the total `to`; of 0 where it is negative."""
    total = sum(owners.values())
    return {k: round(v * max(0, to) / total) for k, v in owners.items()} if total else owners


def _phase_name(name: str, part: str, seen: _Seen) -> str:
    return part if len(seen.passing) > 1 else name
