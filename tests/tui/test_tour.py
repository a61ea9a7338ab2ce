"""The guided tour, the words, and who is offered what."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.analysis.metric_help import METRICS
from grpolab.record.events import OWNERS, PhaseChanged
from grpolab.tui import preferences
from grpolab.tui.app import LabApp
from grpolab.tui.glossary.screen import Glossary
from grpolab.tui.glossary.words import WORDS
from grpolab.tui.keymap import BY_NAME
from grpolab.tui.lab.dialogs.help import Help
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.memory.model import NAMES
from grpolab.tui.source import Playing
from grpolab.tui.tour.model import STOPS, stops
from grpolab.tui.tour.screen import Tour, TourOffer

from .conftest import Live, settle, text
from .fake_run import FakeRun

SIZES = [(80, 24), (120, 36), (200, 60)]


async def at(app: LabApp, pilot: Pilot[int], steps: int = 12) -> None:
    app._pilot = pilot  # pyright: ignore
    await settle(app)
    assert isinstance(app.context.source, Playing)
    app.context.source.scrub(steps)
    await settle(app)


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    return text(app)


def test_every_stop_can_be_followed() -> None:
    for stop in STOPS:
        assert not stop.tries or stop.tries in BY_NAME
        assert all(word in WORDS for word in stop.words) and len(stop.title) <= 36
        assert stop.text.count(".") + stop.text.count("?") <= 4
    for mode in ("live", "watch", "replay"):
        for stop in stops(mode):
            assert not stop.tries or mode in BY_NAME[stop.tries].modes


@pytest.mark.parametrize("size", SIZES)
async def test_through_all_of_it(
    replay: LabApp, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def compute(*place: object) -> bytes:
        raise ValueError("not in this test")

    monkeypatch.setattr("grpolab.tui.lens.model.compute", compute)
    async with replay.run_test(size=size) as pilot:
        await at(replay, pilot)
        replay.context.current = "kl"
        await press(replay, pilot, "N")
        for i, stop in enumerate(stops("replay")):
            tour = replay.screen
            assert isinstance(tour, Tour) and tour.at == i
            told = text(replay)
            assert {cell_len(row) for row in told.split("\n")} == {size[0]}
            assert stop.title in told and f"{i + 1}/{len(tour.stops)}" in told
            if stop.pane:
                box = replay.lab.boxes()[stop.pane]
                card = tour.query_one("TourCard").region
                place = (box.x, box.y + 2 + int(replay.lab.tabs.display), box.width, box.height)
                assert not card.overlaps(type(card)(*place)), stop.title
                assert f"{stop.title.partition(':')[0][:5]}" in told and "┏━ " in told
            if stop.tries:
                key = BY_NAME[stop.tries].keys.split(",")[0]
                assert "try" in told
                await pilot.press(key)
                await pilot.pause()
                while replay.screen is not tour:
                    await pilot.press("escape")
                    await pilot.pause()
                assert "tried" in text(replay)
            await pilot.press("enter")
            await pilot.pause()
        assert isinstance(replay.screen, LabScreen)
        assert (
            replay.context.lit == "" and replay.context.current == "kl" and not replay.context.zoom
        )
        assert replay.lab.reserved == 0


async def test_it_can_be_left_and_gone_back_in(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await at(replay, pilot)
        await press(replay, pilot, "N", "enter", "enter", "backspace")
        assert isinstance(replay.screen, Tour) and replay.screen.at == 1
        await pilot.resize_terminal(80, 24)
        await press(replay, pilot, "a")
        assert "not available in this kind of run" in replay.context.notice[0]
        await press(replay, pilot, "escape")
        assert isinstance(replay.screen, LabScreen)
        assert "starts the tour again" in replay.context.notice[0]


async def test_by_mouse(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        await at(replay, pilot)
        await press(replay, pilot, "N")
        for word, stop in (("next", 1), ("next", 2), ("back", 1)):
            await _click(replay, pilot, word)
            assert isinstance(replay.screen, Tour) and replay.screen.at == stop
        answer = replay.context.view.answer
        await _click(replay, pilot, " ↓ ")
        assert replay.context.view.answer == answer + 1
        await _click(replay, pilot, "leave")
        assert isinstance(replay.screen, LabScreen)


async def _click(app: LabApp, pilot: Pilot[int], word: str) -> None:
    rows = app.screen.query_one("TourCard").plain.split("\n")  # pyright: ignore
    y = max(i for i, row in enumerate(rows) if word in row)
    await pilot.click("TourCard", offset=(rows[y].index(word) + 1, y))
    await settle(app)


async def test_it_waits_for_the_panes(live: Live) -> None:
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        assert "Welcome" in await press(live.app, pilot, "N")
        await press(live.app, pilot, "enter")
        live.record(FakeRun(steps=3, end=False))
        await settle(live.app)
        await pilot.pause(0.6)
        told = await press(live.app, pilot)
        assert "Rollouts: what the model writes" in told and "┏━ 1 Rollouts" in told


async def test_offered_once(live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRPOLAB_TOUR")
    first = Live(tmp_path / "1")
    async with first.app.run_test(size=(80, 24)) as pilot:
        first.app._pilot = pilot  # pyright: ignore
        await settle(first.app)
        assert isinstance(first.app.screen, TourOffer)
        await press(first.app, pilot, "enter")
        assert isinstance(first.app.screen, Tour)
    assert preferences.recall()["tour"] is True
    second = Live(tmp_path / "2")
    async with second.app.run_test(size=(80, 24)) as pilot:
        second.app._pilot = pilot  # pyright: ignore
        await settle(second.app)
        assert isinstance(second.app.screen, LabScreen)


async def test_the_offer_is_below_the_start_and_in_no_ones_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The bar of the first compilation stands above it, and a key of the lab goes to the lab."""
    monkeypatch.delenv("GRPOLAB_TOUR")
    live = Live(tmp_path / "1")
    run = FakeRun(steps=2, end=False)
    live.record(run, until=lambda event: event.kind == "run")
    live.write(PhaseChanged("loading", 0, detail="compiling CPU kernels (first run only)"))
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        assert isinstance(live.app.screen, TourOffer)
        start, state = live.app.lab.start, live.context.state
        while state.phase is None or not state.phase.detail:
            await settle(live.app)
        start._since = time.monotonic()
        assert start._compiling() is None  # kernels that are only loaded take no time
        start._since -= 6
        start.stale = True
        await settle(live.app)
        await live.app._pilot.pause(0.1)  # pyright: ignore
        told = text(live.app).split("\n")
        assert "━━━╌" in text(live.app), text(live.app)
        (bar,) = (i for i, row in enumerate(told) if " s of about 20 s" in row and "━━━" in row)
        (card,) = (i for i, row in enumerate(told) if "Your first time here?" in row)
        assert bar < card, text(live.app)
        assert "○ first rollout" in text(live.app), text(live.app)
        await press(live.app, pilot, "p")
        assert isinstance(live.app.screen, LabScreen) and live.engine.sent == [{"do": "pause"}]
        assert live.app.lab.reserved == 0


async def test_the_offer_can_be_declined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRPOLAB_TOUR")
    live = Live(tmp_path / "1")
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "escape")
        assert isinstance(live.app.screen, LabScreen)


async def test_words_are_found_by_what_is_typed(replay: LabApp) -> None:
    async with replay.run_test(size=(80, 24)) as pilot:
        await at(replay, pilot)
        told = await press(replay, pilot, "question_mark")
        assert isinstance(replay.screen, Help) and "H glossary" in told
        told = await press(replay, pilot, "H", *"td error")
        assert isinstance(replay.screen, Glossary)
        assert "TD error" in told and "GAE" in told and "policy" not in told
        await press(replay, pilot, "enter", "escape", "escape", "N")
        assert isinstance(replay.screen, Tour)  # help leads on to it


def test_the_words_of_the_screen_are_there() -> None:
    for word in ("scenario", "lane", "group", "rollout", "step", "update", "channel", "lens", "run",
                 "replay", "critic", "advantage", "reference"):  # fmt: skip
        assert word in WORDS
    for text_ in (*WORDS.values(), *METRICS.values()):
        assert len(text_) < 220
    told = {w.lower() for w in WORDS} | {"weight copy", "adapters", "gradients"}
    assert {NAMES.get(o, o).lower() for o in OWNERS} - told <= {"other", "optimizer"}
