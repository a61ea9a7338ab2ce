"""Compiled loops as the engine calls them: what arrives, what is kept, and when it is made anew."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba.core.errors import TypingError

from grpolab.engine.backbone.cpu import loop as machine
from grpolab.engine.backbone.cpu.loop import Loop
from grpolab.engine.backbone.cpu.loops.numbers import loop

WHOLE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False)


@loop
def told(whole, real, short, out, kept):
    out[0], out[1], kept[0] = real, short, whole


@loop
def doubled(x, out):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for k in range(x.shape[2]):
                out[i, j, k] = x[i, j, k] + x[i, j, k]


@loop
def greedy(out):
    out[0] = np.ones(3).sum()


@loop
def by_chance(out):
    out[0] = random.random()


@loop
def one(out):
    out[0] = 1


_told, _doubled = Loop("told", __name__), Loop("doubled", __name__)


@given(whole=WHOLE, real=REAL, short=st.floats(width=32, allow_nan=False))
@example(-1, -0.0, 2**-149)
def test_numbers_arrive_as_they_are(whole, real, short):
    out, kept = np.zeros(2), np.zeros(1, np.int64)
    _told(whole, real, np.float32(short), out, kept)
    assert kept[0] == whole and out.tolist() == [real, short]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (0, 3, 2), (2, 0, 1)])
def test_arrays_arrive_by_their_place_and_shape(dtype, shape):
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    out = np.zeros_like(x)
    _doubled(x, out)
    assert np.array_equal(out, 2 * x)


def test_arrays_in_pieces_are_refused():
    x = np.zeros((2, 3, 8), np.float32)
    with pytest.raises(ValueError, match="one piece"):
        _doubled(x[:, :, ::2], x[:, :, :4].copy())


def test_a_loop_that_allocates_is_refused():
    with pytest.raises(TypingError, match="empty"):
        Loop("greedy", __name__)(np.zeros(1))


def test_a_loop_that_would_need_numba_to_run_is_refused(folder):
    with pytest.raises(RuntimeError, match="only numba"):
        Loop("by_chance", __name__)(np.zeros(1))
    assert not folder.exists()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(machine, "_folders", lambda: iter([tmp_path / "shut", tmp_path / "open"]))
    (tmp_path / "shut").write_text("no folder")
    return tmp_path / "open"


def test_code_is_kept_where_it_can_be_and_made_anew_where_it_is_damaged(folder):
    def run() -> float:
        Loop("one", __name__)(out := np.zeros(1))
        return out[0]

    assert run() == 1
    (kept,) = folder.rglob("*.o")
    whole, time = kept.read_bytes(), kept.stat().st_mtime_ns
    assert run() == 1 and kept.stat().st_mtime_ns == time  # read, not written
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert machine._checked(kept) is None
    assert run() == 1 and machine._checked(kept) is not None


def test_other_sources_make_other_code_in_place_of_the_old(folder, monkeypatch):
    Loop("one", __name__)(np.zeros(1))
    (old,) = folder.rglob("*.o")
    with monkeypatch.context() as changed:
        changed.setattr(machine, "_cpu", lambda: ("another", ""))
        changed.setattr(machine, "machine", lambda: pytest.fail("not this test's"))
        family = machine._family(__name__)
    assert old.parent.parent.name == machine._family(__name__) != family
    machine._keep(folder / family, "abc", "x.o", b"of another CPU")
    machine._keep(old.parent.parent, "other", "x.o", b"of other sources")
    assert {path.name for path in folder.rglob("*.o")} == {"x.o"}
    assert len(list(folder.rglob("*.o"))) == 2  # of the other CPU too


def test_sources_that_change_while_they_are_compiled_leave_nothing(folder, monkeypatch):
    stamps = iter(["before", "after"])
    stamp = lambda package: next(stamps)  # noqa: E731
    stamp.__wrapped__ = stamp  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(machine, "_stamp", stamp)
    Loop("one", __name__)(out := np.zeros(1))
    assert out[0] == 1 and not folder.exists()


def test_every_source_of_the_loops_is_in_their_stamp(monkeypatch):
    code = (
        "import sys; from pathlib import Path; import grpolab.engine.backbone.cpu.loops as loops;"
        "from importlib import import_module;"
        "here = Path(loops.__file__).parent;"
        "[import_module(f'{loops.__name__}.{p.stem}') for p in here.glob('[a-z]*.py')];"
        "mine = 'grpolab.engine.backbone.cpu.';"
        "print([m.__file__ for n, m in sys.modules.items() if n.startswith(mine)])"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    read: set[str] = set()
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.add(str(self)) or original(self))
    stamp = machine._stamp.__wrapped__(machine.LOOPS)
    assert set(ast.literal_eval(told.stdout)) <= read
    monkeypatch.setattr(Path, "read_bytes", lambda self: original(self) + b"#")
    assert machine._stamp.__wrapped__(machine.LOOPS) != stamp


@pytest.mark.slow
def test_an_engine_whose_loops_are_kept_starts_without_numba():
    code = (
        "import sys, torch; from grpolab.engine.backbone.cpu import layers, session;"
        "session.warm(); layers.warm(torch.float32); layers.warm(torch.bfloat16);"
        "sys.exit('numba' in sys.modules)"
    )

    def needs_numba() -> int:
        return subprocess.run([sys.executable, "-c", code], check=False).returncode

    assert needs_numba() == 0 or needs_numba() == 0  # where they were not kept, they are now
