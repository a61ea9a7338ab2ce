"""Driving an engine without a screen: its progress, its crash, its interruption."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from front.synthetic import run_events, started, step_events, timed, write

from grpolab import launch
from grpolab.headless import run as headless_run
from grpolab.headless.progress import Plain
from grpolab.record import events as ev

HERE = Path(__file__).parent


def engine(run_dir: Path, steps: int, pace: float, *mode: str) -> launch.Engine:
    """The fake engine on a run directory, started as the real one is."""
    command = [str(HERE / "fake_engine.py"), str(run_dir), str(steps), str(pace), *mode]
    with (run_dir / "engine.log").open("ab") as log:
        return launch.Engine(launch.spawn(command, log, log), run_dir)


@pytest.fixture(autouse=True)
def _paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent))


def test_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert headless_run.run(engine(tmp_path, 3, 0), as_json=True) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["steps"] == 3
    lines = err.splitlines()
    assert any(line.startswith("step 2/3  grpo  reward 0.200") for line in lines)
    line = "test accuracy (sampled, T = 1) 40.0% at step 0, 90.0% at step 3; greedy "
    assert any(told.startswith(line) for told in lines)
    assert lines[-2:] == [
        f"replay: grpolab replay {tmp_path}",
        f"resume: grpolab run --resume {tmp_path} --steps 3   (3 steps further)",
    ]
    assert "\x1b" not in err


def test_a_crash_shows_the_log_and_how_to_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert headless_run.run(engine(tmp_path, 3, 0, "crash")) == 1
    err = capfd.readouterr().err
    assert "  Segmentation fault in libexample" in err
    assert f"resume: grpolab run --resume {tmp_path}   (from the start)" in err


@pytest.mark.parametrize(
    ("kept", "advice"),
    [((), "from the start"), ((2, 4), "from its checkpoint of step 4")],
)
def test_the_advice_names_the_checkpoint_that_there_is(
    kept: tuple[int, ...], advice: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for step in kept:
        (tmp_path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    assert headless_run.run(engine(tmp_path, 3, 0, "fail")) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"resume: grpolab run --resume {tmp_path}   ({advice})"


def test_a_failure_tells_its_cause(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert headless_run.run(engine(tmp_path, 3, 0, "fail"), as_json=True) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["error"] == "out of memory"
    assert "step 2  failed while updating: out of memory" in err


def test_a_pause_does_not_hang(tmp_path: Path) -> None:
    assert headless_run.run(engine(tmp_path, 3, 0, "pause")) == 0


def test_it_may_be_enough_before_the_end(tmp_path: Path) -> None:
    with Plain(io.StringIO()) as plain:
        assert headless_run.drive(engine(tmp_path, 400, 0.02), plain, until=2) == 0
    assert 2 <= plain.state.step < 100


def interrupted(tmp_path: Path, times: int, *mode: str) -> tuple[int, str]:
    """Run the fake engine headless in a process of its own and interrupt it."""
    program = (
        "import sys; from pathlib import Path; from front.test_headless import engine;"
        "from grpolab.headless import run;"
        "sys.exit(run.run(engine(Path(sys.argv[1]), 400, 0.05, *sys.argv[2:])))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), *mode],
        stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE.parent.parent}"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 4/"):
            break
    for i in range(times):
        time.sleep(0.3 * i)
        process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    return process.wait(10), rest


def test_an_interruption_finishes_the_step_and_says_how_to_go_on(tmp_path: Path) -> None:
    code, err = interrupted(tmp_path, 1)
    assert code == 130
    assert "finishing the step" in err
    assert f"resume: grpolab run --resume {tmp_path}   (from the start)" in err
    last = (tmp_path / "events.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["status"] == "interrupted"


def test_a_second_interruption_ends_it_at_once(tmp_path: Path) -> None:
    code, err = interrupted(tmp_path, 2, "stubborn")
    assert code == 130
    assert "kept in" in err


def test_an_engine_ends_with_its_viewer(tmp_path: Path) -> None:
    child = engine(tmp_path, 400, 0.02)
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.wait(10) == 130


def test_closing_kills_what_does_not_listen(tmp_path: Path) -> None:
    child = engine(tmp_path, 400, 0.05, "stubborn")
    child.close(patience=0.3)
    assert child.exit_code == -signal.SIGKILL
    assert not child.send({"do": "pause"})
    child.close()


def test_a_replay_is_told_like_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path, run_events(2))
    assert headless_run.replay(run, as_json=True) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["digest"] == "final"
    assert "step 2/2  grpo" in err
    assert headless_run.replay(run, speed=100.0) == 0
    assert capfd.readouterr().err == err


def test_watching_ends_with_the_run(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").touch()
    codes: list[int] = []
    watcher = threading.Thread(target=lambda: codes.append(watched(tmp_path)))
    watcher.start()
    write(tmp_path, run_events(2, status="interrupted"))
    watcher.join(10)
    assert codes == [130]


def watched(run: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:  # signals belong to the main thread
        patch.setattr(signal, "signal", lambda *a: None)
        return headless_run.watch(run)


def shown(events: list[ev.Event]) -> str:
    stream = io.StringIO()
    with Plain(stream) as plain:
        plain.take(timed(events))
    return stream.getvalue()


def test_what_stays_on_the_screen() -> None:
    text = shown(
        [
            started(4), ev.LaneOpened("main", "grpo", "paper", {}, 0), *step_events(1),
            ev.Switched(1, "main", "grpo", "ppo", "paper", {}, ["adapter"], ["moments"], "command"),
            ev.CriticChanged(1, "main", "cold"),
            ev.SettingChanged(1, "main", "beta", 0.01, 0.1, "cue"),
            ev.Refused(1, {"do": "switch"}, "no such algorithm"),
        ]
    )  # fmt: skip
    assert "step 1  switched grpo -> ppo (by command); kept: adapter; reset: moments" in text
    assert "step 1  critic cold" in text
    assert "step 1  set beta: 0.01 -> 0.1 (by cue)" in text
    assert "step 1  refused switch: no such algorithm" in text


def test_text_from_outside_is_never_markup() -> None:
    text = shown([started(), ev.Failed(0, "[bold]x[/bold] :smile:", "loading")])
    assert "[bold]x[/bold] :smile:" in text


def test_long_runs_do_not_flood_a_log() -> None:
    events: list[ev.Event] = [started(1000), ev.LaneOpened("main", "grpo", "paper", {}, 0)]
    for step in range(1, 1001):
        events += step_events(step)
    assert 100 <= shown(events).count("\n") <= 110
