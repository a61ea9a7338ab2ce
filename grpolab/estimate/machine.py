"""What this machine has: processor, memory, GPUs, packages. Loads nothing heavy: files of Linux
where they exist, psutil only elsewhere."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from grpolab.launch import default_threads

PROC = Path("/proc")

PACKAGES = (
    "grpolab", "torch", "transformers", "peft", "bitsandbytes", "tokenizers", "safetensors",
    "textual",
)  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: int  # bytes
    free: int  # bytes


@dataclass(frozen=True)
class Machine:
    """The computer as this process sees it; memory in bytes, within a container's limit; 0: not
    known."""

    system: str
    python: str
    cpu: str
    cores: int  # that this process may use
    threads: int  # that the engine will use
    features: tuple[str, ...]  # of the processor, those that matter here
    memory: int
    available: int
    gpus: tuple[Gpu, ...]
    versions: dict[str, str]


def machine() -> Machine:
    """Describe this machine. Takes some tens of milliseconds where nvidia-smi is asked for GPUs."""
    total, available = _memory()
    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        cpu=cpu_name(),
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        threads=default_threads(),
        features=features(),
        memory=total,
        available=available,
        gpus=_gpus(),
        versions=_versions(),
    )


def _cpuinfo() -> list[tuple[str, str]]:
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [(k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in lines) if v]


def cpu_name() -> str:
    """The processor's model name, or its architecture where the system does not tell a model."""
    named = next((v for k, v in _cpuinfo() if k == "model name"), "")
    return named or platform.processor() or platform.machine()


def features() -> tuple[str, ...]:
    """Vector and matrix instructions of the processor that matter here; empty off Linux."""
    flags = next((v.split() for k, v in _cpuinfo() if k in ("flags", "Features")), [])
    wanted = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bf16", "amx_bf16": "AMX bf16"}
    wanted |= {"asimd": "NEON", "bf16": "bf16"}
    return tuple(dict.fromkeys(name for flag, name in wanted.items() if flag in flags))


def _memory() -> tuple[int, int]:
    """Total and available bytes, within a container's limit; 0: not known."""
    try:
        rows = (line.split() for line in (PROC / "meminfo").read_text().splitlines())
        known = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) > 1}
        total, available = known["MemTotal"], known["MemAvailable"]
    except (OSError, ValueError, KeyError):
        total, available = _memory_without_procfs()
    limit, used = _container()
    if limit is not None and (limit < total or not total):
        room = max(0, limit - used)
        total, available = limit, min(available, room) if available else room
    return total, available


def _memory_without_procfs() -> tuple[int, int]:
    """Total and available bytes as psutil tells them. It reads /proc too on Linux; where it fails,
    the total as the C library tells it, and 0 for what is not known."""
    import psutil

    try:
        memory = psutil.virtual_memory()
        return memory.total, memory.available
    except Exception:  # beside its own errors, whatever its parser makes of a strange /proc
        pass
    try:
        return max(0, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), 0
    except (AttributeError, ValueError, OSError):
        return 0, 0


def _container() -> tuple[int | None, int]:
    """The memory limit of this container and the bytes it has used; no limit: None."""
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        rows = (r.split() for r in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        cache = {r[0]: int(r[1]) for r in rows}.get("inactive_file", 0)
    except (OSError, ValueError, IndexError):
        return None, 0
    return limit, max(0, used - cache)


def _gpus() -> tuple[Gpu, ...]:
    """NVIDIA cards that a process started now would see, as the driver's own tool lists them."""
    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return ()
    query = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run([tool, *query], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = []
    for line in out.stdout.splitlines():
        parts = [p.strip() for p in line.rsplit(",", 2)]
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            found.append(Gpu(parts[0], int(parts[1]) * 2**20, int(parts[2]) * 2**20))
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if shown and all(p.strip().isdigit() for p in shown.split(",")):
        return tuple(found[int(p)] for p in shown.split(",") if int(p) < len(found))
    return tuple(found)


def _versions() -> dict[str, str]:
    """Versions of the installed packages of `PACKAGES`."""
    out = {}
    for package in PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def has_cuda_build() -> bool | None:
    """Whether the installed torch can use a GPU, by its version and without importing it; None:
    unknown."""
    try:
        told = version("torch")
    except PackageNotFoundError:
        return False
    if "+cpu" in told or sys.platform == "darwin":
        return False
    return True if "+cu" in told else None
