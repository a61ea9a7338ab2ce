"""Themes, layouts, motion: chosen by key, remembered, and overruled by the environment."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from grpolab import cli
from grpolab.tui import preferences
from grpolab.tui.app import LabApp
from grpolab.tui.commands.model import commands
from grpolab.tui.context import AppContext
from grpolab.tui.source import Playing
from grpolab.tui.widgets.layout import LAYOUTS, PANES, arrange
from grpolab.tui.widgets.palette import CONTRAST, DARK, LIGHT, PALETTES, Palette, contrast

from .conftest import settle, text
from .test_tour import at, press

SIZES = [(80, 24), (120, 36), (200, 60)]


def lab(run: Path) -> LabApp:
    source = Playing(run)
    source.load()
    source.playing = False
    return LabApp(AppContext(source, run))


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda p: p.name)
def test_text_can_be_read(palette: Palette) -> None:
    p, sure = palette, 7.0 if palette is CONTRAST else 4.5
    for ground in (p.ground, p.bar, p.raised):
        assert contrast(p.text, ground) >= sure
        assert contrast(p.dim, ground) >= (sure if p is CONTRAST else 3.9)
    for hue in (p.accent, p.good, p.bad, p.warn, *p.lanes):
        assert contrast(hue, p.ground) >= (sure if p is CONTRAST else 2.8), hue
    if p is CONTRAST:
        assert contrast(p.faint, p.ground) >= 7
        for strength in (0.0, 0.3, 0.6, 1.0):
            style = p.tint("plus", strength)
            assert style.color is not None and style.bgcolor is not None
            assert contrast(style.color.name, style.bgcolor.name) >= 4.5


def test_contrast_is_as_it_is_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


async def test_they_are_remembered(run_dir: Path) -> None:
    first = lab(run_dir)
    async with first.run_test(size=(120, 36)) as pilot:
        await at(first, pilot)
        await press(first, pilot, "t", "t", "W", "D")
        assert first.theme == "grpolab-contrast" and first.context.reduced_motion
    again = lab(run_dir)
    assert again.theme == "grpolab-contrast" and again.context.palette is CONTRAST
    assert again.context.layout == "all" and again.context.reduced_motion
    assert again.animation_level == "none"
    assert LabApp(again.context, keep=False).context.palette is DARK


@pytest.mark.parametrize(
    ("env", "known", "how"),
    [
        ({}, {}, "full"),
        ({"SSH_CONNECTION": "1 2 3 4"}, {}, "ssh"),
        ({"SSH_CONNECTION": "1 2 3 4", "GRPOLAB_SSH": "0"}, {"motion": "full"}, "full"),
        ({"SSH_CONNECTION": "1 2 3 4"}, {"motion": "reduced"}, "reduced"),
        ({"GRPOLAB_SSH": "1"}, {"motion": "full"}, "ssh"),
        ({"GRPOLAB_REDUCED_MOTION": "1"}, {}, "reduced"),
        ({"GRPOLAB_REDUCED_MOTION": "0"}, {"motion": "nonsense"}, "full"),
        ({}, {"motion": "ssh"}, "full"),  # another session is another line
    ],
)
def test_how_it_moves(
    env: dict[str, str], known: dict[str, str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert preferences.motion(known) == how


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch, run_dir: Path) -> None:
    preferences.remember(theme="contrast", layout="two")
    monkeypatch.setenv("GRPOLAB_THEME", "light")
    monkeypatch.setenv("GRPOLAB_LAYOUT", "page")
    app = lab(run_dir)
    assert app.context.palette is LIGHT and app.context.layout == "page"
    monkeypatch.setenv("GRPOLAB_THEME", "mauve")
    assert lab(run_dir).context.palette is CONTRAST


def test_a_broken_or_unwritable_memory_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    preferences.state_file().parent.mkdir(parents=True)
    for wrong in ("[]", "{", "\x00"):
        preferences.state_file().write_text(wrong)
        assert preferences.recall() == {}
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    preferences.remember(theme="dark")
    assert preferences.recall() == {}


def test_the_flag_reaches_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    from grpolab import commands

    seen = {}
    monkeypatch.setattr(
        commands, "replay", lambda args: seen.update(how=preferences.motion({})) or 0
    )
    assert cli.main(["replay", "x", "--ssh"]) == 0 and seen["how"] == "ssh"
    monkeypatch.delenv("GRPOLAB_SSH")
    assert cli.main(["--ssh", "replay", "x"]) == 0 and seen["how"] == "ssh"
    monkeypatch.delenv("GRPOLAB_SSH")
    assert cli.main(["replay", "x"]) == 0 and seen["how"] == "full"


@pytest.mark.parametrize("size", [*SIZES, (40, 10), (20, 4)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_neither_overlap_nor_leave_the_screen(size: tuple[int, int], layout: str) -> None:
    width, height = size
    for current in PANES:
        boxes = arrange(width, height, current, False, layout)
        assert current in boxes
        cells = [
            (x, y) for b in boxes.values()
            for x in range(b.x, b.x + b.width) for y in range(b.y, b.y + b.height)
        ]  # fmt: skip
        assert len(cells) == len(set(cells))
        if height >= 20:
            assert all(0 <= x < width and 0 <= y < height for x, y in cells)
    if layout == "all":
        assert len(boxes) == len(PANES)
    if layout == "page":
        assert len(boxes) == 1


@pytest.mark.parametrize("size", SIZES)
async def test_layouts_by_key_and_by_name(run_dir: Path, size: tuple[int, int]) -> None:
    app = lab(run_dir)
    async with app.run_test(size=size) as pilot:
        await at(app, pilot)
        shown = {}
        for name in ("all", "two", "page", "auto"):
            told = await press(app, pilot, "W")
            assert app.context.layout == name and f"layout {name}" in told
            shown[name] = set(app.lab.boxes())
        assert shown["all"] == set(PANES) and len(shown["page"]) == 1 < len(shown["two"])
        command = next(c for c in commands(app, app.screen) if c.name == "layout")
        command.prepare("two")()
        await settle(app)
        assert set(app.lab.boxes()) == shown["two"]


async def test_fewer_repaints_but_keys_at_once(run_dir: Path) -> None:
    app = lab(run_dir)
    async with app.run_test(size=(120, 36)) as pilot:
        await at(app, pilot)
        pane, now = app.lab.panes["rollouts"], time.monotonic()
        pane.stale, pane.painted = True, now - pane.period * 2
        assert pane.due(now)
        await _moved(app, pilot)
        pane.stale, pane.painted = True, now - pane.period * 2
        assert app.context.reduced_motion and not pane.due(now) and app.context.spin == "…"
        await _moved(app, pilot)
        pane.stale, pane.painted = True, now - pane.period * 6
        assert app.context.ssh and not app.context.reduced_motion and not pane.due(now)
        await pilot.press("down", "down")
        assert "▸3 " in app.lab.panes["rollouts"].plain  # nobody waits for a repaint
        await _moved(app, pilot)
        assert not app.context.ssh and app.context.spin != "…"


async def _moved(app: LabApp, pilot: Pilot[int]) -> None:
    await pilot.press("D")
    await pilot.pause()


async def test_a_picture_says_where_it_is(run_dir: Path, tmp_path: Path) -> None:
    app = lab(run_dir)
    async with app.run_test(size=(120, 36)) as pilot:
        await at(app, pilot)
        app.context.run_dir = tmp_path
        await press(app, pilot, "P")
        (made,) = tmp_path.glob("*.svg")
        assert str(made) in app.context.notice[0]
        assert made.read_text().startswith("<svg")
        await press(app, pilot, "f", "P")
        assert len(list(tmp_path.glob("*.svg"))) == 2


async def test_without_colour(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = lab(run_dir)
    async with app.run_test(size=(120, 36)) as pilot:
        await at(app, pilot)
        told = await press(app, pilot, "N", "enter")
        assert "┏━ 1 Rollouts" in told  # lit without colour
        assert "Rollouts" in text(app)
