"""Commands by name behind `:`: what is found, what is completed, what is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from textual.pilot import Pilot

from grpolab.tui.app import LabApp
from grpolab.tui.commands.model import commands, completed, matching
from grpolab.tui.commands.screen import CommandLine
from grpolab.tui.lens.screen import LensScreen
from grpolab.tui.settings.screen import SettingDialog

from .conftest import Live, settle, text
from .fake_run import FakeRun
from .test_type_ahead import burst, delivered


@pytest.fixture
async def lab(live: Live) -> AsyncIterator[tuple[Live, Pilot[int]]]:
    live.record(FakeRun(steps=3, lanes=("main", "Other"), end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await settle(live.app)
        await pilot.press("escape")  # out of the compare view, which two lanes open
        await settle(live.app)
        assert live.app.screen is live.app.lab
        yield live, pilot


async def typed(live: Live, keys: str) -> str:
    burst(live.app, keys)
    await delivered(live)
    return text(live.app)


async def test_what_is_typed_is_carried_out(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    await typed(live, ":ppo⏎")
    await typed(live, ":beta 0.02⏎")
    await typed(live, ":lr 1e-4⏎")
    await typed(live, ":pause⏎")
    assert live.engine.sent == [
        {"do": "switch", "algorithm": {"name": "ppo"}, "lane": "main"},
        {"do": "set", "key": "beta", "value": 0.02, "lane": "main"},
        {"do": "set", "key": "train.learning_rate", "value": 1e-4, "lane": "main"},
        {"do": "pause"},
    ]
    await typed(live, ":step 1⏎")
    assert live.context.view.held is not None and live.context.view.held.step == 1
    await typed(live, ":lane⏎")
    assert live.context.view.lane == "Other" and live.context.view.held is not None
    await typed(live, ":lane main⏎")
    assert live.context.view.lane == "main"
    await typed(live, ":theme light⏎")
    assert live.app.screen is live.app.lab and not live.context.palette.dark


async def test_what_is_wrong_is_said_and_nothing_is_sent(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    told = await typed(live, ":beta -1⏎")
    assert "greater than or equal to 0" in told and isinstance(live.app.screen, CommandLine)
    told = await typed(live, "⎋:step soon⏎")
    assert "a step number" in told or "soon" in told
    told = await typed(live, "⎋:lane nobody⏎")
    assert "nobody: one of main, Other" in told
    told = await typed(live, "⎋:nosuch")
    assert "nothing matches" in told
    await typed(live, "⏎⎋")
    assert live.app.screen is live.app.lab and live.engine.sent == []


async def test_a_setting_without_a_value_opens_the_settings(
    lab: tuple[Live, Pilot[int]],
) -> None:
    live, _ = lab
    await typed(live, ":beta⏎")
    screen = live.app.screen
    assert isinstance(screen, SettingDialog) and screen.name_here == "beta"


async def test_one_line_each_the_subject_first(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    told = await typed(live, ":")
    assert "▸ algorithm NAME" in told and "Training ──" in told
    told = await typed(live, "gro")
    assert "▸ group  " in told
    await pilot.press("tab")
    screen = live.app.screen
    assert isinstance(screen, CommandLine) and screen.typed == "group"


async def test_on_another_screen_its_own_come_first(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    await typed(live, "u:p")
    screen = live.app.screen
    assert isinstance(screen, CommandLine)
    names = screen.names()
    assert names.index("curves-range") < names.index("fork") < names.index("ppo")
    await typed(live, "⎋:group⏎")  # of the lab: the curves are left for it
    assert type(live.app.screen).__name__ == "GroupScreen" and len(live.app.screen_stack) == 2
    await typed(live, "⎋:lens⏎:e")
    assert any(isinstance(s, LensScreen) for s in live.app.screen_stack)
    await typed(live, "valuate⏎")
    assert live.engine.sent[-1] == {"do": "evaluate"}


async def test_a_replay_says_why_not(replay: LabApp) -> None:
    async with replay.run_test(size=(120, 36)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        replay.action_command_palette()
        await pilot.press(*"ppo", "enter")
        await settle(replay)
        assert "a replay computes nothing" in text(replay)


async def test_completion_and_order(lab: tuple[Live, Pilot[int]]) -> None:
    live, _ = lab
    known = commands(live.app, live.app.lab)
    by_name = {c.name: c for c in known}
    assert len(by_name) == len(known)
    assert [c.name for c in matching(known, "ppo")][:3] == ["ppo", "ppo-kl", "ppo-adaptive-kl"]
    assert matching(known, "lr 1")[0].name == "train.learning_rate"
    assert matching(known, "prompt_n")[0].name == "prompt-next"
    assert matching(known, "search")[0].name == "answers"
    assert completed(by_name["theme"], "th") == "theme "
    assert completed(by_name["theme"], "theme l") == "theme light"
    assert completed(by_name["theme"], "theme x") == "theme x"
