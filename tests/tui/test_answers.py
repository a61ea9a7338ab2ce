"""From a curve to a step, its group, an answer and its tokens, and back; the search over all."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.record import events as ev
from grpolab.record.state import KEPT_ROLLOUTS
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.group.model import Group, shared
from grpolab.tui.group.screen import GroupScreen, Reader
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.search.screen import PAUSE, AnswersScreen
from grpolab.tui.source import Playing

from .conftest import Live, settle, text
from .fake_run import FakeRun

SIZES = [(80, 24), (120, 36), (200, 60)]


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    return text(app)


@pytest.fixture
async def lab(live: Live) -> AsyncIterator[tuple[Live, Pilot[int]]]:
    """A live run in its sixth step."""
    run = FakeRun(steps=10, switches={3: "ppo"})
    live.record(run, until=lambda e: isinstance(e, ev.Graded) and e.step == 6)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        yield live, pilot


def place(context: AppContext) -> tuple[object, ...]:
    """Where the user stands in the lab."""
    v = context.view
    held = v.held.step if v.held else None
    return v.lane, held, v.prompt, v.answer, v.token, v.cursor, context.current, context.zoom


async def test_all_the_way_down_and_back(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    context, app = live.context, live.app
    told = await press(app, pilot, "3", "left", "left", "left")
    assert context.view.cursor == 3 and "▽ step 3" in told and "go to this step" in told
    curve = place(context)
    told = await press(app, pilot, "enter")
    assert "VIEW HELD at step 3" in told and "esc back to the curve" in told
    await press(app, pilot, "g", "down")
    rollouts = place(context)
    assert rollouts[1:4] == (3, 1, 1) and context.current == "rollouts"

    told = await press(app, pilot, "enter")
    assert isinstance(app.screen, GroupScreen) and "step 3 · GRPO · prompt 2/8" in told
    await press(app, pilot, "O", "end")  # by reward, the last
    group = app.screen.group
    at = group.answer
    assert at == group.sorted()[-1]
    told = await press(app, pilot, "enter")
    assert isinstance(app.screen, Reader) and "exact string" in told
    told = await press(app, pilot, "tab", "enter")
    assert isinstance(app.screen, LabScreen) and context.current == "tokens" and context.zoom
    assert f"step 3 · prompt 2 · answer {at + 1}" in told and "esc back to the answer" in told
    await press(app, pilot, "right", "c")

    told = await press(app, pilot, "escape")
    assert isinstance(app.screen, Reader) and "rendered" in told
    assert place(context) == rollouts
    await press(app, pilot, "escape")
    assert isinstance(app.screen, GroupScreen)
    assert (app.screen.group.answer, app.screen.group.order) == (at, "reward")
    await press(app, pilot, "escape")
    assert isinstance(app.screen, LabScreen) and place(context) == rollouts
    await press(app, pilot, "escape")
    assert place(context) == curve and not context.back_stack
    await press(app, pilot, "escape")
    assert context.view.cursor is None
    assert live.engine.sent == []


async def test_esc_first_leaves_a_zoom_of_ones_own(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    context = live.context
    await press(live.app, pilot, "3", "left", "enter", "z")
    assert context.zoom
    await press(live.app, pilot, "escape")
    assert not context.zoom and context.back_stack and context.current == "rollouts"
    await press(live.app, pilot, "v")  # follow again: there is nothing to go back to
    assert not context.back_stack and context.view.held is None


async def test_the_curve_by_mouse(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    pane = live.app.lab.panes["learning"]
    y = next(i for i, row in enumerate(pane.plain.split("\n")) if "┤" in row)
    await pilot.click("#learning", offset=(14, y))
    await settle(live.app)
    step = live.context.view.cursor
    assert step is not None and live.context.current == "learning"
    await pilot.click("#learning", offset=(14, y))
    await settle(live.app)
    assert live.context.view.held is not None and live.context.view.held.step == step
    # where no curve is in front, the same keys move along the tokens
    await press(live.app, pilot, "2", "right", "right")
    assert live.context.view.token == 2 and live.context.view.cursor == step


async def test_a_step_that_memory_has_lost_is_read_from_the_file(live: Live) -> None:
    live.record(FakeRun(steps=KEPT_ROLLOUTS + 6, prompts=2, group=2, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        lane = live.context.state.lanes["main"]
        assert 2 not in lane.rollouts
        await press(live.app, pilot, "3", "left", *(["shift+left"] * 6), "right")
        assert live.context.view.cursor == 2
        told = await press(live.app, pilot, "enter")
        told = await press(live.app, pilot)
        assert "VIEW HELD at step 2" in told and live.context.view.held is not None
        assert live.context.view.held.tokens is not None
        assert 2 not in lane.rollouts and lane.rollout is not None  # what is newest stays so
        told = await press(live.app, pilot, "2")
        assert "step 2 · prompt 1" in told
        for key, step in (("comma", 1), ("comma", 1), ("full_stop", 2), ("end", None),
                          ("home", 1), *[("full_stop", n) for n in range(2, 9)]):  # fmt: skip
            await press(live.app, pilot, key)
            assert (live.context.view.held.step if live.context.view.held else None) == step
        assert 6 not in lane.rollouts and 7 in lane.rollouts  # over the border without a gap
        live.app.lab.visit("main", 999, 0, 0, pane="rollouts")
        told = await press(live.app, pilot)
        assert "the run file has no step 999" in told
        (live.folder / "events.jsonl").write_bytes(b"")
        live.app.lab.visit("main", 5, 0, 0, pane="rollouts")
        assert live.context.notice[0] == "step 5 of main cannot be read from the run file"


@pytest.mark.parametrize("size", SIZES)
async def test_the_group(live: Live, size: tuple[int, int]) -> None:
    live.record(FakeRun(steps=3, switches={}))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "w")
        screen = live.app.screen
        assert isinstance(screen, GroupScreen)
        for word in ("mean reward", "reward 1.20", "┏ 1 ", "tok", "as sampled ▼"):
            assert word in told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        for order in ("reward", "advantage", "length"):
            assert f"by {order} ▼" in await press(live.app, pilot, "O")
            rows = screen.group.sorted()
            r, graded = screen.group.rollout, screen.group.rollout.graded
            assert graded is not None
            value = {
                "reward": lambda i, g=graded: g.reward[i],
                "advantage": lambda i, r=r: r.advantage(i) or 0.0,
                "length": lambda i, g=graded: g.length[i],
            }[order]
            numbers = [value(i) for i in rows]
            assert numbers == sorted(numbers, reverse=True)
        told = await press(live.app, pilot, "Z")
        assert "by length ▲" in told and screen.group.sorted() == sorted(
            range(8), key=lambda i: (graded.length[i], i)
        )
        await press(live.app, pilot, "home", "down", "right", "up", "left", "space", "pagedown")
        assert screen.group.apart and screen.group.scrolled == 5
        await press(live.app, pilot, "pageup", "g", "g", "G")
        assert screen.group.prompt == 1 and screen.group.scrolled == 0
        await press(live.app, pilot, "question_mark")
        assert "side by side" in text(live.app)
        await press(live.app, pilot, "escape", "escape")
        assert isinstance(live.app.screen, LabScreen) and live.context.view.prompt == 0


async def test_a_click_on_what_is_selected_opens_it(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live.app, pilot, "2")
    rows = live.app.lab.panes["rollouts"].plain.split("\n")
    prompt, answer = (
        max(i for i, r in enumerate(rows) if word in r) for word in ("prompt 1/", "▸1 ")
    )
    await pilot.click("#rollouts", offset=(3, answer))  # the pane is gone to, no more
    assert isinstance(live.app.screen, LabScreen) and live.context.current == "rollouts"
    await pilot.click("#rollouts", offset=(3, answer))
    assert isinstance(live.app.screen, Reader)
    await settle(live.app)
    y = next(i for i, r in enumerate(live.app.screen.parts[1].plain.split("\n")) if "   4 " in r)
    await pilot.click("#facts", offset=(6, y))
    assert live.app.screen.group.answer == 3
    await press(live.app, pilot, "escape")
    await pilot.click("#rollouts", offset=(20, prompt))
    assert isinstance(live.app.screen, GroupScreen)


async def test_a_group_that_is_still_sampled(live: Live) -> None:
    live.record(
        FakeRun(steps=3, switches={}), until=lambda e: isinstance(e, ev.Sampled) and e.position > 12
    )
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "w")
        assert "being sampled" in told and "characters so far" in told
        live.write(ev.Sampled(1, "main", 20, [(0, "MORE TEXT")], []))
        assert "MORE TEXT" in await press(live.app, pilot, "O")
        assert "not graded yet" in await press(live.app, pilot, "enter")
        # dynamic sampling draws the step's prompts again
        live.write(
            ev.RolloutStarted(1, "main", "dapo", ["new", "more"], ["odd"] * 2, 2, 48),
            ev.Graded(1, "main", ["fresh"] * 4, [1.0] * 4, [{}] * 4, [True] * 4, ["f"] * 4,
                      [5] * 4, [True] * 4),
        )  # fmt: skip
        told = await press(live.app, pilot)
        assert "fresh" in told and "1 of 2" in told and "● right" in told


async def test_clicks_select_and_then_open(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live.app, pilot, "w")
    screen = live.app.screen
    assert isinstance(screen, GroupScreen)
    y, row = next((i, row) for i, row in enumerate(screen.cards.plain.split("\n")) if "┌ 3 " in row)
    await pilot.click("#cards", offset=(row.index("┌ 3 ") + 3, y + 1))
    assert screen.group.answer == 2
    await pilot.click("#cards", offset=(row.index("┌ 3 ") + 3, y + 1))
    await settle(live.app)
    assert isinstance(live.app.screen, Reader)


@pytest.mark.parametrize("size", SIZES)
async def test_the_reader(live: Live, size: tuple[int, int]) -> None:
    said = "<think>$x^2$ is **x*x**\tok\x1b[31m</think>\n<answer>\\boxed{9}</answer>"
    live.record(FakeRun(steps=1, prompts=1, group=2, end=False))
    live.write(
        ev.RolloutStarted(2, "main", "grpo", ["3*3="], ["easy"], 2, 48),
        ev.Graded(
            2, "main", [said, "none"], [1.2, 0.0], [{"accuracy": 1.0, "format": 0.2}, {}],
            [True, False], ["\\boxed{9}", None], [30, 48], [True, False], [[(3, 1.0)], []],
        ),
    )  # fmt: skip
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        live.context.view.held = live.context.state.lanes["main"].rollout  # it has no tokens
        told = await press(live.app, pilot, "o")
        assert isinstance(live.app.screen, Reader)
        for word in ("$x^2$ is **x*x**␉ok␛[31m", "▐ <answer>\\boxed{9}", "parsed answer",
                     "accuracy 1.00", "format 0.20", "3*3=", "● right"):  # fmt: skip
            assert word in told, told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        told = await press(live.app, pilot, "tab")
        assert "x² is x*x" in told and "▐ ⟦9⟧" in told and "**" not in live.app.screen.body.plain
        told = await press(live.app, pilot, "right_square_bracket")
        assert "no answer could be parsed" in told and "cut at 48 tokens" in told
        await press(live.app, pilot, "down", "up", "home", "end", "left_square_bracket", "g", "w")
        assert isinstance(live.app.screen, GroupScreen)
        await press(live.app, pilot, "escape", "question_mark")
        assert "exact string" in text(live.app).lower()


async def test_copied_and_saved(
    lab: tuple[Live, Pilot[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    live, pilot = lab
    sent: list[str] = []
    monkeypatch.setattr(live.app, "copy_to_clipboard", sent.append)
    told = await press(live.app, pilot, "down", "y", "Y")
    said = live.context.state.lanes["main"].rollouts[5].text[1]
    file = live.folder / "saved" / "step-000005-main-p1-a2.txt"
    assert sent == [said] and file.read_text() == said and "saved to" in told
    await press(live.app, pilot, "w", "y", "enter", "y", "Y")
    assert sent == [said] * 3
    # a run that cannot be written: the working directory, and it says so
    monkeypatch.chdir(tmp_path)
    file.unlink()
    (live.folder / "saved").rmdir()
    (live.folder / "saved").write_text("in the way")
    await press(live.app, pilot, "Y")
    assert (tmp_path / file.name).read_text() == said


async def test_osc_52_carries_the_exact_string(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    written: list[str] = []
    driver = live.app._driver
    assert driver is not None
    driver.write = written.append  # pyright: ignore
    live.context.state.lanes["main"].rollouts[5].text[0] = "a\x1b]52;evil\x07\ud83d"
    await pilot.press("y")
    out = next(w for w in written if w.startswith("\x1b]52;c;"))
    assert base64.b64decode(out[7:-1]).decode() == "a\x1b]52;evil\x07?"


async def found(app: LabApp, pilot: Pilot[int]) -> str:
    """The search has come to its end."""
    for _ in range(300):
        await pilot.pause(0.02)
        screen = app.screen
        if isinstance(screen, AnswersScreen) and not screen.finding.running:
            break
    return await press(app, pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_the_search(live: Live, size: tuple[int, int]) -> None:
    for _, event in FakeRun(KEPT_ROLLOUTS + 8, prompts=2, group=2, switches={}, end=False).events():
        live.write(event)
        if isinstance(event, ev.StepDone) and event.step == 3:
            live.write(*_needle(3))  # graded again
    live.write(*_needle(60))
    total = (KEPT_ROLLOUTS + 9) * 4
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "down", "slash", "enter")
        told = await found(live.app, pilot)
        screen = live.app.screen
        assert isinstance(screen, AnswersScreen)
        assert 3 not in live.context.state.lanes["main"].rollouts
        assert f"{total} of {total} answers" in told and "newest first" in told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        await press(live.app, pilot, "slash", *"NEEDLE", "enter")
        told = await found(live.app, pilot)
        assert [(f.step, f.row) for f in screen.rows] == [(60, 1), (60, 2), (3, 1), (3, 2)]
        assert f"4 of {total} answers" in told and "needle 1 of 60" in told
        for keys, steps in (
            (("2",), [60, 3]), (("2",), [60, 3]), (("2",), [60, 60, 3, 3]),
            (("5", *"<50", "enter"), [3, 3]), (("5", *["backspace"] * 3, "enter"), [60, 60, 3, 3]),
            (("3",), [60, 60, 3, 3]), (("3",), []), (("3",), [60, 60, 3, 3]),
            (("O",), [3, 3, 60, 60]), (("O",), [60, 3, 60, 3]), (("6",), []),
            (("backspace",), None),
        ):  # fmt: skip
            if size != SIZES[1]:
                break  # the same at every size
            await press(live.app, pilot, *keys)
            await found(live.app, pilot)
            if steps is not None:
                assert [f.step for f in screen.rows] == steps, keys
        await press(live.app, pilot, "backspace", "slash", *"needle .", "escape", "1")
        await found(live.app, pilot)
        assert len(screen.rows) == 4 and screen.finding.wanted().regex
        told = await press(live.app, pilot, "4", *"7..x", "enter")
        assert "is no range" in await found(live.app, pilot)
        await press(live.app, pilot, "4", *["backspace"] * 4, *">=1", "enter")
        await found(live.app, pilot)
        assert [f.reward for f in screen.rows] == [1.2, 1.2]

        told = await press(live.app, pilot, "end", "enter")  # to step 3, which memory has lost
        told = await press(live.app, pilot)
        assert isinstance(live.app.screen, LabScreen)
        assert "VIEW HELD at step 3" in told and "esc back to the search" in told
        assert (live.context.view.prompt, live.context.view.answer) == (0, 1)
        told = await press(live.app, pilot, "escape")
        assert isinstance(live.app.screen, AnswersScreen) and "2/2" in told
        assert live.context.view.held is None and live.context.view.answer == 1
        told = await press(live.app, pilot, "o")
        assert isinstance(live.app.screen, Reader) and "needle 1 of 3" in told
        await press(live.app, pilot, "enter")
        told = await press(live.app, pilot)
        assert "Token" in told and isinstance(live.app.screen, LabScreen)
        await press(live.app, pilot, "escape", "escape", "w", "escape", "escape")
        assert isinstance(live.app.screen, LabScreen) and live.context.view.held is None


def _needle(step: int) -> list[ev.Event]:
    """A step with a right and a wrong answer that can be looked for."""
    texts = ["hay", f"needle 1 of {step}", f"needle 2 of {step}", ""]
    pieces = [[*t, "<end>"] for t in texts]
    return [
        ev.RolloutStarted(step, "main", "grpo", ["a", "b"], ["odd", "odd"], 2, 48),
        ev.Graded(
            step, "main", texts, [0.0, 1.2, 0.2, 0.0], [{"accuracy": 1.0}] * 4,
            [False, True, False, False], [None] * 4, [len(p) for p in pieces], [True] * 4,
        ),
        ev.Tokens(step, "main", pieces, {}),
    ]  # fmt: skip


async def test_the_search_follows_a_run_and_types_as_it_goes(live: Live) -> None:
    live.record(FakeRun(steps=3, prompts=2, group=2, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "slash", *"needle")
        await pilot.pause(PAUSE + 0.1)  # no Enter: it begins by itself
        assert "no answer matches" in await found(live.app, pilot)
        live.write(*_needle(4))
        await press(live.app, pilot, "escape")
        assert "1 newer step; 0 searches again" in await press(live.app, pilot)
        await press(live.app, pilot, "0")
        told = await found(live.app, pilot)
        assert "2 of 16 answers" in told and "needle 2 of 4" in told
        # the same key clicked, a row clicked, clicked again
        screen = live.app.screen
        assert isinstance(screen, AnswersScreen)
        x = screen.filter.plain.split("\n")[1].index("2 verdict")
        await pilot.click("#filter", offset=(x, 1))
        assert screen.finding.verdict == "right"
        await found(live.app, pilot)
        await press(live.app, pilot, "backspace")
        await found(live.app, pilot)
        await pilot.click("#list", offset=(20, 4))
        assert screen.finding.at == 2
        await pilot.click("#list", offset=(20, 4))
        await settle(live.app)
        assert isinstance(live.app.screen, LabScreen) and live.context.view.held is not None


async def test_the_search_over_lanes(live: Live) -> None:
    live.record(FakeRun(steps=3, prompts=2, group=2, switches={}, lanes=("main", "twin")))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "slash", "enter")
        told = await found(live.app, pilot)
        screen = live.app.screen
        assert isinstance(screen, AnswersScreen)
        assert "24 of 24 answers" in told and "● main" in told and "▲ twin" in told
        await press(live.app, pilot, "L", "L")
        told = await found(live.app, pilot)
        assert {f.lane for f in screen.rows} == {"twin"} and "L lane twin" in told
        await press(live.app, pilot, "end", "enter")
        assert live.context.view.lane == "twin" and live.context.view.held is not None
        assert live.context.view.held.step == 1
        await press(live.app, pilot, "escape", "escape")
        assert live.context.view.lane == "main" and live.context.view.held is None


async def test_what_matched_is_brought_into_sight(live: Live) -> None:
    live.record(FakeRun(steps=1, prompts=1, group=1, switches={}, end=False))
    words = "word " * 900
    said = f"{words}<answer>the NEEDLE is here</answer> {words}"
    live.write(
        ev.RolloutStarted(2, "main", "grpo", ["a"], ["odd"], 1, 48),
        ev.Graded(2, "main", [said], [0.0], [{}], [False], ["the NEEDLE is here"], [3], [True]),
    )
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "slash", *"needle", "enter")
        await found(live.app, pilot)
        preview = live.app.screen.parts[2]  # pyright: ignore
        told = await press(live.app, pilot)
        assert "<answer>the NEEDLE is here</answer>" in preview.plain and "1 of 2 answers" in told
        looks = [s.style for line in preview._cache[1] for s in line.segments if s.text == "NEEDLE"]
        assert len(looks) == 1 and looks[0].underline
        await press(live.app, pilot, "pageup", "pageup")
        assert preview.top < 60  # and can be scrolled from there


async def test_a_pattern_that_never_ends_holds_nothing_up(live: Live) -> None:
    live.record(FakeRun(steps=2, prompts=1, group=1, switches={}, end=False))
    live.write(
        ev.RolloutStarted(3, "main", "grpo", ["a"], ["odd"], 1, 48),
        ev.Graded(3, "main", ["a" * 60 + "b"], [0.0], [{}], [False], [None], [3], [True]),
    )
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("slash", "enter")
        await found(live.app, pilot)
        screen = live.app.screen
        assert isinstance(screen, AnswersScreen)
        screen.finding.text, screen.finding.regex = "(a+)+$", True
        await pilot.press("0")
        await pilot.pause(0.5)
        assert screen.finding.running
        await pilot.press("1")  # as plain words: the process is ended
        await found(live.app, pilot)
        assert not screen.finding.running and screen.finding.results.matches == 0
        await pilot.press("escape")
        assert isinstance(live.app.screen, LabScreen)


async def test_in_a_replay_a_later_step_can_be_gone_to(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        assert isinstance(replay.context.source, Playing)
        replay.context.source.scrub(4)
        await settle(replay)
        await press(replay, pilot, "slash", "enter")
        told = await found(replay, pilot)
        assert "1,536 of 1,536 answers" in told  # 24 steps, also those that the clock has not seen
        await press(replay, pilot, "enter")
        told = await press(replay, pilot)
        assert "VIEW HELD at step 24" in told
        replay.context.source.scrub(-2)  # the fold starts afresh
        told = await press(replay, pilot)
        assert "VIEW HELD at step 24" in told


def test_what_two_answers_share() -> None:
    for a, b, n in (("", "", 0), ("abc", "abd", 2), ("abc", "abcdef", 3), ("x", "y", 0),
                    ("a" * 999 + "x", "a" * 999 + "y", 999)):  # fmt: skip
        assert shared(a, b) == n == shared(b, a)


def test_a_group_without_numbers_keeps_its_order() -> None:
    from grpolab.record.lane_state import RolloutView

    group = Group("main", RolloutView(1, "grpo", ["p"], [""], 3, 9, ["", "", ""]), order="reward")
    assert group.sorted() == [0, 1, 2] and group.stats() is None
    group.move(5)
    assert group.answer == 2


@pytest.mark.parametrize("size", SIZES)
async def test_without_a_chosen_answer_the_keys_say_what_to_do(
    live: Live, size: tuple[int, int]
) -> None:
    live.record(FakeRun(steps=2, prompts=2, group=2, switches={}, end=False))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "slash", "enter")
        await found(live.app, pilot)
        screen = live.app.screen
        assert isinstance(screen, AnswersScreen) and screen.rows
        screen.finding.reward = "> 99"
        screen.start()
        told = (await found(live.app, pilot)).split("\n")
        assert "no answer matches: ⌫ clears the filter" in "\n".join(told[3:])
        for key in ("enter", "o", "w", "y", "Y"):
            live.context.say("")
            told = (await press(live.app, pilot, key)).split("\n")
            assert live.app.screen is screen
            assert "no answer matches: ⌫ clears the filter" in told[1], (key, told[1])
        screen.finding.reward = "many"
        screen.start()
        told = (await press(live.app, pilot, "enter")).split("\n")
        assert "the filter is not valid: ⌫ clears it" in told[1]
        await press(live.app, pilot, "backspace")
        await found(live.app, pilot)
        await press(live.app, pilot, "enter")
        assert isinstance(live.app.screen, LabScreen)
