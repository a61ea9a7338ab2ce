"""Learning and KL: what is drawn, when it is drawn again, and that no first frame waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.style import Style

from grpolab.charts import terminal
from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.lab.learning import CurvePane
from grpolab.tui.source import Playing

from .conftest import Live, settle
from .fake_run import FakeRun

ROOT = Path(__file__).parents[2]
BLOCKS = set("▖▗▘▝▀▄▌▐▞▚▛▜▙▟█")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A figure of plotext's a time."""
    terminal._pictures.clear()
    found: list[int] = []
    figure = terminal._figure

    def seen() -> Any:
        found.append(1)
        return figure()

    monkeypatch.setattr(terminal, "_figure", seen)
    return found


async def forward(app: LabApp, steps: int) -> None:
    assert isinstance(app.context.source, Playing)
    app.context.source.scrub(steps)
    app.lab.tick()
    await settle(app)


def pane(app: LabApp, name: str) -> CurvePane:
    found = app.lab.panes[name]
    assert isinstance(found, CurvePane)
    return found


async def test_test_accuracy_is_thick_and_reward_has_its_own_scale(replay: LabApp) -> None:
    async with replay.run_test(size=(160, 45)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await forward(replay, 24)
        plain = pane(replay, "learning").plain
        assert "● test accuracy" in plain and "○ greedy" in plain
        assert "reward" in plain and "(scale 0…" in plain
        assert BLOCKS & set(plain)
        assert any(0x2800 < ord(c) < 0x2900 for c in plain)
        assert "%" in plain.split("┤")[0][-6:]  # shares, in percent
        assert all(told in plain for told in ("GRPO", " PPO ", " REINFORCE ", "┊"))
        kl = pane(replay, "kl").plain
        assert "KL to reference" in kl and "per-step KL" in kl


async def test_it_is_drawn_again_only_where_something_changed(
    replay: LabApp, drawn: list[int]
) -> None:
    async with replay.run_test(size=(160, 45)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await forward(replay, 5)
        assert drawn
        for _ in range(3):
            drawn.clear()
            replay.lab.mark({"select", "step"})
            replay.lab.repaint(at_once=True)
            await pilot.pause()
            assert drawn == []
        await forward(replay, 1)
        assert len(drawn) == 3  # Learning, and the two of KL
        drawn.clear()
        await pilot.press("t")
        await settle(replay)
        assert len(drawn) == 3  # another theme
        drawn.clear()
        await forward(replay, 1)
        assert len(drawn) == 3
        drawn.clear()
        await forward(replay, -1)
        assert drawn == []  # that was drawn before
        drawn.clear()
        await pilot.resize_terminal(150, 45)
        await settle(replay)
        assert drawn  # another size


async def test_a_hidden_chart_is_not_drawn(replay: LabApp, drawn: list[int]) -> None:
    async with replay.run_test(size=(80, 24)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await pilot.press("6")
        await settle(replay)
        drawn.clear()
        await forward(replay, 9)
        assert drawn == []
        await pilot.press("3")
        await settle(replay)
        assert drawn


def test_at_most_twice_a_second() -> None:
    assert CurvePane.period >= 0.5 and CurvePane.calm >= 0.5


async def test_a_click_on_a_curve_puts_the_cursor_there(replay: LabApp) -> None:
    async with replay.run_test(size=(160, 45)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await forward(replay, 24)
        learning = pane(replay, "learning")
        rows = learning.plain.split("\n")
        label = next(i for i, row in enumerate(rows) if " PPO " in row)
        column = rows[label].index("┊")
        await pilot.click("#learning", offset=(column, label + 2))
        await settle(replay)
        assert replay.context.view.cursor == 8  # the step of the switch
        assert "▽8" in learning.plain


async def test_without_colours_curves_differ_by_their_shapes(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    from grpolab.tui.context import AppContext

    source = Playing(run_dir)
    source.load()
    source.end()
    app = LabApp(AppContext(source, run_dir))
    async with app.run_test(size=(160, 45)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        learning = pane(app, "learning")
        assert {"●", "○"} <= set(learning.plain) and BLOCKS & set(learning.plain)
        for strip in learning._strips:
            for _, style, _ in strip:
                assert grey(style), style


def grey(style: Style | None) -> bool:
    if style is None or style.color is None or style.color.triplet is None:
        return True
    return len(set(style.color.triplet)) == 1


async def test_several_lanes_have_their_glyphs_and_the_chosen_one_is_thick(live: Live) -> None:
    live.record(FakeRun(steps=6, switches={}, evaluate_every=2), lambda e: e.kind == "end")
    live.write(ev.LaneOpened("other", "ppo", "paper", {}, 0))
    for step, accuracy in ((0, 0.1), (2, 0.15), (4, 0.1), (6, 0.12)):
        live.write(ev.Evaluated(step, "other", accuracy, accuracy, accuracy, 64, 1.0))
    app = live.app
    async with app.run_test(size=(160, 45)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        learning = pane(app, "learning")
        found = {s.name: s for s in learning._series(app.context.state.lanes["other"])}  # pyright: ignore
        assert found["other"].look == "bold" and found["other"].glyph == "▲"
        assert {s.look for name, s in found.items() if name not in ("other", "")} == {"line"}
        assert "▲ other 12%" in learning.plain


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_nothing_leaves_the_pane(replay: LabApp, size: tuple[int, int]) -> None:
    async with replay.run_test(size=size) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await forward(replay, 17)
        for key in ("3", "4"):
            await pilot.press(key)
            await settle(replay)
            shown = pane(replay, {"3": "learning", "4": "kl"}[key])
            rows = shown.plain.split("\n")
            assert {len(row) for row in rows} == {shown.size.width}
            assert "more ·" not in rows[-1] and "too small" not in shown.plain


def test_the_first_frame_imports_no_plotext(run_dir: Path) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.source import Following, Playing

async def main():
    for source in (Playing(Path({str(run_dir)!r})), Following(Path("nothing"), "live")):
        app = LabApp(AppContext(source, Path({str(run_dir)!r})))
        seen = []
        drawn = app._display
        def display(screen, renderable):
            drawn(screen, renderable)
            seen.append("plotext" in sys.modules)
        app._display = display
        async with app.run_test(size=(160, 45)) as pilot:
            pass
        print(seen[0])
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
