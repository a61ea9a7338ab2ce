"""Time on the screen: jumps, bookmarks, the list of moments, rewinds, forks, the session's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.headless.progress import describe
from grpolab.record import events as ev
from grpolab.record.bookmarks import Bookmark, Bookmarks
from grpolab.record.state import KEPT_ROLLOUTS, LabState
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Following, Playing
from grpolab.tui.timeline import model as timeline
from grpolab.tui.timeline.model import step_meant
from grpolab.tui.timeline.screen import TimeScreen

from .conftest import Live, settle, text
from .fake_run import FakeRun

SIZES = [(80, 24), (120, 36), (200, 60)]


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    return text(app)


def with_checkpoints(live: Live, *steps: int) -> None:
    for step in steps:
        (live.folder / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)


def setting(step: int, key: str = "beta", value: float = 0.2) -> ev.SettingChanged:
    return ev.SettingChanged(step, "main", key, 0.04, value, "command")


@pytest.mark.parametrize("size", SIZES)
async def test_a_rewind_says_what_it_undoes_and_the_screen_forgets_it(
    live: Live, size: tuple[int, int]
) -> None:
    live.record(FakeRun(steps=12, switches={11: "ppo"}, end=False))
    with_checkpoints(live, 5, 10)
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        live.write(setting(12))
        told = await press(live.app, pilot, "R")
        screen = live.app.screen
        assert isinstance(screen, TimeScreen) and screen.chosen.step == 10
        assert "checkpoint: can resume here" in told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        told = await press(live.app, pilot, "R")
        for words in ("Rewind to step 10", "steps 11 to 12 of every lane", "the switch to PPO",
                      "its cue will repeat it", "beta = 0.2 at step 12"):  # fmt: skip
            assert words in told, told
        await press(live.app, pilot, "escape")
        assert live.engine.sent == []
        await press(live.app, pilot, "R", "enter")
        assert live.engine.sent == [{"do": "rewind", "to": 10}]
        live.write(ev.Resumed(10, "rewind", 12))
        told = await press(live.app, pilot)
        assert "from step 12; the steps after" in told and live.context.state.step == 10
        await press(live.app, pilot, "escape")
        assert isinstance(live.app.screen, LabScreen) and not live.app.lab.listeners


async def test_a_fork_is_an_algorithm_a_name_and_perhaps_a_checkpoint(live: Live) -> None:
    live.record(FakeRun(steps=12, switches={}, end=False))
    with_checkpoints(live, 10)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "F")
        assert "Fork lane main here" in told and "copied" in told
        told = await press(live.app, pilot, *"rloo", "enter")
        assert "A copy of lane main under RLOO" in told
        await press(live.app, pilot, *["backspace"] * 4, *"main", "enter")
        assert "there is a lane main already" in text(live.app) and live.engine.sent == []
        await press(live.app, pilot, *["backspace"] * 4, *"twin", "enter")
        fork = {"do": "fork", "name": "twin", "algorithm": {"name": "rloo"}, "lane": "main"}
        assert live.engine.sent == [fork]
        await press(live.app, pilot, "R", "F", *"rloo", "enter")
        assert "steps 11 to 12" in text(live.app)
        await press(live.app, pilot, "enter")
        assert live.engine.sent[1] == fork | {"name": "rloo", "checkpoint": 10}


@pytest.mark.parametrize("size", SIZES)
async def test_bookmarks_are_set_listed_changed_removed_and_kept(
    live: Live, size: tuple[int, int]
) -> None:
    live.record(FakeRun(steps=9, switches={}, end=False))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "comma", "comma", "b", *"odd q", "enter")
        assert "★ odd q" in told
        assert Bookmarks(live.folder).all == [Bookmark(7, "main", "odd q")]
        await press(live.app, pilot, "end")
        told = await press(live.app, pilot, "T", "up")
        assert "odd q" in told and "edit its note" in told
        await press(live.app, pilot, "b", *"!", "enter")  # what is there is replaced
        assert Bookmarks(live.folder).all[0].note == "!"
        await press(live.app, pilot, "enter")
        assert isinstance(live.app.screen, LabScreen)
        assert live.context.view.held is not None and live.context.view.held.step == 7
        await press(live.app, pilot, "T", "delete")
        assert Bookmarks(live.folder).all == []
        told = await press(live.app, pilot, "delete")
        assert "this is not a bookmark" in told or size[0] == 80


async def test_a_recorded_run_that_cannot_be_written_keeps_bookmarks_until_one_leaves(
    replay: LabApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **how: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await press(replay, pilot, "full_stop", "b", *"x", "enter")
        assert "not saved, lost when you quit: permission denied" in replay.context.notice[0]
        told = await press(replay, pilot, "T")
        assert "★  bookmark" in told
        await press(replay, pilot, "escape", "S")
        assert "no scenario" in replay.context.notice[0]


async def test_after_the_end_nothing_is_offered_that_needs_the_engine(live: Live) -> None:
    live.record(FakeRun(steps=4, switches={}))
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "comma", "R")
        assert "the engine has ended" in told  # in full, though the view is held and told of too
        last = told.rstrip("\n").split("\n")[-1]
        assert "w group" in last and "algorithm" not in last and "pause" not in last


async def test_steps_far_back_come_from_the_file(live: Live) -> None:
    steps = KEPT_ROLLOUTS + 12
    run = FakeRun(steps=steps, switches={}, prompts=2, group=2, end=False)
    live.record(run)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        assert 3 not in live.context.state.lanes["main"].rollouts
        view = live.context.view
        told = await press(live.app, pilot, "j", *"3", "enter")
        assert view.held is not None and view.held.step == 3 and "VIEW HELD at step 3" in told
        again = LabState()
        for t, event in run_events(steps):
            again.apply(event, t)
            if isinstance(event, ev.StepDone) and event.step == 3:
                break
        rollout = again.lanes["main"].rollouts[3]
        assert view.held.text == rollout.text and view.held.tokens == rollout.tokens
        await press(live.app, pilot, "greater_than_sign")
        assert view.held.step == 13
        await press(live.app, pilot, "less_than_sign", "less_than_sign")
        assert view.held.step == 1
        told = await press(live.app, pilot, "j", *"99", "enter")
        assert "the run has steps 1 to 60" in told
        await press(live.app, pilot, "escape")
        assert isinstance(live.app.screen, LabScreen)


def run_events(steps: int):
    return FakeRun(steps=steps, switches={}, prompts=2, group=2, end=False).events()


async def test_a_held_view_plays_on_until_it_follows_again(live: Live) -> None:
    live.record(FakeRun(steps=6, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "space")
        assert "go back first" in told
        await press(live.app, pilot, "home", "space", "right_square_bracket")
        assert live.context.rolling == 4.0
        lab, seen = live.app.lab, []
        while (held := live.context.view.held) is not None:
            seen.append(held.step)
            lab.time_travel.roll(lab.time_travel.rolled + 0.1)  # too early
            assert live.context.view.held is held
            lab.time_travel.roll(lab.time_travel.rolled + 0.26)
        assert len(seen) >= 3 and seen == list(range(seen[0], 7))
        lab.time_travel.roll(lab.time_travel.rolled + 0.26)
        assert live.context.rolling is None


async def test_who_goes_elsewhere_is_not_played_away_from_there(live: Live) -> None:
    live.record(FakeRun(steps=9, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        view = live.context.view
        await press(live.app, pilot, "home", "space")
        assert live.context.rolling is not None
        await press(live.app, pilot, "3", "left", "left", "enter")  # from the curve to a step
        assert live.context.rolling is None and view.held is not None
        await press(live.app, pilot, "space", "escape")
        assert live.context.rolling is None
        await press(live.app, pilot, "space", "home")
        assert live.context.rolling is None and view.held is not None and view.held.step == 1


async def test_a_rewind_is_the_end_of_the_way_back_to_undone_steps(live: Live) -> None:
    live.record(FakeRun(steps=9, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "comma", "3", "left", "enter", "3", "left", "left", "left")
        context = live.context
        assert [p.view.held and p.view.held.step for p in context.back_stack] == [8]
        assert context.view.cursor is not None and context.view.cursor > 4
        live.write(ev.Resumed(4, "rewind", 9))
        told = await press(live.app, pilot)
        assert (
            context.back_stack == [] and context.view.cursor is None and context.view.held is None
        )
        assert "esc back" not in told
        await press(live.app, pilot, "escape")
        assert context.view.held is None


async def test_in_a_replay_a_held_step_is_where_the_next_one_is_counted_from(
    replay: LabApp,
) -> None:
    source, context = replay.context.source, replay.context
    assert isinstance(source, Playing)
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        source.go(4)
        await press(replay, pilot)
        await press(replay, pilot, "v")
        await press(replay, pilot, "full_stop", "full_stop")
        assert context.view.held is not None and context.view.held.step == 4  # held on purpose
        source.go(2)  # before the held step: the fold starts afresh, the view stays
        told = await press(replay, pilot)
        assert context.view.held is not None and "VIEW HELD at step 4" in told
        await press(replay, pilot, "full_stop")
        assert context.view.held is None and context.state.step == 5
        await press(replay, pilot, "3", "left", "left", "enter")  # from the curve to a step
        assert context.view.held is not None and context.view.held.step == 4
        await press(replay, pilot, "comma")
        assert context.view.held is None and context.state.step == 3
        await press(replay, pilot, "3", "enter", "home")
        assert context.view.held is None and context.state.step == 0


async def test_a_replay_jumps_to_steps_and_marks_yet_to_come(replay: LabApp) -> None:
    source = replay.context.source
    assert isinstance(source, Playing)
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await press(replay, pilot, "right_curly_bracket")
        assert replay.context.state.step == 8
        await press(replay, pilot, "right_curly_bracket")
        assert replay.context.state.step == 16 and "PPO → REINFORCE" in replay.context.notice[0]
        await press(replay, pilot, "left_curly_bracket")
        assert replay.context.state.step == 8
        await press(replay, pilot, "j", *"50%", "enter")
        assert replay.context.state.step == 12
        await press(replay, pilot, "j", *"-5", "enter")
        assert replay.context.state.step == 7
        told = await press(replay, pilot, "T")
        assert isinstance(replay.screen, TimeScreen)
        flat = " ".join(replay.screen.parts[1].plain.replace("│", " ").split())
        assert "this recording has no checkpoints" in flat and "GRPO → PPO" in told
        await press(replay, pilot, "end", "enter")
        assert replay.context.state.step == 24
        told = await press(replay, pilot, "R")
        assert "computes nothing" in told
        await press(replay, pilot, "F")
        assert isinstance(replay.screen, LabScreen)


async def test_the_mouse_chooses_a_moment_and_goes_there(live: Live) -> None:
    live.record(FakeRun(steps=9, switches={4: "ppo"}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "T")
        screen = live.app.screen
        assert isinstance(screen, TimeScreen)
        at = next(i for i, m in enumerate(screen.found) if m.kind == "switch")
        await pilot.click("#moments", offset=(20, 4 + at))
        assert screen.at == at
        await pilot.click("#moments", offset=(3, 2))  # the line of the run, far left
        assert screen.chosen.kind == "start"
        await pilot.click("#moments", offset=(20, 4 + at))
        await pilot.click("#moments", offset=(20, 4 + at))
        await settle(live.app)
        assert live.context.view.held is not None and live.context.view.held.step == 4
        assert isinstance(live.app.screen, LabScreen)


async def test_the_session_is_saved_as_a_scenario_that_can_be_read(live: Live) -> None:
    from grpolab.scenario import spec
    from grpolab.scenario.load import load

    live.write(ev.RunStarted(1, "r", spec.build({"algorithm": "grpo"}).complete(), 5, "cpu", 1, 60))
    live.record(FakeRun(steps=3, switches={}, end=False), until=lambda e: e.kind == "run")
    for _, event in FakeRun(steps=3, switches={}, end=False).events():
        if event.kind not in ("run", "end"):
            live.write(event)
    live.write(setting(3))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "S")
        told = live.context.notice[0]
        assert "session.yaml in the run directory" in told and "1 manual change" in told
        await press(live.app, pilot, "S")
    found = load(str(live.folder / "session.yaml"))
    (cue,) = found.cues
    assert (found.seed, cue.at, cue.do) == (5, 3, "set")
    assert (live.folder / "session-2.yaml").exists()


def test_moments_of_a_watched_run_and_their_order(tmp_path: Path) -> None:
    FakeRun(steps=12, switches={4: "ppo"}).write(tmp_path)
    context = AppContext(Following(tmp_path, "watch"), tmp_path)
    context.source.load()
    for t, event in context.source.poll(0.0)[1]:
        context.state.apply(event, t)
    found = timeline.moments(context)
    assert [m.kind for m in found] == ["start", "switch", "now"]
    assert [m.step for m in found] == [0, 4, 12]


@pytest.mark.parametrize(
    ("typed", "step"),
    [("12", 12), ("+5", 15), ("-9", 1), ("50%", 20), ("first", 1), ("last", 40), (" End ", 40)],
)
def test_a_step_is_meant(typed: str, step: int) -> None:
    assert step_meant(typed, 10, 40) == step


@pytest.mark.parametrize("typed", ["", "0", "41", "+31", "-10", "+5%", "x", "1.5", "9" * 30])
def test_what_is_no_step_is_refused_in_one_line(typed: str) -> None:
    with pytest.raises(ValueError, match=r"^(expected a step|step -?\d+: the run has)"):
        step_meant(typed, 10, 40)


def test_a_bookmark_file_that_is_broken_counts_as_empty(tmp_path: Path) -> None:
    for broken in ("", "{", '{"bookmarks": [{"step": "x"}]}', '{"bookmarks": 3}', "[]"):
        (tmp_path / "bookmarks.json").write_text(broken)
        assert Bookmarks(tmp_path).all == []
    marks = Bookmarks(tmp_path)
    assert marks.put(Bookmark(3, "main", "n" * 999)) == ""
    assert [len(b.note) for b in Bookmarks(tmp_path).all] == [200]
    assert Bookmarks(tmp_path / "nowhere").put(Bookmark(1, "main")) == "no such file or directory"


def test_a_bookmark_file_says_its_format(tmp_path: Path) -> None:
    """A promise to other readers, as of the first release: no module's name, and never replaced
    with one."""
    Bookmarks(tmp_path).put(Bookmark(3, "main", "look"))
    assert json.loads((tmp_path / "bookmarks.json").read_text()) == {
        "format": "grpolab.bookmarks/1",
        "bookmarks": [{"step": 3, "lane": "main", "note": "look"}],
    }


def test_a_rewind_in_words() -> None:
    assert describe(ev.Resumed(4, "rewind", 9), LabState()) == "rewound from step 9 to step 4"


async def test_news_that_come_while_a_screen_is_taken_down_do_no_harm(live: Live) -> None:
    live.record(FakeRun(steps=12, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "R")
        screen, lab = live.app.screen, live.app.screen_stack[-2]
        assert isinstance(screen, TimeScreen) and isinstance(lab, LabScreen)
        taken_down = screen.dismiss()
        assert screen in lab.listeners
        live.write(setting(12))
        lab.tick()
        await taken_down
        assert screen not in lab.listeners and screen not in live.app.screen_stack
        await screen.query("*").remove()
        screen.again()
        assert "12" in await press(live.app, pilot)
