"""Who holds how many bytes. Owners are counted from their storages; what remains of the process is
`other`."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor


class Memory:
    """Bytes by owner, the latest and the largest seen."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak = 0
        self.activations = 0

    @contextmanager
    def watching(self, at_once: int) -> Iterator[None]:
        """Count the distinct storages that autograd keeps for a backward made inside; the largest
        count stays."""
        seen: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            yield
        self.activations = max(self.activations, sum(seen.values()) * at_once)

    def by_owner(self, owners: dict[str, int]) -> dict[str, int]:
        """Complete the counted owners with activations and the rest of what the process (or the
        GPU) holds."""
        now = self.now()
        known = owners | {"activations": self.activations}
        known["other"] = max(0, now - sum(known.values()))
        self.peak = max(self.peak, self.highest(), now)
        self.activations = 0
        return known

    def now(self) -> int:
        """Bytes held now: the allocator's reserve on a GPU, the resident set on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * resource.getpagesize()
        except OSError:
            return self.highest()

    def highest(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
