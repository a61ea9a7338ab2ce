"""The main screens on one made-up run at three sizes, row by row as they were last looked at and
found good."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.source import Playing

from .conftest import settle
from .fake_lens import lens, made, rollout
from .fake_run import FakeRun
from .recorder import compare, looks, record

SIZES = [(80, 24), (120, 36), (200, 60)]
STEPS = 12
SCREENS = {
    "lab": "", "group": "w", "curves": "u", "memory": "M", "health": "h", "lens": "l", "trace": "V",
}  # fmt: skip
"""Each screen and the key that opens it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GRPO for six steps, then PPO; half of the answers are cut; a lens on the last step."""
    folder = tmp_path_factory.mktemp("run")
    timed = FakeRun(steps=STEPS, prompts=4, group=4, switches={6: "ppo"}).events()
    look = made(folder, lens(rollout([e for _, e in timed], STEPS), parameters=True))
    end = next(i for i, (_, e) in enumerate(timed) if isinstance(e, ev.Ended))
    timed.insert(end, (timed[end][0], look))
    lines = [codec.encode(_cut(e), t) + "\n" for t, e in timed]
    (folder / "events.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def _cut(e: ev.Event) -> ev.Event:
    if isinstance(e, ev.StepDone):
        e.metrics["truncated"] = 0.5
    return e


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_it_looks_as_recorded(folder: Path, size: tuple[int, int]) -> None:
    source = Playing(folder)
    source.load()
    source.end()
    app = LabApp(AppContext(source, folder))
    wrong = []
    async with app.run_test(size=size) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        await pilot.press("comma", "full_stop", "down")  # at the last step, its second answer
        await settle(app)
        for name, key in SCREENS.items():
            if key:
                await pilot.press(key)
                await settle(app)
                await settle(app)
            app.context.say("")
            app.lab.mark({"select"})
            app.lab.repaint(at_once=True)
            await pilot.pause()
            try:
                compare(app, f"{name}-{size[0]}x{size[1]}")
            except AssertionError as error:
                wrong.append(str(error))
            if key:
                await pilot.press("escape")
                await settle(app)
    assert not wrong, "\n\n".join(wrong)


async def test_the_recorder_sees_a_change_of_colour_alone(folder: Path) -> None:
    source = Playing(folder)
    source.load()
    source.end()
    app = LabApp(AppContext(source, folder))
    async with app.run_test(size=(80, 24)) as pilot:
        app._pilot = pilot  # pyright: ignore
        await settle(app)
        before = record(app)
        assert record(app) == before and before.count("\n") == 24
        assert "#" in looks(next(iter(app.screen._compositor.render_strips()[0])).style)
        await pilot.press("t")
        app.context.say("")
        await settle(app)
        after = record(app)
        same = [
            a[8:] == b[8:] for a, b in zip(*(x.split("\n") for x in (before, after)), strict=True)
        ]
        assert sum(same) >= 23 and before != after
        assert all(
            a[:6] != b[:6] for a, b in zip(before.split("\n")[:-1], after.split("\n"), strict=False)
        )
