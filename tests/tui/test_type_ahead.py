"""Keys typed ahead reach the screen that they were meant for, however long it takes to open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from textual import events
from textual.app import App
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.screen import Screen

from grpolab.tui import escape_key, type_ahead
from grpolab.tui.escape_key import ESCAPE, TwoKeysParser
from grpolab.tui.lab.dialogs.help import Help
from grpolab.tui.lab.dialogs.picker import Picker

from .conftest import Live, settle
from .fake_run import FakeRun

SLOW = 0.15
"""Seconds by which a screen comes too late for keys that do not wait."""


@pytest.fixture
async def lab(live: Live) -> AsyncIterator[tuple[Live, Pilot[int]]]:
    live.record(FakeRun(steps=3, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        yield live, pilot


def burst(app: App[int], keys: str) -> None:
    """All keys at once, as a terminal gives what was typed while the program was busy."""
    named = {"⏎": ("enter", "\r"), "⎋": ("escape", "\x1b")}
    for char in keys:
        key = named.get(char) or (_character_to_key(char), char)
        app.post_message(events.Key(*key))


async def emptied(live: Live) -> None:
    for _ in range(400):
        await asyncio.sleep(0.01)
        if not live.app.type_ahead.waiting and live.app.type_ahead._settling is None:
            return
    raise AssertionError(f"keys still wait: {live.app.type_ahead.waiting}")


async def delivered(live: Live) -> None:
    await emptied(live)
    await settle(live.app)


@pytest.fixture(params=["at once", "late"])
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Screens as they are, and screens that mount long after the keys have come."""
    if request.param == "late":
        compose: Callable[[Screen[object]], Awaitable[None]] = Screen._compose

        async def late(self: Screen[object]) -> None:
            await asyncio.sleep(SLOW)
            await compose(self)

        monkeypatch.setattr(Screen, "_compose", late)


@pytest.mark.usefixtures("opening")
async def test_a_word_typed_ahead_switches_the_algorithm(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    burst(live.app, "appo⏎")
    await delivered(live)
    assert live.engine.sent == [{"do": "switch", "algorithm": {"name": "ppo"}}]
    assert live.app.screen is live.app.lab and live.context.engine is live.engine


@pytest.mark.usefixtures("opening")
async def test_a_setting_and_its_value(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    burst(live.app, "=beta⏎0.5⏎⎋⎋⎋p")
    await delivered(live)
    assert live.engine.sent == [{"do": "set", "key": "beta", "value": 0.5}, {"do": "pause"}]
    assert live.app.screen is live.app.lab


@pytest.mark.usefixtures("opening")
async def test_several_screens_in_one_burst(lab: tuple[Live, Pilot[int]]) -> None:
    """A dialog that leads to another, a screen over it, and back to the lab."""
    live, _ = lab
    burst(live.app, "Fppo⏎x⏎j2⏎,")
    await delivered(live)
    assert [(c["do"], c["name"]) for c in live.engine.sent] == [("fork", "x")]
    assert live.app.screen is live.app.lab
    assert live.context.view.held is not None and live.context.view.held.step == 1


@pytest.fixture
def stuck_help(
    lab: tuple[Live, Pilot[int]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.Event]:
    """The help never mounts, until this is set."""
    released = asyncio.Event()

    async def never(self: Screen[object]) -> None:
        await released.wait()

    monkeypatch.setattr(Help, "_compose", never)
    yield released
    released.set()  # the application waits for it at its end


async def test_a_screen_that_never_mounts_gives_the_keys_back(
    lab: tuple[Live, Pilot[int]], monkeypatch: pytest.MonkeyPatch, stuck_help: asyncio.Event
) -> None:
    live, _ = lab
    monkeypatch.setattr(type_ahead, "LIMIT", 0.3)
    burst(live.app, "?")
    await asyncio.sleep(0.05)
    burst(live.app, "tt")
    await asyncio.sleep(0.05)
    assert len(live.app.type_ahead.waiting) == 2
    await emptied(live)
    assert not stuck_help.is_set()
    stuck_help.set()
    await delivered(live)


async def test_control_c_waits_for_nothing(
    lab: tuple[Live, Pilot[int]], stuck_help: asyncio.Event
) -> None:
    live, _ = lab
    burst(live.app, "?ppp")
    await asyncio.sleep(0.1)
    assert live.app.screen is not live.app.lab and len(live.app.type_ahead.waiting) == 3
    live.app.post_message(events.Key("ctrl+c", "\x03"))
    await asyncio.sleep(0.1)
    assert live.app.screen is live.app.lab and not live.app.type_ahead.waiting
    stuck_help.set()
    await delivered(live)
    assert live.engine.sent == []


async def test_what_was_typed_for_a_screen_that_does_not_open_is_dropped(live: Live) -> None:
    """There is no lane yet, so there are no settings: `b` is no bookmark then."""
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        burst(live.app, "=beta")
        await delivered(live)
        assert live.app.screen is live.app.lab
        assert "there is no lane yet" in live.context.notice[0]
        burst(live.app, "t")
        await delivered(live)
        assert not live.context.palette.dark


@pytest.mark.slow
async def test_the_training_is_steered_from_every_screen(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    done = [{"do": "pause"}, {"do": "step"}, {"do": "evaluate"}]
    for opens in ("l", "f", "k", "u", "h", "M", "V", "m", "T", "w", "o", "fo", "i⎋", "/⏎", "?"):
        live.engine.sent.clear()
        live.context.pausing = False
        burst(live.app, opens)
        await delivered(live)
        front, palette = live.app.screen, live.context.palette
        assert front is not live.app.lab, opens
        burst(live.app, "pnet")
        await delivered(live)
        sent = [c for c in live.engine.sent if c["do"] in ("pause", "step", "evaluate")]
        assert sent == done, (opens, live.engine.sent)
        assert live.app.screen is front and live.context.palette is not palette, opens
        burst(live.app, "a")
        await delivered(live)
        assert isinstance(live.app.screen, Picker), opens
        burst(live.app, "⎋")
        await delivered(live)
        while live.app.screen is not live.app.lab:
            burst(live.app, "q")
            await delivered(live)
    assert live.context.leaving is None


async def test_a_question_is_answered_first(lab: tuple[Live, Pilot[int]]) -> None:
    from grpolab.tui.lab.dialogs.failure import Rewinding

    live, _ = lab
    question = Rewinding(live.context, 1)
    await live.app.push_screen(question)
    burst(live.app, "nape")
    await delivered(live)
    assert live.app.screen is question and live.engine.sent == []
    assert "first answer this: ↵ rewind" in live.context.notice[0]


@pytest.mark.parametrize("key", ["p", "A", "/", ":", "=", "5", "?", " ", "é", "f"])
def test_escape_and_a_key_in_one_read_are_two_keys(key: str) -> None:
    from textual._xterm_parser import XTermParser

    def keys(parser: XTermParser, text: str) -> list[tuple[str, str | None]]:
        told = [*parser.feed(text), *parser.feed("x")]
        return [(e.key, e.character) for e in told if isinstance(e, events.Key)]

    (alone,) = keys(XTermParser(), key)[:1]
    assert keys(TwoKeysParser(), ESCAPE + key) == [("escape", ESCAPE), alone, ("x", "x")]


@pytest.mark.parametrize("sequence", ["\x1b[A", "\x1bOP", "\x1b[1;5C", "\x1b[Z", "\x1b[15~", "\r"])
def test_other_sequences_are_read_as_ever(sequence: str) -> None:
    from textual._xterm_parser import XTermParser

    def keys(parser: XTermParser) -> list[str]:
        return [e.key for e in parser.feed(sequence) if isinstance(e, events.Key)]

    assert keys(TwoKeysParser()) == keys(XTermParser()) != []


def test_the_drivers_use_the_parser_of_two_keys() -> None:
    import inspect

    from textual.drivers import linux_driver

    escape_key.install()
    assert linux_driver.XTermParser is TwoKeysParser
    assert "XTermParser(" in inspect.getsource(linux_driver.LinuxDriver.run_input_thread)
