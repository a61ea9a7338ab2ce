"""Model text is data: nothing in it steers the terminal, breaks a row, or ends the viewer."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from grpolab.analysis.metric_help import METRICS
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.tui.widgets.palette import level_mark, sign_mark
from grpolab.tui.widgets.text import (
    clip,
    clock,
    count,
    number,
    percent,
    signed,
    size,
    tail,
    visible,
    wrap,
)
from grpolab.tui.widgets.token_rows import Scale, layout

from .conftest import Live, settle, text

HOSTILE = [
    "[bold red]markup[/] [@click=app.quit]x[/] $primary",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[H",
    "\u202eright to left\u202c \u2066x\u2069 \ufeff",
    "e\u0301\u0301\u0301\u0301 \u0301 zalgo Z\u0335\u0322\u0328\u034e",
    "漢字かな交じり文🙂👩\u200d👩\u200d👧 ｗｉｄｅ",
    "\x00\x01\x7f\x80\x9b\u2028\u2029\ud83d",
    "a\r\nb\tc\vd\fe",
    "x" * 100_000,
    "",
    "\n\n\n",
    "नमस्ते שלום مرحبا",
]


@pytest.mark.parametrize("raw", HOSTILE)
def test_visible_leaves_nothing_that_steers(raw: str) -> None:
    shown = visible(raw)
    assert "\x1b" not in shown and "\n" not in shown and "\u202e" not in shown
    assert all(ord(c) >= 32 and not 127 <= ord(c) < 160 for c in shown)
    assert not any(0xD800 <= ord(c) < 0xE000 for c in shown)


@given(st.text(max_size=60), st.integers(1, 40))
def test_cutting_keeps_to_the_width(raw: str, width: int) -> None:
    shown = visible(raw)
    assert cell_len(clip(shown, width)) <= width
    assert cell_len(tail(shown, width)) <= width
    assert all(cell_len(row) <= max(width, 2) for row in wrap(shown, width))


@given(st.lists(st.text(max_size=6), max_size=30), st.integers(8, 40))
def test_every_token_has_its_place(pieces: list[str], width: int) -> None:
    rows = layout(tuple(pieces), width)
    assert [i for row in rows for i, _ in row] == list(range(len(pieces)))
    assert all(cell_len("".join(t for _, t in row)) <= width for row in rows)


@given(st.floats() | st.none() | st.integers() | st.text(max_size=3))
def test_numbers_never_fail(value: object) -> None:
    assert isinstance(number(value), str)
    if value is None or isinstance(value, float):
        assert signed(value) and percent(value) and count(value) and size(value)
    if isinstance(value, float):
        assert clock(value)
        assert len(sign_mark(value, 1.0)) == 1 and len(level_mark(value)) == 1
        assert len(Scale("advantage", [value]).look(value)[2]) == 1
        assert len(Scale("kl", [value, 1.0]).look(value)[2]) == 1


def test_numbers_are_short() -> None:
    values = [0, 1, -1, 0.2, 1e-9, 123456, -0.00042, 1e300, 3.14159, math.nan, -math.inf]
    assert [number(v) for v in values] == [
        "0",
        "1",
        "−1",
        "0.200",
        "1e−9",
        "123k",
        "−4.2e−4",
        "1e300",
        "3.14",
        "NaN",
        "−∞",
    ]
    assert (count(2140), count(98_000), size(13 << 20)) == ("2.1k", "98k", "13.0 MB")


def hostile_step(
    live: Live, answers: list[str], group: int, channels: dict[str, str] | None = None
) -> None:
    """A whole step of these answers."""
    n = len(answers)
    pieces = [list(a[:300]) for a in answers]
    lengths = [len(p) for p in pieces]
    bad = [math.nan, math.inf, -math.inf, 0.5]
    packed = codec.pack(b"".join(struct.pack("<e", bad[i % 4]) for i in range(sum(lengths))))
    metrics = {k: bad[i % 4] for i, k in enumerate(METRICS)} | {"[red]own\x1b": math.nan}
    prompts = [f"{visible(answers[0])[:10]}\x1b[31m\n[red]p{i}" for i in range(n // group)]
    live.write(
        ev.RunStarted(1, "r", {"name": "[bold]\x1b[31mx", "task": 3}, 0, "cpu\x1b", 1, 5),
        ev.ModelLoaded("/a/\x1b[31mmodel/", "x", 10, 5, 1, 1, "f\n", "none", "native", 0.1),
        ev.LaneOpened("ma\x1bin", "grpo", "pa[red]per", {"beta": math.nan, "x\x1b": None}, 0),
        ev.Evaluated(
            0, "ma\x1bin", math.nan, math.inf, -math.inf, 5, 0.1, 0.0, {"ea\x1bsy": math.nan}
        ),
        ev.RolloutStarted(1, "ma\x1bin", "grpo", prompts, ["har\x1bd"] * len(prompts), group, 300),
        ev.Sampled(1, "ma\x1bin", 3, [(i, a[:50]) for i, a in enumerate(answers)], []),
    )
    live.write(
        ev.Graded(
            1,
            "ma\x1bin",
            answers,
            [math.nan if i % 2 else 1.0 for i in range(n)],
            [{"acc\x1b[0m[red]": math.nan}] * n,
            [bool(i % 2) for i in range(n)],
            [a[:9] or None for a in answers],
            lengths,
            [True] * n,
        ),
        ev.Tokens(
            1,
            "ma\x1bin",
            pieces,
            {"advantage": packed, "odd\x1b": packed} if channels is None else channels,
        ),
        ev.StepDone(
            1,
            "ma\x1bin",
            "grpo",
            metrics,
            {"roll\x1bout": math.nan},
            1,
            10,
            {"backbone": 0, "n\x1bew": 5},
            0,
            "",
        ),
        ev.PhaseChanged("wait\x1b[31ming", 1, detail="\x1b]0;t\x07"),
        ev.Switched(
            1, "ma\x1bin", "gr\x1bpo", "un\x1bknown", "p", {}, ["k\x1b[31m"], ["[red]r"], "cue"
        ),
        ev.Refused(1, {}, "no\x1b[31m\n[red]"),
    )


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_a_hostile_run_cannot_break_the_screen(live: Live, size: tuple[int, int]) -> None:
    told = [a.encode("utf-8", "replace").decode() for a in HOSTILE]
    hostile_step(live, [*told, "plain"], 4)
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        screens = ("f", "down", "c", "down", "escape", "k", "escape", "l", "escape")
        screens += ("u", "s", "y", "x", "down", "space", "escape", "M", "s", "down", "tab")
        screens += ("escape", "h", "down", "1", "tab", "escape")
        dialogs = ("escape", "question_mark", "escape", "a", "escape", "equals_sign", "escape")
        for key in (*"123456z", *dialogs, *screens):
            await pilot.press(key)
            await pilot.pause()
            assert {cell_len(row) for row in text(live.app).split("\n")} == {size[0]}
        for _ in range(len(HOSTILE) + 1):
            await pilot.press("right", "c", "down")
            shown = text(live.app)
            assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown
            assert {cell_len(row) for row in shown.split("\n")} == {size[0]}


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_hostile_answers_side_by_side_read_and_found(
    live: Live, size: tuple[int, int]
) -> None:
    told = [a.encode("utf-8", "replace").decode() for a in HOSTILE]
    hostile_step(live, [*told, "tail"], 4)
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)

        async def press(*keys: str) -> None:
            for key in keys:
                await pilot.press(key)
                shown = text(live.app)
                assert {cell_len(row) for row in shown.split("\n")} == {size[0]}
                assert not any(c in shown for c in "\x1b\x07\u202e\x00\x9b")

        await press("w", "O", "space", "pagedown", "pageup", "right")
        for _ in range(3):
            await press("g", "right", "enter", "tab", "end", "tab", "right", "tab", "escape")
        await press(
            "escape", "slash", "enter", "1", "down", "shift+down", "end", "o", "tab", "escape"
        )
        await press("slash", "[", "b", "enter", "1", "enter", "escape", "backspace", "O", "O", "w")
        await press("escape", "escape")
        assert (live.folder / "events.jsonl").exists()


async def test_an_answer_of_ten_thousand_tokens(live: Live) -> None:
    words = " ".join(f"w{i}" for i in range(10_000))
    hostile_step(live, [words, "short"], 2)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        for keys, there in ((("w",), "w0 w1"), (("enter",), "w0 w1"), (("end",), "w9999"),
                            (("m", "end"), "w9999"), (("home",), "w0 w1")):  # fmt: skip
            await pilot.press(*keys)
            await settle(live.app)
            assert there in text(live.app)


async def test_a_group_of_512_scrolls(live: Live) -> None:
    hostile_step(live, [f"answer {i}" for i in range(512)], 512)
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("w", "end")
        await settle(live.app)
        assert "answer 511" in text(live.app) and "512/512" in text(live.app)
        await pilot.press("home", "down", "down", "down", "down", "down")
        await settle(live.app)
        assert "answer 10" in text(live.app) and "more answers" in text(live.app)


@pytest.mark.parametrize(("rows", "group"), [(1, 1), (64, 64), (512, 512)])
async def test_groups_of_one_and_of_many(live: Live, rows: int, group: int) -> None:
    hostile_step(live, [f"answer {i}" for i in range(rows)], group)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await pilot.press("up")  # from the first answer to the last
        await settle(live.app)
        assert f"answer {rows}" in text(live.app)


async def test_missing_channels_and_metrics(live: Live) -> None:
    hostile_step(live, ["abc", "def"], 2, channels={})
    live.write(ev.StepDone(2, "ma\x1bin", "grpo", {}, {}, 0, 0, {}, 0, ""))
    async with live.app.run_test(size=(200, 60)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        for key in (
            "c",
            "C",
            "right",
            "g",
            "down",
            "v",
            "l",
            "escape",
            "f",
            "escape",
            "k",
            "escape",
        ):
            await pilot.press(key)
        await settle(live.app)
        assert "1 Rollouts" in text(live.app)
