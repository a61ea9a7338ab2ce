"""Pictures of a recorded run: still, and animated."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from grpolab.record import codec
from grpolab.tui.animation import animated
from grpolab.tui.shoot import Frame, main, shoot

from .fake_run import FakeRun

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    with (folder / "events.jsonl").open("w", encoding="utf-8") as file:
        for t, event in FakeRun(steps=4).events():
            file.write(codec.encode(event, t) + "\n")
    return folder


def seen(svg: str, frame: int) -> str:
    """What an animated picture shows in a frame, as text by rows."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        name = group.get("class", "")
        frames = [int(n) for n in re.findall(r"\d+", name)] if name.startswith("f") else None
        if name != "m" and (frames is None or frame in frames):
            for text in group.findall(f"{SVG}text"):
                row = rows.setdefault(float(text.get("y", 0)), [])
                row.append((float(text.get("x", 0)), text.text or ""))
    return "\n".join(
        "".join(t for _, t in sorted(rows[y])).replace("\xa0", " ") for y in sorted(rows)
    )


async def test_every_frame_of_an_animation_shows_what_a_still_of_it_shows(run: Path) -> None:
    frames = [Frame(1), Frame(3, "question_mark"), Frame(3, "escape", 2.0)]
    svg = await shoot(run, frames, size=(100, 30))
    assert "step 1/4" in seen(svg, 0) and "step 3/4" not in seen(svg, 0)
    assert "step 3/4" in seen(svg, 2)
    assert "Rollouts: wha" in seen(svg, 1) and "Rollouts: wha" not in seen(svg, 0) + seen(svg, 2)
    still = await shoot(run, [Frame(3)], size=(100, 30))
    lines = [
        "".join(t.itertext()).replace("\xa0", " ") for t in ET.fromstring(still).iter(f"{SVG}text")
    ]
    assert all(line in seen(svg, 2) for line in lines if "step 3" in line)


async def test_a_step_of_several_lanes_is_that_of_each(tmp_path: Path) -> None:
    with (tmp_path / "events.jsonl").open("w", encoding="utf-8") as file:
        for t, event in FakeRun(steps=4, lanes=("one", "two")).events():
            file.write(codec.encode(event, t) + "\n")
    svg = await shoot(tmp_path, [Frame(2), Frame(4)], size=(120, 36))
    assert "step 2/4" in seen(svg, 0) and "step 4/4" in seen(svg, 1)


async def test_an_animation_has_no_script_and_nothing_from_elsewhere(run: Path) -> None:
    svg = await shoot(run, [Frame(1), Frame(2, seconds=3.0)], size=(80, 24))
    assert "<script" not in svg and "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    durations = set(re.findall(r"animation: [\w-]+ ([\d.]+)s", svg))
    assert durations == {"4"}, "all parts run in one time, the sum of the frames'"
    assert "25% { opacity: 1 }" in svg and "25% { opacity: 0 }" in svg
    used = set(re.findall(r'class="(s\d+)"', svg))
    assert used <= set(re.findall(r"\.(s\d+) \{", svg))
    areas = set(re.findall(r"url\(#([\w-]+)\)", svg))
    assert areas <= set(re.findall(r'id="([\w-]+)"', svg))


async def test_what_frames_have_in_common_is_drawn_once(run: Path) -> None:
    one = await shoot(run, [Frame(2)], size=(120, 36))
    same = animated([one] * 5, [1.0] * 5)
    assert "@keyframes" not in same and len(same) < len(one)


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        animated(['<svg viewBox="0 0 1 1">', '<svg viewBox="0 0 2 2">'], [1.0, 1.0])
    with pytest.raises(ValueError, match="2 pictures and 1 durations"):
        animated(["", ""], [1.0])


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--frame", "x"], "expected STEP[+KEYS][@SECONDS]"),
     (["--frame", "3@0"], "expected STEP[+KEYS][@SECONDS]"),
     (["--size", "80"], "expected WIDTHxHEIGHT"),
     (["--frame", "1", "--step", "2"], "leave out --step"),
     ([], "no recorded run")],
)  # fmt: skip
def test_a_wrong_request_is_told(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), str(tmp_path / "out.svg"), *words])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
