"""The search over all answers of a run, by the index of its file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.index import RunIndex
from grpolab.record.search import MOST, Found, Results, Wanted, bounds, search
from grpolab.record.search_process import take
from grpolab.record.seek import IndexedPast


def step(
    n: int,
    texts: list[str],
    lane: str = "main",
    rewards: list[float] | None = None,
    group: int = 2,
    level: str = "easy",
) -> list[ev.Event]:
    prompts = [f"p{i}" for i in range(len(texts) // group)]
    rewards = rewards or [float(i % 2) for i in range(len(texts))]
    rows = len(texts)
    return [
        ev.RolloutStarted(n, lane, "grpo", prompts, [level] * len(prompts), group, 8),
        ev.Sampled(n, lane, 1, [(0, "…")]),
        ev.Graded(
            n, lane, texts, rewards, [{"accuracy": r} for r in rewards], [r > 0 for r in rewards],
            [None] * rows, [len(t) for t in texts], [not t.endswith("!") for t in texts],
        ),
        ev.Tokens(n, lane, [list(t) for t in texts], {}),
        ev.StepDone(n, lane, "grpo", {}, {}, 1, 1, {}, 0, ""),
    ]  # fmt: skip


def write(path: Path, *events: ev.Event) -> Path:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(codec.encode(e, float(i)) + "\n" for i, e in enumerate(events))
    return path


def indexed(path: Path) -> RunIndex:
    log = RunIndex(path)
    while log.read():
        pass
    return log


def found(path: Path, **wanted: object) -> list[tuple[str, int, int]]:
    asked = Wanted(**wanted)  # pyright: ignore
    results = Results(asked.order)
    search(indexed(path), asked, results)
    assert results.done and results.matches == len(results.rows())
    return [(f.lane, f.step, f.row) for f in results.rows()]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(
        tmp_path / "events.jsonl",
        *step(1, ["alpha", "Beta", "gamma", "cut!"]),
        *step(1, ["twin", 'say "hi" \\ there'], lane='o"dd\\lane'),
        *step(2, ["alphabet", "b" * 30], rewards=[0.5, float("nan")], level="hard"),
    )


def test_every_filter(run: Path) -> None:
    odd = 'o"dd\\lane'
    assert found(run, text="ALPHA") == [("main", 2, 0), ("main", 1, 0)]
    assert found(run, text="alpha", order="oldest") == [("main", 1, 0), ("main", 2, 0)]
    assert found(run, text="^.eta$", regex=True) == [("main", 1, 1)]
    assert found(run, text=".eta") == []
    assert found(run, text='"hi" \\ there') == [(odd, 1, 1)]
    assert found(run, lane=odd) == [(odd, 1, 0), (odd, 1, 1)]
    assert found(run, finished=False) == [("main", 1, 3)]
    assert found(run, correct=True, last=1, lane="main") == [("main", 1, 1), ("main", 1, 3)]
    assert found(run, difficulty="hard", low=0.0) == [("main", 2, 0)]  # NaN is in no range
    assert found(run, first=2, last=2, high=0.4) == []
    assert found(run, order="longest")[0] == ("main", 2, 1)
    assert found(run, order="highest reward")[0][1] == 1
    assert found(run, order="lowest reward")[-1] == ("main", 2, 1)


def test_what_is_found_says_where(run: Path) -> None:
    results = Results()
    search(indexed(run), Wanted("mma"), results)
    (one,) = results.rows()
    assert (one.place, one.prompt, one.reward, one.length) == ((1, 0), "p1", 0.0, 5)
    assert one.excerpt[slice(*one.hit)] == "mma"
    assert results.seen == 8 and results.total == 3


def test_a_long_answer_is_shown_about_the_match(tmp_path: Path) -> None:
    text = "x" * 5000 + "NEEDLE" + "y" * 5000
    path = write(tmp_path / "e", *step(1, [text, ""]))
    results = Results()
    search(indexed(path), Wanted("needle"), results)
    (one,) = results.rows()
    assert one.excerpt[slice(*one.hit)] == "NEEDLE" and len(one.excerpt) < 400


def test_a_growing_file_torn_and_foreign_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "e", *step(1, ["one", "two"]))
    log = indexed(path)
    started, _, graded, *_ = step(2, ["three", "four"])
    foreign = json.loads(codec.encode(started, 0.0))

    def steps() -> list[int]:
        log.read()
        results = Results()
        search(log, Wanted(), results)
        return sorted({f.step for f in results.rows()})

    with path.open("a") as file:
        file.write('garbage\n{"kind":"graded"}\n\n')
        file.write(json.dumps(dict(reversed(foreign.items()))) + "\n")  # other order, other spaces
        file.write(codec.encode(graded, 1.0)[:40])
    assert steps() == [1]
    with path.open("a") as file:
        file.write(codec.encode(graded, 1.0)[40:] + "\n")
    assert steps() == [1, 2]


def test_a_search_waits_for_the_index(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, results, waited = RunIndex(run), Results(), []
    monkeypatch.setattr("grpolab.record.search.CHUNK", 0)

    def stop() -> bool:
        waited.append(results.total)
        log.read()
        return False

    search(log, Wanted(), results, stop)
    assert results.done and results.total == 3 and waited[0] == 0


def test_what_a_resume_made_void_is_not_found(tmp_path: Path) -> None:
    path = write(
        tmp_path / "e", *step(1, ["kept", ""]), *step(2, ["void", ""]), ev.Resumed(1),
        *step(2, ["again", ""]),
    )  # fmt: skip
    assert found(path, text="void") == []
    assert found(path, text="again") == [("main", 2, 0)]


def test_the_answers_of_a_step_are_read_alone(run: Path) -> None:
    past = IndexedPast(indexed(run))  # nothing of it is in a state
    whole, few = past.rollout("main", 1, ahead=True), past.answers("main", 1)
    assert past.rollout("main", 1) is None
    assert whole is not None and few is not None and whole.tokens is not None
    assert few.tokens is None and few.text == whole.text and few.graded == whole.graded
    assert few.prompts == whole.prompts and few.ended == whole.ended
    assert past.answers("main", 7) is None and past.answers("none", 1) is None


def test_only_the_first_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    texts = [f"a{i}" for i in range(MOST)]
    rewards = [float(i) for i in range(MOST)]
    path = write(tmp_path / "e", *step(1, texts, rewards=rewards), *step(2, texts, rewards=rewards))
    results = Results("highest reward")
    search(indexed(path), Wanted(order="highest reward"), results)
    rows = results.rows()
    assert (results.matches, results.seen, len(rows)) == (2 * MOST, 2 * MOST, MOST)
    assert [f.reward for f in rows[:4]] == [MOST - 1.0] * 2 + [MOST - 2.0] * 2
    assert rows[-1].reward == MOST / 2 and rows[0].step == 2


def test_a_search_can_be_stopped(run: Path) -> None:
    results, asked = Results(), []

    def stop() -> bool:
        asked.append(1)
        return results.steps > 0

    search(indexed(run), Wanted(), results, stop)
    assert results.steps == 1 and not results.done


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, None)), ("1", (1, 1)), ("0.5..1", (0.5, 1)), ("100-200", (100, 200)),
        (">=1", (1, None)), ("≤ 2", (None, 2)), ("300..", (300, None)), ("..5", (None, 5)),
        ("-1..0", (-1, 0)), ("−.5", (-0.5, -0.5)), ("7-", (7, None)), ("1 to 3", (1, 3)),
    ],
)  # fmt: skip
def test_ranges(text: str, expected: tuple[float | None, float | None]) -> None:
    assert bounds(text) == expected


def test_a_strict_range_leaves_its_end_out() -> None:
    low, high = bounds("> 1")
    assert low is not None and low > 1 and high is None
    assert bounds("<0")[1] != 0


@pytest.mark.parametrize("text", ["abc", "1..x", ">", "1,5", "--"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        bounds(text)


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        Wanted("(", regex=True)
    assert Wanted("(").pattern is not None


def test_the_process_finds_the_same(run: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "grpolab.record.search_process",
        str(run),
        '{"text": "A.pha", "regex": true}',
    ]
    out = subprocess.run(command, check=True, capture_output=True).stdout
    results = Results()
    for line in [*out.splitlines(), b"torn [", b"[]"]:
        take(results, line)
    assert results.done and results.seen == 8
    assert [(f.step, f.row) for f in results.rows()] == [(2, 0), (1, 0)]
    assert all(isinstance(f, Found) and f.place == (0, 0) for f in results.rows())


def test_a_search_ends_with_the_process_that_asked(tmp_path: Path) -> None:
    """A pattern may run forever; a killed viewer cannot end it any more."""
    events = [
        ev.RolloutStarted(1, "main", "grpo", ["a"], ["odd"], 1, 48),
        ev.Graded(1, "main", ["a" * 60 + "b"], [0.0], [{}], [False], [None], [3], [True]),
    ]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(codec.encode(event, 0.0).encode() + b"\n" for event in events))
    asked = asdict(Wanted(text="(a+)+$", regex=True))
    del asked["pattern"]
    viewer = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'grpolab.record.search_process', *sys.argv[1:]]\n"
        "p = subprocess.Popen(command, stdout=subprocess.DEVNULL)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", viewer, str(path), json.dumps(asked)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        search = psutil.Process(int(asking.stdout.readline()))
        until = time.monotonic() + 20
        while search.cpu_times().user < 1.0 and time.monotonic() < until:
            time.sleep(0.05)
        asking.kill()
    search.wait(10)  # raises where it goes on
