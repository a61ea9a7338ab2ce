"""An algorithm's source on the screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from grpolab.algorithms import ALGORITHMS
from grpolab.tui.app import LabApp
from grpolab.tui.formulas.screen import FormulaScreen, SourceScreen, files, lines
from grpolab.tui.widgets.palette import PALETTES

from .conftest import text
from .test_tour import at, press

SIZES = [(80, 24), (120, 36), (200, 60)]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_its_files(name: str) -> None:
    found = files(name)
    assert found[0].read_text().startswith('"""') and found[-1].name == "base.py"
    assert f'name = "{name}"' in found[0].read_text()


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda p: p.name)
@pytest.mark.parametrize("width", [20, 71, 200])
def test_no_character_is_lost(palette, width: int) -> None:
    code = files("grpo")[0].read_text()
    shown = lines(palette, code, width)
    assert all(line.width <= width for line in shown)
    digits = len(str(code.count("\n")))  # of a line number, then two columns
    rows = "".join(
        line.plain[digits + 2 :] for line in shown if line.plain[: digits + 1].strip().isdecimal()
    )
    if width == 200:
        assert rows == code.replace("\n", "")
    letters = "".join(c for line in shown for c in line.plain if c.isalpha())
    assert letters == "".join(c for c in code if c.isalpha())
    colours = {s.style.color for line in shown for s in line.segments if s.style}
    assert len(colours) >= 5  # it is highlighted


@pytest.mark.parametrize("size", SIZES)
async def test_reading_it(replay: LabApp, size: tuple[int, int]) -> None:
    async with replay.run_test(size=size) as pilot:
        await at(replay, pilot, 7)
        told = await press(replay, pilot, "f")
        assert "source" in told
        told = await press(replay, pilot, "o")
        screen = replay.screen
        assert isinstance(screen, SourceScreen)
        assert {cell_len(row) for row in told.split("\n")} == {size[0]}
        assert "GRPO" in told and "grpo.py" in told and "Formula" in told
        code = screen.parts[0]
        await press(replay, pilot, "pagedown", "down")
        here = code.top
        assert here > 1
        told = await press(replay, pilot, "right")
        assert f"file 2 of {len(screen.files)}" in told and code.top == 0
        await press(replay, pilot, "left")
        assert code.top == here
        told = await press(replay, pilot, "end")
        assert "▴" in told
        assert "▾" in await press(replay, pilot, "home", "k", "j", "t", "pageup")
        line = code.plain.split("\n")[1]
        await pilot.click("#code", offset=(line.index("base.py") + 1, 1))
        assert screen.at == len(screen.files) - 1
        await press(replay, pilot, "question_mark", "escape", "escape")
        assert isinstance(replay.screen, FormulaScreen)


async def test_of_the_algorithm_that_is_chosen(replay: LabApp, pilot_size=(120, 36)) -> None:
    async with replay.run_test(size=pilot_size) as pilot:
        await at(replay, pilot, 7)
        await press(replay, pilot, "f", "up", "up", "o")
        assert isinstance(replay.screen, SourceScreen)
        name = replay.screen.name_
        assert name != "grpo" and f"{name.upper()} ─" in text(replay)


async def test_a_file_that_is_gone_is_told(replay: LabApp) -> None:
    async with replay.run_test(size=(80, 24)) as pilot:
        await at(replay, pilot, 7)
        await press(replay, pilot, "f", "o")
        assert isinstance(replay.screen, SourceScreen)
        replay.screen.files[0] = Path("/nowhere/grpo.py")
        assert "No such file" in await _again(replay, pilot)


async def _again(app: LabApp, pilot: Pilot[int]) -> str:
    return await press(app, pilot, "left", "right")
