"""Who holds how many bytes, phase by phase.

What lasts is counted from its storages whenever a phase ends. What comes and goes inside a phase is
counted by a `Tally` the first time that a phase is seen (on a CPU the second: the first step shall
not wait), when it has grown, and now and then; in between, the last count stands, on a GPU as
shares of what came and went. The peak of every phase is what the allocator says (see `gauge`);
what no owner answers for is `other`, and is shown: on a GPU what is neither a known tensor's, nor
an operation's while it ran, nor within what torch hands to cuBLAS.
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
"""A phase is tallied again after so many times: a tally doubles the time of a small model's phase
on a CPU."""

GROWN = 1.03
"""And when its peak has grown by this factor, after as many times as twice the tallies so far: a
process that is still filling its caches grows at every step."""

UNTALLIED = ("load", "rollout", "evaluate")
"""Phases that are not tallied on a GPU, where captured graphs and compiled code run in them."""


@dataclass
class _Seen:
    """What a tally found in a phase. Bytes."""

    passing: dict[str, dict[str, int]]  # by part of the phase and owner: held at the peak only
    free: dict[str, int]  # by part: what lay free in the allocator then
    peaks: dict[str, int]  # by part: the allocator's, 0 where not measured
    unseen: dict[str, int]  # by part: held by nobody known, then and at the phase's end
    highest: int
    age: int = 0


@dataclass
class _Window:
    name: str
    of: str
    start: Reading
    lasting: int  # bytes that owners held when it began; 0 where the gauge is exact
    highest: int = 0
    parts: dict[str, int] = field(default_factory=dict)  # the allocator's peak in forward, backward
    noted: dict[str, int] = field(default_factory=dict)
    tally: Tally | None = None


@dataclass(frozen=True)
class Lasting:
    """What lasts, by owner: its tensors, no storage twice, and bytes."""

    tensors: dict[str, list[Tensor]]
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.sizes.values())


class Memory:
    """Watches one device. `holdings` gives whatever lasts, by owner, as nests of tensors."""

    def __init__(
        self,
        device: torch.device,
        tensors_by_owner: Callable[[], Mapping[str, object]] = dict,
        owner_rules: Callable[[], OwnerRules] | None = None,
    ) -> None:
        self.device = device
        self.allocator = allocator_of(device)
        self.peak = 0  # of the whole run, in bytes: the process, or a GPU allocator's reserve
        self.most = 0  # the largest that a gauge has told of any phase, in bytes
        self.parts = True  # forward and backward follow each other; in parallel threads they mix
        self.phases: dict[str, dict[str, int]] = {}  # since `take`, by phase and owner
        self._tensors_by_owner, self._owner_rules = tensors_by_owner, owner_rules
        self._open: list[_Window] = []
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._tallies: dict[tuple[str, str], int] = {}
        self._times: dict[tuple[str, str], int] = {}  # of phases that no tally has seen
        self._baseline = self.allocator.now().in_use  # interpreter and libraries, on a CPU

    # --- phases ---

    @contextmanager
    def phase(self, name: str, of: str = "") -> Iterator[None]:
        """Account for what is done inside as phase `name`; `of` tells apart works of one phase,
        such as those of two algorithms. A phase inside another one is taken out of it."""
        outer = self._open[-1] if self._open else None
        if outer is not None:
            self._mark(outer)
            if outer.tally is not None:
                outer.tally.paused = True
        lasting = 0 if self.allocator.exact else self.held().total
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
                outer.tally.know(self.held().tensors)
                outer.tally.paused = False

    def watched(self, work: Work) -> Work:
        """`work` for another thread: counted if the present phase is tallied."""
        tally = self._open[-1].tally if self._open else None
        if tally is None:
            return work

        def counted(*args, **kwargs):
            with tally.watching():
                return work(*args, **kwargs)

        return counted  # pyright: ignore[reportReturnType]

    def note(self, owner: str, size: int) -> None:
        """An owner's bytes in the present phase, where no tally can see them."""
        if self._open:
            self._open[-1].noted[owner] = max(self._open[-1].noted.get(owner, 0), size)

    def take(self) -> dict[str, dict[str, int]]:
        """The phases since the last call, by owner at each one's peak; their sum is that peak."""
        taken, self.phases = self.phases, {}
        return taken

    def held(self) -> Lasting:
        """What lasts; every storage once, at the first owner that names it."""
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
        owner_rules, phase = self._owner_rules(), window.name

        def classify(tensor: Tensor, backward: bool) -> str:
            return owner_of(tensor, owner_rules, phase, backward)

        def turned(part: str) -> None:
            self._mark(window, part)
            self.allocator.reset()

        parts = self.parts and phase == "update"
        g = self.allocator

        def free() -> int:
            return 0 if g.exact else g.now().free

        tally = Tally(
            classify, g.resident, free, parts=parts, turned=turned,
            highest=g.highest if g.exact else None,
        )  # fmt: skip
        tally.know(self.held().tensors)
        return tally

    def _mark(self, window: _Window, part: str | None = None) -> None:
        """Take the gauge's highest into the window."""
        highest = self.allocator.highest()
        window.highest = max(window.highest, highest)
        if window.tally is not None:
            part = part or window.tally.part
            window.parts[part] = max(window.parts.get(part, 0), highest)

    # --- accounts ---

    def _close(self, window: _Window) -> None:
        lasting = self.held()
        held = lasting.sizes
        now, key = self.allocator.now(), (window.name, window.of)
        if (tally := window.tally) is not None:
            tally.know(lasting.tensors)
            self._tallies[key] = self._tallies.get(key, 0) + 1
            self._seen[key] = _found(window, tally, held, now)
            tally.close()
        seen = self._seen.get(key)
        if seen is None:
            accounts = {window.name: self._untallied(window, held, now)}
        else:
            seen.age += 1
            if window.highest > seen.highest * GROWN and seen.age >= 2 * self._tallies[key]:
                seen.age = EVERY
            accounts = {
                _phase_name(window.name, part, seen): self._tallied(window, part, seen, held, now)
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
        self, window: _Window, part: str, seen: _Seen, held: dict[str, int], now: Reading
    ) -> dict[str, int]:
        owners = dict.fromkeys(OWNERS, 0) | held
        highest = window.highest
        if len(seen.passing) > 1 and seen.highest:  # the share that this part had of the phase
            highest = round(highest * seen.peaks.get(part, seen.highest) / seen.highest)
        passing, unseen = seen.passing[part], seen.unseen[part]
        if self.allocator.exact:
            if window.tally is None:  # what lasts is counted anew, what passes is as it was
                unseen = max(0, now.in_use - sum(held.values()))
                passing = _scaled(passing, highest - sum(held.values()) - unseen)
            owners["workspace"] += min(unseen, self.allocator.libraries)
        else:
            owners["outside"] += unseen
            free = seen.free[part]
            if window.tally is None:  # what was free at the start, less what came, plus new pages
                came = sum(held.values()) + sum(passing.values()) - window.lasting
                free = window.start.free - came + highest - window.start.in_use
            owners["fragmentation"] += max(0, free)
        rest = highest - sum(owners.values()) - sum(passing.values())
        if rest < 0:  # smaller than when it was tallied
            passing = _scaled(passing, sum(passing.values()) + rest)
            rest = highest - sum(owners.values()) - sum(passing.values())
        if rest < 0 and not self.allocator.exact:  # and less lay free
            owners["fragmentation"] = max(0, owners["fragmentation"] + rest)
        for owner, size in passing.items():
            owners[owner] = owners.get(owner, 0) + size
        owners["other"] += max(0, rest)
        return self._around(owners, window, now)

    def _untallied(self, window: _Window, held: dict[str, int], now: Reading) -> dict[str, int]:
        """A phase that only the allocator has seen. What is neither lasting nor noted was
        workspace where tensors alone are counted."""
        owners = dict.fromkeys(OWNERS, 0) | held
        for owner, size in window.noted.items():
            owners[owner] = max(owners.get(owner, 0), size)
        if not self.allocator.exact:
            owners["outside"] += min(self._baseline, window.highest)
        rest = "workspace" if self.allocator.exact else "other"
        owners[rest] += max(0, window.highest - sum(owners.values()))
        return self._around(owners, window, now)

    def _around(self, owners: dict[str, int], window: _Window, now: Reading) -> dict[str, int]:
        """On a GPU: what lies around the tensors."""
        if self.allocator.exact:
            owners["fragmentation"] += max(0, now.in_use + now.free - window.highest)
            owners["outside"] += now.non_model or 0
        return owners


def _found(window: _Window, tally: Tally, held: dict[str, int], now: Reading) -> _Seen:
    passing, free, unseen = {}, {}, {}
    exact = now.non_model is not None
    last = max(0, now.in_use - tally.total - (0 if exact else now.free))
    for part, peak in tally.peaks.items():
        owners, unseen[part] = peak.by_owner(), last
        if exact:  # what an operation took while it ran is gone by now
            unseen[part] = min(last, peak.hidden)
            owners["workspace"] = owners.get("workspace", 0) + peak.hidden - unseen[part]
        passing[part] = {k: n for k, v in owners.items() if (n := v - held.get(k, 0)) > 0}
        free[part] = peak.kept
    return _Seen(passing, free, window.parts, unseen, window.highest)


def _scaled(owners: dict[str, int], to: int) -> dict[str, int]:
    """The same shares of another total, which is at least 0."""
    total = sum(owners.values())
    return {k: round(v * max(0, to) / total) for k, v in owners.items()} if total else owners


def _phase_name(name: str, part: str, seen: _Seen) -> str:
    return part if len(seen.passing) > 1 else name
