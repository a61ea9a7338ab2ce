"""Switching to one of many algorithms and changing one of many settings: scrolling, typing, what is
sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.record import events as ev
from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import parse_run_setting, parse_setting
from grpolab.tui.lab.dialogs.picker import Picker
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.settings.screen import SettingDialog

from .conftest import Live, settle, text
from .fake_run import SETTINGS, FakeRun


@pytest.fixture
async def lab(live: Live) -> AsyncIterator[tuple[Live, Pilot[int]]]:
    """A live run in its sixth step, under PPO since the third."""
    live.record(FakeRun(steps=10, switches={3: "ppo"}), until=_sixth)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        yield live, pilot


def _sixth(event: ev.Event) -> bool:
    return isinstance(event, ev.Graded) and event.step == 6


async def press(live: Live, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(live.app)
    return text(live.app)


async def test_the_picker_sends_the_switch(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    told = await press(live, pilot, "a")
    assert isinstance(live.app.screen, Picker)
    for word in ("RLOO", "PPO", "current", "kept", "preset", "26 · type to narrow down"):
        assert word in told, told
    told = await press(live, pilot, "g", "r", "p")
    assert ("GRPO" in told and "7 of 26" in told) or " of 26" in told
    assert "dropped" in told and "the reference" in told
    await press(live, pilot, "right", "enter")
    sent = {"do": "switch", "algorithm": {"name": "grpo", "preset": "trl-1.16"}}
    assert live.engine.sent == [sent]
    await press(live, pilot, "a", "up", "down", "escape")
    assert len(live.engine.sent) == 1 and isinstance(live.app.screen, LabScreen)
    await press(live, pilot, "a", "1")
    assert live.engine.sent[1] == {"do": "switch", "algorithm": {"name": "grpo"}}
    await press(live, pilot, "a", "3")
    assert live.engine.sent[2] == {"do": "switch", "algorithm": {"name": "reinforce"}}


async def test_the_exact_name_comes_first_then_its_beginning(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "a", *"ppo")
    picker = live.app.screen
    assert isinstance(picker, Picker)
    assert picker.left == ["ppo", "ppo-kl", "ppo-adaptive-kl", "vc-ppo"]
    await press(live, pilot, "enter")
    assert live.engine.sent == [{"do": "switch", "algorithm": {"name": "ppo"}}]


async def test_three_on_top_and_the_rest_in_groups(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    told = await press(live, pilot, "a", "up", "up")
    picker = live.app.screen
    assert isinstance(picker, Picker) and picker.names()[:3] == ["grpo", "ppo", "reinforce"]
    assert set(picker.names()) == set(algorithm_cards.cards())
    headings = dict.fromkeys(picker.section(name) for name in picker.names())
    assert list(headings) == ["", *algorithm_cards.KINDS]
    assert "no critic ──" in told
    told = await press(live, pilot, "end")
    assert "sequence-level ──" in told


def test_what_changes_is_said_in_the_formulas_words() -> None:
    algorithm_cards.load()
    change = algorithm_cards.change
    assert change("grpo", "ppo")[0] == "Â = whiten_batch(GAE(γ, λ) of r_t and V)"
    assert change("grpo", "grpo-iterative") == ["π_ref = π, every few steps"]
    assert change("reinforce", "is-pg") == ["L = −mean_rows Σ_t ρ Â"]
    for before in algorithm_cards.cards():
        for after in algorithm_cards.cards():
            assert all(change(before, after)), (before, after)


async def test_typing_narrows_and_escape_widens(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    await press(live, pilot, "a", *"gspo")
    picker = live.app.screen
    assert isinstance(picker, Picker) and picker.left == ["gspo", "gspo-token"]
    await press(live, pilot, "down")
    assert picker.name_here == "gspo-token"
    await press(live, pilot, "minus", "backspace", "backspace", "backspace", "backspace")
    assert picker.typed == "g" and picker.name_here and picker.name_here.startswith("g")
    told = await press(live, pilot, *"zzz")
    assert "nothing matches" in told
    await press(live, pilot, "enter", "left", "down", "2")
    assert isinstance(live.app.screen, Picker) and not live.engine.sent
    await press(live, pilot, "escape")
    assert picker.typed == "" and len(picker.left) == 26
    await press(live, pilot, *"j", "escape", *"q", "escape", *"k")  # letters, and no commands
    assert isinstance(live.app.screen, Picker)
    await press(live, pilot, "escape", "escape")
    assert isinstance(live.app.screen, LabScreen)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_every_algorithm_and_setting_can_be_reached(
    live: Live, size: tuple[int, int]
) -> None:
    live.record(FakeRun(steps=3, switches={1: "ppo"}, end=False))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live, pilot, "a")
        seen = set()
        for _ in range(26):
            screen = live.app.screen
            assert isinstance(screen, Picker) and screen.name_here
            assert f"{screen.name_here.upper()} " in told, told
            seen.add(screen.name_here)
            told = await press(live, pilot, "down")
            assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        assert seen == set(algorithm_cards.cards())
        told = await press(live, pilot, "escape", "equals_sign")
        screen = live.app.screen
        assert isinstance(screen, SettingDialog)
        for _ in range(len(screen.names())):
            assert screen.name_here and screen.name_here in told, told
            told = await press(live, pilot, "down")
        told = await press(live, pilot, "end")
        assert screen.name_here == screen.names()[-1] and screen.name_here in told


async def change(lab: tuple[Live, Pilot[int]], key: str, value: str) -> list[dict[str, Any]]:
    """Type a setting's name and value into the dialog; what was sent."""
    live, pilot = lab
    before = len(live.engine.sent)
    typed = ["full_stop" if c == "." else "underscore" if c == "_" else c for c in key]
    if not isinstance(live.app.screen, SettingDialog):
        await press(live, pilot, "equals_sign", *typed, "enter")
    elif not live.app.screen.editing:
        await press(live, pilot, "escape", *typed, "enter")
    screen = live.app.screen
    assert isinstance(screen, SettingDialog) and screen.name_here == key and screen.editing
    screen.entry_field.value = value
    await press(live, pilot, "enter")
    return live.engine.sent[before:]


async def test_a_setting_is_checked_before_it_is_sent(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    assert await change(lab, "gamma", "7") == []
    assert "less than or equal to 1" in text(live.app)
    assert await change(lab, "gamma", "1") == [{"do": "set", "key": "gamma", "value": 1.0}]
    assert await change(lab, "rollout.temperature", "0.7") == [
        {"do": "set", "key": "rollout.temperature", "value": 0.7}
    ]
    assert await change(lab, "clip_high", "none") == [
        {"do": "set", "key": "clip_high", "value": None}
    ]
    assert await change(lab, "whiten", "no") == [{"do": "set", "key": "whiten", "value": False}]
    assert await change(lab, "kl_place", "none") == [
        {"do": "set", "key": "kl_place", "value": "none"}
    ]
    assert await change(lab, "train.learning_rate", "none") == [
        {"do": "set", "key": "train.learning_rate", "value": None}
    ]
    assert await change(lab, "aggregation", "sum") == []
    assert "'token-mean'" in text(live.app)
    await press(live, pilot, "escape", "escape", "escape")
    assert isinstance(live.app.screen, LabScreen)


async def test_the_dialog_says_what_a_setting_takes(lab: tuple[Live, Pilot[int]]) -> None:
    live, pilot = lab
    told = await press(live, pilot, "equals_sign", *"clip", "underscore", *"low")
    assert "number ≥ 0 ≤ 1 or none; default 0.2" in told
    told = await press(live, pilot, "escape", *"kl", "underscore", *"place")
    assert "reward | loss | none" in told
    told = await press(live, pilot, "escape")
    assert "✎clip_value" in told  # the fake run's own value is not the paper's


def test_all_settings_of_all_algorithms_take_their_own_values() -> None:
    for name, card in algorithm_cards.load().items():
        for setting in card.settings:
            for value in {repr(card.values(p)[setting.name]): card.values(p)[setting.name]
                          for p in card.presets}.values():  # fmt: skip
                typed = algorithm_cards.word(value)
                found = parse_setting(name, setting.name, typed, card.values())
                assert found == value and type(found) is type(value), (name, setting.name, typed)
            assert setting.kind and setting.description


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [("beta", ".5", 0.5), ("beta", "1e-3", 1e-3), ("beta", "0", 0.0), ("clip_low", "NONE", None),
     ("ddof", "1", 1), ("aggregation", "token-mean", "token-mean")],
)  # fmt: skip
def test_what_a_person_types(key: str, typed: str, value: object) -> None:
    assert parse_setting("grpo", key, typed) == value


@pytest.mark.parametrize("typed", ["", "nan", "inf", "-1", "x", "none", "[1]"])
def test_what_is_refused_is_refused_in_words(typed: str) -> None:
    if typed != "inf":
        with pytest.raises(ValueError):
            parse_setting("grpo", "beta", typed)
    with pytest.raises(ValueError):
        parse_setting("grpo", "ddof", typed)


def test_settings_of_the_run() -> None:
    assert parse_run_setting("train.learning_rate", "none") is None
    assert parse_run_setting("train.updates_per_rollout", "3") == 3
    assert parse_run_setting("rollout.temperature", "1") == 1.0
    for key, typed in (("train.updates_per_rollout", "1.5"), ("rollout.temperature", "0"),
                       ("train.learning_rate", "-1")):  # fmt: skip
        with pytest.raises(ValueError):
            parse_run_setting(key, typed)


def test_the_fake_runs_settings_exist() -> None:
    """The pane marks what differs from the paper; a name that is gone would look the same."""
    for name, settings in SETTINGS.items():
        known = {s.name for s in algorithm_cards.load()[name].settings}
        assert set(settings) <= known, name
