"""The lens: where it comes from, what stands on it at three sizes, and what its keys do."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.tail import read
from grpolab.tui.app import LabApp
from grpolab.tui.commands.model import commands
from grpolab.tui.context import AppContext
from grpolab.tui.lab.dialogs.help import Help
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.lens import model as lens_process
from grpolab.tui.lens.model import Lens, load, parse
from grpolab.tui.lens.screen import LensScreen
from grpolab.tui.lens.view import cosine_bar
from grpolab.tui.source import Playing
from grpolab.tui.widgets.signs import settled, sign

from .conftest import Live, settle, text
from .fake_lens import lens, made, rollout
from .fake_run import FakeRun
from .test_hostile import HOSTILE

SIZES = [(80, 24), (120, 36), (200, 60)]


def shown(app: LabApp) -> LensScreen:
    assert isinstance(app.screen, LensScreen)
    return app.screen


async def press(app: LabApp, pilot: Pilot[int], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
    await settle(app)
    await settle(app)
    return text(app)


def record(live: Live, steps: int = 3) -> list[ev.Event]:
    """A live run in which so many steps are done; its events."""
    events = [e for _, e in FakeRun(steps=steps + 1, switches={}).events()]
    for event in events:
        live.write(event)
        if isinstance(event, ev.StepDone) and event.step == steps:
            break
    return events


@pytest.fixture
async def looked(live: Live) -> AsyncIterator[tuple[Live, Pilot[int]]]:
    """A live lab with the lens on its third step."""
    events = record(live)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "l")
        live.write(made(live.folder, lens(rollout(events, 3), parameters=True)))
        await press(live.app, pilot)
        yield live, pilot


async def test_the_engine_is_asked_and_its_file_read(live: Live) -> None:
    events = record(live)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "l")
        assert live.engine.sent == [{"do": "lens", "lane": "main"}]
        assert "the engine answers after this step" in told
        live.write(made(live.folder, lens(rollout(events, 3))))
        told = await press(live.app, pilot)
        assert "5 of 6 algorithms" in told and "reinforce" in told and "answers after" not in told
        assert "n/a: no critic" in told and " param " not in told
        assert "−0.60" in told and "+0.80" in told and "25%" in told

        told = await press(live.app, pilot, "B")
        assert live.engine.sent[1] == {"do": "lens", "lane": "main", "parameters": True}
        assert "the engine answers after this step" in told and "gspo" in told
        live.write(made(live.folder, lens(rollout(events, 3), parameters=True)))
        told = await press(live.app, pilot)
        assert " param " in told and "answers after" not in told

        # closed and opened again, the same step needs nobody
        await press(live.app, pilot, "escape")
        assert isinstance(live.app.screen, LabScreen)
        await press(live.app, pilot, "l")
        assert len(live.engine.sent) == 2 and shown(live.app).lens is not None


async def test_a_refusal_and_a_file_that_is_none_are_told_in_a_line(live: Live) -> None:
    record(live)
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "l")
        live.write(ev.Refused(3, {"do": "lens", "lane": "main"}, "there is no rollout yet"))
        assert "✗ there is no rollout yet" in await press(live.app, pilot)
        await press(live.app, pilot, "l")
        (live.folder / "lens").mkdir()
        (live.folder / "lens" / "3-main.json").write_text('{"algorithms": {"grp')
        live.write(ev.LensMade(3, "main", "lens/3-main.json", False, {}))
        assert "✗ Unterminated string" in await press(live.app, pilot)


async def test_an_engine_that_ends_leaves_the_work_to_a_process(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = record(live)
    asked: list[tuple[Path, int, str]] = []

    def command(run_dir: Path, step: int, lane: str) -> list[str]:
        asked.append((run_dir, step, lane))
        file = live.folder / "out.json"
        file.write_text(json.dumps(lens(rollout(events, step))))
        return [sys.executable, "-c", f"print(open({str(file)!r}).read())"]

    monkeypatch.setattr(lens_process, "command", command)
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "l")
        live.write(ev.Ended(3, "interrupted"))
        live.engine.code = 130
        for _ in range(3):
            live.app.lab._clock = 0.0
            told = await press(live.app, pilot)
        assert asked == [(live.folder, 3, "main")]
        assert "5 of 6 algorithms" in told
        assert "the engine has ended" in await press(live.app, pilot, "B")


@pytest.mark.slow
async def test_a_replay_computes_in_a_process(run_dir: Path) -> None:
    """The real one: torch is loaded there, and nowhere here."""
    source = Playing(run_dir)
    source.load()
    app = LabApp(AppContext(source, run_dir))
    async with app.run_test(size=SIZES[0]) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        source.home()
        source.scrub(4)
        await settle(app)
        await press(app, pilot, "l")
        found = shown(app).lens
        assert found is not None and found.step == 4 and found.current == "grpo"
        assert "remax" in found.left_out and len(found.looks) > 10
        assert (
            "reference" in found.left_out["grpo"]
            if "grpo" in found.left_out
            else found.parameters is None
        )
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await settle(app)
            told = text(app)
            assert "✗" not in told, told
            assert {cell_len(row) for row in told.split("\n")} == {size[0]}


async def test_what_goes_wrong_in_the_process_is_one_line(
    replay: LabApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; sys.stderr.write('Traceback\\n  x\\nno step 9\\x1b[31m'); sys.exit(2)"
    monkeypatch.setattr(lens_process, "command", lambda *_: [sys.executable, "-c", code])
    async with replay.run_test(size=(80, 24)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        assert "no finished step" in await press(replay, pilot, "l")
        source = replay.context.source
        assert isinstance(source, Playing)
        source.scrub(3)
        await settle(replay)
        told = await press(replay, pilot, "l")
        assert "✗ no step 9␛[31m" in told and "Traceback" not in told
        monkeypatch.setattr(lens_process, "command", lambda *_: ["/no/such/program"])
        assert "cannot be started" in await press(replay, pilot, "l")


async def test_a_recorded_lens_is_read_and_not_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lens_process, "command", lambda *_: ["/no/such/program"])
    events = FakeRun(steps=3, switches={}).events()
    found = made(tmp_path, lens(rollout([e for _, e in events], 2), parameters=True))
    at = next(i for i, (_, e) in enumerate(events) if isinstance(e, ev.StepDone) and e.step == 2)
    events.insert(at + 1, (events[at][0] + 0.01, found))
    lines = "".join(codec.encode(e, t) + "\n" for t, e in events)
    (tmp_path / "events.jsonl").write_text(lines, encoding="utf-8")
    source = Playing(tmp_path)
    source.load()
    app = LabApp(AppContext(source, tmp_path))
    async with app.run_test(size=(120, 36)) as pilot:
        app._pilot = pilot  # pyright: ignore
        source.scrub(2)  # the clock stands before the event
        await settle(app)
        assert " param " in await press(app, pilot, "l")


@pytest.mark.parametrize("size", SIZES)
async def test_what_stands_on_it(live: Live, size: tuple[int, int]) -> None:
    events = record(live)
    async with live.app.run_test(size=size) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "l")
        live.write(made(live.folder, lens(rollout(events, 3))))
        await press(live.app, pilot)
        told = await press(live.app, pilot, "down")  # dapo beside the lane's grpo
        for word in ("loss", "clip", "Σ|grad|", "cos", "●", "▸", "n/a: no critic"):
            assert word in told, told
        if size[0] == 80:
            assert "Explained" not in told
            told = await press(live.app, pilot, "enter")
        for word in ("Tokens", "token 1/", "Explained", "min(ρ Â", "ρ", "◂ wins", "penalized"):
            assert word in told, told
        if size[0] == 80:
            told = await press(live.app, pilot, "tab")
        assert "DAPO ◇ GRPO" in told and "cos +0.80" in told and " t" in told
        if size[0] == 200:
            assert "this token under all" in told
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        for width, height in ((60, 20), (30, 10), (10, 5), size):
            await pilot.resize_terminal(width, height)
            await settle(live.app)


async def test_the_way_back(looked: tuple[Live, Pilot[int]]) -> None:
    live, pilot = looked
    view, lab = live.context.view, live.app.lab
    await press(live.app, pilot, "escape", "g", "down", "right", "tab", "c")
    before = (view.prompt, view.answer, view.token, view.channel, live.context.current)
    assert before[:3] == (1, 1, 1)
    await press(live.app, pilot, "l")
    s = shown(live.app)
    assert (s.group, s.answer, s.token) == (1, 1, 1)  # the same token in the lens
    await press(live.app, pilot, "right", "g", "right_square_bracket", "tab", "enter", "tab")
    assert isinstance(live.app.screen, LensScreen)
    await press(live.app, pilot, "escape")
    assert isinstance(live.app.screen, LabScreen)
    after = (view.prompt, view.answer, view.token, view.channel, live.context.current)
    assert after == before
    assert lab.listeners == []


async def test_moving(looked: tuple[Live, Pilot[int]]) -> None:
    live, pilot = looked
    s = shown(live.app)
    assert s.lens is not None and s.at == "grpo"
    await press(live.app, pilot, "down", "down", "up")
    assert s.at == "dapo"
    await press(live.app, pilot, "right", "right", "left", "shift+right")
    assert s.token == 11
    await press(live.app, pilot, "right_square_bracket", "right_square_bracket")
    assert (s.group, s.answer, s.token) == (0, 2, 0)
    await press(live.app, pilot, *["left_square_bracket"] * 3)
    assert (s.group, s.answer) == (7, 7)
    await press(live.app, pilot, "g", "right", "G")
    assert (s.group, s.answer, s.token) == (7, 7, 0)
    await press(live.app, pilot, *["down"] * 3)
    assert s.at == "ppo"  # not applicable: it says why, and nothing breaks
    assert "ppo: n/a, needs values" in text(live.app)
    await press(live.app, pilot, "space", "down")
    assert s.second == "" and s.at == "reinforce"


async def test_two_algorithms_and_the_tokens_between_them(
    looked: tuple[Live, Pilot[int]],
) -> None:
    live, pilot = looked
    s = shown(live.app)
    assert "mark one with space" in text(live.app)
    await press(live.app, pilot, "down", "space", "up", "up")
    assert s.pair == ("reinforce", "dapo") and "REINFORCE ◇ DAPO" in text(live.app)
    assert "◆ dapo" in text(live.app)
    await press(live.app, pilot, "3")
    third = s.apart[2]
    assert (s.group, s.answer, s.token) == (third.group, third.answer, third.token)
    await press(live.app, pilot, "tab", "up", "up", "enter")
    first = s.apart[0]
    assert (s.group, s.answer, s.token) == (first.group, first.answer, first.token)
    assert "▸1 ●" in text(live.app)
    gaps = [abs(x.ours - x.theirs) for x in s.apart]
    assert gaps == sorted(gaps, reverse=True) and len(gaps) == 10
    await press(live.app, pilot, "tab", "space")  # marked itself: it is what is compared with
    assert s.second == "reinforce" and s.pair is None
    await press(live.app, pilot, "space")
    assert s.second == ""


async def test_mouse(looked: tuple[Live, Pilot[int]]) -> None:
    live, pilot = looked
    s = shown(live.app)

    def row(part: str, word: str) -> int:
        pane = next(p for p in s.parts if p.id == part)
        return next(i for i, line in enumerate(pane.plain.split("\n")) if word in line)

    await pilot.click("#table", offset=(8, row("table", "gspo")))
    assert s.at == "gspo"
    await pilot.click("#tokens", offset=(12, 2))
    assert s.token > 0
    await settle(live.app)
    await pilot.click("#apart", offset=(8, row("apart", " 2 ")))
    second = s.apart[1]
    assert (s.group, s.answer, s.token) == (second.group, second.answer, second.token)
    keys = s.query_one("#keys")
    await pilot.click("#keys", offset=(keys.plain.index("esc back"), 0))  # pyright: ignore
    await settle(live.app)
    await pilot.click("#keys", offset=(keys.plain.index("esc back"), 0))  # pyright: ignore
    await pilot.pause()
    assert isinstance(live.app.screen, LabScreen)


async def test_help_and_palette_know_its_keys(looked: tuple[Live, Pilot[int]]) -> None:
    live, pilot = looked
    told = " ".join(c.told for c in commands(live.app, live.app.screen))
    assert "compare the others with this one" in told and "switch to another" in told
    assert "the rollout under every algorithm" in told  # it opens the newest
    await press(live.app, pilot, "question_mark")
    assert isinstance(live.app.screen, Help) and "Lens: what it shows" in text(live.app)
    await press(live.app, pilot, "escape", "t")
    assert not live.context.palette.dark
    assert shown(live.app).parts[0].plain


async def test_keys_of_a_user_reach_the_lens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('lens = "x"\nlens_mark = "m"\n')
    monkeypatch.setenv("GRPOLAB_KEYS", str(file))
    mine = Live(tmp_path / "mine")
    events = record(mine)
    async with mine.app.run_test(size=(120, 36)) as pilot:
        mine.app._pilot = pilot  # pyright: ignore
        await settle(mine.app)
        await press(mine.app, pilot, "x")
        mine.write(made(mine.folder, lens(rollout(events, 3))))
        await press(mine.app, pilot)
        told = await press(mine.app, pilot, "space", "down", "m")
        assert "m compare" in told and shown(mine.app).second == "dapo"


async def test_a_loss_of_nothing_is_explained(live: Live) -> None:
    events = record(live)
    found = lens(rollout(events, 3), loss=0.0)
    async with live.app.run_test(size=(80, 24)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "l")
        live.write(made(live.folder, found))
        assert "A loss of 0 does not mean a gradient of 0" in await press(live.app, pilot)
        for one in found["algorithms"].values():
            for group in one["groups"]:
                for sample in group["samples"]:
                    sample["gradient"] = [0.0] * len(sample["gradient"])
        await press(live.app, pilot, "l")
        live.write(made(live.folder, found))
        assert "No algorithm has a gradient here" in await press(live.app, pilot)


async def test_signs_can_be_read_without_colour(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Live(live.folder / "plain")
    events = record(plain)
    async with plain.app.run_test(size=(120, 36)) as pilot:
        plain.app._pilot = pilot  # pyright: ignore
        await settle(plain.app)
        await press(plain.app, pilot, "l")
        plain.write(made(plain.folder, lens(rollout(events, 3))))
        await press(plain.app, pilot)
        told = await press(plain.app, pilot, "down", "down")
        colours = {s.style.color for strip in plain.app.screen._compositor.render_strips()
                   for s in strip if s.style and s.style.color}  # fmt: skip
    assert "−0.60" in told and "▐██│" in told and any(m in told for m in "▲▴") and "▼" in told
    assert all(c.triplet is None or len(set(c.triplet)) == 1 for c in colours)  # greys alone


async def test_hostile_text_is_data(live: Live) -> None:
    events = record(live)
    found: dict[str, Any] = lens(rollout(events, 3))
    words = [h.encode("utf-8", "replace").decode()[:400] for h in HOSTILE]
    for g, group in enumerate(found["groups"]):
        group["prompt"] = words[g]
        for i, sample in enumerate(group["samples"]):
            n = len(sample["tokens"])
            sample["tokens"] = [words[(g + i + t) % len(words)] for t in range(n)]
    found["left_out"] = {"[red]x\x1b[31m": "why\x1b]0;t\x07\n[bold]"}
    found["algorithms"]["\x1b[31m[red]evil"] = found["algorithms"].pop("raft")
    for table in (found["cosine"], *found["cosine"].values()):
        table["\x1b[31m[red]evil"] = table.pop("raft")
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        await press(live.app, pilot, "l")
        live.write(made(live.folder, found))
        await press(live.app, pilot)
        for key in ("up", "up", "space", "g", "right", "tab", "down", "enter", "question_mark",
                    "escape", "right_square_bracket", "1", "down", "down"):  # fmt: skip
            told = await press(live.app, pilot, key)
            assert not any(c in told for c in "\x1b\x07\u202e"), key
            assert {cell_len(row) for row in told.split("\n")} == {120}, key


def test_a_bar_says_which_way() -> None:
    assert cosine_bar(1.0, 9) == "    │████" and cosine_bar(-1.0, 9) == "████│    "
    assert cosine_bar(0.0, 9) == cosine_bar(None, 9) == cosine_bar(math.nan, 9) == "    │    "
    assert cosine_bar(-0.4, 9) == "  ▐█│    "
    for value in (-7.0, 0.3, 1e9):
        assert len(cosine_bar(value, 9)) == 9


def test_only_files_of_the_run_are_read(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    with pytest.raises(ValueError, match="outside"):
        load(run, "../secret.json", 1, "main", "grpo")
    with pytest.raises(ValueError, match="outside"):
        load(run, str(tmp_path / "secret.json"), 1, "main", "grpo")
    with pytest.raises(FileNotFoundError):
        load(run, "lens/1-main.json", 1, "main", "grpo")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"algorithms": {}}', "null", "\x00"])
def test_what_is_no_lens_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text, 1, "main", "grpo")


def test_a_lens_with_other_tokens_is_refused(run_dir: Path) -> None:
    found = lens(rollout([e for _, e in read(run_dir / "events.jsonl")], 2))
    assert isinstance(parse(json.dumps(found), 2, "main", "grpo"), Lens)
    found["algorithms"]["grpo"]["groups"][0]["samples"][0]["gradient"].pop()
    with pytest.raises(ValueError, match="grpo has a gradient for other tokens"):
        parse(json.dumps(found), 2, "main", "grpo")


async def test_the_lab_below_follows_a_resize(looked: tuple[Live, Pilot[int]]) -> None:
    live, pilot = looked
    await pilot.resize_terminal(200, 60)
    await press(live.app, pilot, "space", "down")
    for size in ((80, 24), (200, 60), (120, 36)):
        await pilot.resize_terminal(*size)
        await press(live.app, pilot)
        assert {cell_len(row) for row in text(live.app).split("\n")} == {size[0]}
    live.write(ev.PhaseChanged("sampling", 4), ev.Sampled(4, "main", 3, [(0, "xyz")], []))
    told = await press(live.app, pilot, "escape")
    assert isinstance(live.app.screen, LabScreen)
    assert "5 Memory " in told and {cell_len(row) for row in told.split("\n")} == {120}


async def test_quitting_from_the_lens(looked: tuple[Live, Pilot[int]]) -> None:
    live, pilot = looked
    await press(live.app, pilot, "ctrl+q")
    assert live.engine.stopped and "finishing the step" in text(live.app)
    await press(live.app, pilot, "escape")
    live.write(ev.Failed(3, "out of memory", "updating"))
    live.engine.code = 1
    for _ in range(3):
        live.app.lab.tick()
        await pilot.pause()


def test_rounding_error_has_no_direction(run_dir: Path) -> None:
    found = lens(rollout([e for _, e in read(run_dir / "events.jsonl")], 2))
    for group in found["algorithms"]["reinforce"]["groups"]:  # what is left of equal rewards
        for sample in group["samples"]:
            sample["gradient"] = [4.8e-10 * (-1) ** t for t in range(len(sample["gradient"]))]
    grpo = found["algorithms"]["grpo"]["groups"][0]["samples"]
    grpo[0]["gradient"][0] = -1e-9
    parsed = parse(json.dumps(found), 2, "main", "grpo")
    none, some = parsed.looks["reinforce"], parsed.looks["grpo"]
    assert none.weight == none.norm == none.limit(0) == 0 and set(none.push(0, 0)) == {0.0}
    assert some.push(0, 0)[0] == 0 and some.weight > 0 and any(some.push(0, 1))
    assert parsed.apart("reinforce", "grpo") == [] and parsed.apart("dapo", "grpo")
    assert [x for x in parsed.looks if parsed.looks[x].weight == 0] == ["reinforce"]
    assert sign(0.0) == sign(4.8e-8) == sign(None) == ("·", "dim")
    assert sign(2e-6)[0] == "▲" and sign(-2e-6)[0] == "▼" and sign(-2e-6, 3.0)[0] == "·"
    assert sign(math.nan)[0] == "?" and settled(math.inf) == math.inf
