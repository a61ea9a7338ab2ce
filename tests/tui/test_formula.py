"""The formula screen: one algorithm explained, two compared, at three sizes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.algorithms.explain import Branch
from grpolab.tui.app import LabApp
from grpolab.tui.formulas import explain_view
from grpolab.tui.formulas.screen import FormulaScreen
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Playing
from grpolab.tui.widgets.palette import DARK

from .conftest import Live, settle, text

SIZES = [(80, 24), (120, 36), (200, 60)]


@pytest.fixture(params=SIZES)
async def opened(
    replay: LabApp, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[LabApp, Pilot[int]]]:
    """The screen on a replay that stands at its seventh step, under GRPO."""
    async with replay.run_test(size=request.param) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        assert isinstance(replay.context.source, Playing)
        replay.context.source.scrub(7)
        await settle(replay)
        await press(replay, pilot, "right", "f")
        yield replay, pilot


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    assert {cell_len(row) for row in text(app).split("\n")} == {app.size.width}
    return text(app)


def body(app: LabApp) -> str:
    """All of it, also what is scrolled away."""
    assert isinstance(app.screen, FormulaScreen)
    part = app.screen.parts[1]
    return "\n".join(line.plain for line in part.content(part.size.width - 4, 30))


async def test_the_lanes_own(opened: tuple[LabApp, Pilot[int]]) -> None:
    app, pilot = opened
    told = text(app)
    assert "Group relative policy optimization" in told and "●◆ grpo" in told
    whole = body(app)
    for word in ("Â = (r − m) / s", "for token 2", "ratio: probability now", "min of",
                 "∂surrogate/∂log π", "grpo ← ppo", "trl-1.16", "needs",
                 "the reference"):  # fmt: skip
        assert word in whole, whole
    assert "aggregation token-mean" in whole
    numbers = [line for line in whole.split("\n") if line.startswith("  ρ ")]
    await press(app, pilot, "right")
    assert "for token 3" in body(app)
    assert numbers != [line for line in body(app).split("\n") if line.startswith("  ρ ")]


async def test_what_differs(opened: tuple[LabApp, Pilot[int]]) -> None:
    app, pilot = opened
    screen = app.screen
    assert isinstance(screen, FormulaScreen)
    while screen.at != "dapo":
        await pilot.press("down")
    told = await press(app, pilot)
    assert "− GRPO  + DAPO" in told
    whole = body(app)
    assert "− L = −[mean_rows 1/|o| Σ_t {] min(" in whole.replace("\n    ", "")
    assert "+ L = −[mean_tokens] min(" in whole.replace("\n    ", "")
    assert "  Â = (r − m) / s" in whole  # the same in both: no sign
    rows = {line.split()[0]: line for line in whole.split("\n") if line.strip()}
    assert "− 0.04" in rows["beta"] and "+ 0" in rows["beta"]
    assert "− grpo current" in whole and "dapo ← grpo" in whole and "openrlhf" in whole


async def test_another_one_to_compare_with(opened: tuple[LabApp, Pilot[int]]) -> None:
    app, pilot = opened
    screen = app.screen
    assert isinstance(screen, FormulaScreen)
    await press(app, pilot, "up", "space")
    other = screen.at
    assert screen.base == other and "for token" not in body(app)
    await press(app, pilot, "down")
    assert (screen.base, screen.at) == (other, "grpo")
    await press(app, pilot, "f")
    assert (screen.base, screen.at) == ("grpo", "grpo")
    await press(app, pilot, "pagedown", "pageup", "question_mark", "escape", "escape")
    assert isinstance(app.screen, LabScreen)


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
async def test_every_pair_can_be_shown(replay: LabApp, every: int) -> None:
    """Or each algorithm with every fifth other one."""
    async with replay.run_test(size=(80, 24)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await press(replay, pilot, "f")
        screen = replay.screen
        assert isinstance(screen, FormulaScreen)
        part = screen.parts[1]
        from grpolab.tui import algorithm_cards

        for i, base in enumerate(algorithm_cards.cards()):
            for at in list(algorithm_cards.cards())[i % every :: every]:
                screen.base, screen.at = base, at
                for width in (8, 50, 180):
                    lines = part.content(width, 20)
                    assert lines and all(cell_len(x.plain) == x.width for x in lines)
                if base != at:
                    told = [x.plain for x in part.content(50, 20)]
                    assert any(x.startswith(("− ", "+ ")) for x in told)


async def test_mouse_and_a_lane_without_a_step(live: Live) -> None:
    from grpolab.record import events as ev

    from .fake_run import FakeRun

    live.record(FakeRun(steps=2), until=lambda e: isinstance(e, ev.Sampled))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "f")
        assert "values appear with the first finished step" in told
        await pilot.click("#list", offset=(8, 1))
        assert isinstance(live.app.screen, FormulaScreen)
        assert live.app.screen.at == "reinforce"


async def test_no_lane_no_screen(live: Live) -> None:
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        for key in "flk":
            assert "there is no lane yet" in await press(live.app, pilot, key)
            assert isinstance(live.app.screen, LabScreen)


def test_a_rounding_error_is_no_gradient() -> None:
    def told(slope: float, gradient: float | None = None) -> str:
        found = Branch(gain=slope, slope=slope, why="not clipped")
        return "\n".join(x.plain for x in explain_view.branch(DARK, found, 200, gradient))

    assert "· no gradient" in told(4.8e-8) and "∂surrogate/∂log π 0" in told(4.8e-8)
    assert "▲ reinforced" in told(0.5) and "▼ penalized" in told(-0.5)
    assert "from the KL or another term" in told(4.8e-8, 0.1)
