"""`python -m grpolab.tui.shoot RUN OUT.svg`: a picture of the lab on a recorded run.

`--frame STEP[+KEYS][@SECONDS]`, given several times, makes an animated SVG: the screen after so
many finished steps and these keys (separated by commas), shown for so long (default 1 s). Keys stay
pressed: a later frame shows the screen that they opened until others close it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from grpolab.tui.animation import animated
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.source import Playing

FRAME = re.compile(r"(?P<step>\d+)(?:\+(?P<keys>[^@]+))?(?:@(?P<seconds>\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Frame:
    """One look at the screen."""

    step: int | None = None  # finished steps; None: the end of the run
    keys: str = ""  # pressed before, separated by commas
    seconds: float = 1.0

    @staticmethod
    def of(text: str) -> Frame:
        """Raises argparse.ArgumentTypeError."""
        found = FRAME.fullmatch(text)
        if found is None or float(found["seconds"] or 1) <= 0:
            raise argparse.ArgumentTypeError(f"{text!r}: expected STEP[+KEYS][@SECONDS]")
        return Frame(int(found["step"]), found["keys"] or "", float(found["seconds"] or 1))


@dataclass(frozen=True)
class Stage:
    """The lab on a recorded run, without a terminal."""

    app: LabApp
    pilot: Pilot[int]
    source: Playing

    async def show(self, frame: Frame) -> None:
        """Go to the end of a frame's step, in all lanes, and press its keys."""
        if frame.step is None:
            self.source.end()
        else:
            self.source.go(frame.step)
        self.app.lab.tick()
        await self.pilot.pause(0.6)
        for key in filter(None, frame.keys.split(",")):
            await self.pilot.press(key)
            await self.app.workers.wait_for_complete()  # a lens takes seconds
        await self.pilot.pause(0.6)
        self.app.lab.mark({"select"})
        self.app.lab.repaint(at_once=True)
        await self.pilot.pause()

    def svg(self, title: str = "grpolab") -> str:
        return self.app.export_screenshot(title=title)


@asynccontextmanager
async def stage(run: Path, size: tuple[int, int], theme: str = "") -> AsyncIterator[Stage]:
    """Open a recorded run, paused."""
    source = Playing(run)
    app = LabApp(AppContext(source, run), keep=False)
    async with app.run_test(size=size) as pilot:
        source.load()
        await pilot.pause(0.3)
        await app.workers.wait_for_complete()
        if theme:
            app.theme = theme
        source.playing = False
        yield Stage(app, pilot, source)


async def shoot(
    run: Path, frames: Sequence[Frame], *, size: tuple[int, int] = (160, 45), theme: str = ""
) -> str:
    """The SVG of one frame, or an animated one of several."""
    pictures = []
    async with stage(run, size, theme) as scene:
        for frame in frames:
            await scene.show(frame)
            pictures.append(scene.svg())
    if len(pictures) == 1:
        return pictures[0]
    return animated(pictures, [frame.seconds for frame in frames])


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or not (int(found[1]) and int(found[2])):
        raise argparse.ArgumentTypeError(f"{text!r}: expected WIDTHxHEIGHT in cells, as 160x45")
    return int(found[1]), int(found[2])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m grpolab.tui.shoot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("out", type=Path, metavar="OUT.svg")
    parser.add_argument("--size", type=_size, default=(160, 45), help="WIDTHxHEIGHT in cells")
    parser.add_argument("--step", type=int, help="finished steps; without it the end of the run")
    parser.add_argument("--keys", default="", help="keys to press before, commas between them")
    parser.add_argument("--frame", type=Frame.of, action="append", help="of an animated picture")
    parser.add_argument(
        "--theme", default="", help="grpolab-dark, grpolab-light or grpolab-contrast"
    )
    args = parser.parse_args(words)
    if args.frame and (args.step is not None or args.keys):
        parser.error("--frame says steps and keys itself: leave out --step and --keys")
    if not (args.run / "events.jsonl").is_file():
        parser.error(f"{args.run}: no recorded run (it has no events.jsonl)")
    frames = args.frame or [Frame(args.step, args.keys)]
    picture = asyncio.run(shoot(args.run, frames, size=args.size, theme=args.theme))
    args.out.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
