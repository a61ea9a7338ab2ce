"""The engine's first moment, where it does not concern the request: that is `engine/test_host`."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from grpolab import boot

MAPPED = """
import sys
from grpolab import boot
boot._load_libraries()
loaded = open("/proc/self/maps").read()
assert "libtorch_cpu.so" in loaded and "torch" not in sys.modules
import torch
assert float(torch.ones(3).sum()) == 3
"""


def for_a_cpu() -> bool:
    """Whether torch is built for Linux and no GPU: elsewhere nothing is loaded ahead."""
    torch = find_spec("torch")
    assert torch is not None and torch.origin is not None
    folder = Path(torch.origin).parent / "lib"
    return (folder / "libtorch_cpu.so").exists() and not (folder / "libtorch_cuda.so").exists()


@pytest.mark.skipif(not for_a_cpu(), reason="torch sees to its libraries by itself here")
def test_torch_finds_its_library_loaded():
    subprocess.run([sys.executable, "-c", MAPPED], check=True)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["libtorch_cpu.so"], ["libtorch_cpu.so"]),
        (["libtorch_cpu.so", "libtorch_cuda.so"], []),  # torch sees to the libraries of CUDA first
        ([], []),
    ],
)
def test_only_what_is_there_and_in_order(
    files: list[str], wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "lib").mkdir()
    for name in files:
        (tmp_path / "lib" / name).write_text("")
    spec = ModuleSpec("torch", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    loaded: list[str] = []

    def load(path: str) -> None:
        loaded.append(Path(path).name)
        raise OSError("no library")

    monkeypatch.setattr(boot, "find_spec", lambda name: spec)
    monkeypatch.setattr(boot.ctypes, "CDLL", load)
    boot._load_libraries()
    assert loaded == wanted
    monkeypatch.setattr(boot, "find_spec", lambda name: None)  # torch is not installed
    boot._load_libraries()
    assert loaded == wanted
