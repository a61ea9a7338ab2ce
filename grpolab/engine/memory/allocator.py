"""What the allocators say: how much is held now, how much at most since the last reset, how much
of it lies free.

Two kinds with one face. `CudaGauge` asks torch's caching allocator, `HostGauge` the process. All
figures are read on the host; nothing here waits for a device.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

USERS = 3
"""Of cuBLAS on a GPU: forwards, backwards (torch's own thread), and the capture of graphs."""


@dataclass(frozen=True)
class Reading:
    """One moment, in bytes."""

    held: int  # on a CPU the resident set, on a GPU what tensors asked of the allocator
    free: int  # kept by the allocator and given to nobody
    outside: int | None  # held by others than the allocator; None: not told apart from `held`


class Gauge(Protocol):
    """Reads one device's memory."""

    exact: bool  # whether `held` counts tensors alone
    libraries: int  # bytes of it that torch may have handed to libraries, at most

    def now(self) -> Reading: ...

    def resident(self) -> int:
        """What the process holds, in bytes; 0 where tensors alone make the peak. Quick."""
        ...

    def reset(self) -> None:
        """Forget the highest mark; `highest` counts from here."""
        ...

    def highest(self) -> int:
        """The largest `held` since the last reset, in bytes."""
        ...


def gauge(device: torch.device) -> Gauge:
    """The gauge of a device."""
    return CudaGauge(device) if device.type == "cuda" else HostGauge()


class CudaGauge:
    """torch's caching allocator on one GPU, by the bytes that were asked for: what it adds to a
    block counts as free. Outside it: the CUDA context, libraries, and whatever other processes hold
    on this card."""

    exact = True

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.libraries = USERS * blas_workspace(device)
        self._reserved = -1
        self._outside = 0

    def now(self) -> Reading:
        stats = torch.cuda.memory_stats_as_nested_dict(self.device)
        held, reserved = _asked(stats, "current"), _of(stats, "reserved_bytes", "current")
        if reserved != self._reserved:  # a driver call, so only when something has changed
            free, total = torch.cuda.mem_get_info(self.device)
            self._reserved, self._outside = reserved, max(0, total - free - reserved)
        return Reading(held, reserved - held, self._outside)

    def resident(self) -> int:
        return 0

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def highest(self) -> int:
        return _asked(torch.cuda.memory_stats_as_nested_dict(self.device), "peak")


def blas_workspace(device: torch.device) -> int:
    """Bytes that torch gives cuBLAS to work in, for each thread and stream that uses it."""
    if sizes := re.findall(r":(\d+):(\d+)", os.environ.get("CUBLAS_WORKSPACE_CONFIG", "")):
        return sum(int(kib) * int(count) for kib, count in sizes) * 1024
    hopper = torch.cuda.get_device_capability(device)[0] >= 9
    return (4096 * 8 if hopper else 4096 * 2 + 16 * 8) * 1024


def _asked(stats: dict[str, Any], when: str) -> int:
    """Not every backend counts what was asked for."""
    return _of(stats, "requested_bytes", when) or _of(stats, "allocated_bytes", when)


def _of(stats: dict[str, Any], what: str, when: str) -> int:
    return stats.get(what, {}).get("all", {}).get(when, 0)


class HostGauge:
    """The process on a CPU. Linux tells the peak of a stretch and glibc what lies free in its
    heaps; elsewhere the peak is that of the process's life and nothing counts as free."""

    exact = False
    libraries = 0

    def __init__(self) -> None:
        self._page = resource.getpagesize()
        self._status = Path("/proc/self/status")
        self._statm = _opened("/proc/self/statm")
        self._clear = Path("/proc/self/clear_refs")
        self._heaps = _mallinfo()
        self._most = 0  # where no peak of a stretch can be had: the largest seen in it
        self.resets = self._try_reset()

    def now(self) -> Reading:
        held = self.resident()
        self._most = max(self._most, held)
        return Reading(held, self._heaps() if self._heaps else 0, None)

    def resident(self) -> int:
        try:
            return int(os.pread(self._statm, 64, 0).split()[1]) * self._page
        except (OSError, IndexError):
            return _ever()

    def reset(self) -> None:
        self._most = self.resident()
        if self.resets:
            self.resets = self._try_reset()

    def highest(self) -> int:
        if self.resets:
            try:
                for line in self._status.read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        return int(line.split()[1]) * 1024
            except (OSError, ValueError):
                pass
        return max(self._most, self.resident())

    def _try_reset(self) -> bool:
        try:
            self._clear.write_text("5")
        except OSError:
            return False
        return True


def _opened(path: str) -> int:
    """A file descriptor that stays open, so that reading is quick; -1 where there is no such
    file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _ever() -> int:
    """The largest resident set of the process's life, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _mallinfo():
    """A function that tells the free bytes in glibc's heaps, or None with another libc."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    ask.restype = _Mallinfo2
    return lambda: int(ask().fordblks)
