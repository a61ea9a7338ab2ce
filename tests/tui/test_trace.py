"""The credit trace: numbers that satisfy the recurrence, a verdict that follows from them."""

from __future__ import annotations

import random
import re

import pytest
from textual.pilot import Pilot

from grpolab.tui.credit_trace.model import Trace, td_errors, to_go, trace_of, verdict
from grpolab.tui.credit_trace.screen import TraceScreen

from .conftest import Live, settle, text
from .fake_run import FakeRun


def made(value: list[float], reward: float, critic: bool = True) -> Trace:
    n = len(value)
    rewards = [0.0] * (n - 1) + [reward]
    delta = td_errors(rewards, value, 1.0)
    gae = to_go(delta, 0.9)
    returns = [a + v for a, v in zip(gae, value, strict=True)]
    return Trace(
        critic, "V", 1.0, 0.9, 0.9, value, [0.0] * n, rewards, delta, gae, returns,
        to_go(rewards, 1.0), gae,
    )  # fmt: skip


def test_the_recurrence_by_hand() -> None:
    t = made([0.5, 0.25, 1.0], 2.0)
    assert t.delta == [-0.25, 0.75, 1.0]
    assert t.gae == pytest.approx([-0.25 + 0.9 * (0.75 + 0.9), 0.75 + 0.9, 1.0])
    assert t.returns == pytest.approx([t.gae[0] + 0.5, 1.65 + 0.25, 2.0])
    assert t.outcome == [2.0, 2.0, 2.0] and not t.scaled


def groups(forecast: str, seed: int = 0) -> list[list[Trace]]:
    """Twelve prompts of differing difficulty, eight answers each."""
    rng, out = random.Random(seed), []
    for _ in range(12):
        level, group = rng.random(), []
        for _ in range(8):
            reward = level + rng.gauss(0, 0.3)
            known = {"outcome": reward, "nothing": 3.0, "level": level + rng.gauss(0, 0.12)}
            group.append(made([known[forecast]] * 4, reward))
        out.append(group)
    return out


@pytest.mark.parametrize(
    ("forecast", "word"), [("outcome", "beats"), ("nothing", "loses to"), ("level", "matches")]
)
def test_the_verdict_follows_the_errors(forecast: str, word: str) -> None:
    found = groups(forecast)
    v = verdict(found)
    assert v.word == word and (v.answers, v.groups) == (96, 12)
    flat = [t for g in found for t in g]
    own = sum((t.value[0] - t.outcome[0]) ** 2 for t in flat) / len(flat)
    assert v.first_critic == pytest.approx(own)
    others = 0.0
    for g in found:
        for t in g:
            mean = sum(x.outcome[0] for x in g if x is not t) / 7
            others += (mean - t.outcome[0]) ** 2 / len(flat)
    assert v.first_others == pytest.approx(others) and v.first_mean < v.first_others
    assert v.gap == pytest.approx(own - others)
    if forecast == "outcome":
        assert v.first_critic == 0 and v.explained_outcome == pytest.approx(1.0)


def test_one_group_and_one_answer_say_less() -> None:
    alone = verdict([[made([0.5], 1.0)]])
    assert alone.word == "" and alone.answers == 1
    group = verdict([[made([0.9], 1.0), made([0.1], 0.0)]])
    assert group.word == "beats" and group.error != group.error
    huge = verdict([[made([0.5], 1e300), made([0.5], float("-inf"))]])
    assert huge.word == ""


async def press(live: Live, pilot: Pilot[int], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await settle(live.app)


def number(shown: str) -> float:
    return float(shown.replace("−", "-").replace("+", ""))


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_the_numbers_on_the_screen_satisfy_it(live: Live, size: tuple[int, int]) -> None:
    live.record(FakeRun(steps=3, switches={1: "ppo"}, end=False))
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live, pilot, "V")
        screen = live.app.screen
        assert isinstance(screen, TraceScreen)
        seen = text(live.app)
        assert "PPO · step 3 · prompt 1 · answer 1" in seen and "γ 1 · λ 0.95" in seen
        assert "squared error, critic − mean" in seen and "0." in seen
        n = len(screen.found()[2].advantage)  # pyright: ignore[reportOptionalSubscript]
        for token in range(0, n, 5 if size[0] == 120 else 19):
            live.context.view.token = token
            screen.again()
            await pilot.pause()
            seen = text(live.app)
            found = re.search(r"− V = (\S+) \+ 1·(\S+?)(, the answer ends)? − (\S+) = (\S+)", seen)
            assert found is not None, seen
            r, after, _, v, delta = found.groups()
            want = number(r) + number(after) - number(v)
            assert number(delta) == pytest.approx(want, abs=0.002)
            found = re.search(r"Â = δ \+ γλ·Â′ = (\S+) \+ 0\.95·(\S+) = (\S+)", seen)
            assert found is not None
            assert found[1] == delta
            gae = number(found[1]) + 0.95 * number(found[2])
            assert number(found[3]) == pytest.approx(gae, abs=0.002)
            found = re.search(r"R = Â \+ V = (\S+) \+ (\S+) = ([^\s;]+)", seen)
            assert found is not None and found[2] == v
            assert number(found[3]) == pytest.approx(number(found[1]) + number(v), abs=0.002)


async def test_its_keys_go_along_the_answer_and_to_others(live: Live) -> None:
    live.record(FakeRun(steps=3, switches={1: "ppo"}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        view = live.context.view
        await press(live, pilot, "V", "down", "right", "up")
        assert view.token == 1
        await press(live, pilot, "shift+right")
        assert view.token == 11
        await press(live, pilot, "shift+left", "right_square_bracket", "g")
        assert (view.prompt, view.answer) == (1, 1) and "prompt 2 · answer 2" in text(live.app)
        await press(live, pilot, "left_square_bracket", "G")
        assert (view.prompt, view.answer) == (0, 0)
        await press(live, pilot, "v")
        assert view.held is not None and view.held.step == 3
        await pilot.click("#table", offset=(6, 5))
        await settle(live.app)
        assert view.token == 3
        await press(live, pilot, "question_mark")
        assert "TD error" in text(live.app)
        await press(live, pilot, "escape", "escape")
        assert live.app.screen is live.app.lab


async def test_without_a_critic_it_says_what_stands_in(live: Live) -> None:
    live.record(FakeRun(steps=3, switches={2: "reinforce"}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live, pilot, "V")
        seen = text(live.app)
        assert "REINFORCE has no critic" in seen and "The baseline is b of the formula" in seen
        screen = live.app.screen
        assert isinstance(screen, TraceScreen)
        live.context.view.browse(live.context.state, -1)
        screen.again()
        await settle(live.app)
        seen = text(live.app)
        assert "GRPO has no critic" in seen and "The baseline is the group's mean m" in seen
        r, _, t = screen.found()  # pyright: ignore[reportGeneralTypeIssues]
        assert r.graded is not None
        assert t.value[0] == pytest.approx(sum(r.graded.reward[i] for i in r.rows(0)) / 8)


async def test_before_the_first_step_it_waits(live: Live) -> None:
    live.record(FakeRun(steps=1, end=False), lambda e: e.kind == "rollout")
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live, pilot, "V", "down", "g", "right_square_bracket")
        assert "credit appears when a step is finished" in text(live.app)


def test_settings_of_another_version_are_no_trace() -> None:
    from .test_token_view import small

    lane, r = small()
    assert trace_of(lane, r, 0) is not None
    lane.history = [(0, "grpo", "paper", {"unheard_of": 1})]
    assert trace_of(lane, r, 0) is None
