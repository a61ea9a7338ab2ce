"""The KL bench: asking for it, reading it, the measurements before it."""

from __future__ import annotations

import math

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.headless.progress import describe
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.kl_bench.screen import KlBenchScreen
from grpolab.tui.kl_bench.view import verdict
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Playing

from .conftest import Live, settle, text
from .fake_lens import benched
from .fake_run import FakeRun

SIZES = [(80, 24), (120, 36), (200, 60)]


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    return text(app)


@pytest.mark.parametrize("size", SIZES)
async def test_asked_and_answered(live: Live, size: tuple[int, int]) -> None:
    live.record(FakeRun(steps=4, switches={}, end=False))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "k")
        assert live.engine.sent == [{"do": "kl-bench", "lane": "main"}]
        assert "the engine measures after this step" in told
        await press(live.app, pilot, "k")
        assert len(live.engine.sent) == 1  # it is asked once until it answers
        live.write(benched(4))
        told = await press(live.app, pilot)
        for word in ("exact 0.0123", "k1", "k2", "k3", "unbiased", "in the loss", "in the reward",
                     "none ∅", "exact ✓", "≈ +2e−4 ± 0.0010"):  # fmt: skip
            assert word in told, told
        more = await press(live.app, pilot, "pagedown")
        flat = " ".join((told + more).replace("│", " ").split())
        assert "gradient is 0, so it has no effect" in flat
        assert "measures after" not in told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}

        await press(live.app, pilot, "k")
        assert len(live.engine.sent) == 2
        live.write(benched(4, exact=0.5))
        told = await press(live.app, pilot)
        assert "exact 0.5 nats" in told
        told = await press(live.app, pilot, "down")
        assert "exact 0.0123 nats" in told
        await press(live.app, pilot, "question_mark", "escape", "escape")
        assert isinstance(live.app.screen, LabScreen)
        assert not live.app.lab.listeners
        await press(live.app, pilot, "k")
        assert len(live.engine.sent) == 2  # this step was measured


async def test_refused_and_gone(live: Live) -> None:
    live.record(FakeRun(steps=4, switches={}, end=False))
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "k")
        live.write(ev.Refused(4, {"do": "kl-bench", "lane": "main"}, "no memory\x1b[31m"))
        told = await press(live.app, pilot)
        assert "✗ no memory␛[31m" in told
        await press(live.app, pilot, "k")
        live.write(ev.Ended(4, "interrupted"))
        live.engine.code = 130
        for _ in range(3):
            live.app.lab._clock = 0.0
            told = await press(live.app, pilot)
        assert "ended before it could measure" in told
        assert "the engine has ended" in await press(live.app, pilot, "k")


async def test_a_replay_shows_what_was_recorded(tmp_path, replay: LabApp) -> None:
    async with replay.run_test(size=(80, 24)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        told = await press(replay, pilot, "k")
        assert "This run has no measurement" in told and "do: kl-bench}" in told
        assert "measure  " not in told.split("\n")[-1].replace("measurement", "")
    events = FakeRun(steps=4, switches={}).events()
    for step, exact in ((2, 0.1), (3, 0.2)):
        done = [i for i, (_, e) in enumerate(events) if isinstance(e, ev.StepDone)]
        events.insert(done[step - 1] + 1, (events[done[step - 1]][0], benched(step, exact)))
    lines = "".join(codec.encode(e, t) + "\n" for t, e in events)
    (tmp_path / "events.jsonl").write_text(lines, encoding="utf-8")
    source = Playing(tmp_path)
    source.load()
    app = LabApp(AppContext(source, tmp_path))
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        source.end()
        await settle(app)
        told = await press(app, pilot, "k")
        assert "exact 0.2 nats" in told and "step 3" in told
        screen = app.screen
        assert isinstance(screen, KlBenchScreen)
        rows = screen.parts[1].plain.split("\n")
        await pilot.click("#history", offset=(8, next(i for i, r in enumerate(rows) if "0.1" in r)))
        assert screen.shown is not None and screen.shown.step == 2


async def test_a_policy_that_has_not_moved(live: Live) -> None:
    live.record(FakeRun(steps=2, switches={}, end=False))
    nothing = ev.KlEstimate("k1", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    odd = ev.KlEstimate("\x1b[31m[red]k", math.nan, math.inf, math.nan, math.nan, *[math.nan] * 4)
    live.write(ev.KlBenched(2, "main", 0.0, 0.0, 10, [nothing, odd]))
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "k")
        assert "Train first" in told and "\x1b" not in told and "NaN" in told
        assert not live.engine.sent


def test_words_for_gradients() -> None:
    assert verdict(1.0, 1e-6)[0] == "exact ✓"
    assert verdict(0.03, 1.0)[0] == "none ∅"
    assert verdict(-0.91, 1.54) == ("", "warn")
    assert verdict(0.999, 0.05) == ("", "text")
    assert verdict(math.nan, math.nan)[0] == ""


def test_the_state_keeps_what_was_asked_for() -> None:
    state = LabState()
    for _, event in FakeRun(steps=4, switches={2: "ppo"}, end=False).events():
        state.apply(event)
    for event in (benched(2), benched(4), ev.LensMade(3, "main", "lens/3", True, {"grpo": 0.0}),
                  ev.SettingChanged(4, "main", "beta", 0.01, 0.5, "command"),
                  benched(4, lane="nobody"), ev.LensMade(3, "nobody", "x", True, {})):  # fmt: skip
        state.apply(event)
    lane = state.lanes["main"]
    assert [b.step for b in lane.benches] == [2, 4] and list(lane.lenses) == [3]
    assert [lane.in_force(s)[0] for s in (0, 1, 2, 3, 9)] == ["grpo"] * 3 + ["ppo"] * 2
    assert lane.in_force(4)[2]["beta"] == 0.01 and lane.in_force(5)[2]["beta"] == 0.5
    state.apply(ev.Resumed(2))
    assert [b.step for b in lane.benches] == [2] and not lane.lenses
    assert lane.in_force(9)[0] == "ppo"
    state.apply(ev.Resumed(1))
    assert lane.in_force(9)[0] == "grpo" and not lane.benches


def test_plain_progress_has_a_line_for_each() -> None:
    state = LabState()
    assert describe(benched(4), state) == (
        "step 4  KL bench: exact 0.0123 per token; k1 0.0125, k2 0.0173, k3 0.012, unbiased 0.012"
    )
    made = ev.LensMade(3, "main", "lens/3-main.json", True, {"grpo": 0.0, "ppo": 1.0})
    assert describe(made, state) == (
        "step 3  lens: 2 algorithms, also on the parameters, in lens/3-main.json"
    )
