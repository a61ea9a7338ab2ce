"""`python -m grpolab.tui.shoot RUN OUT.svg`: a screenshot of the lab on a recorded run."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.source import Playing


async def shoot(
    run: Path,
    out: Path,
    *,
    width: int = 160,
    height: int = 45,
    step: int | None = None,
    keys: str = "",
    theme: str = "",
    title: str = "grpolab",
) -> None:
    """Write the screen as it is after `step` finished steps and the given keys (separated by
    commas)."""
    source = Playing(run)
    app = LabApp(AppContext(source, run), keep=False)
    async with app.run_test(size=(width, height)) as pilot:
        source.load()
        await pilot.pause(0.3)
        await app.workers.wait_for_complete()
        if theme:
            app.theme = theme
        source.playing = False
        if step is None:
            source.end()
        else:
            source.home()
            source.scrub(step)
        app.lab.tick()
        await pilot.pause(0.6)
        for key in filter(None, keys.split(",")):
            await pilot.press(key)
            await app.workers.wait_for_complete()  # a lens takes seconds
        await pilot.pause(0.6)
        app.lab.mark({"select"})
        app.lab.repaint(at_once=True)
        await pilot.pause()
        out.write_text(app.export_screenshot(title=title), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="160x45", help="WIDTHxHEIGHT in cells")
    parser.add_argument("--step", type=int, help="finished steps; without it the end of the run")
    parser.add_argument("--keys", default="", help="keys to press before, commas between them")
    parser.add_argument(
        "--theme", default="", help="grpolab-dark, grpolab-light or grpolab-contrast"
    )
    args = parser.parse_args()
    width, height = (int(n) for n in args.size.split("x"))
    asyncio.run(
        shoot(
            args.run,
            args.out,
            width=width,
            height=height,
            step=args.step,
            keys=args.keys,
            theme=args.theme,
        )
    )


if __name__ == "__main__":
    main()
