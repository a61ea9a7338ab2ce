"""What the screen costs: its share of a core, what it sends, and that a key waits for neither."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import Compositor
from textual.app import App
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.lab import screen as lab_screen
from grpolab.tui.widgets import repaint
from grpolab.tui.widgets.repaint import OWED, SAVED, SHARE, RepaintBudget

from .conftest import Live, settle, text
from .fake_run import FakeRun


class Clock:
    def __init__(self) -> None:
        self.now = self.spent = 0.0

    def repaint_budget(self) -> RepaintBudget:
        return RepaintBudget(lambda: self.now, lambda: self.spent)


def test_it_spends_its_share_and_no_more() -> None:
    clock = Clock()
    repaint_budget, painted = clock.repaint_budget(), 0
    for _ in range(4000):  # a thousand seconds of ticks, each painting 15 ms if it may
        clock.now += 0.25
        clock.spent += 0.001
        if repaint_budget.left():
            clock.spent += 0.015
            painted += 1
    assert painted > 500
    assert clock.spent == pytest.approx(SHARE * clock.now, rel=0.02)


def test_neither_savings_nor_debts_last() -> None:
    clock = Clock()
    repaint_budget = clock.repaint_budget()
    clock.now += 1000.0
    assert repaint_budget.left()
    clock.spent += SAVED + OWED + 5.0  # one enormous repaint
    assert not repaint_budget.left()
    clock.now += 1.01 * OWED / SHARE
    assert repaint_budget.left()
    clock.spent += 5.0
    repaint_budget.reset()  # a key asked for that
    clock.now += 0.01
    assert repaint_budget.left()


def cells(update: Any, shown: list[list[str]]) -> int:
    """What a terminal makes of it; how many cells were written."""
    written, x, y = 0, 0, 0
    pieces = re.split(r"\x1b\[([0-9;]*[A-Za-z])", update.render_segments(Console()))
    for i, piece in enumerate(pieces):
        if i % 2:
            if piece.endswith("H"):
                y, x = (int(n) - 1 for n in piece[:-1].split(";"))
        else:
            for char in piece.replace("\n", ""):
                shown[y][x] = char
                x, written = x + 1, written + 1
    return written


async def test_changed_cells_alone_are_sent_and_make_the_same_screen(
    replay: LabApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[repaint.Cells] = []
    async with replay.run_test(size=(200, 60)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await pilot.press(".", ".", ".")
        await settle(replay)
        before = text(replay)
        shown = [list(row) for row in before.split("\n")]
        monkeypatch.setattr(replay, "_display", lambda screen, update: sent.append(update))
        refreshed: list[Widget] = []
        monkeypatch.setattr(Widget, "refresh", lambda self, *a, **k: refreshed.append(self))
        lab, written = replay.lab, []
        for key in (".", "]", "right", ",", "g"):
            await pilot.press(key)
            lab.repaint(at_once=True)
            updates = [u for u in sent if isinstance(u, repaint.Cells)]
            sent.clear()
            written.append(sum(cells(u, shown) for u in updates))
            assert "\n".join("".join(row) for row in shown) == text(replay), key
        assert text(replay) != before
        assert all(0 < n < 200 * 60 / 2 for n in written), written
        assert not [w for w in refreshed if w in lab.canvases]  # Textual had nothing to do


async def test_under_a_dialog_textual_composes(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await pilot.press("question_mark")
        assert repaint._place(replay.lab, replay.lab.canvases[0]) is not None
        assert not repaint._clear(replay.lab)  # its cells may be the dialog's
        assert repaint._clear(replay.screen)


PRIVATE = (
    (App, "_display"), (App, "_batch_count"), (Screen, "_layout_required"),
    (Screen, "_compositor"), (Compositor, "visible_widgets"),
)  # fmt: skip


@pytest.mark.parametrize(("owner", "name"), PRIVATE, ids=lambda x: x if isinstance(x, str) else "")
async def test_without_a_private_part_of_textual_the_screen_is_the_same(
    replay: LabApp, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """Textual itself keeps the attribute; to `repaint` it is missing."""
    monkeypatch.setattr(repaint, "supported", True)
    monkeypatch.setattr(repaint, "strict", False)
    asked: list[str] = []
    found: Any = owner.__getattribute__

    def hidden(self: object, attribute: str) -> object:
        caller = sys._getframe(1).f_globals["__name__"]
        if attribute == name and caller == repaint.__name__:
            asked.append(attribute)
            raise AttributeError(attribute)
        return found(self, attribute)

    sent: list[Any] = []
    async with replay.run_test(size=(200, 60)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await pilot.press(".", ".", ".")
        await settle(replay)
        shown = [list(row) for row in text(replay).split("\n")]
        monkeypatch.setattr(replay, "_display", lambda screen, update: sent.append(update))
        monkeypatch.setattr(owner, "__getattribute__", hidden, raising=False)
        for key in (".", "right", ",", "g"):
            await pilot.press(key)
            replay.lab.repaint(at_once=True)
            await pilot.pause()
        assert asked == [name] and not repaint.supported  # tried once, then never again
        assert sent and not [u for u in sent if isinstance(u, repaint.Cells)]
        for update in sent:
            if update is not None:
                cells(update, shown)
        assert "\n".join("".join(row) for row in shown) == text(replay)


async def test_cells_that_cannot_be_rendered_turn_partial_repaints_off(
    replay: LabApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repaint, "supported", True)
    monkeypatch.setattr(repaint, "strict", False)
    warned: list[str] = []
    rendered: list[object] = []

    def broken(self: object, *_: object) -> str:
        rendered.append(self)
        raise ValueError("a style it does not know")

    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        log = type(replay.lab.log)
        monkeypatch.setattr(log, "warning", property(lambda self: warned.append))
        with monkeypatch.context() as patch:
            patch.setattr(repaint, "Strip", type("Broken", (Strip,), {"render": broken}))
            for key in (".", "right"):
                await pilot.press(key)
                replay.lab.repaint(at_once=True)
                await pilot.pause()
        assert len(rendered) == 1 and not repaint.supported  # tried once, then never again
        assert warned == ["partial repaints are off: ValueError('a style it does not know')"]
        assert replay.is_running and replay._exception is None
        monkeypatch.setattr(repaint, "strict", True)
        monkeypatch.setattr(repaint, "supported", True)
        monkeypatch.setattr(repaint, "_write", broken)
        with pytest.raises(ValueError, match="a style"):  # our own errors are not hidden from tests
            repaint.show(replay.lab, [])


def test_without_the_private_class_the_module_still_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    import textual._compositor

    monkeypatch.delattr(textual._compositor, "CompositorUpdate")
    spec = importlib.util.spec_from_file_location("other_repaint", repaint.__file__)
    assert spec is not None and spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    assert not other.supported and repaint.supported


def test_what_differs_of_a_row() -> None:
    plain, bold = Style(), Style(bold=True)

    def row(*parts: tuple[str, Style]) -> Strip:
        return Strip([Segment(*part) for part in parts])

    before = row(("step ", plain), ("9", bold), (" of 日本", plain), (" |", bold))
    after = row(("step ", plain), ("8", bold), (" of 日本", plain), (" |", bold))
    assert repaint.differing(before, after) == (5, [Segment("8", bold)])
    wide = row(("日本", plain), ("a", bold))
    assert repaint.differing(wide, row(("日本", plain), ("b", bold))) == (4, [Segment("b", bold)])
    assert repaint.differing(before, before)[1] == []


async def test_rows_that_stay_are_not_made_again(replay: LabApp) -> None:
    async with replay.run_test(size=(200, 60)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        await pilot.press(".", ".")
        await settle(replay)
        for pane in replay.lab.panes.values():
            assert pane.rebuilt() == [], pane.id
        tokens = replay.lab.panes["tokens"]
        await settle(replay)
        replay.context.view.token = 3
        changed = tokens.rebuilt()
        assert changed and len(changed) < tokens.size.height


def training(live: Live) -> None:
    live.record(FakeRun(steps=6, switches={}), lambda e: isinstance(e, ev.StepDone) and e.step == 2)


async def test_beside_a_run_it_waits_for_its_share_but_a_key_does_not(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(live)
    app = live.app
    async with app.run_test(size=(200, 60)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        lab, pane = app.lab, app.lab.panes["rollouts"]
        for ticks in lab._ticks.values():
            ticks.pause()
        monkeypatch.setattr(lab, "_hurry", lambda interactive: None)
        monkeypatch.setattr(lab.repaint_budget, "left", lambda: False)
        monkeypatch.setattr(lab_screen, "LATEST", 1e9)
        pane.painted -= 100.0

        def stale() -> bool:
            lab.mark({"rollout"})
            lab.tick()
            return pane.stale

        assert stale()  # nothing is left of its share
        monkeypatch.setattr(lab_screen, "LATEST", 0.0)
        assert not stale()  # but not for ever
        monkeypatch.setattr(lab_screen, "LATEST", 1e9)
        pane.painted -= 100.0
        assert stale()
        await pilot.press("g")
        assert not pane.stale  # at once
        pane.painted -= 100.0
        assert lab.interactive and not stale()  # and so is what comes in the next moment
        app.context.touched -= 100.0
        pane.painted -= 100.0
        assert stale()
        live.write(ev.Paused(2))
        lab.tick()
        assert not pane.stale  # nobody is held up


async def test_it_looks_at_the_run_less_often_while_nobody_is_at_the_keys(live: Live) -> None:
    training(live)
    app = live.app
    async with app.run_test(size=(80, 24)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        lab = app.lab

        def running() -> list[float]:
            return [pause for pause, ticks in lab._ticks.items() if ticks._active.is_set()]

        app.context.touched -= 100.0
        lab.tick()
        assert running() == [lab_screen.IDLE]
        await pilot.press("g")
        assert running() == [lab_screen.POLL]
