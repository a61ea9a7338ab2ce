"""What a benchmark found: figures with their spread, rows with their targets, one Markdown table
and one JSON file that is written anew with every row."""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

HEADER = ("work", "grpolab", "TRL / transformers", "ratio", "share of the limit", "target", "met")

PACKAGES = ("grpolab", "torch", "transformers", "peft", "bitsandbytes", "trl", "accelerate")


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one quantity."""

    values: tuple[float, ...]

    @staticmethod
    def of(values: Iterable[float]) -> Spread:
        """At least one value."""
        found = tuple(float(v) for v in values)
        if not found:
            raise ValueError("nothing was measured")
        return Spread(found)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def plain(self) -> dict[str, Any]:
        return {
            "min": min(self.values), "median": self.median, "max": max(self.values),
            "n": len(self.values), "values": list(self.values),
        }  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A bound on a row's ratio, or on grpolab's own figure."""

    bound: Literal["≥", "≤"]
    value: float
    on: Literal["ratio", "grpolab"] = "ratio"

    def holds(self, found: float) -> bool:
        return found >= self.value if self.bound == "≥" else found <= self.value


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` says how many times as fast, small or long, see `work`."""

    work: str
    unit: str  # "s", "tokens/s", "GiB", or any other word
    ours: Spread | None = None
    peer: Spread | None = None
    ratio: float | None = None
    share: float | None = None  # of what the hardware could do, 0…1
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no target, or nothing to hold against it."""
        if self.target is None:
            return None
        found = self.ratio if self.target.on == "ratio" else self.ours and self.ours.median
        return None if found is None else self.target.holds(found)

    def cells(self) -> tuple[str, ...]:
        """The texts of `HEADER`'s columns."""
        target = "–"
        if self.target is not None:
            unit = "×" if self.target.on == "ratio" else f" {self.unit}"
            target = f"{self.target.bound} {self.target.value:g}{unit}"
        return (
            self.work + (f" ({self.note})" if self.note else ""),
            figure(self.ours, self.unit),
            figure(self.peer, self.unit),
            "–" if self.ratio is None else f"{self.ratio:.3g}×",
            "–" if self.share is None else f"{self.share:.0%}",
            target,
            {None: "–", True: "yes", False: "no"}[self.met],
        )


def figure(spread: Spread | None, unit: str) -> str:
    """A median and, where there are several values, their range: `1.02 s (0.98–1.10)`."""
    if spread is None:
        return "–"
    text = f"{number(spread.median)} {unit}"
    if len(spread.values) > 1:
        text += f" ({number(min(spread.values))}–{number(max(spread.values))})"
    return text


def number(value: float) -> str:
    """Three significant digits, thousands in full."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def faster(ours: Spread, peer: Spread, *, rate: bool = False) -> float:
    """How many times as fast as the peer, from medians; `rate`: more is faster."""
    return ours.median / peer.median if rate else peer.median / ours.median


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Check:
    """One comparison of what both sides compute."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"parity {'ok' if self.passed else 'FAILED'}: {self.name}: {self.detail}"


@dataclass
class Report:
    """Everything that one command found, kept on disk as it comes. Progress goes to stderr."""

    command: str
    options: dict[str, Any]
    file: Path | None = None
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # part to traceback
    facts: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    seconds: dict[str, float] = field(default_factory=dict)  # of each part

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.say("  " + " | ".join(row.cells()))
        self.flush()  # a part may be cut off

    def check(self, found: Check) -> bool:
        self.checks.append(found)
        self.say(f"  {found}")
        self.flush()
        return found.passed

    def note(self, name: str, value: Any) -> None:
        self.facts[name] = value
        self.say(f"  {name}: {value}")

    def part(self, name: str, work: Callable[[], object]) -> None:
        """Do one part; if it fails its traceback is kept and printed, and the next goes on."""
        self.say(f"== {name}")
        start = time.perf_counter()
        try:
            work()
        except Exception:
            self.failures[name] = traceback.format_exc()
            self.say(self.failures[name])
        self.seconds[name] = round(time.perf_counter() - start, 2)
        self.flush()

    def flush(self) -> None:
        if self.file is not None:
            self.file.write_text(json.dumps(self.plain(), indent=1, ensure_ascii=False) + "\n")

    def plain(self) -> dict[str, Any]:
        return {
            "command": self.command, "options": self.options, "commit": commit(),
            "date": datetime.now(UTC).date().isoformat(), "machine": machine(),
            "device": self.device, "versions": versions(), "rows": [_plain(r) for r in self.rows],
            "parity": [asdict(c) for c in self.checks], "facts": self.facts,
            "failures": self.failures, "seconds": self.seconds,
        }  # fmt: skip

    def finish(self) -> int:
        """Print the table; 1 if parity or a part failed."""
        self.flush()
        where = ", ".join(f"{name} {number}" for name, number in versions().items())
        print(f"{self.device}; {machine()['processor']}, {machine()['cpus']} CPUs; {where}\n")
        print(markdown(self.rows))
        bad = [c for c in self.checks if not c.passed]
        for check in bad:
            print(f"\n{check}")
        for name in self.failures:
            print(f"\npart failed: {name}")
        return 1 if bad or self.failures else 0


def _plain(row: Row) -> dict[str, Any]:
    found = {
        "work": row.work, "unit": row.unit, "ratio": row.ratio, "share": row.share,
        "target": row.target and asdict(row.target), "met": row.met, "note": row.note,
    }  # fmt: skip
    for name, spread in (("grpolab", row.ours), ("peer", row.peer)):
        found[name] = None if spread is None else spread.plain()
    return found


@functools.cache
def commit() -> str | None:
    """The state of the code that is measured, `-dirty` where it is changed; None outside git."""
    words = ["git", "describe", "--always", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Processor and operating system."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cpus": cpus,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of whatever is installed of both sides."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
