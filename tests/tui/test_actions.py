"""Every key does what the table says, and every command reaches the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.commands.model import ALGORITHMS, SETTINGS, commands
from grpolab.tui.keymap import BY_NAME, Keymap, load_keymap
from grpolab.tui.keys import ACTIONS, SCREENS
from grpolab.tui.lab.dialogs.failure import Failure, Leaving
from grpolab.tui.lab.dialogs.help import Help
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Playing

from .conftest import Live, settle, text
from .fake_run import FakeRun


@pytest.fixture
async def lab(live: Live) -> AsyncIterator[tuple[Live, Pilot[int]]]:
    """A live run that stands in its sixth step, two lanes not."""
    run = FakeRun(steps=10, switches={3: "ppo"})
    live.record(run, until=lambda e: isinstance(e, ev.Graded) and e.step == 6)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        yield live, pilot


async def press(live: Live, pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await settle(live.app)


async def test_pause_and_continue(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "p")
    assert live.engine.sent == [{"do": "pause"}]
    assert "PAUSING AFTER THIS STEP" in text(live.app)
    live.write(ev.Paused(6), ev.PhaseChanged("waiting", 6))
    await settle(live.app)
    assert "TRAINING PAUSED" in text(live.app)
    await press(live, pilot, "n", "p")
    assert live.engine.sent[1:] == [{"do": "step"}, {"do": "continue"}]
    live.write(ev.PhaseChanged("sampling", 7))
    await settle(live.app)
    assert "ONE STEP, THEN PAUSED" in text(live.app)
    live.write(ev.Continued(6))
    await settle(live.app)
    assert "PAUS" not in text(live.app)


async def test_hold_keeps_the_step_while_training_goes_on(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "v")
    assert "VIEW HELD at step 5" in text(live.app)  # the newest step that is complete
    assert "PAUSED" not in text(live.app)
    assert live.engine.sent == []
    live.write(ev.RolloutStarted(7, "main", "ppo", ["9+9="], ["easy"], 4, 48))
    await settle(live.app)
    assert "9+9=" not in text(live.app)
    await press(live, pilot, "v")
    assert "9+9=" in text(live.app)
    await press(live, pilot, "comma", "comma")
    assert live.context.view.held is not None and live.context.view.held.step == 5
    await press(live, pilot, "home")
    assert live.context.view.held.step == 1
    await press(live, pilot, "full_stop")
    assert live.context.view.held.step == 2
    await press(live, pilot, "end")
    assert live.context.view.held is None
    await press(live, pilot, "comma", "escape")
    assert live.context.view.held is None


async def test_moving_through_prompts_answers_tokens_channels(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    view = live.context.view
    await press(live, pilot, "g", "g", "G", "down", "down", "up", "right", "right", "left", "c")
    assert (view.prompt, view.answer, view.token, view.channel) == (1, 1, 1, "advantage")
    assert "prompt 2 · answer 2" in text(live.app)
    await press(live, pilot, "shift+right", "C", "up", "up")
    assert (view.prompt, view.answer, view.token, view.channel) == (0, 7, 0, "auto")
    await press(live, pilot, "shift+up", "shift+left")
    assert (view.prompt, view.token) == (7, 0)


async def test_the_switch_says_what_was_kept(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    live.write(
        ev.Switched(
            6,
            "main",
            "ppo",
            "rloo",
            "paper",
            {"beta": 0.0},
            ["adapter"],
            ["critic: dropped"],
            "command",
        ),
        ev.CriticChanged(6, "main", "gone"),
    )
    await settle(live.app)
    shown = text(live.app)
    assert "PPO → RLOO" in shown and "dropped" in shown and " RLOO " in shown


async def test_evaluate_and_checkpoint(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "e", "s")
    assert live.engine.sent == [{"do": "evaluate"}, {"do": "checkpoint"}]
    live.write(ev.Refused(6, {"do": "evaluate"}, "already under way"))
    await settle(live.app)
    assert "refused: already under way" in text(live.app)


async def test_panes_zoom_scroll_help(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "tab", "tab")
    assert live.context.current == "learning"
    await press(live, pilot, "shift+tab", "shift+tab", "shift+tab")
    assert live.context.current == "algorithm"
    await press(live, pilot, "pagedown")
    assert live.app.lab.panes["algorithm"].top > 0
    await press(live, pilot, "pageup", "pageup", "z")
    assert live.app.lab.panes["algorithm"].top == 0
    assert not live.app.lab.panes["rollouts"].display
    shown = text(live.app)  # zoomed, every number is explained
    assert "standard deviation of the advantages" in shown
    await press(live, pilot, "question_mark")
    assert isinstance(live.app.screen, Help)
    assert all(row.width <= 60 for row in live.app.screen.rows(60))
    assert "Algorithm: what it shows" in text(live.app)
    await press(live, pilot, "down", "up", "pagedown", "escape", "escape")
    assert isinstance(live.app.screen, LabScreen)
    assert not live.context.zoom


async def test_every_action_is_in_the_palette_and_runs(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    known = commands(live.app, live.app.screen)
    told = " ".join(c.told for c in known)
    assert "quit" in [c.name for c in known]
    for action in ACTIONS:
        if "live" in action.modes and action.name != "commands":
            assert action.help in told
    for command in known:
        if command.name == "quit" or command.group in (ALGORITHMS, SETTINGS):
            continue
        command.prepare("")()
        await pilot.pause()
        for _ in range(6):
            if not isinstance(live.app.screen, LabScreen):
                await pilot.press("escape")
        assert isinstance(live.app.screen, LabScreen), command.name
    await press(live, pilot, "colon")
    assert not isinstance(live.app.screen, LabScreen)
    await press(live, pilot, "escape")
    assert any(live.folder.glob("*.svg"))


async def test_mouse(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    view = live.context.view
    pane = live.app.lab.panes["rollouts"]

    def place(what: str, value: object) -> tuple[int, int]:
        """The first cell of the pane that means this."""
        rows = enumerate(pane._shown)
        return next((a, y) for y, row in rows for a, _, hit in row.hits if hit == (what, value))

    await pilot.click("#rollouts", offset=place("prompt", 2))
    assert view.prompt == 2
    await settle(live.app)
    await pilot.click("#rollouts", offset=place("answer", 2))
    assert view.answer == 2
    await settle(live.app)
    await pilot.click("#rollouts", offset=place("cell", (3, 1)))  # a token of another answer
    assert (view.answer, view.token) == (3, 1)
    await pilot.click("#tokens", offset=(12, 1))
    assert live.context.current == "tokens"
    await pilot.click("#memory", offset=(5, 0))
    assert live.context.current == "memory"
    footer = live.app.lab.query_one("Footer")
    await pilot.click("Footer", offset=(footer.plain.index("p pause"), 0))  # pyright: ignore
    await pilot.pause()
    assert live.engine.sent == [{"do": "pause"}]


async def test_quitting_finishes_the_step(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "q")
    assert live.engine.stopped and not live.engine.killed
    assert isinstance(live.app.screen, Leaving)
    assert "finishing the step" in text(live.app)
    live.write(ev.Ended(6, "interrupted"))
    live.engine.code = 130
    for _ in range(5):
        live.app.lab.tick()
        await pilot.pause()
    assert live.app.return_code == 0
    assert not live.app.is_running or live.app._exit


async def test_quitting_twice_ends_it_at_once(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await pilot.press("q")
    await pilot.pause()
    await pilot.press("q")
    await pilot.pause()
    assert live.engine.killed


@pytest.mark.parametrize("word", ["event", "dead"])
async def test_failure_is_told_in_words(lab: tuple[Live, Pilot[int]], word: str) -> None:
    live, pilot = lab
    if word == "event":
        live.write(
            ev.Failed(6, "CUDA out of memory", "updating", "Traceback (most recent call last)…")
        )
    live.engine.code = 1 if word == "event" else -9
    for _ in range(4):
        live.app.lab.tick()
        await pilot.pause()
    assert isinstance(live.app.screen, Failure)
    shown = text(live.app)
    assert ("CUDA out of memory" if word == "event" else "signal 9") in shown
    assert "MemoryError" in shown  # the engine's last words
    assert "grpolab run --resume" in shown
    await press(live, pilot, "escape")
    assert isinstance(live.app.screen, LabScreen)
    assert "FAILED" in text(live.app) or "ENGINE ENDED" in text(live.app)
    await press(live, pilot, "p")
    assert "the engine has ended" in text(live.app)


async def test_lanes(live: Live) -> None:
    run = FakeRun(steps=4, switches={}, lanes=("main", "twin"), end=False)
    live.record(run)
    async with live.app.run_test(size=(160, 45)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        assert "● main" in text(live.app)
        await press(live, pilot, "L")
        assert "▲ twin" in text(live.app)
        await press(live, pilot, "a", "enter")
        assert live.engine.sent[0]["lane"] == "twin"


async def test_replay_controls(replay: LabApp) -> None:
    source = replay.context.source
    assert isinstance(source, Playing)
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)

        async def press_keys(*keys: str) -> None:
            for key in keys:
                await pilot.press(key)
            await settle(replay)

        await press_keys("full_stop", "full_stop", "full_stop")
        assert replay.context.state.step == 3
        await press_keys("comma")
        assert replay.context.state.step == 2
        await press_keys("end")
        assert replay.context.state.step == 24 and "END" in text(replay)
        await press_keys("home")
        assert replay.context.state.step == 0
        await press_keys("right_square_bracket", "right_square_bracket", "left_square_bracket")
        assert source.speed == 2.0
        await press_keys("space")
        assert source.playing
        await press_keys("p")
        assert not source.playing
        await press_keys("full_stop", "v", "full_stop", "full_stop")
        assert "VIEW HELD at step 1" in text(replay)
        assert replay.context.state.step == 3
        await press_keys("comma")
        assert replay.context.view.held is not None  # found again after the fold started afresh
        await press_keys("a", "e", "n")
        assert isinstance(replay.screen, LabScreen)
        assert "computes nothing" in text(replay)
        await press_keys("q")
    assert replay.return_code == 0


async def test_own_keys(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('pause = "x"\nevaluate = ","\nolder = "w"\n')
    monkeypatch.setenv("GRPOLAB_KEYS", str(file))
    mine = Live(tmp_path / "other")
    mine.record(FakeRun(steps=2, end=False))
    async with mine.app.run_test(size=(120, 36)) as pilot:
        mine.app._pilot = pilot  # pyright: ignore
        await settle(mine.app)
        assert "x pause" in text(mine.app)
        await press(mine, pilot, "p", "x", "comma")
    assert mine.engine.sent == [{"do": "pause"}, {"do": "evaluate"}]


def test_a_wrong_keys_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('puase = "x"\n')
    assert "did you mean 'pause'" in load_keymap(file)[1]
    file.write_text("pause = 3\n")
    assert "wants a key" in load_keymap(file)[1]
    file.write_text("pause = \n")
    assert str(file) in load_keymap(file)[1]
    assert load_keymap(tmp_path / "none.toml")[1] == ""


def test_one_key_for_two_actions_is_named(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('lens = "a"\n')  # the table's key of another action
    keymap, problem = load_keymap(file)
    assert f"{file}: key 'a' is bound to both 'algorithm' and 'lens' in the lab" in problem
    assert keymap.shown("lens") == "a"  # what the file says applies
    file.write_text('pause = ";"\nevaluate = ";"\n')
    assert "key 'semicolon'" not in load_keymap(file)[1]  # as a person reads it
    assert "key ';' is bound to both 'pause' and 'evaluate' in the lab" in load_keymap(file)[1]
    file.write_text('group_order = "space"\n')
    assert "both 'group_order' and 'group_apart' in the group screen" in load_keymap(file)[1]
    file.write_text('lens = "a"\nalgorithm = "l"\n')  # exchanged: nothing wrong
    assert load_keymap(file)[1] == ""
    file.write_text('lens = "a"\ncurves = "p"\n')
    assert "and 3 more such keys" in load_keymap(file)[1]


async def test_a_key_clash_is_said_when_the_screen_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('lens = "a"\n')
    monkeypatch.setenv("GRPOLAB_KEYS", str(file))
    mine = Live(tmp_path / "other")
    mine.record(FakeRun(steps=2, end=False))
    async with mine.app.run_test(size=(200, 60)) as pilot:
        mine.app._pilot = pilot  # pyright: ignore
        await settle(mine.app)
        assert "key 'a' is bound to both 'algorithm' and 'lens'" in text(mine.app)


@pytest.mark.parametrize("place", ["lab", *SCREENS])
def test_no_key_has_two_meanings(place: str) -> None:

    from grpolab.tui.credit_trace.screen import TraceScreen
    from grpolab.tui.formulas.screen import FormulaScreen
    from grpolab.tui.group.screen import GroupScreen, Reader
    from grpolab.tui.kl_bench.screen import KlBenchScreen
    from grpolab.tui.lens.screen import LensScreen
    from grpolab.tui.search.screen import AnswersScreen
    from grpolab.tui.slow_motion.screen import SlowScreen

    taken: dict[str, str] = {}
    actions = ACTIONS if place == "lab" else SCREENS[place]
    for action in actions:
        for key in action.keys.split(","):
            assert key not in taken, f"{key}: {action.name} and {taken.get(key)}"
            taken[key] = action.name
    from grpolab.tui.chat.screen import ChatScreen
    from grpolab.tui.compare.screen import CompareScreen
    from grpolab.tui.curves.screen import CurvesScreen
    from grpolab.tui.formulas.screen import SourceScreen
    from grpolab.tui.health.screen import HealthScreen
    from grpolab.tui.memory.screen import MemoryScreen
    from grpolab.tui.timeline.screen import TimeScreen
    from grpolab.tui.whatif.screen import WhatIfScreen

    own = (
        LensScreen, FormulaScreen, KlBenchScreen, GroupScreen, AnswersScreen, Reader, SourceScreen,
        WhatIfScreen, CurvesScreen, HealthScreen, MemoryScreen, TimeScreen, ChatScreen,
        SlowScreen, TraceScreen, CompareScreen,
    )  # fmt: skip
    known = {s.key: s for s in own}
    screen = LabScreen if place == "lab" else known[place]
    assert all(hasattr(screen, "action_" + a.call.partition("(")[0]) for a in actions)


def test_keys_are_shown_as_they_are_pressed() -> None:
    assert Keymap().shown("explain") == "?" and BY_NAME["quit"].keys.startswith("q")


async def test_a_click_on_a_metric_tells_its_meaning(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "6", "z")
    pane = live.app.lab.panes["algorithm"]
    y = next(i for i, line in enumerate(pane.plain.split("\n")) if "‖grad‖" in line)
    await pilot.click("#algorithm", offset=(4, y))
    await settle(live.app)
    assert "grad_norm: norm of the gradient before clipping" in text(live.app)
    await pilot.hover("#algorithm", offset=(4, y))
    await pilot.pause()
    assert "norm of the gradient" in str(pane.tooltip)
    await pilot.hover("#algorithm", offset=(60, y))
    await pilot.pause()
    assert pane.tooltip is None


async def test_curves_say_what_they_show(replay: LabApp) -> None:
    async with replay.run_test(size=(200, 60)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        assert isinstance(replay.context.source, Playing)
        replay.context.source.scrub(6)
        await settle(replay)
        told = text(replay)
        assert "every recorded number as a curve" in told
        assert "KL to reference" in told
        pane = replay.lab.panes["kl"]
        y = next(i for i, line in enumerate(pane.plain.split("\n")) if "per-step KL" in line and i)
        await pilot.click("#kl", offset=(4, y))
        await settle(replay)
        assert "kl_old: per-step KL, to the rollout policy" in text(replay)


async def test_the_algorithm_pane_explains_the_selected_token(replay: LabApp) -> None:
    async with replay.run_test(size=(200, 60)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        assert isinstance(replay.context.source, Playing)
        replay.context.source.scrub(12)
        await settle(replay)
        pane = replay.lab.panes["algorithm"]
        assert "for token 1 «<think>»" in pane.plain and "min of" in pane.plain
        assert "∂surrogate/∂log π" in pane.plain and "λ" in pane.plain
        before = pane.plain
        await pilot.press("right", "right")
        await settle(replay)
        assert "for token 3" in pane.plain and pane.plain != before
        await pilot.press("v")
        replay.context.source.scrub(6)  # another algorithm by now; what is held stays
        await settle(replay)
        assert " PPO " in pane.plain and "Proximal" in pane.plain
