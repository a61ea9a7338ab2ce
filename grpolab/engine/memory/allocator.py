"""What the allocator says: bytes in use now, the highest since the last reset, and bytes that it
keeps without using them.

`CudaAllocator` asks torch's caching allocator, `HostAllocator` the operating system about this
process. Both have the same interface. All figures are read on the host; nothing here waits for a
device.
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

PROC = Path("/proc/self")

CUBLAS_USERS = 3
"""cuBLAS workspaces on a GPU: forward passes, backward passes (a thread of torch's own), and the
capture of CUDA graphs."""


@dataclass(frozen=True)
class Reading:
    """One moment, in bytes."""

    in_use: int  # on a CPU the resident set, on a GPU what tensors asked of the allocator
    free: int  # kept by the allocator, in no tensor
    non_model: int | None  # on a GPU: in use, but not by the allocator; on a CPU: None, unknown


class Allocator(Protocol):
    """The memory of one device."""

    exact: bool  # whether `in_use` counts tensors alone
    libraries: int  # bytes of `in_use` that torch may have handed to libraries, at most

    def now(self) -> Reading: ...

    def resident(self) -> int:
        """Resident set of the process, in bytes; 0 where tensors alone make the peak. Fast."""
        ...

    def reset(self) -> None:
        """Start a new stretch: `highest` counts from here."""
        ...

    def highest(self) -> int:
        """The largest `in_use` since the last reset, in bytes."""
        ...


def allocator_of(device: torch.device) -> Allocator:
    """The allocator of a device."""
    return CudaAllocator(device) if device.type == "cuda" else HostAllocator()


class CudaAllocator:
    """torch's caching allocator on one GPU, by the bytes that were requested: what it adds to a
    block counts as free. Non-model memory: the CUDA context, libraries, and whatever other
    processes use on this card."""

    exact = True

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.libraries = CUBLAS_USERS * blas_workspace(device)
        self._reserved = -1
        self._non_model = 0

    def now(self) -> Reading:
        stats = torch.cuda.memory_stats_as_nested_dict(self.device)
        in_use, reserved = _requested(stats, "current"), _stat(stats, "reserved_bytes", "current")
        if reserved != self._reserved:  # a driver call, so only when something has changed
            free, total = torch.cuda.mem_get_info(self.device)
            self._reserved, self._non_model = reserved, max(0, total - free - reserved)
        return Reading(in_use, reserved - in_use, self._non_model)

    def resident(self) -> int:
        return 0

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def highest(self) -> int:
        return _requested(torch.cuda.memory_stats_as_nested_dict(self.device), "peak")


def blas_workspace(device: torch.device) -> int:
    """Bytes of the workspace that torch gives cuBLAS for each thread and stream that uses it."""
    if sizes := re.findall(r":(\d+):(\d+)", os.environ.get("CUBLAS_WORKSPACE_CONFIG", "")):
        return sum(int(kib) * int(count) for kib, count in sizes) * 1024
    hopper = torch.cuda.get_device_capability(device)[0] >= 9
    return (4096 * 8 if hopper else 4096 * 2 + 16 * 8) * 1024


def _requested(stats: dict[str, Any], when: str) -> int:
    """Requested bytes; allocated ones where the backend does not count requests."""
    return _stat(stats, "requested_bytes", when) or _stat(stats, "allocated_bytes", when)


def _stat(stats: dict[str, Any], what: str, when: str) -> int:
    return stats.get(what, {}).get("all", {}).get(when, 0)


class HostAllocator:
    """This process on a CPU. Linux tells the peak since a reset, glibc what is free in its heaps.
    Elsewhere psutil tells the resident set, the peak is the largest one read since the reset, and
    nothing counts as free. On Linux psutil reads /proc too: without it, the largest resident set
    ever stands for the one now."""

    exact = False
    libraries = 0

    def __init__(self) -> None:
        self._page = resource.getpagesize()
        self._status = PROC / "status"
        self._statm = _opened(PROC / "statm")
        self._clear = PROC / "clear_refs"
        self._heaps = _mallinfo()
        self._highest = 0  # the largest resident set read, where Linux does not tell the peak
        self._process: Any = None  # psutil's, made when it is first needed
        self.resets = self._try_reset()

    def now(self) -> Reading:
        in_use = self.resident()
        self._highest = max(self._highest, in_use)
        return Reading(in_use, self._heaps() if self._heaps else 0, None)

    def resident(self) -> int:
        try:
            return int(os.pread(self._statm, 64, 0).split()[1]) * self._page
        except (OSError, IndexError):
            return self._resident_by_psutil()

    def reset(self) -> None:
        self._highest = self.resident()
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
        self._highest = max(self._highest, self.resident())
        return self._highest

    def _try_reset(self) -> bool:
        try:
            self._clear.write_text("5")
        except OSError:
            return False
        return True

    def _resident_by_psutil(self) -> int:
        import psutil

        try:
            self._process = self._process or psutil.Process()
            return int(self._process.memory_info().rss)
        except (psutil.Error, OSError):
            largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return largest if sys.platform == "darwin" else largest * 1024


def _opened(path: Path) -> int:
    """A file descriptor that stays open, so that reading is fast; -1 where there is no such
    file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _mallinfo():
    """A function that returns the free bytes in glibc's heaps, or None with another libc."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    ask.restype = _Mallinfo2
    return lambda: int(ask().fordblks)
