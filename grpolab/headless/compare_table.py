"""The numbers of a comparison: the measurements of one run, their mean over seeds, and the table
for a terminal, for Markdown and for the report.
"""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from grpolab.analysis.intervals import half_width
from grpolab.headless.report import report
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.record.tail import Timed, read

WIDTH = 100
ENOUGH = 0.9
"""Test accuracy whose first step is reported."""

LAST_STEPS = 10
"""The KL is averaged over this many steps at the end of a run."""

MEASURES = (
    "accuracy_start", "accuracy_equal_samples", "accuracy_end", "greedy_accuracy_end", "gain",
    "kl_ref", "seconds_per_step", "peak_memory_bytes", "steps_to_90", "wall_seconds", "samples",
)  # fmt: skip
"""What is averaged over the seeds; of memory the maximum is taken."""

Run = dict[str, Any]
Result = Mapping[str, Any]


def measure(run: Path) -> Run:
    """A run's numbers, as far as it was computed. None stands for what was not measured."""
    path = run / directory.EVENTS
    events = directory.in_force(read(path)) if path.exists() else []
    state = LabState()
    for t, event in events:
        state.apply(event, t)
    summary, sampled = report(state, run), samples(events)
    lane = next(iter(state.lanes.values()), None)
    steps = len(lane.steps) if lane else 0
    evals = [
        {"step": e.step, "samples": _upto(sampled, e.step)}
        | {key: getattr(e, key) for key in ("accuracy", "greedy_accuracy", "reward", "prompts")}
        for e in (lane.evals if lane else [])
    ]
    first, last = (evals[0], evals[-1]) if evals else ({}, {})
    # not every step measures it
    kl = lane.series("kl_ref")[1][-LAST_STEPS:].tolist() if lane else []
    spent = [math.fsum(lane.steps.spent().values()) / len(lane.steps)] if lane and steps else []
    out = {
        "run": summary["run"],
        "status": summary["status"] if state.run else "not started",
        "steps": summary["steps"],
        "samples": max(sampled.values(), default=0),
        "accuracy_start": first.get("accuracy"),
        "accuracy_end": last.get("accuracy"),
        "greedy_accuracy_end": last.get("greedy_accuracy"),
        "gain": last["accuracy"] - first["accuracy"] if evals else None,
        "kl_ref": _mean(kl),
        "seconds_per_step": _mean(spent),
        "peak_memory_bytes": summary["peak_memory_bytes"],
        "memory": summary["memory"],
        "steps_to_90": next((e["step"] for e in evals if e["accuracy"] >= ENOUGH), None),
        "wall_seconds": summary["seconds"]["total"],
        "eval": evals,
        "digest": summary["digest"],
        "device": summary["device"],
        "threads": summary["threads"],
        "machine": state.run.machine if state.run else "",
        "versions": state.run.versions if state.run else {},
    }
    return out | ({"error": summary["error"]} if "error" in summary else {})


def samples(events: Iterable[Timed]) -> dict[int, int]:
    """Answers sampled from the start to the end of each step. Replaced groups count, and so do the
    rollouts of value pretraining.
    """
    out: dict[int, int] = {}
    shape: dict[int, tuple[int, int]] = {}  # prompts and group size of a step's rollout
    pretraining: dict[int, set[str]] = {}  # by step; a resumed run may record the same one twice
    total = 0
    for _, event in events:
        if isinstance(event, ev.RolloutStarted):  # the last of a step has all its prompts
            shape[event.step] = len(event.prompts), event.group_size
        elif isinstance(event, ev.PhaseChanged) and event.phase == "sampling":
            if event.detail.startswith("value pretraining"):
                pretraining.setdefault(event.step, set()).add(event.detail)
        elif isinstance(event, ev.StepDone):
            prompts, group_size = shape.get(event.step, (0, 0))
            groups = prompts * (1 + len(pretraining.get(event.step, ())))
            groups += int(event.metrics.get("groups_replaced", 0))
            total += groups * group_size
            out[event.step] = total
    return out


def _upto(sampled: Mapping[int, int], step: int) -> int:
    return max((n for at, n in sampled.items() if at <= step), default=0)


def summarize(runs: Mapping[str, Sequence[Run]]) -> tuple[int, dict[str, Any]]:
    """The number of samples that every finished run reached, and for every algorithm its runs,
    their means and the half widths of the 95 % confidence intervals; the best algorithm first.

    Adds to every finished run its accuracy at that many samples.
    """
    done = {name: [r for r in found if r["status"] == "done"] for name, found in runs.items()}
    equal = min((r["samples"] for found in done.values() for r in found), default=0)
    for run in (r for found in done.values() for r in found):
        at = [e for e in run["eval"] if e["samples"] <= equal]
        run["accuracy_equal_samples"] = at[-1]["accuracy"] if at else None
        run["step_equal_samples"] = at[-1]["step"] if at else None
    out: dict[str, Any] = {}
    for name, found in done.items():
        values = {key: [r[key] for r in found if r[key] is not None] for key in MEASURES}
        mean = {key: _mean(known) for key, known in values.items()}
        mean["peak_memory_bytes"] = max(values["peak_memory_bytes"], default=None)
        if len(values["kl_ref"]) < len(found):  # a diverged run must not improve the mean
            mean["kl_ref"], values["kl_ref"] = None, []
        ci = {key: half_width(known) for key, known in values.items() if key != "peak_memory_bytes"}
        out[name] = {"seeds": list(runs[name]), "mean": mean, "ci95": ci}

    def rank(name: str) -> float:
        accuracy = out[name]["mean"]["accuracy_equal_samples"]
        return math.inf if accuracy is None else -accuracy

    return equal, {name: out[name] for name in sorted(out, key=rank)}


def _mean(values: Sequence[float]) -> float | None:
    mean = fmean(values) if values else math.nan
    return mean if math.isfinite(mean) else None


def _cells(algorithm: Mapping[str, Any], *, wide: bool) -> list[str]:
    """The cells of one row, without the name; `wide` adds units."""
    mean, ci, space = algorithm["mean"], algorithm["ci95"], " " if wide else ""

    def known(key: str, form: str, scale: float = 1.0, unit: str = "") -> str:
        x = mean[key]
        return "—" if x is None else f"{x / scale:{form}}{unit if wide else ''}"

    def accuracy(key: str, *, spread: bool = False) -> str:
        if mean[key] is None:
            return "—"
        more = f" ±{space}{fraction(ci[key])}" if spread and ci[key] is not None else ""
        return fraction(mean[key]) + more

    done = [r for r in algorithm["seeds"] if r["status"] == "done"]
    reached = sum(r["steps_to_90"] is not None for r in done)
    part = f" ({reached}/{len(done)})" if 0 < reached < len(done) else ""
    return [
        accuracy("accuracy_start"),
        accuracy("accuracy_equal_samples", spread=True),
        accuracy("accuracy_end", spread=True),
        accuracy("greedy_accuracy_end"),
        accuracy("gain"),
        known("kl_ref", ".4f"),
        known("seconds_per_step", ".2f", 1, " s"),
        known("peak_memory_bytes", ".0f", 2**20, " MiB"),
        known("steps_to_90", ".0f") + part,
        known("wall_seconds", ".0f", 1, " s"),
    ]


def fraction(x: float) -> str:
    """Three decimals without the leading zero."""
    digits = f"{abs(x):.3f}".removeprefix("0")
    return f"−{digits}" if x < 0 and digits != ".000" else digits


def count(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)


def first_line(error: str) -> str:
    """The first line of an error."""
    return error.strip().partition("\n")[0]


def text(result: Result) -> str:
    """The comparison for a terminal, at most WIDTH columns."""
    heads = ["start", f"at {result['samples']}", "end", "greedy", "gain", "KL", "s/step", "MiB"]
    heads += ["≥.90", "wall s"]
    rows = [heads, *(_cells(a, wide=False) for a in result["algorithms"].values())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    names = ["algorithm", *result["algorithms"]]
    longest = max(map(len, names))
    loose = WIDTH - sum(widths) - 2 * len(widths) >= longest
    gap = "  " if loose else " "
    room = min(longest, WIDTH - sum(widths) - len(gap) * len(widths))
    lines = [caption(result), ""]
    for name, row in zip(names, rows, strict=True):
        name = name if len(name) <= room else name[: room - 1] + "…"
        padded = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append(gap.join([f"{name:{room}}", *padded]))
    legend = "test accuracy, sampled (greedy: at the end); "
    legend += f"at {result['samples']}: last evaluation with at most that many answers sampled"
    if len(result["seeds"]) > 1:
        legend += "; ±: 95 % interval over seeds"
    lines.append("")
    for note in [legend, *result["notes"]]:
        lines += textwrap.wrap(note, WIDTH, subsequent_indent="  ")
    return "\n".join(lines)


def markdown(result: Result) -> str:
    """The table in Markdown."""
    heads = ["algorithm", "start", f"at {result['samples']} samples", "end", "greedy", "gain", "KL"]
    heads += ["per step", "peak memory", "first ≥ .90", "wall time"]
    rows = [heads, ["---"] * len(heads)]
    rows += [[f"`{n}`", *_cells(a, wide=True)] for n, a in result["algorithms"].items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def caption(result: Result) -> str:
    """What was compared, in one line."""
    seeds = result["seeds"]
    which = f"seeds {seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return (
        f"{result['scenario']}: {count(len(result['algorithms']), 'algorithm')}, {which}, "
        f"{count(result['steps'], 'step')}"
    )


def page(result: Result) -> str:
    """The whole report in Markdown."""
    prompts = {
        e["prompts"] for a in result["algorithms"].values() for r in a["seeds"] for e in r["eval"]
    }
    tested = f"{'/'.join(map(str, sorted(prompts)))} test prompts"
    words = (
        f"Accuracy is on {tested}, sampled at the rollout's temperature; `greedy` is with greedy "
        f"decoding. `at {result['samples']} samples` is the last evaluation at which a run had "
        f"sampled at most that many answers, the fewest of all runs; replaced groups and the "
        f"rollouts of value pretraining count. ± is the 95 % confidence interval of the mean over "
        f"the seeds (Student t). `gain` is from start to end; `KL` is the mean of the last "
        f"{LAST_STEPS} steps, k3 per token to the reference; `per step` is rollout, scoring and "
        f"update; `peak memory` is the highest of all seeds; `first ≥ .90` is the step of the "
        f"first such evaluation, and in brackets how many seeds reached it."
    )
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    threads = count(result["threads"], "thread")
    made = f"{result['machine']}, {result['device']}, {threads} per run, {result['jobs']} at a time"
    notes = ["\n".join(f"- {note}" for note in result["notes"])] if result["notes"] else []
    command = f"```sh\n{shlex.join(result['command'])}\n```"
    parts = [f"# {caption(result)}", markdown(result), words, *notes]
    return "\n\n".join([*parts, f"Made on {made}; {versions}:", command])
