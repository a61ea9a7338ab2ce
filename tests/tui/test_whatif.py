"""The what-if: plans and commands as plain data, and every key at three sizes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.record import events as ev
from grpolab.tui import algorithm_cards
from grpolab.tui.app import LabApp
from grpolab.tui.commands import model as palette
from grpolab.tui.lab.dialogs.picker import Picker
from grpolab.tui.lens.screen import LensScreen
from grpolab.tui.whatif.model import (
    Basis,
    Plan,
    Scored,
    commands,
    known_already,
    next_value,
    scored,
)
from grpolab.tui.whatif.screen import WhatIfScreen

from .conftest import Live, settle, text
from .fake_lens import lens, made, rollout
from .test_lens import press, record

SIZES = [(80, 24), (120, 36), (200, 60)]


def plan(**changes: Any) -> Plan:
    algorithm_cards.load()
    values = algorithm_cards.cards()["grpo"].values()
    return replace(Plan("grpo", "paper", values, 8, {"accuracy": 1.0, "format": 0.2}), **changes)


@pytest.mark.parametrize(
    ("kind", "value", "up", "down"),
    [
        ("number ≥ 0", 0.04, 0.05, 0.02),
        ("number ≥ 0", 0.0, 0.001, None),
        ("number ≥ 0 ≤ 1", 0.95, 0.98, 0.9),
        ("number ≥ 0 ≤ 1", 1.0, None, 0.99),
        ("whole number ≥ 1", 2, 3, 1),
        ("k1 | k2 | k3 | unbiased", "k3", "unbiased", "k2"),
        ("0 | 1", 0, 1, 1),
        ("yes | no", True, False, False),
        ("number > 1 or none", None, 3.0, 3.0),
    ],
)
def test_the_next_value(kind: str, value: Any, up: Any, down: Any) -> None:
    assert next_value(kind, value, 1, 3.0) == up
    assert next_value(kind, value, -1, 3.0) == down


def test_what_is_sent() -> None:
    now = plan()
    assert commands(now, now) == []
    assert commands(now, now.setting("beta", 0.1).setting("clip_low", None)) == [
        {"do": "set", "key": "beta", "value": 0.1},
        {"do": "set", "key": "clip_low", "value": None},
    ]
    assert commands(now, plan(answers=4, weights={"accuracy": 2.0, "format": 0.2})) == [
        {"do": "set", "key": "rollout.group_size", "value": 4},
        {"do": "set", "key": "rewards.accuracy.weight", "value": 2.0},
    ]
    (switch,) = commands(
        now, now.under(algorithm_cards.cards()["dr-grpo"], "paper").setting("beta", 0.5)
    )
    assert switch["do"] == "switch"
    assert switch["algorithm"]["name"] == "dr-grpo" and switch["algorithm"]["beta"] == 0.5


def test_the_commands_are_ones_that_the_engine_takes() -> None:
    from pydantic import TypeAdapter

    from grpolab.algorithms import ALGORITHMS
    from grpolab.scenario.spec import Cue, build, check_setting
    from grpolab.tasks import TASKS

    adapter: Any = TypeAdapter(Cue)
    sums, grpo = TASKS["sums"], ALGORITHMS["grpo"]
    for card in algorithm_cards.load().values():
        for preset in card.presets:
            for command in commands(plan(), plan().under(card, preset)):
                adapter.validate_python(command | {"at": 3})
    other = plan(answers=4, weights={"accuracy": 1, "format": 0.5}).setting("beta", 0.1)
    wanted = commands(plan(), other)
    assert len(wanted) == 3
    sections = build({}).rewards
    for command in wanted:
        cue = adapter.validate_python(command | {"at": 3})
        check_setting(cue.key, cue.value, grpo(grpo.Settings()), sums(sums.Options()), sections)


def test_rewards_under_other_weights() -> None:
    parts = [{"accuracy": 1.0, "format": 0.2}, {"accuracy": 0.0, "format": 0.2}]
    basis = Basis(plan(), 1.0, [1.2, 0.2], parts)
    assert basis.request(basis.plan)["rewards"] is None
    asked = basis.request(plan(weights={"accuracy": 2.0, "format": 0.0}))
    assert asked["rewards"] == pytest.approx([2.0, 0.0])
    hidden = replace(basis, plan=plan(weights={"accuracy": 1.0, "format": 0.0}))
    assert hidden.request(plan(weights={"accuracy": 1.0, "format": 9.0}))["rewards"] == [1.2, 0.2]
    assert replace(basis, kl_scale=2.0).request(plan(algorithm="ppo"))["kl_scale"] == 1.0


def test_rounding_error_pushes_no_token() -> None:
    sample = {"gradient": [4.8e-8, -0.25], "advantages": [0.0, 1.0], "reward": 1.0}
    raw = {"loss": 0, "terms": {}, "metrics": {}, "aggregation": "token-mean"}
    found = scored(raw | {"groups": [{"samples": [sample]}]})
    assert found.without_noise(0.25).push(0, 0) == [0.0, 0.25]
    assert found.without_noise(0.0).push(0, 0) == [-4.8e-8, 0.25]


def test_what_the_lens_has_is_what_the_process_would_say() -> None:
    from grpolab.algorithms import ALGORITHMS
    from grpolab.lens.compute import lens as real
    from grpolab.lens.whatif import Session
    from tests.lens.test_whatif import batch

    own = ALGORITHMS["grpo"](ALGORITHMS["grpo"].Settings(beta=0.3))
    raw = real(batch(), own=own)
    now = Basis(plan(settings=algorithm_cards.cards()["grpo"].values() | {"beta": 0.3}))
    said = scored(Session(batch()).score(now.request(now.plan)))
    found = known_already(now, raw)
    assert found is not None and found.cosine == pytest.approx(said.cosine)
    assert replace(found, cosine=None) == replace(said, cosine=None)
    for other in (
        replace(now, plan=now.plan.setting("beta", 0.2)),
        replace(now, plan=replace(now.plan, preset="verl")),
        replace(now, plan=replace(now.plan, algorithm="nobody")),
    ):
        assert known_already(other, raw) is None
    raw["algorithms"]["grpo"]["settings"]["entropy_bonus"] = 0.1
    mine = replace(now, plan=now.plan.setting("entropy_bonus", 0.1))
    assert known_already(mine, raw) is None  # the process leaves the bonus out


class Fake:
    """In place of the process: numbers that follow from what it was asked for."""

    asked: list[dict[str, Any]]
    shape: list[list[int]]

    def __init__(self, *place: Any) -> None:
        self.closed = False

    async def ask(self, request: Mapping[str, Any]) -> Scored:
        Fake.asked.append(dict(request))
        if request["algorithm"] == "ppo":
            raise ValueError("ppo needs values (for its critic), and the batch has none")
        size = 1.0 + 10 * request["settings"].get("beta", 0.0)
        many = request["answers"]
        gradient = [[[-0.01 * size] * n for n in group[:many]] for group in Fake.shape]
        rows = [[[size] * n for n in group[:many]] for group in Fake.shape]
        return Scored(size, {"policy": size}, {"clip_fraction": 0.1}, "token-mean", gradient, rows,
                      [[1.0] * len(g) for g in rows], None if request["base"] else -0.4,
                      ["a note to be read"])  # fmt: skip

    async def close(self) -> None:
        self.closed = True


class Slow(Fake):
    """A process that has not started yet."""

    gate: asyncio.Event

    async def ask(self, request: Mapping[str, Any]) -> Scored:
        await self.gate.wait()
        return await super().ask(request)


async def test_what_is_in_force_stands_there_before_the_process(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpolab.tui.whatif.screen.Scorer", Slow)
    Fake.asked, Slow.gate = [], asyncio.Event()
    events = record(live)
    r = rollout(events, 3)
    assert r.tokens is not None
    lengths = [len(x) for x in r.tokens.pieces]
    Fake.shape = [[lengths[i] for i in r.rows(g)] for g in range(len(r.prompts))]

    async def shown(*keys: str) -> str:  # not `settle`, which waits for the process
        for key in keys:
            await pilot.press(key)
        live.app.lab.tick()
        live.app.lab.repaint(at_once=True)
        await pilot.pause()
        return text(live.app)

    seen = lens(r)
    mine = seen["algorithms"]["grpo"]
    in_force = live_settings(events)
    mine["settings"] = mine["settings"] | in_force
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("l")
        live.write(made(live.folder, seen))
        await press(live.app, pilot)
        told = await shown("I")
        screen = live.app.screen
        assert isinstance(screen, WhatIfScreen) and screen.before is not None
        assert "nothing changed" in told and "loading the rollout" not in told
        while screen.knob.key != "beta":
            await pilot.press("down")
        told = await shown("right")
        assert "loading the rollout in another process" in told and screen.after is None
        assert "no difference" not in told
        told = await shown("backspace")
        assert "nothing changed" in told and screen.after is screen.before
        await shown("right")
        Slow.gate.set()
        told = await press(live.app, pilot)
        assert "loading the rollout" not in told and "opposite direction" in told
        assert [x["base"] for x in Fake.asked] == [True, False]


def live_settings(events: list[ev.Event]) -> dict[str, Any]:
    return next(e.settings for e in events if isinstance(e, ev.LaneOpened))


@pytest.fixture(params=SIZES)
async def opened(
    live: Live, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Live, Pilot[int], WhatIfScreen]]:
    """A live lab with the what-if on the lens of its third step."""
    monkeypatch.setattr("grpolab.tui.whatif.screen.Scorer", Fake)
    Fake.asked = []
    events = record(live)
    r = rollout(events, 3)
    assert r.tokens is not None
    lengths = [len(x) for x in r.tokens.pieces]
    Fake.shape = [[lengths[i] for i in r.rows(g)] for g in range(len(r.prompts))]
    async with live.app.run_test(size=request.param) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("l")
        live.write(made(live.folder, lens(r)))
        await press(live.app, pilot)
        live.engine.sent.clear()
        await press_(live.app, pilot, "I")
        assert isinstance(live.app.screen, WhatIfScreen)
        yield live, pilot, live.app.screen


async def press_(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    told = text(app)
    assert {cell_len(row) for row in told.split("\n")} == {app.size.width}
    return told


Opened = tuple[Live, Pilot[int], WhatIfScreen]


async def test_a_change_is_scored_and_applied(opened: Opened) -> None:
    live, pilot, screen = opened
    assert [x["base"] for x in Fake.asked] == [True]  # what is in force, once
    told = " ".join(c.told for c in palette.commands(live.app, screen))
    assert all(a.help in told for a in screen.actions if a.name != "commands")
    assert "another algorithm" in told  # the training can be steered from here too
    assert any(a.name == "whatif_page" for a in screen.actions) is (live.app.size.width < 104)
    assert "nothing changed" in text(live.app)
    for _ in range(len(screen.knobs)):
        if screen.knob.key == "beta":
            break
        await pilot.press("down")
    told = await press_(live.app, pilot, "right")
    assert screen.plan.settings["beta"] == 0.05 and Fake.asked[-1]["settings"]["beta"] == 0.05
    assert "−0.40" in told and "opposite direction" in told
    assert "note: a note" in told and "was 0.04" in told
    await press_(live.app, pilot, "left")
    assert screen.plan.settings["beta"] == 0.02
    await press_(live.app, pilot, "U")
    assert live.engine.sent == [{"do": "set", "key": "beta", "value": 0.02}]
    await press_(live.app, pilot, "backspace", "U")
    assert screen.plan == screen.basis.plan and len(live.engine.sent) == 1
    assert "nothing to apply" in live.context.notice[0]
    await press_(live.app, pilot, "escape")
    assert isinstance(live.app.screen, LensScreen)
    assert screen.scorer.closed  # pyright: ignore


async def test_values_are_typed_and_checked(opened: Opened) -> None:
    live, pilot, screen = opened
    await press_(live.app, pilot, "down", "down", "enter")
    told = await press_(live.app, pilot, "backspace", "9", "enter")
    assert "1 to 8: the rollout has 8 answers" in told
    told = await press_(live.app, pilot, "backspace", "3", "enter")
    assert live.app.screen is screen and screen.plan.answers == 3
    assert Fake.asked[-1]["answers"] == 3
    if live.app.size.width < 104:
        told = await press_(live.app, pilot, "tab")
    assert "unused" in told
    await press_(live.app, pilot, "down", "enter", "backspace", "2", "enter")
    assert screen.plan.weights["accuracy"] == 2.0 and Fake.asked[-1]["rewards"] is not None
    await press_(live.app, pilot, "U")
    weight = {"do": "set", "key": "rewards.accuracy.weight", "value": 2.0}
    assert live.engine.sent == [{"do": "set", "key": "rollout.group_size", "value": 3}, weight]
    assert "rewards.accuracy.weight 2" in live.context.notice[0]
    # once it is so, there is nothing more to apply; the rollout was graded as it was
    step = live.context.state.step
    live.write(ev.SettingChanged(step, "main", "rewards.accuracy.weight", 1.0, 2.0, "command"))
    await press_(live.app, pilot)
    await press_(live.app, pilot, "U")
    assert live.engine.sent[2:] == [{"do": "set", "key": "rollout.group_size", "value": 3}]
    assert screen.basis.plan.weights["accuracy"] == 1.0
    await press_(live.app, pilot, "backspace", "delete", "enter", "escape")
    assert screen.plan == screen.basis.plan


async def test_another_algorithm(opened: Opened) -> None:
    live, pilot, screen = opened
    await press_(live.app, pilot, "enter")
    assert isinstance(live.app.screen, Picker)
    told = await press_(live.app, pilot, *"ppo", "enter")
    assert screen.plan.algorithm.startswith("ppo")
    while screen.plan.algorithm != "ppo":
        told = await press_(live.app, pilot, "right")
    assert "needs values" in told
    told = await press_(live.app, pilot, "backspace")
    assert screen.plan.algorithm == "grpo" and "needs values" not in told
    await press_(live.app, pilot, "right", "U")
    assert live.engine.sent[0]["do"] == "switch"
    assert live.engine.sent[0]["algorithm"]["name"] == screen.plan.algorithm


async def test_looking_around(opened: Opened) -> None:
    live, pilot, screen = opened
    for page in ("outcome", "answers", "pushes", "outcome"):
        assert screen.page == page
        await press_(live.app, pilot, "tab")
    await press_(live.app, pilot, "g", "right_square_bracket", "right_square_bracket")
    assert (screen.group, screen.answer) == (1, 2)
    await press_(live.app, pilot, "G", "left_square_bracket", "t", "t", "t", "pagedown", "pageup")
    assert (screen.group, screen.answer) == (0, 1)
    await pilot.click("#knobs", offset=(8, 3))
    await press_(live.app, pilot)
    assert screen.at == "answers"
    line = screen.parts[0].plain.split("\n")[3]
    await pilot.click("#knobs", offset=(line.index("◂"), 3))
    await press_(live.app, pilot)
    assert screen.plan.answers == 7
    await press_(live.app, pilot, "question_mark", "escape", "escape", "escape")


async def test_a_run_that_nobody_computes_says_so(opened: Opened) -> None:
    live, pilot, screen = opened
    live.write(ev.Ended(3, "interrupted"))
    await press_(live.app, pilot)
    await press_(live.app, pilot, "right", "U")
    assert "the engine has ended" in live.context.notice[0] and not live.engine.sent
    assert screen.plan != screen.basis.plan


def test_what_the_process_says_instead_of_numbers() -> None:
    with pytest.raises(ValueError, match=r"no \u2400 markup"):
        scored({"id": 1, "error": "no \0 markup"})


async def test_without_a_lens_there_is_nothing_to_change(live: Live) -> None:
    record(live)
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "l", "I")
        assert isinstance(live.app.screen, LensScreen)
        assert "the lens has no result yet" in live.context.notice[0]
