"""A compiled loop as the engine calls it. Compiling takes numba and some seconds; the machine code
is kept beside the source, or in the user's cache where that cannot be written, and running it takes
neither: a process that finds it there starts without numba.
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

LOOPS = "grpolab.engine.backbone.cpu.loops"

Kind = tuple[str, int] | str
"""Of an argument: an array's element type and number of axes, or a number's letter for `struct`."""

LETTERS: dict[type, str] = {np.float32: "f", np.float64: "d", float: "d"}
"""Of numbers that are not whole."""

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_NOTHING = ctypes.create_string_buffer(64)  # where a loop leaves that it returned nothing
_NOWHERE = ctypes.addressof(_NOTHING)

_SVML = "NUMBA_DISABLE_INTEL_SVML"

_lock = Lock()


class Loop:
    """One loop, for arguments of any kinds: whole numbers, floats, fp32 numbers, and arrays that
    lie in one piece. It returns nothing and holds no interpreter's lock."""

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
                    raise ValueError(f"{self.name} takes arrays that lie in one piece")
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


def kept(package: str = LOOPS) -> bool:
    """Whether machine code of these sources has been kept for this CPU, all of it or some."""
    return any((folder / _family(package) / _stamp(package)).is_dir() for folder in _folders())


def keepable() -> bool:
    """Whether there is a place to keep machine code in."""
    for folder in _folders():
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return True
    return False


def layout(kinds: tuple[Kind, ...]) -> str:
    """How `struct` packs arguments: every number in eight bytes, an array as its address and
    shape."""
    return "=" + "".join("d" if kind in ("d", "f") else "q" if isinstance(kind, str)
                         else "q" * (1 + kind[1]) for kind in kinds)  # fmt: skip


def symbol(package: str, name: str, kinds: tuple[Kind, ...]) -> str:
    """What the machine code for arguments of these kinds is called."""
    about = hashlib.sha256(repr((package, name, kinds)).encode()).hexdigest()[:16]
    return f"grpolab_{name.replace('.', '_')}_{about}"


def machine() -> Any:
    """What LLVM emits code for: this very CPU."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    cpu, features = _cpu()
    reloc = "static" if target.name.startswith("x86") else "default"  # what the linker can place
    return target.create_target_machine(
        cpu=cpu, features=features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


@cache
def _cpu() -> tuple[str, str]:
    try:
        return binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM does not know this system
        return "", ""


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
    """Machine code, kept or compiled now."""
    file, stamp = f"{symbol(package, name, kinds)}.o", _stamp(package)
    for folder in _folders():
        if (code := _checked(folder / _family(package) / stamp / file)) is not None:
            return code
    os.environ.setdefault(_SVML, "1")  # its functions would be missing later
    from grpolab.engine.backbone.cpu.loops.compiler import machine_code

    code = machine_code(package, name, kinds)
    if _stamp.__wrapped__(package) != stamp:
        return code  # sources have changed meanwhile: nobody knows which of them this is made of
    for folder in _folders():
        try:
            _keep(folder / _family(package), stamp, file, code)
        except OSError:
            continue
        break
    return code


def _folders() -> Iterator[Path]:
    """Where machine code may be kept."""
    yield Path(__file__).parent / "__pycache__"
    with suppress(RuntimeError):  # nobody's home
        cache_home = os.environ.get("XDG_CACHE_HOME")
        yield (Path(cache_home) if cache_home else Path.home() / ".cache") / "grpolab"


def _family(package: str) -> str:
    """A folder for the loops of a package on one kind of CPU, where what other sources gave is in
    the way."""
    numba = {k: v for k, v in os.environ.items() if k.startswith("NUMBA_") and k != _SVML}
    about = repr((package, llvmlite.__version__, _cpu(), sorted(numba.items())))
    return f"loops-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


@cache
def _stamp(package: str) -> str:
    """Changes with the sources. (numba's version is llvmlite's: each goes with one only.)"""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("loops/*.py")), Path(__file__)]
    if package != LOOPS:
        sources.append(Path(sys.modules[package].__file__ or ""))
    found = hashlib.sha256()
    for source in sources:
        found.update(source.read_bytes())
    return found.hexdigest()[:16]


def _checked(path: Path) -> bytes | None:
    """What was kept, if it is whole: LLVM ends the process over what is no machine code."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(family: Path, stamp: str, file: str, code: bytes) -> None:
    """Machine code in place of what other sources gave. Raises OSError."""
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


# --- numbers ---
# Numbers as compiled loops see them: fp32, and bf16 as 16-bit integers.

F32 = np.float32

Array = NDArray[Any]


def array(x: Tensor) -> Array:
    """The same memory for the loops: bf16 as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


# --- once ---
# Backwards that compiled loops do: they have no derivative of their own.


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse where a derivative of this backward is wanted. torch's own `once_differentiable` lets
    it pass as zero where the incoming gradient is constant."""

    @wraps(backward)
    def guarded(ctx: Any, *slopes: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("once differentiable only: see Backbone.differentiable_twice")
        return backward(ctx, *slopes)

    return guarded


# --- width ---
# How wide this CPU computes: what its loops, and the panels that weights lie in, are cut to.


def _registers() -> tuple[int, int]:
    """fp32 numbers in a vector of this CPU, and how many vectors it holds."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this system
        return 4, 16
    if features.get("avx512f"):
        return 16, 32
    if features.get("avx"):
        return 8, 16
    return 4, 16 if binding.get_process_triple().startswith(("x86", "i686")) else 32


LANES, REGISTERS = _registers()

VECTORS = 3
WIDTH = LANES * VECTORS
"""Outputs of a panel of weights."""

ROWS = REGISTERS // 4
"""Rows of a tile: as many as the registers hold beside a panel's weights."""
