"""A compiled loop as the engine calls it. Compiling takes numba and some seconds; the machine code
is cached beside the source, or in the user's cache folder where the source's cannot be written. A
process that finds it there starts without numba.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from threading import Lock
from typing import Any

import llvmlite
import numpy as np
import torch
from llvmlite import binding
from numpy.typing import NDArray
from torch import Tensor

from grpolab.engine.backbone.cpu.target import Kind, cpu, layout, machine, symbol

F32 = np.float32

Array = NDArray[Any]

LOOPS = "grpolab.engine.backbone.cpu.loops"

LETTERS: dict[type, str] = {np.float32: "f", np.float64: "d", float: "d"}
"""Letters for `struct` of numbers that are not integers."""

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_NOTHING = ctypes.create_string_buffer(64)  # where a loop writes its (empty) result
_NOWHERE = ctypes.addressof(_NOTHING)

_SVML = "NUMBA_DISABLE_INTEL_SVML"

_lock = Lock()


def array(x: Tensor) -> Array:
    """The same memory as an array for the loops: fp32, or bf16 as 16-bit integers."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For the backward of an autograd function that compiled loops compute: they have no derivative
    of their own, so a second one raises RuntimeError. torch's decorator of the same name lets it
    pass as zero where the incoming gradient is constant."""

    @wraps(backward)
    def guarded(ctx: Any, *slopes: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("once differentiable only: see Backbone.differentiable_twice")
        return backward(ctx, *slopes)

    return guarded


class Loop:
    """One loop, for arguments of any kinds: integers, floats, fp32 numbers, and contiguous arrays.
    It returns nothing and releases the interpreter's lock. Raises ValueError for an array that is
    not contiguous."""

    def __init__(self, name: str, package: str = LOOPS) -> None:
        """`name`: module and function inside the package."""
        self.package, self.name = package, name
        self._made: dict[tuple[Kind, ...], tuple[Callable[..., bytes], Callable[..., int]]] = {}

    def __call__(self, *arguments: Any) -> None:
        kinds: list[Kind] = []
        words: list[Any] = []
        for x in arguments:
            if isinstance(x, np.ndarray):
                about = x.__array_interface__
                if about["strides"] is not None:
                    raise ValueError(f"{self.name} takes contiguous arrays only")
                shape = x.shape
                kinds.append((about["typestr"], len(shape)))
                words.append(about["data"][0])
                words += shape
            else:
                kinds.append(LETTERS.get(type(x), "q"))
                words.append(x)
        key = tuple(kinds)
        pack, run = self._made.get(key) or self._load(key)
        if run(_NOWHERE, _NOWHERE, pack(*words)) != 0:
            raise RuntimeError(f"the loop {self.name} failed")

    def _load(self, kinds: tuple[Kind, ...]) -> Any:
        with _lock:
            if kinds not in self._made:
                code = _code(self.package, self.name, kinds)
                run = _RUN(_linked(code, symbol(self.package, self.name, kinds)))
                self._made[kinds] = struct.Struct(layout(kinds)).pack, run
            return self._made[kinds]


def cached(package: str = LOOPS) -> bool:
    """Whether there is machine code of these sources for this CPU, all of it or some."""
    return any((folder / _family(package) / _stamp(package)).is_dir() for folder in _folders())


def cacheable() -> bool:
    """Whether there is a folder for machine code that can be written."""
    for folder in _folders():
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return True
    return False


@cache
def _linker() -> Any:
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine())


def _linked(code: bytes, name: str) -> int:
    """The address of a function in machine code that is now ready to run."""
    linker = _linker()
    linker.add_object_file(binding.object_file.ObjectFileRef.from_data(code))
    linker.finalize_object()
    return linker.get_function_address(name)


def _code(package: str, name: str, kinds: tuple[Kind, ...]) -> bytes:
    """Machine code, from the cache or compiled now."""
    file, stamp = f"{symbol(package, name, kinds)}.o", _stamp(package)
    for folder in _folders():
        if (code := _checked(folder / _family(package) / stamp / file)) is not None:
            return code
    os.environ.setdefault(_SVML, "1")  # its functions would be missing later
    from grpolab.engine.backbone.cpu.loops.compiler import machine_code

    code = machine_code(package, name, kinds)
    if _stamp.__wrapped__(package) != stamp:
        return code  # sources changed while it was compiled: it may be of either version
    for folder in _folders():
        try:
            _keep(folder / _family(package), stamp, file, code)
        except OSError:
            continue
        break
    return code


def _folders() -> Iterator[Path]:
    """Where machine code may be cached, the first choice first."""
    yield Path(__file__).parent / "__pycache__"
    with suppress(RuntimeError):  # there is no home folder
        cache_home = os.environ.get("XDG_CACHE_HOME")
        yield (Path(cache_home) if cache_home else Path.home() / ".cache") / "grpolab"


def _family(package: str) -> str:
    """The folder's name for the loops of a package on one kind of CPU; it holds code of one version
    of the sources."""
    numba = {k: v for k, v in os.environ.items() if k.startswith("NUMBA_") and k != _SVML}
    about = repr((package, llvmlite.__version__, cpu(), sorted(numba.items())))
    return f"loops-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


@cache
def _stamp(package: str) -> str:
    """Changes with the sources. (numba's version is llvmlite's: each goes with one only.)"""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("loops/*.py")), here / "target.py"]
    if package != LOOPS:
        sources.append(Path(sys.modules[package].__file__ or ""))
    found = hashlib.sha256()
    for source in sources:
        found.update(source.read_bytes())
    return found.hexdigest()[:16]


def _checked(path: Path) -> bytes | None:
    """The machine code of a file if it is whole, else None: LLVM aborts the process over a damaged
    one."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(family: Path, stamp: str, file: str, code: bytes) -> None:
    """Write machine code, and remove that of other versions of the sources. Raises OSError."""
    (family / stamp).mkdir(parents=True, exist_ok=True)
    for other in family.iterdir():
        if other.name != stamp:
            shutil.rmtree(other, ignore_errors=True)
    new = family / stamp / f"{file}.{os.getpid()}"
    try:
        new.write_bytes(hashlib.sha256(code).digest() + code)
        os.replace(new, family / stamp / file)
    finally:
        new.unlink(missing_ok=True)
