"""Algorithms side by side: what is asked for, what is computed, and the numbers by hand."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from front.synthetic import evaluated, started, step_events, timed, write
from front.test_cli import told
from front.test_imports import HEAVY, culprit

from grpolab import cli, commands, launch
from grpolab.algorithms import ALGORITHMS
from grpolab.analysis.intervals import student_t
from grpolab.errors import RequestError
from grpolab.headless import compare, compare_jobs
from grpolab.headless import compare_table as table
from grpolab.record import codec, directory
from grpolab.record import events as ev
from grpolab.tui.compare.seeds import SeedRuns

HERE = Path(__file__).parent


def plan(*options: str, scenario: str = "default") -> compare.Plan:
    """The plan of a command line; all runs are three steps long."""
    arguments = ["compare", scenario, "--steps", "3", *options]
    return compare.Plan.of(cli.parser().parse_args(arguments))


# --- what a run measured ---


def run_of(
    accuracies: Sequence[float], *, replaced: Sequence[int] = (), pretraining: int = 0, **more: Any
) -> list[ev.Event]:
    """A finished run with an evaluation at every step; each step samples two answers to one
    prompt, and `replaced` more groups.
    """
    steps = len(accuracies) - 1
    out: list[ev.Event] = [
        replace(started(steps), machine="abacus", versions={"torch": "2"}, **more),
        ev.LaneOpened("main", "grpo", "paper", {}, 0),
        evaluated(0, accuracies[0]),
    ]
    for i in range(pretraining):
        detail = f"value pretraining, rollout {i + 1} of {pretraining}"
        out += [ev.PhaseChanged(p, 1, "main", detail) for p in ("sampling", "updating")]
    for step in range(1, steps + 1):
        out.append(ev.PhaseChanged("sampling", step, "main", "1 of 2 groups teach"))
        *before, done = step_events(step)
        assert isinstance(done, ev.StepDone)
        again = replaced[step - 1] if replaced else 0
        metrics = done.metrics | ({"groups_replaced": float(again)} if again else {})
        out += [*before, replace(done, metrics=metrics), evaluated(step, accuracies[step])]
    return [*out, ev.Ended(steps, "done", {"total": 8.0}, "final")]


def test_answers_are_counted_with_replaced_groups_and_a_critics_own_rollouts() -> None:
    run = run_of([0.5] * 4, replaced=(0, 2, 0), pretraining=3)
    # step 1: 1 group and 3 rollouts of 1 group; step 2: 1 group and 2 that were replaced
    assert table.samples(timed(run)) == {1: 8, 2: 14, 3: 16}
    assert table.samples(timed(run_of([0.5] * 3))) == {1: 2, 2: 4}


def test_what_a_resume_tells_again_is_counted_once(tmp_path: Path) -> None:
    run = run_of([0.5, 0.6, 0.7], pretraining=2)
    first = next(i for i, e in enumerate(run) if isinstance(e, ev.StepDone))
    write(tmp_path, [*run[:first], ev.Resumed(0), *run[1:]])
    found = table.measure(tmp_path)
    assert (found["samples"], found["steps"], found["status"]) == (8, 2, "done")
    assert [e["samples"] for e in found["eval"]] == [0, 6, 8]


def test_the_numbers_of_a_run(tmp_path: Path) -> None:
    found = table.measure(write(tmp_path, run_of([0.4, 0.5, *[0.8] * 10, 0.95, 0.9])))
    assert (found["accuracy_start"], found["accuracy_end"]) == (0.4, 0.9)
    assert found["greedy_accuracy_end"] == pytest.approx(1.0)
    assert found["gain"] == pytest.approx(0.5)
    assert found["steps_to_90"] == 12
    assert found["kl_ref"] == pytest.approx(0.0085)  # steps 4 to 13, 0.001 each
    assert found["seconds_per_step"] == pytest.approx(0.6)
    assert found["peak_memory_bytes"] == 5013
    assert found["memory"]["backbone"] == 1000
    assert found["wall_seconds"] >= 8
    assert (found["machine"], found["threads"], found["digest"]) == ("abacus", 2, "final")


def test_a_run_that_never_began_has_no_numbers(tmp_path: Path) -> None:
    found = table.measure(tmp_path)
    assert (found["status"], found["samples"], found["accuracy_end"]) == ("not started", 0, None)


# --- what several seeds say together ---


def measured(folder: Path, name: str, *accuracies: Sequence[float], **more: Any) -> list[table.Run]:
    runs = []
    for seed, of_seed in enumerate(accuracies):
        found = table.measure(write(folder / f"{name}-{seed}", run_of(of_seed, **more)))
        runs.append({"seed": seed} | found)
    return runs


def test_means_at_equal_samples(tmp_path: Path) -> None:
    plain = measured(tmp_path, "plain", [0.5, 0.6, 0.5], [0.5, 0.6, 0.7], [0.5, 0.6, 0.9])
    # its first step takes 2 · (1 + 1) answers, as many as the others take in two
    eager = measured(tmp_path, "eager", [0.5, 0.8, 0.9], [0.5, 0.9, 0.95], pretraining=1)
    samples, found = table.summarize({"plain": plain, "eager": eager})
    assert samples == 4
    assert list(found) == ["eager", "plain"]  # .85 at four answers, not .925 at six
    assert found["eager"]["mean"]["accuracy_equal_samples"] == pytest.approx(0.85)
    assert found["eager"]["mean"]["accuracy_end"] == pytest.approx(0.925)
    assert found["eager"]["mean"]["samples"] == 6
    assert [r["step_equal_samples"] for r in found["eager"]["seeds"]] == [1, 1]
    mean, ci = found["plain"]["mean"], found["plain"]["ci95"]
    assert mean["accuracy_equal_samples"] == mean["accuracy_end"] == pytest.approx(0.7)
    assert ci["accuracy_end"] == pytest.approx(4.3027 * 0.2 / 3**0.5)  # t of 2, deviation .2
    assert ci["accuracy_start"] == 0
    assert mean["steps_to_90"] == 2  # of the one that came there
    assert "peak_memory_bytes" not in ci and mean["peak_memory_bytes"] == 5002


def test_one_seed_has_no_interval_and_unfinished_runs_no_say(tmp_path: Path) -> None:
    runs = measured(tmp_path, "x", [0.5, 0.6], [0.5, 0.1])
    runs[1] |= {"status": "failed", "samples": 1}
    samples, found = table.summarize({"x": runs, "none": [runs[1]]})
    assert samples == 2
    assert found["x"]["mean"]["accuracy_end"] == 0.6
    assert set(found["x"]["ci95"].values()) == {None}
    assert set(found["none"]["mean"].values()) == {None}
    assert list(found) == ["x", "none"]


def test_a_kl_that_is_not_finite_is_not_averaged_away(tmp_path: Path) -> None:
    runs = measured(tmp_path, "x", [0.5, 0.6], [0.5, 0.6])
    runs[1]["kl_ref"] = None
    _, found = table.summarize({"x": runs})
    assert found["x"]["mean"]["kl_ref"] is found["x"]["ci95"]["kl_ref"] is None


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (4, 2.776), (10, 2.228), (11, 2.201), (19, 2.093), (30, 2.042), (120, 1.980)],
)
def test_student(freedom: int, quantile: float) -> None:
    assert student_t(freedom) == pytest.approx(quantile, abs=5e-4)


# --- the table ---


def whole(tmp_path: Path, names: Sequence[str] = ("grpo", "ppo:verl"), **more: Any) -> Any:
    runs = {n: measured(tmp_path, n, [0.5, 0.6], [0.5, 0.95]) for n in names}
    samples, algorithms = table.summarize(runs)
    return {
        "scenario": "default", "steps": 1, "seeds": [0, 1], "samples": samples,
        "algorithms": algorithms, "machine": "abacus", "threads": 1, "device": "cpu", "jobs": 2,
        "versions": {"torch": "2"}, "out": "x", "command": ["grpolab", "compare"], "notes": [],
    } | more  # fmt: skip


def test_markdown(tmp_path: Path) -> None:
    head, rule, *rows = table.markdown(whole(tmp_path)).splitlines()
    assert head.startswith("| algorithm | start | at 2 samples | end | greedy | gain | KL | ")
    assert rule == "| " + " | ".join(["---"] * 11) + " |"
    cells = [cell.strip() for cell in rows[1].split("|")[1:-1]]
    assert [row.split("|")[1].strip() for row in rows] == ["`grpo`", "`ppo:verl`"]
    assert cells[1:6] == [".500", ".775 ± 2.224", ".775 ± 2.224", ".875", ".275"]
    assert cells[6:] == ["0.0010", "0.60 s", "0 MiB", "1 (1/2)", "8 s"]


def test_the_table_fits_a_terminal(tmp_path: Path) -> None:
    names = [*ALGORITHMS, "reinforce++-baseline:openrlhf"]
    found = whole(tmp_path, names, samples=123_456_789, notes=["why " * 40])
    for algorithm in found["algorithms"].values():
        algorithm["mean"] |= {"peak_memory_bytes": 80 << 30, "wall_seconds": 123456.0}
    lines = table.text(found).splitlines()
    assert max(map(len, lines)) <= table.WIDTH
    assert len(lines) == 2 + 1 + len(names) + 1 + 2 + 2  # a blank line, the legend, the note
    assert lines[2].split() == [
        *("algorithm", "start", "at", "123456789", "end", "greedy", "gain", "KL", "s/step", "MiB"),
        *("≥.90", "wall", "s"),
    ]


@pytest.mark.parametrize(
    ("x", "shown"), [(0.5, ".500"), (1, "1.000"), (-0.05, "−.050"), (-1e-9, ".000"), (10, "10.000")]
)
def test_fractions(x: float, shown: str) -> None:
    assert table.fraction(x) == shown


def test_the_report_says_how_it_was_made(tmp_path: Path) -> None:
    page = table.page(whole(tmp_path, notes=["one thing", "another"]))
    assert page.startswith("# default: 2 algorithms, seeds 0–1, 1 step\n\n| algorithm |")
    assert "on 128 test prompts" in page
    assert "\n- one thing\n- another\n" in page
    assert "abacus, cpu, 1 thread per run, 2 at a time; torch 2" in page


# --- what is asked for ---


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--algorithms", "grpo,grop"], "--algorithms grop: unknown algorithm 'grop'; did you mea"),
        (["--algorithms", "grpo:verll"], "grpo has no preset 'verll'; did you mean 'verl'?"),
        (["--algorithms", "grpo:"], "--algorithms grpo:: grpo has no preset ''"),
        (["--algorithms", " ,"], "--algorithms: name at least one"),
        ([], "the following arguments are required: --algorithms"),
        (["--algorithms", "ppo", "--seeds", "0"], "expected a whole number from 1, got '0'"),
        (["--algorithms", "ppo", "--json", "--markdown"], "not allowed with argument --json"),
        (["--algorithms", "ppo", "--set", "seed"], "--set seed: expected key=value"),
        (["--algorithms", "ppo", "--set", "algorithm=grpo"], "--set another algorithm"),
        (
            ["--algorithms", "ppo,grpo", "--set", "algorithm.gae_lambda=0.9"],
            "--set algorithm.gae_lambda=0.9: unknown key 'gae_lambda'",
        ),
    ],
)
def test_a_wrong_request_is_one_line(
    capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    code, out, err = told(capsys, "compare", "default", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err


def test_a_scenario_of_several_lanes_is_refused(tmp_path: Path) -> None:
    lanes = [{"name": n, "algorithm": "grpo"} for n in "ab"]
    (tmp_path / "two.yaml").write_text(json.dumps({"lanes": lanes}))
    (tmp_path / "fork.yaml").write_text('cues: [{"at": 1, "do": "fork", "name": "b"}]')
    for name in ("two", "fork"):
        with pytest.raises(RequestError, match="needs a scenario of one"):
            plan("--algorithms", "grpo", scenario=str(tmp_path / f"{name}.yaml"))


def test_a_plan() -> None:
    found = plan("--algorithms", "rloo,grpo:verl,rloo,grpo", "--seeds", "2", "--set", "seed=5")
    assert list(found.entrants) == ["rloo", "grpo:verl", "grpo"]
    assert list(found.seeds) == [5, 6]
    sections = [s.lanes[0].algorithm.model_dump() for s in found.entrants.values()]
    assert [(s["name"], s["preset"]) for s in sections] == [
        ("rloo", "paper"), ("grpo", "verl"), ("grpo", "paper"),
    ]  # fmt: skip
    assert sections[2]["beta"] == 0.01  # the scenario's own algorithm keeps its settings
    assert list(plan("--algorithms", "all").entrants) == list(ALGORITHMS)
    again = cli.parser().parse_args(list(found.command[1:]))
    assert compare.Plan.of(again) == found


def test_a_plan_with_a_model_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    options = ["--algorithms", "grpo,ppo", "--model", str(tmp_path), "--quantize", "nf4"]
    found = plan(*options, "--seed", "7", "--seeds", "2")
    for scenario in found.entrants.values():
        assert (scenario.model.path, scenario.model.quantize) == (str(tmp_path), "nf4")
    assert list(found.seeds) == [7, 8]
    again = cli.parser().parse_args(list(found.command[1:]))
    assert compare.Plan.of(again) == found


def test_threads_are_a_share_of_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(Path, "read_text", lambda self: "max 100000")
    assert [launch.default_threads(jobs) for jobs in (1, 2, 3, 9)] == [4, 2, 1, 1]


def test_a_comparison_goes_on_only_with_what_it_was_begun_with(tmp_path: Path) -> None:
    compare.lay_out(plan("--algorithms", "grpo,ppo"), tmp_path)
    assert (tmp_path / "ppo-0" / "scenario.yaml").exists()
    more = plan("--algorithms", "rloo,grpo", "--seeds", "2")
    names = [job.run.name for job in compare.lay_out(more, tmp_path)]
    assert names == ["rloo-0", "grpo-0", "rloo-1", "grpo-1"]
    other = plan("--algorithms", "grpo,dapo", "--set", "rollout.group_size=4")
    with pytest.raises(
        RequestError, match=r"grpo-0: was started with rollout.group_size 8, not 4;"
    ):
        compare.lay_out(other, tmp_path)
    assert not (tmp_path / "dapo-0").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(RequestError, match="the folder is not empty, and holds no comparison"):
        compare.lay_out(plan("--algorithms", "grpo"), tmp_path)


# --- what is computed, by an engine that computes nothing ---


def fake_engines(monkeypatch: pytest.MonkeyPatch, **modes: str) -> list[launch.Request]:
    """Let runs be made by fake_engine.py; the requests, in the order in which they come. `modes`
    are for the runs of some algorithms.
    """
    asked: list[launch.Request] = []
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent))

    def boot(request: launch.Request) -> launch.Engine:
        asked.append(request)
        run = Path(str(request.resume))
        mode = modes.get(run.name.rpartition("-")[0], "")
        pace = "0.05" if mode == "slow" else "0"
        command = [str(HERE / "fake_engine.py"), str(run), "400" if mode else "3", pace, mode]
        with (run / "engine.log").open("ab") as log:
            return launch.Engine(launch.spawn(command, log, log), run)

    monkeypatch.setattr(launch.Engine, "boot", staticmethod(boot))
    return asked


def test_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = fake_engines(monkeypatch)
    monkeypatch.chdir(tmp_path)
    options = ["--algorithms", "grpo,ppo:verl", "--seeds", "2", "--jobs", "2", "--steps", "3"]
    code, out, err = told(capsys, "compare", "default", *options, "--json")
    assert code == 0
    found = json.loads(out)
    assert {len(a["seeds"]) for a in found["algorithms"].values()} == {2}
    assert found["algorithms"]["grpo"]["mean"]["accuracy_end"] == 0.9
    assert found["algorithms"]["grpo"]["ci95"]["accuracy_end"] == 0
    assert found["samples"] == 6
    folder = Path(found["out"])
    assert folder.parent == Path("runs") and folder.name.endswith("-compare-default")
    assert [Path(str(a.resume)).name for a in asked] == [
        "grpo-0", "ppo_verl-0", "grpo-1", "ppo_verl-1",
    ]  # fmt: skip
    assert {a.threads for a in asked} == {launch.default_threads(2)}
    laid = yaml.safe_load((folder / "ppo_verl-1" / "scenario.yaml").read_text())
    assert (laid["seed"], laid["lanes"][0]["algorithm"]["preset"]) == (1, "verl")
    assert json.loads((folder / "report.json").read_text()) == found
    assert (folder / "report.md").read_text().startswith("# default: 2 algorithms, seeds 0–1")
    lines = err.splitlines()
    assert lines[0].startswith("4 runs in runs/")
    assert sum(" test accuracy (sampled) .400 → .900, " in line for line in lines) == 4
    assert "\x1b" not in err


def test_what_is_done_is_skipped_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = fake_engines(monkeypatch)
    ask = plan("--algorithms", "grpo,ppo,rloo", "--threads", "1")
    for job in compare.lay_out(ask, tmp_path):
        events = run_of([0.3, 0.4, 0.5, 0.6])
        if job.algorithm == "ppo":
            events = [*events[:-1], ev.Ended(2, "interrupted"), ev.Resumed(0)]
        if job.algorithm != "rloo":
            lines = [codec.encode(event, t) for t, event in timed(events)]
            (job.run / directory.EVENTS).write_text("\n".join(lines) + "\n")
    assert compare.run(replace(ask, out=tmp_path), as_markdown=True) == 0
    assert [Path(str(a.resume)).name for a in asked] == ["ppo-0", "rloo-0"]
    out, err = capsys.readouterr()
    assert "3 runs in" in err and "; 1 done already" in err
    names = [line.split("|")[1].strip() for line in out.splitlines()[2:]]
    assert names == ["`ppo`", "`rloo`", "`grpo`"]  # .9 at the end, and .6
    asked.clear()
    assert compare.run(replace(ask, out=tmp_path)) == 0
    assert not asked


def test_a_run_that_was_begun_keeps_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake_engines(monkeypatch)
    first, second = compare.lay_out(plan("--algorithms", "grpo,ppo"), tmp_path)
    write(first.run, run_of([0.3, 0.4])[:-1])
    for job in (first, second):
        job.start(None, 7, "cpu")
        assert job.engine is not None
        job.engine.close()
    assert [(a.threads, a.device) for a in asked] == [(None, "cpu"), (7, "cpu")]


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("fail", "out of memory"),
        ("crash", "the engine ended without an error: Segmentation fault in libexample"),
    ],
)
def test_a_failed_run_is_left_out_and_the_others_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    why: str,
) -> None:
    fake_engines(monkeypatch, ppo=mode)
    out = tmp_path / "x"
    assert compare.run(replace(plan("--algorithms", "ppo,grpo"), out=out), as_json=True) == 1
    stdout, err = capsys.readouterr()
    found = json.loads(stdout)
    assert found["algorithms"]["ppo"]["mean"]["accuracy_end"] is None
    assert found["algorithms"]["ppo"]["seeds"][0]["error"] == why
    assert found["algorithms"]["grpo"]["mean"]["accuracy_end"] == 0.9
    assert found["notes"] == [f"ppo, seed 0: failed ({why}), not in the means"]
    assert f"[0/2] ppo, seed 0: failed after step 1: {why}" in err
    assert "not done: 1 of 2 runs; resume:" in err
    assert err.rstrip().endswith(f"--algorithms=ppo,grpo --seeds=1 --steps=3 --jobs=1 --out={out}")


def test_an_interruption_stops_the_engines_and_says_how_to_go_on(tmp_path: Path) -> None:
    program = (
        "import sys, pytest; from pathlib import Path; from dataclasses import replace\n"
        "from front.test_compare import fake_engines, plan; from grpolab.headless import compare\n"
        "fake_engines(pytest.MonkeyPatch(), grpo='slow', ppo='slow')\n"
        "ask = plan('--algorithms', 'grpo,ppo', '--seeds', '2', '--jobs', '2')\n"
        "sys.exit(compare.run(replace(ask, out=Path(sys.argv[1])), as_json=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "x")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE.parent.parent}"},
    )  # fmt: skip
    begun = [tmp_path / "x" / f"{name}-0" / directory.EVENTS for name in ("grpo", "ppo")]
    until = time.monotonic() + 20
    while not all(f.exists() and '"kind":"step"' in f.read_text() for f in begun):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    found = json.loads(out)
    states = [r["status"] for n in ("grpo", "ppo") for r in found["algorithms"][n]["seeds"]]
    assert states == ["interrupted", "not started", "interrupted", "not started"]
    assert "finishing the steps" in err and "not done: 4 of 4 runs; resume:" in err
    ends = [directory.ending(f.parent) for f in begun]
    assert all(end is not None and end.status == "interrupted" for end in ends)


def test_a_run_of_somebody_else_ends_the_request_and_leaves_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engines(monkeypatch, grpo="slow")
    jobs = compare.lay_out(plan("--algorithms", "grpo,ppo"), tmp_path)

    def refuse(*arguments: object) -> None:
        raise RequestError("another process computes this run")

    monkeypatch.setattr(jobs[1], "start", refuse)
    with compare_jobs.Ticker(jobs, io.StringIO()) as ticker, pytest.raises(RequestError):
        compare_jobs.compute(jobs, ticker, at_once=2, threads=None, share=1, device="cpu")
    assert jobs[0].engine is not None and jobs[0].engine.exit_code == 130


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    jobs = compare.lay_out(plan("--algorithms", "grpo,ppo,rloo"), tmp_path)
    jobs[0].step = 2
    stream = Terminal()
    with compare_jobs.Ticker(jobs, stream) as ticker:
        ticker.show(jobs[:1], jobs[1:])
        assert ticker._bar is not None
        assert (ticker._bar.tasks[0].completed, ticker._bar.tasks[0].total) == (2, 9)
        ticker._bar.refresh()
    assert "0 of 3 runs" in stream.getvalue() and "grpo-0 2/3" in stream.getvalue()


# --- in the lab ---


def test_in_a_terminal_each_algorithm_is_a_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[SeedRuns | None] = []

    def open_live(
        run_dir: None, engine: launch.Engine, notice: str, frame: object, seeds: SeedRuns | None
    ) -> int:
        shown.append(seeds)
        assert engine.wait(10) == 0
        return 0

    asked = fake_engines(monkeypatch)
    monkeypatch.setattr(commands, "has_screen", lambda: True)
    monkeypatch.setattr(commands, "_screen", lambda: SimpleNamespace(open_live=open_live))
    (tmp_path / "x.yaml").write_text(
        'cues: [{"at": 1, "do": "set", "lane": "main", "key": "beta", "value": 0.1}]'
    )
    arguments = ["compare", str(tmp_path / "x.yaml"), "--algorithms", "grpo,ppo:verl"]
    assert cli.main([*arguments, "--out", str(tmp_path / "one")]) == 0
    assert shown == [None] and asked[0].resume == str(tmp_path / "one")
    laid = yaml.safe_load((tmp_path / "one" / "scenario.yaml").read_text())
    assert [lane["name"] for lane in laid["lanes"]] == ["grpo", "ppo:verl"]
    assert [lane["algorithm"]["preset"] for lane in laid["lanes"]] == ["paper", "verl"]
    assert laid["cues"][0]["lane"] is None
    # several seeds: a run each, the further ones behind the first
    several = [*arguments, "--seeds", "3", "--out", str(tmp_path / "run")]
    assert cli.main(several) == 0
    assert asked[1].resume == str(tmp_path / "run" / "seed-0")
    seeds = shown[1]
    assert seeds is not None and seeds.first == "0" and "--seeds=3" in seeds.again
    assert [r.run.name for r in seeds.runs] == ["seed-1", "seed-2"]
    for seed in range(3):
        laid = yaml.safe_load((tmp_path / "run" / f"seed-{seed}" / "scenario.yaml").read_text())
        assert laid["seed"] == seed and len(laid["lanes"]) == 2
    # again: the first that is not done is on the screen; another scenario is refused
    end = codec.encode(ev.Ended(1, "done"), 1.0) + "\n"
    (tmp_path / "run" / "seed-0" / "events.jsonl").write_text(end)
    assert cli.main(several) == 0
    assert asked[2].resume == str(tmp_path / "run" / "seed-1")
    assert shown[2] is not None and [r.run.name for r in shown[2].runs] == ["seed-0", "seed-2"]
    assert shown[2].runs[0].done
    assert cli.main([*several, "--steps", "3"]) == 2


# --- and for real ---


@pytest.mark.slow
def test_a_real_comparison_of_one_small_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"evaluate.prompts": 4, "rollout.prompts": 2, "rollout.group_size": 2}
    small |= {"rollout.max_tokens": 12, "algorithm.value_pretraining": 2}
    options = ["--algorithms", "vc-ppo", "--steps", "1", "--out", str(tmp_path / "x")]
    options += [f"--set={key}={value}" for key, value in small.items()]
    code, out, _ = told(capsys, "compare", "default", *options, "--json")
    assert code == 0
    found = json.loads(out)
    run = found["algorithms"]["vc-ppo"]["seeds"][0]
    assert found["samples"] == run["samples"] == 12  # two of its three rollouts for the critic
    assert [e["samples"] for e in run["eval"]] == [0, 12]
    assert run["peak_memory_bytes"] > 1e6 and run["seconds_per_step"] > 0
    code, out, err = told(capsys, "compare", "default", *options, "--markdown")
    assert code == 0 and out.count("\n") == 3
    assert "; 1 done already" in err


def test_the_command_costs_nothing_until_it_is_asked_for() -> None:
    own = [f"grpolab.headless.{name}" for name in ("compare", "compare_jobs", "compare_table")]
    assert culprit(("grpolab.commands", own), *[(name, HEAVY) for name in own]) == ""
