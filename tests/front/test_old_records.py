"""Runs recorded by the code of 1160f72, before modules and names were laid out anew, open in every
reader. Their policy may leave the package one day, so nothing here computes them again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from grpolab import launch
from grpolab.cli import main
from grpolab.record import codec, directory
from grpolab.record.index import RunIndex
from grpolab.record.search import Results, Wanted, search
from grpolab.record.state import LabState
from grpolab.record.tail import read
from grpolab.tui.app import LabApp
from grpolab.tui.context import AppContext
from grpolab.tui.source import Playing

RECORDED = Path(__file__).parents[1] / "recorded" / "1160f72"
SESSION = RECORDED / "session"
DIGEST = "8af749e71c3b42994d5d9f399093ca3fe0a92469b7ce4a787cef715096311d12"


@pytest.fixture(autouse=True)
def _nothing_computes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("an engine was started")

    monkeypatch.setattr(launch, "spawn", refuse)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("GRPOLAB_TOUR", "0")


def test_every_line_is_an_event_of_today() -> None:
    lines = (SESSION / directory.EVENTS).read_bytes().splitlines()
    assert None not in [codec.decode(line) for line in lines]
    kinds = {json.loads(line)["kind"] for line in lines}
    assert kinds >= {
        "switch", "lane", "set", "lens", "kl-bench", "chat", "after", "checkpoint", "critic",
        "tokens", "eval",
    }  # fmt: skip


def test_the_state_is_folded_from_it() -> None:
    state = LabState()
    for t, event in read(SESSION / directory.EVENTS):
        state.apply(event, t)
    assert state.ended is not None and (state.ended.status, state.step) == ("done", 8)
    lanes = {name: lane.algorithm for name, lane in state.lanes.items()}
    assert lanes == {"main": "grpo", "branch": "reinforce"}
    assert [s.step for s in state.lanes["main"].switches] == [3]
    assert [e.step for e in state.lanes["main"].evals] == [0, 4, 8]


def test_headless_replay_ends_with_its_digest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(SESSION), "--headless", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == DIGEST
    assert told["switches"] == [{"step": 3, "from": "ppo", "to": "grpo"}]


def test_its_answers_are_found() -> None:
    log = RunIndex(SESSION / directory.EVENTS)
    while log.read():
        pass
    wanted = Wanted(lane="branch")
    results = Results(wanted.order)
    search(log, wanted, results)
    assert results.done and results.matches == 4 * 12  # steps 5 to 8, three prompts of four answers


async def test_the_screen_opens_it_and_shows_its_last_tokens() -> None:
    source = Playing(SESSION)
    source.load()
    source.playing = False
    app = LabApp(AppContext(source, SESSION))
    async with app.run_test(size=(120, 36)) as pilot:
        for key in ("end", "2"):
            await pilot.press(key)
            await pilot.pause()
        app.lab.tick()
        assert app.context.state.step == 8
        strips = app.screen._compositor.render_strips()
        shown = "\n".join("".join(s.text for s in strip) for strip in strips)
        assert "GRPO" in shown and "8/8" in shown


def test_a_comparison_is_told_from_the_runs_that_are_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = shutil.copytree(RECORDED / "compare", tmp_path / "compare")
    expected = json.loads((runs / "expected.json").read_text())
    asked = (
        f"compare {RECORDED / 'default.yaml'} --algorithms grpo,rloo --seeds 2 --steps 3 "
        "--threads 1 --device cpu "
        "--set evaluate.prompts=16 --set evaluate.every=3 --set rollout.prompts=2 "
        "--set rollout.group_size=4 --set record.tokens=false --set record.stream=false --json"
    )
    assert main([*asked.split(), "--out", str(runs)]) == 0
    told = json.loads(capsys.readouterr().out)["algorithms"]
    for name, seeds in expected.items():
        found = [{key: seed[key] for key in seeds[0]} for seed in told[name]["seeds"]]
        assert found == seeds
