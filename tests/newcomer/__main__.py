"""`python -m tests.newcomer`: the first ten minutes of somebody new, by keys, in tmux.

A live run, then its replay, then the way out of every screen, each checked after every key; exit 1
where something was found. Nothing of the user's is read or written.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from . import again, live, looking, picture, words
from .script import Press, missing
from .terminal import Terminal
from .walk import Walk

ROOT = Path(__file__).resolve().parents[2]
LOOKS: dict[str, dict[str, str]] = {
    "dark": {"GRPOLAB_THEME": "dark"},
    "light": {"GRPOLAB_THEME": "light"},
    "no-color": {"NO_COLOR": "1", "GRPOLAB_THEME": "dark"},
}
SERVERS = itertools.count()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.newcomer", description=__doc__)
    parser.add_argument("--size", default="120x36", help="WIDTHxHEIGHT in cells")
    parser.add_argument("--look", default="dark", choices=LOOKS)
    parser.add_argument("--out", type=Path, help="keep the record and pictures in this folder")
    args = parser.parse_args()
    width, height = (int(n) for n in args.size.split("x"))
    unpressed = missing([*live.session(), *again.everything()])
    left = [f"no stop of the session presses {name}" for name in unpressed]
    # no random word in its name: screens show it, and are read for words that nothing explains
    folder = Path(tempfile.gettempdir()) / f"newcomer-{os.getpid()}"
    folder.mkdir()
    try:
        found, walks = sessions(folder, width, height, args.look, args.out)
    finally:
        shutil.rmtree(folder)
    report(args.size, args.look, walks, [*left, *found])
    return 1 if left or found else 0


def sessions(
    folder: Path, width: int, height: int, look: str, out: Path | None
) -> tuple[list[str], list[tuple[str, Walk]]]:
    """All sessions of one size and look; the findings, and what was walked."""
    run, walks = folder / "run", list[tuple[str, Walk]]()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    shots = folder / "shots"
    shots.mkdir()
    start = ("run", "default", "--steps", "2000", "--out", str(run))
    walks.append(("live", _walk(folder, start, "live", live.session(), width, height, look, shots)))
    replay = ("replay", str(run))
    new = {"GRPOLAB_TOUR": "0"}
    walks.append(
        (
            "replay",
            _walk(folder, replay, "replay", again.session(), width, height, look, shots, new),
        )
    )
    for screen, presses in again.ways_out():
        walk = _walk(folder, replay, "replay", presses, width, height, look, None, new)
        walks.append((f"leave {screen}", walk))
    found = [f"{name}: {what}" for name, walk in walks for what in walk.findings]
    seen = [lines for _, walk in walks for lines in walk.screens]
    seen = [s for s in seen if looking.where(s, "live") != "source"]  # code has its own names
    found += [f"an unexplained word: {word}" for word in words.unexplained(seen)]
    if out is not None:
        _write(out, f"{width}x{height}-{look}", walks)
        for shot in sorted(shots.glob("*.ansi")):
            text = picture.svg(shot.read_text(encoding="utf-8"), width, look, "grpolab")
            (out / f"{shot.stem}-{width}x{height}-{look}.svg").write_text(text, encoding="utf-8")
    return found, walks


def _walk(
    folder: Path, command: tuple[str, ...], mode: str, presses: list[Press], width: int,
    height: int, look: str, shots: Path | None, more: dict[str, str] | None = None,
) -> Walk:  # fmt: skip
    """One start of the program, and its keys."""
    terminal = Terminal(f"newcomer-{os.getpid()}-{next(SERVERS)}", width, height)
    environment = {
        "XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config"),
        "GRPOLAB_KEYS": str(folder / "keys.toml"), "PYTHONPATH": str(ROOT),
        "COLORTERM": "truecolor", "GRPOLAB_SSH": "0", **LOOKS[look], **(more or {}),
    }  # fmt: skip
    walk = Walk(terminal, mode, shots)
    try:
        terminal.start([sys.executable, "-m", "grpolab", *command], environment, folder)
        walk.go(presses)
    finally:
        terminal.close()
    return walk


def _write(out: Path, name: str, walks: list[tuple[str, Walk]]) -> None:
    """Every screen with the key before it, as text."""
    text = "\n".join(line for title, walk in walks for line in (f"══ {title} ══", *walk.record))
    (out / f"session-{name}.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def report(size: str, look: str, walks: list[tuple[str, Walk]], found: list[str]) -> None:
    print(f"{'session':<18} {'size':<8} {'look':<9} {'keys':>5} {'screens':>8} {'findings':>9}")
    for name, walk in walks:
        row = f"{walk.keys:>5} {len(walk.screens):>8} {len(walk.findings):>9}"
        print(f"{name:<18} {size:<8} {look:<9} {row}")
    for line in found:
        print(f"  ✗ {line}")
    quiet = sorted({q for _, walk in walks for q in walk.quiet})
    print(f"  {len(found)} findings; {len(quiet)} keys changed nothing that could be seen")
    for line in quiet:
        print(f"    · {line}")


if __name__ == "__main__":
    sys.exit(main())
