"""Where the time of a run went."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds of work by phase, over resumes too."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("total", "startup", "rollout", "score", "update", "eval"), 0.0
        )
    )

    started: float = field(default_factory=time.perf_counter)  # of this process's work

    def now(self) -> dict[str, float]:
        """The seconds by phase, with `total` up to this moment."""
        total = self.seconds["total"] + time.perf_counter() - self.started
        return self.seconds | {"total": total}

    def add(self, phase: str, since: float) -> float:
        """Book the time since `since` (perf_counter) to a phase; returns now."""
        now = time.perf_counter()
        self.seconds[phase] += now - since
        return now
