"""`grpolab plot`, and the charts under a comparison's table and at the end of a run."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from front.synthetic import evaluated, run_events, started, step_events, write
from rich.cells import cell_len
from rich.console import Console

from grpolab.charts.model import Series
from grpolab.cli import main
from grpolab.headless import plot
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.resources import shipped_records

QLORA = "qlora"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def told(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["plot", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["plot", *args]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def a_run(folder: Path, accuracy: float = 0.9, steps: int = 6, algorithm: str = "grpo") -> Path:
    """A run of one lane with evaluations at the start, in the middle and at the end."""
    events: list[ev.Event] = [started(steps), ev.LaneOpened("main", algorithm, "paper", {}, 0),
                              evaluated(0, 0.25)]  # fmt: skip
    for step in range(1, steps + 1):
        events += step_events(step, algorithm=algorithm)
        if step in (steps // 2, steps):
            events.append(evaluated(step, 0.25 + (accuracy - 0.25) * step / steps))
    write(folder, events)
    return folder


def test_the_shipped_record_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, QLORA)
    assert out.count("● grpo") == out.count("▲ ppo") == out.count("■ rloo") == 2
    assert out.index(plot.ACCURACY) < out.index("kl_ref")
    assert "92.6%" in out  # grpo's last, as recorded
    assert "\x1b" not in out  # stdout is no terminal
    assert "100% ┤" in out and "─ steps" in out
    assert all(cell_len(line) <= 80 for line in out.splitlines())


@pytest.mark.parametrize(
    "by, unit",
    [("step", "steps"), ("update", "optimizer steps"), ("samples", "answers sampled"),
     ("tokens", "tokens sampled"), ("time", "seconds of work")],
)  # fmt: skip
def test_what_the_curves_run_along(capsys: pytest.CaptureFixture[str], by: str, unit: str) -> None:
    out = told(capsys, QLORA, "--by", by, "--metric", "reward", "--size", "90x10")
    assert out.splitlines()[-1].endswith(f"─ {unit}")


def test_metrics_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, QLORA, "--metric", "KL-ref", "--metric", "step seconds")
    assert [line.split()[0] for line in out.splitlines() if line[:1].isalpha()] == [
        "kl_ref",
        "step",
    ]


@pytest.mark.parametrize("name", ["test accuracy", "held-out accuracy", "Test_Accuracy"])
def test_test_accuracy_by_either_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert told(capsys, QLORA, "--metric", name).startswith(plot.ACCURACY)


def test_an_unknown_metric_is_named_with_the_nearest_and_all_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    err = refused(capsys, QLORA, "--metric", "kl_reff")
    assert "did you mean 'kl_ref'?" in err
    assert "reward_std" in err and plot.ACCURACY in err
    err = refused(capsys, QLORA, "--metric", "zzzzzz")
    assert "did you mean" not in err and "entropy" in err


@pytest.mark.parametrize(
    "args, why",
    [
        (["nosuch"], "no such run"),
        (["qlorra"], "did you mean 'qlora'"),
        ([QLORA, "--size", "9"], "WIDTHxHEIGHT"),
        ([QLORA, "--size", "19x40"], "at least 20x6"),
        ([QLORA, "--out", "curves.png"], "ends with .svg"),
        ([QLORA, "--out", "no/folder/curves.svg"], "cannot be written: No such file"),
    ],
)
def test_wrong_requests(capsys: pytest.CaptureFixture[str], args: list[str], why: str) -> None:
    assert why in refused(capsys, *args)


@pytest.mark.parametrize("args", [["--smooth", "1.5"], ["--by", "steps"], ["--smooth", "last"]])
def test_wrong_options(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plot", QLORA, *args])
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("size", ["20x6", "47x9", "120x30", "200x50"])
def test_the_size_is_exact(capsys: pytest.CaptureFixture[str], size: str) -> None:
    width, height = map(int, size.split("x"))
    lines = told(capsys, QLORA, "--metric", "reward", "--size", size).splitlines()
    drawn = [i for i, line in enumerate(lines) if re.match(r" *[\d.]* [┤│]", line)]
    assert cell_len(lines[-1]) == width  # the axis
    assert len(drawn) == height - 1 and drawn[-1] == len(lines) - 2


def test_smoothing_and_a_log_axis(capsys: pytest.CaptureFixture[str]) -> None:
    raw = told(capsys, QLORA, "--metric", "kl_ref", "--size", "80x16")
    smooth = told(capsys, QLORA, "--metric", "kl_ref", "--smooth", "--log-y", "--size", "80x16")
    assert "smoothed 0.9" in smooth and "smoothed" not in raw
    labels = re.findall(r"^ *(\S+) ┤", smooth, re.M)
    assert {"0.01", "1e−4"} <= set(labels)
    assert "0.0" in re.findall(r"^ *(\S+) ┤", raw, re.M)
    half = told(capsys, QLORA, "--metric", "kl_ref", "--smooth", "0.5", "--size", "80x16")
    assert "smoothed 0.5" in half


def test_no_value_for_a_log_axis(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    events = [started(2), ev.LaneOpened("main", "grpo", "paper", {}, 0), *step_events(1),
              *step_events(2)]  # fmt: skip
    for e in events:
        if isinstance(e, ev.StepDone):
            e.metrics["reward"] = -1.0
    write(tmp_path / "run", events)
    out = told(capsys, str(tmp_path / "run"), "--metric", "reward", "--log-y")
    assert "no value above 0 to show on a log scale" in out


def test_a_run_before_its_first_number(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path / "run", [started(2)])
    assert "nothing is recorded yet" in refused(capsys, str(tmp_path / "run"))
    write(tmp_path / "opened", [started(2), ev.LaneOpened("main", "grpo", "paper", {}, 0)])
    assert "nothing is measured yet" in refused(capsys, str(tmp_path / "opened"))


def test_several_runs_over_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a_run(tmp_path / "runs" / "one", 0.9)
    a_run(tmp_path / "runs" / "two", 0.5, algorithm="ppo")
    both = told(capsys, "one", str(tmp_path / "runs" / "two"))
    assert "● one 90.0%" in both and "▲ two 50.0%" in both
    assert told(capsys, str(tmp_path / "runs")) == both
    assert "● two 50.0%" in told(capsys, "two") and "● one 90.0%" in told(capsys, "runs/one")
    assert re.search("● (one|two) ", told(capsys, "last"))


def test_seeds_are_one_curve_with_a_band(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for seed, accuracy in enumerate((0.6, 0.75, 0.9)):
        a_run(tmp_path / "runs" / f"grpo-{seed}", accuracy)
    a_run(tmp_path / "runs" / "ppo-0", 0.5, algorithm="ppo")
    out = told(capsys, "runs", "--metric", plot.ACCURACY)
    assert "● grpo ×3 75.0%" in out and "▲ ppo-0 50.0%" in out
    assert "░" in out
    # in the last column from .6 to .9
    told(capsys, "runs", "--metric", plot.ACCURACY, "--size", "60x21")
    lanes = plot.read([tmp_path / "runs" / f"grpo-{seed}" for seed in range(3)])
    (series,) = plot.chart(lanes, plot.ACCURACY).series
    assert series.band is not None
    assert [v[-1] for v in (series.band[1], series.y, series.band[2])] == pytest.approx(
        [0.6, 0.75, 0.9]
    )


def test_switches_are_marked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    events = run_events(9)
    at = next(i for i, e in enumerate(events) if isinstance(e, ev.StepDone) and e.step == 4)
    switch = ev.Switched(4, "main", "grpo", "ppo", "paper", {}, [], [], "cue")
    write(tmp_path / "run", [*events[: at + 1], switch, *events[at + 1 :]])
    out = told(capsys, str(tmp_path / "run"), "--metric", "reward", "--size", "70x12")
    lines = out.splitlines()
    label = next(line for line in lines if "→PPO" in line)
    column = label.index("→PPO")
    assert "GRPO" in label[:column]
    below = [line[column] for line in lines[lines.index(label) + 1 : -1] if len(line) > column]
    assert below.count("┊") >= 8


def test_names_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    events = [started(2), ev.LaneOpened("a\x1b[2J", "g\x1b[1m", "paper", {}, 0),
              ev.LaneOpened("b\u202e", "grpo", "paper", {}, 0)]  # fmt: skip
    for step in (1, 2):
        events += step_events(step, "a\x1b[2J") + step_events(step, "b\u202e")
        for e in events:
            if isinstance(e, ev.StepDone):
                e.metrics["m\x1b[5m"] = 1.0
    events.append(ev.Switched(2, "a\x1b[2J", "g", "p\x1b[0m", "paper", {}, [], [], "cue"))
    write(tmp_path / "run", events)
    out = told(capsys, str(tmp_path / "run"), "--metric", "reward", "--metric", "m\x1b[5m")
    assert "\x1b" not in out and "\u202e" not in out and "a�[2J" in out


def test_answers_and_channels_are_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_run(tmp_path / "run")
    kinds: list[str] = []
    decode = plot.decode

    def seen(line: bytes) -> Any:
        kinds.append(json.loads(line)["kind"])
        return decode(line)

    monkeypatch.setattr(plot, "decode", seen)
    state = plot.fold(tmp_path / "run")
    assert {"run", "lane", "rollout", "step", "eval"} <= set(kinds)
    assert not {"tokens", "graded", "sampled", "after"} & set(kinds)
    whole = LabState()
    for line in (tmp_path / "run" / "events.jsonl").read_bytes().splitlines():
        t, event = decode(line)  # pyright: ignore
        whole.apply(event, t)
    for axis in ("step", "update", "sample", "token", "time"):
        assert state.lanes["main"].series("reward", axis) == whole.lanes["main"].series(
            "reward", axis
        )


def test_svg(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "curves.svg"
    assert main(["plot", QLORA, "--out", str(out), "--size", "500x200"]) == 0
    printed, err = capsys.readouterr()
    assert printed == "" and err == f"written: {out}\n"
    root = ElementTree.parse(out).getroot()
    assert root.attrib["width"] == "500" and root.attrib["height"] == "400"
    texts = {t.text for t in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"grpo", "ppo", "rloo", "kl_ref", "steps", plot.ACCURACY} <= texts


def terminal(width: int = 100) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=40, legacy_windows=False,
        color_system="truecolor", markup=False, highlight=False, emoji=False, soft_wrap=True,
    )  # fmt: skip


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_colours_on_a_terminal_and_none_where_none_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chart = plot.chart(plot.read([shipped_records()[QLORA]]), plot.ACCURACY)
    coloured = terminal()
    plot.show(coloured, chart)
    red, green, blue = (int(plot.HUES[0][i : i + 2], 16) for i in (1, 3, 5))
    assert f"\x1b[38;2;{red};{green};{blue}m" in written(coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = terminal()
    plot.show(plain, chart)
    assert not re.search(r"\x1b\[[\d;]*[34]8;", written(plain))
    bare = re.compile(r"\x1b\[[\d;]*m")
    assert bare.sub("", written(plain)) == bare.sub("", written(coloured))


def test_at_the_end_of_a_run_on_a_terminal(tmp_path: Path) -> None:
    state = plot.fold(a_run(tmp_path / "run"))
    console = terminal()
    plot.at_the_end(console, state)
    assert plot.ACCURACY in written(console) and "░" not in written(console)
    assert "grpo" in written(console) and "main" not in written(console)
    for quiet in (terminal(30), Console(file=io.StringIO())):
        plot.at_the_end(quiet, state)
        assert written(quiet) == ""
    state.lanes["main"].evals = state.lanes["main"].evals[:1]
    console = terminal()
    plot.at_the_end(console, state)
    assert written(console) == ""  # nothing was learned yet


def seeds(*accuracies: float) -> dict[str, Any]:
    return {
        "seeds": [
            {"status": "done", "eval": [{"step": 0, "accuracy": 0.2}, {"step": 9, "accuracy": a}]}
            for a in accuracies
        ]
        + [{"status": "failed", "eval": [{"step": 0, "accuracy": 0.2}]}]
    }


def test_under_a_comparisons_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"grpo": seeds(0.9, 0.7), "ppo": seeds(0.6)}
    plot.under_table(found)
    assert capsys.readouterr().out == ""  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    plot.under_table(found)
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "● grpo ×2 80.0%" in out and "▲ ppo 60.0%" in out and "░" in out
    chart = plot.of_comparison({f"a{i}": seeds(0.5) for i in range(12)})
    assert len(chart.series) == plot.MOST and "the best 8 of 12" in chart.title
    plot.under_table({"grpo": {"seeds": []}})
    assert capsys.readouterr().out == ""


def test_it_loads_nothing_that_computes_and_no_screen() -> None:
    code = (
        "import sys; from grpolab.cli import main; main(['plot', 'qlora']); "
        "print(sorted({'torch', 'numpy', 'textual', 'pydantic', 'yaml'} & set(sys.modules)), "
        "'plotext' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[] True"


def test_sizes_are_bounded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for size in ("9999x9999", "1001x20", "1000x301", "19x20", "123456789x9"):
        line = refused(capsys, QLORA, "--size", size)
        assert (
            line == f"--size {size}: WIDTHxHEIGHT was expected, at least 20x6, at most 1000x300\n"
        )
    out = str(tmp_path / "x.svg")
    line = refused(capsys, QLORA, "--size", "10001x9", "--out", out)
    assert line.endswith("at least 20x6, at most 10000x10000\n")
    assert main(["plot", QLORA, "--size", "1001x301", "--out", out]) == 0
    assert 'width="1001"' in Path(out).read_text()


def test_a_last_value_that_is_no_number_is_spelled_out() -> None:
    for value, word in ((math.inf, "inf"), (-math.inf, "−inf"), (math.nan, "nan")):
        assert plot.last(Series(name="", x=[0, 1], y=[1.0, value])) == word
