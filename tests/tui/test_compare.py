"""The compare view: columns, keys, lanes of every kind, charts and standing, live and replayed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.analysis import standing
from grpolab.record import codec, merge
from grpolab.record import events as ev
from grpolab.record.directory import EVENTS
from grpolab.record.state import LabState
from grpolab.tui import algorithm_cards
from grpolab.tui.app import LabApp, final_standing
from grpolab.tui.compare.model import in_short
from grpolab.tui.compare.screen import CompareScreen
from grpolab.tui.compare.seeds import SeedRuns
from grpolab.tui.compare.view import flowed, heights
from grpolab.tui.context import AppContext
from grpolab.tui.group.screen import GroupScreen, Reader
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Playing
from grpolab.tui.widgets.palette import CONTRAST

from .conftest import FakeEngine, Live, settle, text
from .fake_run import SETTINGS, FakeRun
from .recorder import compare

RECORDED = Path(__file__).parents[1] / "recorded" / "1160f72"
SIZES = [(80, 24), (120, 36), (160, 45), (200, 60)]
ALGORITHMS = ("grpo", "ppo", "reinforce", "rloo", "grpo", "ppo")


def as_algorithm(name: str, events: Iterator[tuple[float, ev.Event]]) -> list[str]:
    """The run under another algorithm, as lines of a run file."""
    lines = []
    for t, e in events:
        if isinstance(e, ev.LaneOpened):
            e = ev.LaneOpened(e.lane, name, "paper", SETTINGS[name], e.step, trainable=e.trainable)
        lines.append(codec.encode(e, t) + "\n")
    return lines


def run_of(folder: Path, algorithm: str, steps: int = 6, **more: int) -> Path:
    run = FakeRun(steps=steps, switches={}, evaluate_every=2, **more)
    folder.mkdir(parents=True)
    lines = as_algorithm(algorithm, iter(run.events()))
    (folder / EVENTS).write_text("".join(lines), encoding="utf-8")
    return folder


def together(folder: Path, runs: list[Path]) -> LabApp:
    """A replay of several runs, stopped at its start."""
    out = folder / "together"
    out.mkdir(parents=True)
    return replaying(merge.merge(runs, out))


def replaying(run: Path, *, end: bool = True) -> LabApp:
    source = Playing(run)
    source.load()
    source.playing = False
    if end:
        source.end()
    return LabApp(AppContext(source, run))


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Merged runs of two, three and six lanes: of the same prompts, as lanes of one seed have
    them."""
    folder = tmp_path_factory.mktemp("lanes")
    out = {}
    for count in (2, 3, 6):
        names = [f"{n}" if ALGORITHMS.index(n) == i else f"{n}b"
                 for i, n in enumerate(ALGORITHMS[:count])]  # fmt: skip
        runs = [run_of(folder / str(count) / n, ALGORITHMS[i], prompts=4, group=4)
                for i, n in enumerate(names)]  # fmt: skip
        out[count] = folder / f"{count}-merged"
        out[count].mkdir()
        merge.merge(runs, out[count])
    return out


async def opened(app: LabApp, pilot: Pilot[int]) -> CompareScreen:
    """The view once it has opened by itself."""
    app._pilot = pilot  # pyright: ignore
    await settle(app)
    await settle(app)
    assert isinstance(app.screen, CompareScreen), app.screen
    return app.screen


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    await pilot.press(*keys)
    await settle(app)
    return text(app)


def columns(app: LabApp) -> list[str]:
    """What the columns in sight show, as text."""
    assert isinstance(app.screen, CompareScreen)
    return [c.plain for c in app.screen.columns if c.display]


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_every_key_at_every_size(lanes: dict[int, Path], size: tuple[int, int]) -> None:
    app = replaying(lanes[3])
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        told = text(app)
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        shown = 2 if size[0] == 80 else 3
        assert len(columns(app)) == shown and "standing" in told
        assert all("mean r" in c and "Â = " in c for c in columns(app))
        # every lane is named, also where its column is not in sight
        head = "\n".join(told.split("\n")[:2])
        assert all(f"{g} {n}" in head for g, n in (("●", "GRPO"), ("▲", "PPO"), ("■", "REINFORCE")))
        view = app.context.view
        for keys in (
            "down up right left shift+right shift+left", "g G c C L L L comma full_stop",
            "less_than_sign greater_than_sign home end v v", "tab tab tab tab tab t t t d",
            "space space left_square_bracket right_square_bracket question_mark escape end",
        ):  # fmt: skip
            told = await press(app, pilot, *keys.split())
            assert app.screen is screen, keys
            assert {cell_len(row) for row in told.split("\n")} == {size[0]}, keys
        for key, over in (("w", GroupScreen), ("o", Reader)):
            await press(app, pilot, key)
            assert isinstance(app.screen, over)
            await press(app, pilot, "escape")
            assert app.screen is screen
        await pilot.resize_terminal(24, 7)
        await settle(app)
        await pilot.resize_terminal(*size)
        await settle(app)
        assert view.lane in app.context.state.lanes
        # one key to the single-lane view and back
        told = await press(app, pilot, "A")
        assert isinstance(app.screen, LabScreen)
        assert all(n in "\n".join(told.split("\n")[:2]) for n in ("GRPO", "PPO", "REINFORCE"))
        await press(app, pilot, "A")
        assert isinstance(app.screen, CompareScreen)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_it_looks_as_recorded(lanes: dict[int, Path], size: tuple[int, int]) -> None:
    app = replaying(lanes[3])
    async with app.run_test(size=size) as pilot:
        await opened(app, pilot)
        await press(app, pilot, "down")
        app.context.say("")
        app.lab.mark({"select"})
        app.lab.repaint(at_once=True)
        await pilot.pause()
        compare(app, f"compare-{size[0]}x{size[1]}")


async def test_the_columns_move_together(lanes: dict[int, Path]) -> None:
    app = replaying(lanes[3])
    async with app.run_test(size=(160, 45)) as pilot:
        screen = await opened(app, pilot)
        state, view = app.context.state, app.context.view
        r = next(iter(state.lanes.values())).rollouts[6]
        assert r.prompts[0] in text(app) and "prompt 1/4" in text(app)
        told = await press(app, pilot, "g")
        assert (
            "prompt 2/4" in told and r.prompts[1] in told and (view.prompt, view.answer) == (1, 0)
        )
        await press(app, pilot, "up")  # past the first answer to the last of the prompt before
        assert (view.prompt, view.answer) == (0, 3)
        await press(app, pilot, "G")
        assert (view.prompt, view.answer) == (3, 3)
        await press(app, pilot, "right", "right")
        assert view.token == 2
        piece = r.tokens.pieces[15][2] if r.tokens else ""
        assert sum(f"«{piece}»" in c for c in columns(app)) == 3
        before = columns(app)
        name = screen.view.frame(app.context).channel
        told = await press(app, pilot, "c")
        assert screen.view.frame(app.context).channel != name
        assert screen.view.frame(app.context).channel in screen.view.frame(app.context).offered
        assert all(a != b for a, b in zip(before, columns(app), strict=True))


async def test_the_rows_of_an_answer_stand_beside_each_other(lanes: dict[int, Path]) -> None:
    app = replaying(lanes[3])
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot)
        shown = [c.split("\n") for c in columns(app)]
        begins = [[y for y, row in enumerate(c[1:]) if row[2:3] in ("●", "○", "✂")] for c in shown]
        assert begins[0] == begins[1] == begins[2] and len(begins[0]) == 4


async def test_six_lanes_scroll_with_a_key(lanes: dict[int, Path]) -> None:
    app = replaying(lanes[6])
    async with app.run_test(size=(200, 60)) as pilot:
        screen = await opened(app, pilot)
        assert "lanes 1–4 of 6" in text(app) and len(columns(app)) == 4
        names = [c.name for c in screen.view.columns(app.context)]
        assert names == ["grpo", "ppo", "reinforce", "rloo", "grpob", "ppob"]
        told = await press(app, pilot, *"LLLL")
        assert "lanes 2–5 of 6" in told and app.context.view.lane == "grpob"
        await press(app, pilot, "L", "L")
        assert app.context.view.lane == "grpo" and screen.view.first == 0
        await pilot.resize_terminal(80, 24)
        await settle(app)
        head = "\n".join(text(app).split("\n")[:2])
        assert all(g in head for g in "●▲■◆▼★"), head
        assert len(columns(app)) == 2


async def test_the_first_step_shows_one_rollout_judged_by_each(lanes: dict[int, Path]) -> None:
    app = replaying(lanes[2], end=False)
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        app.lab.go_to(1)
        await settle(app)
        screen = await opened(app, pilot)
        assert screen.view.step(app.context) == 1
        mine, theirs = columns(app)
        assert "Â = (r−m)/s" in mine and "GAE(γ,λ)" in theirs
        shown = screen.view.columns(app.context)
        a, b = (screen.view.rollout(app.context, c, 1) for c in shown)
        assert a is not None and b is not None and a.text == b.text


async def test_lanes_of_other_length_and_other_answers(tmp_path: Path) -> None:
    """One lane stopped early, had other prompts and fewer answers."""
    runs = [
        run_of(tmp_path / "grpo", "grpo", steps=6, prompts=4, group=4),
        run_of(tmp_path / "ppo", "ppo", steps=6, prompts=4, group=4),
        run_of(tmp_path / "rloo", "rloo", steps=2, prompts=2, group=2, seed=5),
    ]
    app = together(tmp_path, runs)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot)
        assert screen.view.step(app.context) == 6
        last = columns(app)[2]
        assert "stopped at step 2" in last and "other prompt:" in last
        assert "rloo stopped at step 2" in text(app)
        assert screen.view.frame(app.context).shape == (4, 4)
        await press(app, pilot, "down", "down", "down")
        assert app.context.view.answer == 3
        assert {cell_len(row) for row in text(app).split("\n")} == {120}
        await press(app, pilot, "G", "L", "L", "w")  # a prompt and an answer that it lacks
        assert isinstance(app.screen, GroupScreen)
        assert (app.screen.group.lane, app.screen.group.prompt) == ("rloo", 1)
        await press(app, pilot, "escape", "home")
        app.lab.go_to(2)
        await settle(app)
        assert "stopped" not in columns(app)[2]


async def test_a_comparison_of_seeds_is_one_column_an_algorithm(tmp_path: Path) -> None:
    """As `compare --headless` leaves it: no tokens are recorded, seeds are averaged."""
    app = together(tmp_path, merge.runs_of([str(RECORDED / "compare")]))
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot)
        told = text(app)
        assert [c.name for c in screen.view.columns(app.context)] == ["grpo", "rloo"]
        assert "seed 0 (1/2)" in told and "2/2 seeds" in told and len(columns(app)) == 2
        first = [c.lane.name for c in screen.view.columns(app.context) if c.lane]
        told = await press(app, pilot, "d")
        then = [c.lane.name for c in screen.view.columns(app.context) if c.lane]
        assert "seed 1 (2/2)" in told
        assert (first, then) == (["grpo-0", "rloo-0"], ["grpo-1", "rloo-1"])
        assert app.context.view.lane == "grpo-1"  # in the single-lane view too
        found = final_standing(app.context)
        assert found is not None and found.seeds == found.of == 2
        assert all(r.half is not None and r.half > 0 and r.seeds == 2 for r in found.rows)
        assert "r 1" in columns(app)[0]  # the reward where no advantage is recorded
        assert "not recorded" in await press(app, pilot, "c")


async def test_it_opens_when_a_lane_is_forked(live: Live) -> None:
    run = FakeRun(steps=6, prompts=2, group=2, switches={}, end=False, evaluate_every=2)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        live.record(run, until=lambda e: isinstance(e, ev.Evaluated) and e.step == 2)
        await settle(live.app)
        assert isinstance(live.app.screen, LabScreen)
        assert "one lane" in await press(live.app, pilot, "A")
        live.write(
            ev.LaneOpened("try", "ppo", "paper", SETTINGS["ppo"], 2, parent="main", trainable=1)
        )
        await settle(live.app)
        screen = await opened(live.app, pilot)
        assert "first rollout comes next" in columns(live.app)[1]
        assert screen.view.step(live.app.context) == 2
        assert "try · PPO" in columns(live.app)[1]
        # what steers the training goes to the lane that L chose
        await press(live.app, pilot, "L", "p", "e", "n")
        assert [c["do"] for c in live.engine.sent] == ["pause", "evaluate", "step"]
        assert live.app.context.view.lane == "try"
        await press(live.app, pilot, "a")
        assert not isinstance(live.app.screen, CompareScreen | LabScreen)
        await press(live.app, pilot, "escape")
        assert live.app.screen is screen
        # closed, it stays closed until there is another lane
        await press(live.app, pilot, "escape")
        live.write(ev.Paused(2))
        await settle(live.app)
        assert isinstance(live.app.screen, LabScreen)
        live.write(ev.LaneOpened("more", "rloo", "paper", SETTINGS["rloo"], 2, parent="main"))
        await opened(live.app, pilot)
        assert len(columns(live.app)) == 3


async def test_the_last_graded_step_stands_while_the_next_is_sampled(live: Live) -> None:
    run = FakeRun(steps=3, prompts=2, group=2, switches={}, lanes=("one", "two"), end=False)
    sampled = [0]

    def third(e: ev.Event) -> bool:
        sampled[0] += isinstance(e, ev.Sampled) and e.step == 3 and e.lane == "one"
        return sampled[0] == 2

    async with live.app.run_test(size=(120, 36)) as pilot:
        live.record(run, until=third)
        screen = await opened(live.app, pilot)
        assert screen.view.step(live.app.context) == 2
        assert all("mean r" in c and "sampling" not in c for c in columns(live.app))


async def test_before_the_first_step_is_graded_its_answers_stream(live: Live) -> None:
    run = FakeRun(steps=3, prompts=2, group=2, switches={}, lanes=("one", "two"), end=False)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.record(run, until=lambda e: isinstance(e, ev.Sampled) and e.position > 8)
        await opened(live.app, pilot)
        mine, theirs = columns(live.app)
        assert "sampling" in mine and "<think>" in mine and "first rollout comes next" in theirs


async def test_a_failed_run_keeps_its_columns(live: Live) -> None:
    run = FakeRun(steps=3, prompts=2, group=2, switches={}, lanes=("one", "two"), end=False)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.record(run)
        await opened(live.app, pilot)
        live.engine.code = 1
        live.write(ev.Failed(3, "out of memory", "updating"))
        await settle(live.app)
        await settle(live.app)
        await press(live.app, pilot, "escape")
        screen = live.app.screen
        assert isinstance(screen, CompareScreen) and "FAILED" in text(live.app)
        assert all("mean r" in c for c in columns(live.app))


async def test_further_seeds_run_behind_the_first(live: Live, tmp_path: Path) -> None:
    """The first seed trains; the next one's engine starts when it is over."""
    first = FakeRun(steps=4, prompts=2, group=2, switches={}, lanes=("grpo", "ppo"), end=False,
                    evaluate_every=2)  # fmt: skip
    behind = Behind(tmp_path / "seed-1")
    live.context.seeds = seeds = SeedRuns(0, {1: behind.run}, boot=behind.boot)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.record(first, until=lambda e: isinstance(e, ev.StepDone) and e.step == 2)
        screen = await opened(live.app, pilot)
        assert not behind.engines and seeds.told() == ["seed 1 waiting"]
        told = text(live.app)
        assert "seed 0 (1/2)" in told and "seed 1 waiting" in told
        told = await press(live.app, pilot, "d")
        assert all("has not begun" in c for c in columns(live.app))
        await press(live.app, pilot, "d")
        rest = [e for _, e in first.events()]
        at = next(i for i, e in enumerate(rest) if isinstance(e, ev.StepDone) and e.step == 2)
        live.write(*rest[at + 1 :])
        await settle(live.app)
        assert len(behind.engines) == 1
        run = FakeRun(steps=4, prompts=2, group=2, switches={}, lanes=("grpo", "ppo"), seed=1,
                      evaluate_every=2)  # fmt: skip
        run.write(behind.run)
        await settle(live.app)
        await settle(live.app)
        assert seeds.told() == [] and screen.view.standing(live.context) is not None
        found = final_standing(live.context)
        assert found is not None and (found.seeds, found.of) == (2, 2)
        told = await press(live.app, pilot, "d")
        assert "seed 1 (2/2)" in told and all("mean r" in c for c in columns(live.app))
        shown = screen.view.columns(live.context)
        r = screen.view.rollout(live.context, shown[0], 4)
        assert r is not None and r.prompts[0] in told and "2/2 seeds" in told


class Behind:
    """Engines of further seeds that only remember that they were started."""

    def __init__(self, run: Path) -> None:
        run.mkdir()
        self.run = run
        self.engines: list[FakeSeedEngine] = []

    def boot(self, request: object) -> FakeSeedEngine:
        self.engines.append(FakeSeedEngine())
        return self.engines[-1]


class FakeSeedEngine(FakeEngine):
    @property
    def running(self) -> bool:
        return self.code is None

    def close(self) -> None:
        self.code = 0


def test_a_paused_seed_is_continued_and_one_at_its_end_is_left(tmp_path: Path) -> None:
    behind = Behind(tmp_path / "seed-1")
    seeds = SeedRuns(0, {1: behind.run}, boot=behind.boot)  # pyright: ignore[reportArgumentType]
    seeds.poll(LabState(), over=True)
    (engine,) = behind.engines
    events = FakeRun(steps=2, prompts=1, group=2, switches={}, lanes=("a", "b"), end=False).events()
    done = [i for i, (_, e) in enumerate(events) if isinstance(e, ev.StepDone)]

    def write(*timed: tuple[float, ev.Event]) -> None:
        with (behind.run / EVENTS).open("a", encoding="utf-8") as file:
            file.writelines(codec.encode(e, t) + "\n" for t, e in timed)
        seeds.poll(LabState(), over=True)

    write(*events[: done[1] + 1], (99.0, ev.Paused(1)))
    assert engine.sent == [{"do": "continue"}] and not engine.stopped
    assert seeds.told() == ["seed 1: step 1/2"]
    write(*events[done[1] + 1 :], (999.0, ev.Paused(2)))
    assert engine.stopped
    write((1000.0, ev.Ended(2, "done")))
    assert seeds.told() == []


def test_a_seed_whose_engine_ends_says_why(tmp_path: Path) -> None:
    behind = Behind(tmp_path / "seed-1")
    seeds = SeedRuns(0, {1: behind.run}, boot=behind.boot)  # pyright: ignore[reportArgumentType]
    seeds.poll(LabState(), over=True)
    behind.engines[0].code = 1
    assert seeds.poll(LabState(), over=True)
    assert seeds.told() == ["seed 1 not done: MemoryError"]


async def test_marks_stand_under_the_text_without_colour(
    lanes: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = replaying(lanes[2])
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot)
        told = columns(app)[0]
        assert "▲▲▲▲" in told or "▼▼▼▼" in told  # a sign under every cell, without holes
    monkeypatch.delenv("NO_COLOR")
    app = replaying(lanes[2])
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot)
        assert "▲▲▲▲" not in columns(app)[0] and "▼▼▼▼" not in columns(app)[0]
        app.theme = CONTRAST.name
        await settle(app)
        assert "▲▲▲▲" in columns(app)[0] or "▼▼▼▼" in columns(app)[0]


async def test_a_click_selects(lanes: dict[int, Path]) -> None:
    app = replaying(lanes[3])
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot)
        second = screen.columns[1]
        rows = second.plain.split("\n")
        y = [i for i, row in enumerate(rows) if i and row[2:3] in ("●", "○", "✂")][2]
        await pilot.click(second, offset=(3, y))
        await settle(app)
        assert app.context.view.answer == 2
        await pilot.click(second, offset=(5, 0))
        await settle(app)
        assert app.context.view.lane == "ppo"
        await pilot.click(second, offset=(24, y))
        await settle(app)
        assert app.context.view.answer == 2 and app.context.view.token > 0


# --- without a screen ---


def test_rows_are_shared_so_that_the_selected_answer_is_whole() -> None:
    assert heights([3, 3, 3], 9, 1) == [3, 3, 3]
    assert heights([3, 3, 3], 6, 1) == [2, 3, 1]
    assert heights([1, 1, 1, 1], 2, 3) == [0, 0, 1, 1]  # too many: those around the selected one
    assert sum(heights([9] * 5, 17, 0)) == 17
    assert heights([2, 2], 8, 0, each=2) == [4, 4]
    assert heights([], 5, 0) == []


def test_tokens_flow_in_rows_of_their_width() -> None:
    told = flowed(("<think>", "12+34\n", "=46", "x" * 20), 10, 12).rows
    assert "".join(t for _, t in told[0]) == "<think>"
    assert all(sum(cell_len(t) for _, t in row) <= 12 for row in told)
    assert "".join(t for row in told for _, t in row) == "<think>12+34⏎=46" + "x" * 20
    assert flowed((), 5, 5).rows == [[]]
    assert flowed(("加加加",), 4, 4).rows == [[(0, "加加")], [(0, "加")]]


def test_every_algorithm_has_its_two_formulas_in_short() -> None:
    for name, card in algorithm_cards.load().items():
        advantage, objective = in_short(card.formula)
        assert advantage.startswith("Â = ") and len(advantage) <= 40, name
        assert objective[0].startswith("J = ") and not objective[0].startswith("J = −"), name
        assert len(objective[-1]) <= 36, (name, objective)
        assert all(len(a) >= len(b) for a, b in pairwise(objective)), name
    grpo = algorithm_cards.cards()["grpo"].formula
    assert "− β k3" in in_short(grpo)[1][0] and "β" not in in_short(grpo, (("beta", 0.0),))[1][0]
    plain = algorithm_cards.cards()["reinforce"].formula
    assert in_short(plain, (("baseline", "none"),))[0] == "Â = r − b, b = 0"


async def test_the_standing_is_printed_once_the_screen_was_left(
    lanes: dict[int, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from grpolab.tui import app as module

    app = replaying(lanes[3])
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot)
    monkeypatch.setattr(module.LabApp, "run", lambda self: None)
    module._open(app.context, None)
    out = capsys.readouterr().out
    assert out.startswith("standing: test accuracy at step 6, sampled")
    assert all(f"{g} {n}" in out for g, n in (("●", "grpo"), ("▲", "ppo"), ("■", "reinforce")))
    assert out.count("±") >= 3 and "±0" not in out and "best" in out
    assert out.strip() == standing.text(final_standing(app.context) or pytest.fail("none"))
