"""The first start on a machine: loops of learning are compiled beside those of sampling."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from grpolab import launch
from grpolab.engine.backbone.cpu import compile_ahead, loop

COLD = """
import sys, torch
from grpolab import launch
from grpolab.engine.backbone.cpu import compile_ahead, layers, loop
launch.default_threads = lambda: 2
print([str(f / loop._family(loop.LOOPS)) for f in loop._folders()])
assert not loop.cached()
with compile_ahead.compiling(torch.float32):
    assert "numba" not in sys.modules
assert loop.cached()
layers.warm(torch.float32)
assert "numba" not in sys.modules
"""


@pytest.mark.slow
def test_a_first_start_finds_the_loops_of_learning_when_those_of_sampling_are_there():
    # numba's settings are part of the cache's key
    told = subprocess.run(
        [sys.executable, "-c", COLD], check=False, capture_output=True, text=True,
        env=os.environ | {"NUMBA_GRPOLAB_TEST": str(os.getpid())},
    )  # fmt: skip
    for line in told.stdout.splitlines():
        for folder in ast.literal_eval(line):
            shutil.rmtree(folder, ignore_errors=True)
    assert told.returncode == 0, told.stderr


SPAWN = launch.spawn


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Those that are started, as on a machine that has no loops yet and two cores."""
    monkeypatch.setattr(compile_ahead, "cached", lambda: False)
    monkeypatch.setattr(launch, "default_threads", lambda: 2)
    return []


def instead(
    code: str, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the process run this."""

    def spawn(arguments: list[str], out: int, err: int) -> subprocess.Popen[bytes]:
        children.append(SPAWN(["-c", code], out, err))
        return children[-1]

    monkeypatch.setattr(launch, "spawn", spawn)


def test_a_process_that_fails_or_hangs_holds_nothing_up(
    children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
):
    instead("raise SystemExit(3)", children, monkeypatch)
    with compile_ahead.compiling(torch.float32):
        pass
    assert children[0].returncode == 3
    instead("import time; time.sleep(100)", children, monkeypatch)
    monkeypatch.setattr(compile_ahead, "PATIENCE", 0.1)
    with compile_ahead.compiling(torch.float32):
        pass
    assert children[1].returncode == -9
    with pytest.raises(KeyboardInterrupt), compile_ahead.compiling(torch.float32):
        raise KeyboardInterrupt
    assert children[2].returncode == -9


def test_nobody_is_started_without_need_or_a_core_to_spare(
    children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
):
    instead("pass", children, monkeypatch)
    monkeypatch.setattr(launch, "default_threads", lambda: 1)
    with compile_ahead.compiling(torch.float32):
        pass
    monkeypatch.setattr(launch, "default_threads", lambda: 2)
    monkeypatch.setattr(compile_ahead, "cached", lambda: True)
    with compile_ahead.compiling(torch.float32):
        pass
    monkeypatch.setattr(compile_ahead, "cached", lambda: False)
    monkeypatch.setattr(compile_ahead, "cacheable", lambda: False)
    with compile_ahead.compiling(torch.float32):
        pass
    assert not children


@pytest.mark.slow
def test_it_ends_with_the_one_that_started_it():
    code = (
        "import sys, time; from grpolab.engine.backbone.cpu import compile_ahead;"
        "compile_ahead.layers.warm = lambda dtype: (print(dtype, flush=True), time.sleep(100));"
        "sys.argv = ['compile_ahead', 'bfloat16']; compile_ahead.main()"
    )
    child = launch.spawn(["-c", code], subprocess.PIPE, subprocess.DEVNULL)
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == b"torch.bfloat16\n"
    started = time.monotonic()
    child.stdin.close()
    assert child.wait(30) == 1 and time.monotonic() - started < 20
    child.stdout.close()


@pytest.mark.slow
def test_it_ends_in_time_though_nobody_closes_what_it_reads():
    code = (
        "import sys; from grpolab.engine.backbone.cpu import compile_ahead;"
        "compile_ahead.layers.warm = lambda dtype: None;"
        "sys.argv = ['compile_ahead', 'float32']; compile_ahead.main()"
    )
    child = launch.spawn(["-c", code], subprocess.DEVNULL, subprocess.PIPE)
    assert child.wait(60) == 0
    assert child.stdin is not None and child.stderr is not None
    assert child.stderr.read() == b""
    child.stdin.close()
    child.stderr.close()


def test_a_system_that_starts_nobody_is_no_matter(
    children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
):
    def refused(arguments: list[str], out: int, err: int) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(launch, "spawn", refused)
    with compile_ahead.compiling(torch.float32):
        pass


def test_a_place_to_keep_loops_is_one_that_can_be_written(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    folders = [tmp_path / "file" / "x"]  # even root makes no folder in a file
    monkeypatch.setattr(loop, "_folders", lambda: iter(folders))
    assert not loop.cacheable()
    folders.append(tmp_path / "new" / "newer")
    assert loop.cacheable()


def test_whether_loops_are_kept_is_seen_by_their_folder(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(loop, "_folders", lambda: iter([tmp_path / "shut", tmp_path / "open"]))
    assert not loop.cached()
    place = tmp_path / "open" / loop._family(loop.LOOPS)
    (place / "of other sources").mkdir(parents=True)
    assert not loop.cached()
    (place / loop._stamp(loop.LOOPS)).mkdir()
    assert loop.cached()
