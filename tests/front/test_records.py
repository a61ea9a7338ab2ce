"""The runs that ship with the package: they play, and show what the README says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpolab.cli import main
from grpolab.errors import RequestError
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.record.tail import read
from grpolab.resources import shipped_records


def fold(name: str) -> LabState:
    state = LabState()
    for t, event in read(shipped_records()[name] / directory.EVENTS):
        state.apply(event, t)
    return state


def test_in_four_bit_all_three_learn_to_nine_tenths():
    state = fold("qlora")
    assert state.run is not None and state.run.device == "cuda"
    assert state.model is not None and state.model.quantize == "nf4"
    assert state.model.parameters > 20e6
    assert {lane.algorithm for lane in state.lanes.values()} == {"grpo", "ppo", "rloo"}
    for lane in state.lanes.values():
        first, last = lane.evals[0], lane.evals[-1]
        assert (first.step, last.step) == (0, state.run.steps) and first.prompts >= 256
        assert first.accuracy < 0.5 and last.accuracy >= 0.9, lane.name


def test_the_record_of_a_switch_has_every_token_and_learns_through_both():
    state = fold("switch")
    (lane,) = state.lanes.values()
    assert [(s.step, s.after) for s in lane.switches] == [(20, "ppo"), (40, "reinforce")]
    events = [e for _, e in read(shipped_records()["switch"] / directory.EVENTS)]
    recorded = [e.step for e in events if isinstance(e, ev.Tokens)]
    assert recorded == list(range(1, state.steps + 1))
    greedy = [e.greedy_accuracy for e in lane.evals]
    assert greedy[0] < 0.5 and greedy[-1] >= 0.9


@pytest.mark.parametrize("name", shipped_records())
def test_a_record_ends_names_no_folder_of_a_machine_and_replays(
    name, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    state = fold(name)
    assert isinstance(state.ended, ev.Ended) and state.ended.status == "done"
    text = (shipped_records()[name] / directory.EVENTS).read_text()
    assert not any(f'"{root}' in text for root in ("/root", "/home", "/tmp", "/Users"))
    assert main(["replay", name, "--headless", "--json", "--speed", "1000000"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == state.steps and told["eval"]


def test_only_readers_find_a_shipped_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="no such run"):
        directory.find("qlora")
    assert directory.find("qlora", shipped=True) == shipped_records()["qlora"]
    with pytest.raises(RequestError, match="did you mean 'qlora'"):
        directory.find("qlorra", shipped=True)


def test_a_run_that_is_not_there_names_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ", ".join(shipped_records())
    with pytest.raises(RequestError, match="no such run; records that come with grpolab: ") as told:
        directory.find("zzz", shipped=True)
    assert names in str(told.value)
    for name in ("20260101-sums-grpo", "20260102-sums-ppo"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "events.jsonl").touch()
    with pytest.raises(RequestError, match="did you mean '20260101-sums-grpo'"):
        directory.find("20260101-sums-grp", shipped=True)
    with pytest.raises(RequestError, match=r"the newest is '2026010[12]-sums-"):
        directory.find("zzz")
