"""`python -m tests.benchmarks.tables`: the tables of this folder's README, from the result files.

A file in `results/` is one kind of machine: what it is, the versions of the packages, and one row a
measurement with its commit and date. Without options the tables are written anew. `--add` takes
what a benchmark's `--json` wrote into a machine's file: rows of the same work and commit are
replaced, others kept.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import lessons
from tests.benchmarks.lessons import Lesson
from tests.benchmarks.report import Target, number

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
FRONT = HERE.parents[1] / "README.md"
RESULTS = HERE / "results"
TABLE = re.compile(r"(<!-- table: (?P<topic>[\w-]+) -->\n).*?(<!-- end of table -->)", re.S)

PEERS = {
    "cpu": "TRL 1.16 / transformers",
    "gpu": "TRL 1.16 / transformers",
    "kernels": "the alternative",
    "memory": "predicted",
}
"""What stands beside grpolab's figure, by topic; elsewhere rows have no peer."""

COMMANDS = {"cpu": "cpu", "gpu": "gpu", "long": "long", "screen": "screen"}
"""The topic of what a benchmark measures, by its command."""


@dataclass(frozen=True)
class Machine:
    """One result file."""

    file: Path
    name: str
    cpu: str
    gpu: str | None
    about: str
    versions: dict[str, str]
    rows: list[dict[str, Any]]

    @staticmethod
    def of(file: Path) -> Machine:
        """Raises KeyError where the file lacks something."""
        data = json.loads(file.read_text(encoding="utf-8"))
        return Machine(
            file=file, name=data["machine"], cpu=data["cpu"], gpu=data["gpu"], about=data["about"],
            versions=data["versions"], rows=data.get("rows", []),
        )  # fmt: skip

    def cells(self) -> dict[str, str]:
        """What it is, by column."""
        known = ", ".join(f"{k} {v}" for k, v in self.versions.items())
        return {
            "machine": self.name, "CPU": self.cpu, "GPU": self.gpu or "–",
            "versions": known or "not recorded", "remarks": self.about or "–",
        }  # fmt: skip


def machines(folder: Path = RESULTS) -> list[Machine]:
    """All result files, by name."""
    return [Machine.of(file) for file in sorted(folder.glob("*.json"))]


def amount(found: dict[str, Any] | None, unit: str) -> str:
    """A figure with its unit and spread: `1.02 s (0.98–1.10, n = 8)`; the spread alone where the
    median was not recorded."""
    if found is None:
        return "–"
    ends = None
    if found.get("min") is not None:
        ends = f"{digits(found['min'])}–{digits(found['max'])}"
    alone = found["median"] is None
    text = f"{ends if alone else digits(found['median'])} {unit}".rstrip()
    more = [ends] if ends and not alone else []
    if found.get("n") is not None:
        more.append(f"n = {found['n']}")
    return text + (f" ({', '.join(more)})" if more else "")


def digits(value: float) -> str:
    """As the benchmarks print it, small numbers as powers of ten."""
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}·10^{int(exponent)}"
    return number(value)


def target(row: dict[str, Any]) -> Target | None:
    return None if row.get("target") is None else Target(**row["target"])


def met(row: dict[str, Any]) -> bool | None:
    """None where there is no target. Where only the spread is known, its worse end decides."""
    goal = target(row)
    return None if goal is None else goal.holds(_judged(row, goal))


def _judged(row: dict[str, Any], goal: Target) -> float:
    if goal.on == "ratio":
        return row["ratio"]
    found = row["grpolab"]
    worse = found.get("max") if goal.bound == "≤" else found.get("min")
    return worse if found["median"] is None else found["median"]


def goal(row: dict[str, Any]) -> str:
    """The target as text."""
    found = target(row)
    if found is None:
        return "–"
    unit = "×" if found.on == "ratio" else f" {row['unit']}"
    return f"{found.bound} {digits(found.value)}{unit}"


def commit(row: dict[str, Any]) -> str:
    """The state that was measured; or, where that is not known, the commit that recorded it."""
    return row["commit"] or f"unknown; recorded in {row['recorded_in']}"


def cells(row: dict[str, Any], peer: str) -> dict[str, str]:
    """A row's texts by column."""
    more = [row["note"]] if row.get("note") else []
    more += [f"{k} {v}" for k, v in row.get("versions", {}).items()]
    return {
        "work": row["work"] + (f" ({'; '.join(more)})" if more else ""),
        "grpolab": amount(row["grpolab"], row["unit"]),
        peer or "peer": amount(row.get("peer"), row["unit"]),
        "ratio": "–" if row.get("ratio") is None else f"{row['ratio']:.3g}×",
        "share of the limit": "–" if row.get("share") is None else f"{row['share']:.0%}",
        "target": goal(row),
        "met": {None: "–", True: "yes", False: "no"}[met(row)],
        "commit": commit(row),
        "date": row["date"],
    }


def markdown(lines: Sequence[dict[str, str]]) -> str:
    """A table of the columns in which some line says something."""
    names = [name for name in lines[0] if any(line[name] != "–" for line in lines)]
    rows = [names, ["---"] * len(names), *([line[n] for n in names] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def by_machine(topic: str, found: Sequence[Machine]) -> str:
    """One table for every machine that measured the topic."""
    parts = []
    for machine in found:
        rows = [r for r in machine.rows if r["topic"] == topic]
        if rows:
            peer = PEERS.get(topic, "")
            parts += [f"**{machine.name}**", markdown([cells(r, peer) for r in rows])]
    return "\n\n".join(parts)


def targets(found: Sequence[Machine], topic: str = "cpu") -> str:
    """Every work with a target against all machines: the range over their rows, and whether it was
    met in all of them."""
    works: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for machine in found:
        for row in machine.rows:
            if row["topic"] == topic and row.get("target"):
                works.setdefault(row["work"], {}).setdefault(machine.name, []).append(row)
    names = [m.name for m in found if any(m.name in by for by in works.values())]
    lines = []
    for work, by in works.items():
        line = {"work": work, "target": goal(next(iter(by.values()))[0])}
        lines.append(line | {name: _range(by.get(name, [])) for name in names})
    return markdown(lines)


def _range(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "–"
    first = Target(**rows[0]["target"])
    values = [_judged(row, first) for row in rows]
    unit = "×" if first.on == "ratio" else f" {rows[0]['unit']}"
    ends = list(dict.fromkeys(digits(v) for v in (min(values), max(values))))
    good = sum(bool(met(r)) for r in rows)
    verdict = "met" if good == len(rows) else f"met in {good} of {len(rows)}" if good else "missed"
    return f"{'–'.join(ends)}{unit}, {verdict}"


def series(found: Sequence[Machine], topic: str = "growth") -> str:
    """Works as rows, machines as columns: figures alone; commits in the heads."""
    some = [m for m in found if any(r["topic"] == topic for r in m.rows)]
    lines: dict[str, dict[str, str]] = {}
    heads: dict[str, str] = {}
    for machine in some:
        rows = [r for r in machine.rows if r["topic"] == topic]
        known = sorted({f"{commit(r)}, {r['date']}" for r in rows})
        heads[machine.name] = f"{machine.name} ({'; '.join(known)})"
        for row in rows:
            lines.setdefault(row["work"], {})[machine.name] = amount(row["grpolab"], row["unit"])
    return markdown(
        [{"work": w} | {heads[m.name]: by.get(m.name, "–") for m in some}
         for w, by in lines.items()]
    )  # fmt: skip


def learnt(lines: Callable[[Sequence[Lesson]], list[dict[str, str]]]) -> str:
    """One table for every machine on which runs learnt something."""
    parts = []
    for told, found in lessons.read():
        head = f"**{told['machine']}**: `{told['command']}`, one thread a run"
        parts += [f"{head}; commit {told['commit']}; {told['date']}", markdown(lines(found))]
    return "\n\n".join(parts)


def tables(found: Sequence[Machine]) -> dict[str, str]:
    """Each table of the page, by topic."""
    topics = sorted({row["topic"] for machine in found for row in machine.rows})
    made = {topic: by_machine(topic, found) for topic in topics if topic != "growth"}
    return made | {
        "machines": markdown([m.cells() for m in found]),
        "targets": targets(found),
        "growth": series(found),
        "algorithms": learnt(lessons.algorithms),
        "tasks": learnt(lessons.tasks),
        "scenarios": learnt(lessons.scenarios),
    }


def page(text: str, found: Sequence[Machine]) -> str:
    """The page with its tables written anew. Raises KeyError for a table nothing measures."""
    made = tables(found)
    return TABLE.sub(lambda m: f"{m[1]}{made[m['topic']]}\n{m[3]}", text)


SPEED = re.compile(r"(<!-- speed -->\n).*?(<!-- end of speed -->)", re.S)


COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def speed(found: Sequence[Machine]) -> str:
    """README's one sentence of figures: GRPO's step beside TRL's, over all rows of it."""
    rows = [
        r
        for m in found
        for r in m.rows
        if r["topic"] == "cpu" and r["work"].startswith("GRPO step")
    ]
    ratios = [row["ratio"] for row in rows]
    commits = list(dict.fromkeys(commit(row) for row in rows))
    n = len(commits)
    many = COUNTS[n] if n < len(COUNTS) else str(n)
    text = (
        f"On two CPU cores a GRPO step of the embedded policy is {min(ratios):.3g} to "
        f"{max(ratios):.3g} times as fast as TRL 1.16's, both measured in one session, at {many} "
        f"commit{'s' * (n != 1)}: {', '.join(commits)}."
    )
    return textwrap.fill(text, 98)


def front(text: str, found: Sequence[Machine]) -> str:
    """README with that sentence written anew."""
    return SPEED.sub(lambda m: f"{m[1]}{speed(found)}\n{m[2]}", text)


def add(report: dict[str, Any], data: dict[str, Any]) -> None:
    """Take a benchmark's rows (`Report.plain`) into a result file's data."""
    topic, fresh = COMMANDS[report["command"]], []
    for row in report["rows"]:
        kept = {k: row[k] for k in ("work", "unit", "ratio", "share", "target", "note")}
        kept["work"] = kept["work"].removeprefix("CPU: ")
        for side in ("grpolab", "peer"):
            kept[side] = row[side] and {k: row[side][k] for k in ("min", "median", "max", "n")}
        other = {k: v for k, v in report["versions"].items() if data["versions"].get(k) != v}
        kept |= {"topic": topic, "commit": report["commit"], "date": report["date"]}
        fresh.append(kept | ({"versions": other} if other else {}))
    names = {(row["work"], row["commit"]) for row in fresh}
    old = [r for r in data["rows"] if (r["work"], r["commit"]) not in names]
    data["rows"] = old + fresh


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--add", type=Path, metavar="FILE.json", help="what a benchmark wrote")
    parser.add_argument("--to", metavar="MACHINE", help="a file of results/, without .json")
    options = parser.parse_args(words)
    if (options.add is None) != (options.to is None):
        parser.error("--add and --to go together")
    if options.add is not None:
        file = RESULTS / f"{options.to}.json"
        if not file.exists():
            parser.error(
                f"no {file}; there are {', '.join(f.stem for f in RESULTS.glob('*.json'))}"
            )
        data = json.loads(file.read_text(encoding="utf-8"))
        add(json.loads(options.add.read_text(encoding="utf-8")), data)
        file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for file, write in ((PAGE, page), (FRONT, front)):
        file.write_text(write(file.read_text(encoding="utf-8"), machines()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
