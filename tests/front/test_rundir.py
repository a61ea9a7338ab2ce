"""Run directories: made, found, and what was done by hand in them as cues."""

from __future__ import annotations

from pathlib import Path

import pytest
from front.synthetic import run_events, started, step_events, timed, write

from grpolab.errors import RequestError
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.scenario.spec import build


def switched(step: int, after: str = "ppo", origin: str = "command") -> ev.Switched:
    settings = {"gae_lambda": 0.5}
    return ev.Switched(step, "main", "grpo", after, "paper", settings, [], [], origin)


def changed(step: int, value: float, origin: str = "command") -> ev.SettingChanged:
    return ev.SettingChanged(step, "main", "beta", 0.04, value, origin)


def test_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = build({"name": "a b/c", "algorithm": "ppo"})
    first, second = directory.create(scenario), directory.create(scenario)
    assert first != second
    assert first.parent == Path("runs")
    assert first.name.endswith("-a-b-c-ppo")
    assert (second / "scenario.yaml").is_file()


def test_a_directory_of_the_users(tmp_path: Path) -> None:
    scenario = build({})
    assert directory.create(scenario, tmp_path / "new" / "one") == tmp_path / "new" / "one"
    with pytest.raises(RequestError, match="is not empty"):
        directory.create(scenario, tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be written"):
        directory.create(scenario, tmp_path / "file")


def test_runs_are_found_by_path_name_and_as_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="no run under runs/ yet"):
        directory.find("last")
    write(tmp_path / "runs" / "one", run_events())
    assert directory.find("last") == directory.find("one") == directory.find("runs/one")
    with pytest.raises(RequestError, match="did you mean 'runs/one'"):
        directory.find("runs/oen")
    with pytest.raises(RequestError, match="is no run"):
        directory.find(".")


def test_opening_and_ending(tmp_path: Path) -> None:
    run = write(tmp_path, run_events(digest="abc"))
    opening, ending = directory.opening(run), directory.ending(run)
    assert opening is not None and opening.threads == 2
    assert ending is not None and (ending.status, ending.digest) == ("done", "abc")
    with (run / "events.jsonl").open("a") as file:
        file.write('{"t":1,"kind":"phase","phase":"sam')  # killed while writing
    assert directory.ending(run) is None


def test_checkpoints_in_order(tmp_path: Path) -> None:
    for name in ("step-000020", "step-000003", "step-000003.tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert [step for step, _ in directory.checkpoints(tmp_path)] == [3, 20]


def test_what_was_done_by_hand_becomes_cues() -> None:
    fork = ev.LaneOpened("b", "ppo", "paper", {"beta": 0.0}, 2, "main")
    events = [started(), switched(1), switched(1, "rloo", "cue"), changed(2, 0.1), fork]
    assert directory.recorded_cues(timed(events)) == [
        {
            "at": 1,
            "do": "switch",
            "algorithm": {"name": "ppo", "preset": "paper", "gae_lambda": 0.5},
            "lane": "main",
        },
        {"at": 2, "do": "set", "key": "beta", "value": 0.1, "lane": "main"},
        {
            "at": 2,
            "do": "fork",
            "name": "b",
            "algorithm": {"name": "ppo", "preset": "paper", "beta": 0.0},
            "lane": "main",
        },
    ]


def test_a_planned_fork_is_no_command_and_a_lane_announced_again_is_no_fork() -> None:
    opening = started(cues=[{"at": 1, "do": "fork", "name": "b"}])
    again = ev.LaneOpened("b", "grpo", "paper", {}, 1, "main")
    assert directory.recorded_cues(timed([opening, again, again])) == []


def test_a_resume_voids_what_came_after_its_checkpoint() -> None:
    saved = ev.Checkpointed(2, "checkpoints/step-000002")
    events = [
        started(), *step_events(1), changed(1, 0.1), *step_events(2), saved,
        changed(2, 0.2), *step_events(3, salt="void"), changed(3, 0.3),
        ev.Resumed(2), changed(2, 0.4), *step_events(3),
    ]  # fmt: skip
    cues = directory.recorded_cues(timed(events))
    assert [(cue["at"], cue["value"]) for cue in cues] == [(1, 0.1), (2, 0.4)]
    steps = [e for _, e in directory.in_force(timed(events)) if isinstance(e, ev.StepDone)]
    assert [s.step for s in steps] == [1, 2, 3]
    assert steps[2].digest == step_events(3)[-1].digest  # type: ignore[attr-defined]


def test_a_resume_without_a_checkpoint_starts_over() -> None:
    events = [started(), changed(0, 0.1), *step_events(1), ev.Resumed(0), *step_events(1)]
    kept = directory.in_force(timed(events))
    assert directory.recorded_cues(timed(events)) == []
    assert sum(isinstance(e, ev.StepDone) for _, e in kept) == 1
