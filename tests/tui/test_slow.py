"""Slow motion: every stage at three sizes, live, watched and replayed; the story's numbers."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.lane_state import RolloutView
from grpolab.record.state import LabState
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.slow_motion import model as stories
from grpolab.tui.slow_motion.beats import tell
from grpolab.tui.slow_motion.model import STAGES, Story
from grpolab.tui.slow_motion.screen import SlowScreen
from grpolab.tui.source import Following, Playing
from grpolab.tui.widgets.text import wrap

from .conftest import Live, settle, text
from .fake_run import FakeRun

SIZES = [(80, 24), (120, 36), (200, 60)]


def after(r: RolloutView, lane: str = "main") -> ev.After:
    """Each token moved by a tenth of its advantage, the third by nothing."""
    rows = r.channel("advantage")
    assert rows is not None
    flat = [0.0 if t == 2 else x / 10 for row in rows for t, x in enumerate(row)]
    return ev.After(r.step, lane, codec.pack(struct.pack(f"<{len(flat)}e", *flat)), 0.01)


def folded(run: FakeRun) -> LabState:
    state = LabState()
    for t, event in run.events():
        state.apply(event, t)
    return state


@pytest.fixture(scope="module")
def told() -> list[Story]:
    """Stories of steps under three algorithms, every other measured."""
    state = folded(FakeRun(steps=9, switches={3: "ppo", 6: "reinforce"}))
    lane = state.lanes["main"]
    out = []
    for step, r in lane.rollouts.items():
        if step % 2:
            r.after = after(r)
        out += [tell(lane, r, prompt) for prompt in range(len(r.prompts))]
    return out


def test_a_story_has_its_stages_in_order(told: list[Story]) -> None:
    for story in told:
        stages = list(dict.fromkeys(b.stage for b in story.beats))
        assert stages == list(STAGES)
        assert all(b.seconds > 0 and b.caption for b in story.beats)
        assert all(0 <= b.share <= 1 and b.focus < len(story.focus) for b in story.beats)


def test_its_words_fit_into_the_smallest_screen(told: list[Story]) -> None:
    for caption in {b.caption for story in told for b in story.beats}:
        assert len(wrap(caption, 76)) <= 4, caption


def test_its_words_tell_the_numbers(told: list[Story]) -> None:
    for story in told:
        assert story.r.graded is not None
        captions = "\n".join(dict.fromkeys(b.caption for b in story.beats))
        right = sum(bool(story.r.graded.parts[row]["accuracy"]) for row in story.rows)
        assert (f"accuracy: {right} of 8 answers get +1.00" in captions) == (right > 0)
        critic = story.r.algorithm == "ppo"
        assert ("has a critic" in captions) == critic == story.critic
        assert ("not measured" in captions) == (story.r.step % 2 == 0)
        if story.measured:
            rose, up, fell, down = story.followed()
            assert f"{up} reinforced token" in captions or not up
            flat = [
                (a, m)
                for row in story.rows
                for a, m in zip(story.advantage[row], story.moved[row], strict=True)
            ]
            assert up == sum(a > 0 for a, _ in flat) and down == sum(a < 0 for a, _ in flat)
            assert rose == sum(a > 0 and m > 0 for a, m in flat) <= up
            assert fell == sum(a < 0 and m < 0 for a, m in flat) <= down


def test_probabilities_before_and_after(told: list[Story]) -> None:
    story = next(s for s in told if s.measured and any(any(xs) for xs in s.advantage.values()))
    old = story.r.channel("logprob")
    assert old is not None
    row, token = story.focus[0]
    found = story.chances((row, token))
    assert found is not None
    assert found[0] == pytest.approx(math.exp(old[row][token]))
    moved = story.moved[row][token]
    assert found[1] == pytest.approx(min(1.0, math.exp(old[row][token] + moved)), rel=1e-6)
    places = [place for place, *_ in story.changes]
    near = set(story.focus)
    assert set(places[: len(near)]) == near and len(places) == len(set(places))
    total = sum(same for *_, same in story.changes)
    assert total == sum(len(x) for x in story.pieces.values())


def test_the_tokens_looked_at_differ_in_what_happens_to_them(told: list[Story]) -> None:
    story = next(s for s in told if len(s.focus) > 1)
    push = [story.push[row][t] for row, t in story.focus]
    assert min(push) < 0 < max(push)
    most = max(abs(x) for xs in story.push.values() for x in xs)
    assert abs(push[0]) == most


def test_rounding_error_is_no_gradient(told: list[Story]) -> None:
    story = replace(told[0], beats=[])
    row = story.rows[0]
    story.quantity = lambda name, row: [4.8e-8, -1e-9, 0.5, -0.5]  # pyright: ignore
    assert story.push[row] == [0.0, 0.0, 0.5, -0.5]
    n = len(story.pieces)
    assert story.counts()[:3] == (n, n, 2 * n)


def test_reduced_motion_leaves_out_what_only_moves() -> None:
    lane = folded(FakeRun(steps=1, switches={})).lanes["main"]
    whole, still = (tell(lane, lane.rollouts[1], 0, still=x) for x in (False, True))
    assert any(b.sweep for b in whole.beats) and not any(b.sweep for b in still.beats)
    assert [b.caption for b in whole.beats if not b.sweep] == [b.caption for b in still.beats]


def test_a_group_of_very_long_answers_is_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "MOST_TOKENS", 50)
    lane = folded(FakeRun(steps=1, switches={})).lanes["main"]
    story = tell(lane, lane.rollouts[1], 0, answer=5)
    assert list(story.pieces) == [5] and story.beats


# ---------------------------------------------------------------- on the screen


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    assert {cell_len(row) for row in text(app).split("\n")} == {app.size.width}
    return text(app)


def screen_of(app: LabApp) -> SlowScreen:
    assert isinstance(app.screen, SlowScreen)
    return app.screen


@pytest.fixture(params=SIZES)
async def live_slow(live: Live, request: pytest.FixtureRequest):
    """Live, the training paused after two steps, slow motion open and its step measured."""
    live.record(FakeRun(steps=2, switches={}, end=False))
    live.write(ev.Paused(2))
    async with live.app.run_test(size=request.param) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "m")
        yield live, pilot


async def test_the_engine_is_asked_and_the_step_is_told(live_slow) -> None:
    live, pilot = live_slow
    app = live.app
    screen = screen_of(app)
    assert live.engine.sent == [{"do": "after", "lane": "main"}]
    assert screen.waiting and "The engine finishes its step, then" in text(app)
    r = live.context.state.lanes["main"].rollouts[2]
    live.write(after(r))
    await settle(app)
    assert not screen.waiting and screen.story is not None and screen.story.measured
    seen = await press(app, pilot, "space")
    assert "‖ paused" in seen and "training is paused" in seen and "step 2" in seen
    for i, stage in enumerate(STAGES):
        assert screen.beat is not None and screen.beat.stage == stage
        seen = text(app)
        assert f"[{'①②③④⑤⑥'[i]} {stage}]" in seen
        words = screen.beat.caption.split(" ")
        assert " ".join(words[:5]) in seen
        await press(app, pilot, "right")
        await press(app, pilot, "tab")
    assert screen.beat.stage == "tokens"
    await press(app, pilot, "shift+tab")
    seen = await press(app, pilot, "right")
    assert screen.at == len(screen.story.beats) - 1 and "■ the end" in seen
    (_, t), old, new, _ = screen.story.changes[0]
    assert f"{100 * old:.1f}%" in seen and f"{100 * new:.1f}%" in seen
    assert f"#{t + 1}" in seen
    await press(app, pilot, "left")
    assert screen.beat.stage == "update" and not screen.beat.sweep
    await press(app, pilot, "home")
    assert screen.at == 0
    await press(app, pilot, "p")
    assert live.engine.sent[-1] == {"do": "continue"}
    await press(app, pilot, "escape")
    assert app.screen is app.lab


async def test_prompts_answers_and_speed(live_slow) -> None:
    live, pilot = live_slow
    app = live.app
    screen = screen_of(app)
    await press(app, pilot, "right")  # does not wait
    assert not screen.waiting and screen.story is not None and not screen.story.measured
    seen = await press(app, pilot, "space", "tab", "tab", "tab", "down", "down")
    assert screen.answer == 1 and screen.beat.stage == "objective"
    assert all(row == screen.story.rows[1] for row, _ in screen.story.focus)
    assert "▸2" in text(app)
    await press(app, pilot, "g")
    assert screen.story.prompt == 1 and screen.answer is None
    seen = await press(app, pilot, "G", "up")
    assert screen.story.prompt == 0 and screen.answer == 7
    await press(app, pilot, "right_square_bracket", "right_square_bracket")
    assert screen.speed == 4.0 and "×4" in text(app)
    await press(app, pilot, *["left_square_bracket"] * 6)
    assert screen.speed == 0.25
    seen = await press(app, pilot, "home")
    part = screen.parts[0]
    y = next(i for i, line in enumerate(part.plain.split("\n")) if " 3 " in line[:6])
    await pilot.click("#stage", offset=(3, y))
    await settle(app)
    assert screen.answer == 2
    seen = await press(app, pilot, "question_mark")
    assert "Slow motion: what it shows" in seen
    await press(app, pilot, "escape")


async def test_it_plays_by_itself_and_stops_at_the_end(live: Live) -> None:
    live.record(FakeRun(steps=1, switches={}, end=False))
    live.context.reduced_motion = True  # pyright: ignore[reportAttributeAccessIssue]
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "m", "right")
        screen = screen_of(live.app)
        assert screen.story is not None and not any(b.sweep for b in screen.story.beats)
        seen = []
        for _ in range(2000):
            screen._last -= 0.5  # half a second goes by
            screen.frame()
            seen.append(screen.at)
            if not screen.playing:
                break
        assert seen == sorted(seen) and set(seen) == set(range(len(screen.story.beats)))
        wanted = sum(b.seconds for b in screen.story.beats)
        assert len(seen) / 2 == pytest.approx(wanted, rel=0.1)
        await press(live.app, pilot, "space")
        assert screen.playing and screen.at == 0


async def test_a_refusal_and_a_death_leave_the_story_without(live: Live) -> None:
    live.record(FakeRun(steps=2, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "m")
        screen = screen_of(live.app)
        live.write(ev.Refused(2, {"do": "after", "lane": "main"}, "no memory\x1b[31m"))
        await settle(live.app)
        assert screen.story is not None and not screen.waiting
        assert "not measured: no memory␛[31m" in text(live.app)
        await press(live.app, pilot, "m")
        assert screen.waiting and len(live.engine.sent) == 2
        live.write(ev.Ended(2, "interrupted"))
        await settle(live.app)
        assert not screen.waiting and screen.story is not None
        assert "the engine ended before it could measure" in text(live.app)


async def test_an_answer_that_was_not_read_one_by_one_is_not_waited_for(live: Live) -> None:
    live.record(FakeRun(steps=2, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "m")
        screen = screen_of(live.app)
        assert screen.waiting
        live.context.asked.clear()  # as where much of the run is folded at once
        screen.news(live.app.lab._newest())
        assert not screen.waiting and screen.story is not None and not screen.problem


async def test_left_while_it_waits_it_is_not_asked_twice(live: Live) -> None:
    run = FakeRun(steps=2, switches={}, end=False)
    live.record(run)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "m", "escape", "m")
        assert len(live.engine.sent) == 1 and screen_of(live.app).waiting
        await press(live.app, pilot, "escape")
        live.write(after(live.context.state.lanes["main"].rollouts[2]))
        await settle(live.app)
        await press(live.app, pilot, "m")  # measured by now
        screen = screen_of(live.app)
        assert len(live.engine.sent) == 1 and screen.story is not None and screen.story.measured


async def test_before_the_first_step_it_waits_for_it(live: Live) -> None:
    events = [e for _, e in FakeRun(steps=1, switches={}, end=False).events()]
    at = next(i for i, e in enumerate(events) if e.kind == "graded")
    live.write(*events[:at])
    live.context = live.app.context
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "m", "right", "right", "tab", "down", "g", "space", "home")
        screen = screen_of(live.app)
        assert screen.story is None
        live.write(*events[at:])
        await settle(live.app)
        assert screen.story is not None and screen.story.r.step == 1


async def test_a_held_step_is_told_as_it_is(live: Live) -> None:
    live.record(FakeRun(steps=3, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        live.context.view.browse_to(live.context.state, 1)
        await press(live.app, pilot, "m")
        screen = screen_of(live.app)
        assert live.engine.sent == [] and screen.story is not None and screen.story.r.step == 1


async def test_a_recorded_run_has_what_was_measured(tmp_path: Path) -> None:
    events = FakeRun(steps=2, switches={}).events()
    state = LabState()
    with (tmp_path / "events.jsonl").open("w", encoding="utf-8") as file:
        for t, event in events:
            state.apply(event, t)
            file.write(codec.encode(event, t) + "\n")
            if event.kind == "step" and event.step == 2:  # pyright: ignore
                file.write(codec.encode(after(state.lanes["main"].rollouts[2]), t) + "\n")
    source = Playing(tmp_path)
    source.load()
    source.playing = False
    app = LabApp(AppContext(source, tmp_path))
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        for step, measured in ((1, False), (2, True)):
            source.home()
            source.scrub(step)
            await settle(app)
            seen = await press(app, pilot, "m", "space", "shift+tab")
            screen = screen_of(app)
            assert screen.story is not None and screen.story.r.step == step
            assert screen.story.measured == measured and "a recorded run" in seen
            assert ("were not measured" in seen) == (not measured)
            await press(app, pilot, "escape")


async def test_whoever_only_watches_asks_nobody(tmp_path: Path) -> None:
    FakeRun(steps=2, switches={}, end=False).write(tmp_path)
    app = LabApp(AppContext(Following(tmp_path, "watch"), tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        seen = await press(app, pilot, "m", "space")
        assert screen_of(app).story is not None
        assert "training continues, 2 steps done" in seen and " pauses" not in seen


async def test_hostile_answers_stay_in_their_place(tmp_path: Path) -> None:
    from .test_hostile import HOSTILE

    texts = [raw.replace("\ud83d", "") for raw in HOSTILE]
    pieces = [[raw, "ok", "<end>"] for raw in texts] + [[]]
    n = len(pieces)
    flat = [math.nan, math.inf, -1.0] * (n - 1)
    packed = codec.pack(struct.pack(f"<{len(flat)}e", *flat))
    names = ("advantage", "push", "logprob", "ratio", "log_ratio", "ref_gap", "clip", "value")
    rewards = [math.nan, math.inf, -math.inf, 1e300] + [0.0] * (n - 4)
    events = (
        ev.RunStarted(1, "x", {}, 0, "cpu", 1, 3),
        ev.LaneOpened("main", "ppo", "paper", {"beta": 0.1}, 0),
        ev.RolloutStarted(1, "main", "ppo", [HOSTILE[1]], ["\x1b[2J"], n, 8),
        ev.Graded(
            1, "main", ["".join(p) for p in pieces], rewards, [{"a\x1b[1m": r} for r in rewards],
            [False] * n, [None] * n, [len(p) for p in pieces], [False] * n,
        ),
        ev.Tokens(1, "main", pieces, dict.fromkeys(names, packed)),
        ev.After(1, "main", packed, math.nan),
    )  # fmt: skip
    with (tmp_path / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(codec.encode(e, 1.0) + "\n" for e in events)
    app = LabApp(AppContext(Following(tmp_path, "watch"), tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        await press(app, pilot, "m", "space")
        screen = screen_of(app)
        assert screen.story is not None
        for at in range(len(screen.story.beats)):
            screen.go(at)
            await pilot.pause()
            assert "\x1b" not in text(app)
            assert {cell_len(row) for row in text(app).split("\n")} == {80}
        await press(app, pilot, "escape", "V", "right", "right", "right")
        await press(app, pilot, *["right_square_bracket"] * n)
        await press(app, pilot, "escape", "2", "x", "x", "x", "c", "c", "right")
