"""The chat screen: asking, reading the answers side by side, recorded questions, hostile text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from textual.events import Key
from textual.pilot import Pilot

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.chat.screen import ChatScreen
from grpolab.tui.context import AppContext
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.source import Playing

from .conftest import Live, settle, text
from .fake_run import FakeRun

SIZES = [(80, 24), (120, 36), (200, 60)]


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    return text(app)


def answer(policy: str, said: str, right: bool | None, greedy: bool = True) -> ev.ChatAnswer:
    graded = (
        () if right is None else (1.2 if right else 0.2, right, said, "right" if right else "no")
    )
    return ev.ChatAnswer(policy, f"<answer>{said}</answer>", greedy, 9, True, *graded)


def chatted(step: int, asked: str = "7*8+5", lane: str = "main") -> ev.Chatted:
    answers = [answer("now", "61", True), answer("start", "16", False)]
    return ev.Chatted(
        step, lane, "grpo", asked, f"{asked}=", 1.0, True, f"asked as {asked}=", 0.1, answers
    )


@pytest.mark.parametrize("size", SIZES)
async def test_asked_and_answered(live: Live, size: tuple[int, int]) -> None:
    live.record(FakeRun(steps=4, switches={}, end=False))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "i")
        assert "Ask the policy your own" in told and "greedy + 2 sampled" in told
        told = await press(live.app, pilot, *"7*8+5", "enter")
        command = {"do": "chat", "text": "7*8+5", "lane": "main", "samples": 2, "greedy": True}
        assert live.engine.sent == [command | {"turn": 1}]
        assert "answered after this step" in told
        told = await press(live.app, pilot, "a", "enter")  # before the first is answered
        screen = live.app.screen
        assert isinstance(screen, ChatScreen) and screen.waiting == ["7*8+5", "a"]
        assert [c["text"] for c in live.engine.sent] == ["7*8+5", "a"]
        assert live.engine.sent[1]["turn"] == 2 and re.search(r"\W a +│", told)
        live.write(chatted(4))
        told = await press(live.app, pilot)
        assert screen.waiting == ["a"]
        live.write(ev.Refused(4, live.engine.sent[1], "no such question"))
        told = await press(live.app, pilot)
        assert screen.waiting == [] and "no such question" in told
        for words in ("❯ 7*8+5", " current ", " initial ", "1 of 1 right, reward 1.20",
                      "0 of 1 right", "✓ greedy 1.20", "✗ greedy 0.20, no", "<answer>61</answer>",
                      "asked as 7*8+5="):  # fmt: skip
            assert words in told, told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        await press(live.app, pilot, "up", "up")
        assert screen.field.value == "7*8+5"  # asked before
        await press(live.app, pilot, "down", "down")
        assert screen.field.value == ""
        await press(live.app, pilot, "escape", "plus", "minus", "minus", "minus", "0")
        assert (screen.samples, screen.greedy) == (0, False)
        told = await press(live.app, pilot, "enter", "x", "enter")
        assert "no answer selected" in told and len(live.engine.sent) == 2
        await press(live.app, pilot, "escape", "0", "space")
        assert screen.field.value == live.context.state.lanes["main"].rollouts[4].prompts[0]
        await press(live.app, pilot, "escape", "pageup", "pagedown", "question_mark", "escape")
        await press(live.app, pilot, "escape")
        assert isinstance(live.app.screen, LabScreen) and not live.app.lab.listeners


async def test_what_is_typed_ahead_is_the_next_question(live: Live) -> None:
    live.record(FakeRun(steps=4, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "i")
        for key in "1+2\r3+4\r5":  # a burst: nothing is waited for
            live.app.post_message(Key("enter" if key == "\r" else key, key))
        await press(live.app, pilot)
        screen = live.app.screen
        assert isinstance(screen, ChatScreen) and screen.field.value == "5"
        assert [c["text"] for c in live.engine.sent] == ["1+2", "3+4"]
        screen.samples, screen.greedy = 0, False
        told = await press(live.app, pilot, "enter")
        assert "no answer selected" in told and screen.field.value == "5"
        assert len(live.engine.sent) == 2


async def test_refused_and_gone(live: Live) -> None:
    live.record(FakeRun(steps=4, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "i", "x", "enter")
        live.write(ev.Refused(4, {"do": "chat", "lane": "main"}, "too long\x1b[31m"))
        told = await press(live.app, pilot)
        assert "✗ too long␛[31m" in told
        await press(live.app, pilot, "y", "enter")
        live.write(ev.Ended(4, "interrupted"))
        told = await press(live.app, pilot)
        assert "the engine ended before it could answer" in told


async def test_recorded_questions_are_read_and_none_is_asked(tmp_path, run_dir) -> None:
    events = FakeRun(steps=3, switches={}).events()
    at = next(i for i, (_, e) in enumerate(events) if e.kind == "step" and e.step == 2)  # type: ignore
    ugly = replace(
        chatted(2, "[red]\x1b]0;x\x07 \u202e漢字"), note="[b]", graded=False,
        answers=[answer("now", "\x1b[2J" + "w" * 3000, None), answer("start", "", None)],
    )  # fmt: skip
    events.insert(at + 1, (events[at][0], ugly))
    path = tmp_path / "events.jsonl"
    path.write_text("".join(codec.encode(e, t) + "\n" for t, e in events))
    source = Playing(tmp_path)
    source.load()
    source.end()
    app = LabApp(AppContext(source, tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        told = await press(app, pilot, "i")
        screen = app.screen
        assert isinstance(screen, ChatScreen) and screen.field.disabled
        assert "only the recorded questions" in told
        told = await press(app, pilot, *["pageup"] * 8)
        assert "[red]␛]0;x␇" in told and "\x1b" not in told
        assert {cell_len(row) for row in told.split("\n")} == {80}
        told = await press(app, pilot, "escape", "T")
        assert "?  chat" in told


async def test_each_lane_has_its_own_questions(live: Live) -> None:
    live.record(FakeRun(steps=3, switches={}, lanes=("main", "twin"), end=False))
    live.write(chatted(3, "1+1", "twin"))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "i")
        assert "❯ 1+1" not in told
        told = await press(live.app, pilot, "escape", "L", "i")
        assert "❯ 1+1" in told
        await press(live.app, pilot, "enter", "5", "enter")
        assert live.engine.sent[0]["lane"] == "twin"
