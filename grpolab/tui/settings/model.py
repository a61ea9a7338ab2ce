"""Every setting of a run: current value, value at the start, allowed values, and why some are
fixed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grpolab.record.events import SettingChanged
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState
from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import Setting

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Row:
    section: str  # its heading
    setting: Setting
    value: Any = None
    start: Any = None  # when the run, or the current algorithm, began
    fixed: str = ""  # why it cannot change; empty where it can
    changes: tuple[SettingChanged, ...] = ()

    @property
    def name(self) -> str:
        return self.setting.name

    @property
    def changed(self) -> bool:
        return self.value != self.start


def rows(state: LabState, lane: LaneState | None) -> list[Row]:
    """All settings of a lane and of the run in the screen's order: those that only its algorithm
    has come first."""
    if lane is None:
        return []
    card = algorithm_cards.load().get(lane.algorithm)
    own = card.settings if card else ()
    began = _began(lane)
    values = {s.name: s.default for s in own} | lane.settings
    title = lane.algorithm.upper()
    found = [
        Row(heading, s, values[s.name], began.get(s.name, s.default))
        for heading, shared in (
            (f"{title} only", False),
            (f"{title}, shared by all algorithms", True),
        )
        for s in own
        if s.shared is shared
    ]
    found += _run_rows(state, lane)
    by_key: dict[str, list[SettingChanged]] = {}
    for change in history(state, lane):
        by_key.setdefault(change.key, []).append(change)
    return [_followed(row, by_key.get(row.name, [])) for row in found] + _fixed(state)


def history(state: LabState, lane: LaneState) -> list[SettingChanged]:
    """Changes that apply to a lane, with its parent's before the fork, oldest first."""
    parent = state.lanes.get(lane.parent)
    before = history(state, parent) if parent is not None else []
    return [*(c for c in before if c.step <= lane.opened), *lane.changes]


def _began(lane: LaneState) -> dict[str, Any]:
    """The algorithm's settings when the lane switched to it."""
    return lane.switches[-1].settings if lane.switches else lane.history[0][3]


def _followed(row: Row, changes: list[SettingChanged]) -> Row:
    row = replace(row, changes=tuple(changes))
    run = "." in row.name
    return replace(row, value=changes[-1].after) if run and changes else row


def _run_rows(state: LabState, lane: LaneState) -> list[Row]:
    """Settings of the scenario's sections."""
    from grpolab.rewards import REWARDS
    from grpolab.scenario.spec import SECTIONS, lab_wide
    from grpolab.tasks import TASKS

    scenario = state.run.scenario if state.run else {}
    models: dict[str, type[BaseModel]] = dict(SECTIONS)
    order = ["rollout", "train", "evaluate", "record"]
    task = scenario.get("task")
    if isinstance(task, dict) and task.get("name") in TASKS:
        models["task"] = TASKS[task["name"]].Options
        order.append("task")
    groups = [(f"{section}.", models[section], scenario.get(section)) for section in order]
    for given in reward_sections(scenario):
        groups.append((f"rewards.{given['name']}.", REWARDS[given["name"]].Options, given))
    order.append("rewards")
    several = len(state.lanes) > 1
    found = []
    for prefix, model, given in groups:
        section = prefix.partition(".")[0]
        given = given if isinstance(given, dict) else {}
        for setting in algorithm_cards.described(model, prefix):
            value = given.get(setting.name.removeprefix(prefix), setting.default)
            whose = "of all lanes" if several and lab_wide(setting.name) else ""
            heading = f"{section} {whose}".strip()
            if several and not whose:
                heading = f"{section} of lane {lane.name}"
            found.append(Row(heading, setting, value, value))
    return sorted(found, key=lambda r: (order.index(r.name.partition(".")[0]), r.section))


def reward_sections(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """The sections of a run's rewards, without those that this version does not have."""
    from grpolab.rewards import REWARDS

    sections = scenario.get("rewards")
    known = [s for s in sections if isinstance(s, dict)] if isinstance(sections, list) else []
    return [s for s in known if s.get("name") in REWARDS]


def weights(state: LabState, lane: LaneState | None, at: int | None = None) -> dict[str, float]:
    """The weight of each part of the reward, by name: in step `at`, or now."""
    scenario = state.run.scenario if state.run else {}
    found = {str(s["name"]): s.get("weight", 1.0) for s in reward_sections(scenario)}
    for change in history(state, lane) if lane is not None else ():
        name, _, field = change.key.removeprefix("rewards.").rpartition(".")
        if name in found and field == "weight" and (at is None or change.step < at):
            found[name] = change.after
    return {name: float(weight) for name, weight in found.items()}


def _fixed(state: LabState) -> list[Row]:
    """Settings that are fixed when a run starts, and why."""
    from grpolab.scenario.spec import FIXED

    scenario = state.run.scenario if state.run else {}

    def row(key: str, value: Any, why: str) -> Row:
        setting = Setting(key, value, why, "", True)
        return Row("fixed when the run started", setting, value, value, why)

    found = [row("seed", scenario.get("seed", 0), FIXED["seed"])]
    for section in ("task", "model"):
        given = scenario.get(section)
        given = given if isinstance(given, dict) else {}
        keys = ["name"] if section == "task" else list(given)
        why = FIXED["task.name" if section == "task" else section]
        found += [row(f"{section}.{key}", given.get(key), why) for key in keys]
    names = ", ".join(str(given["name"]) for given in reward_sections(scenario))
    found.append(row("rewards", names, FIXED["rewards"]))
    return [*found, row("lanes", len(state.lanes), FIXED["lanes"])]


def parsed(state: LabState, lane: LaneState | None, row: Row, text: str, beside: list[Row]) -> Any:
    """The value that a person typed for a row of a lane. Raises ValueError as `parse` does."""
    if row.fixed:
        raise ValueError(f"{row.name} can only be set when a run starts")
    task = str(state.run.scenario.get("task", {}).get("name", "")) if state.run else ""
    return parse(lane.algorithm if lane else "", row, text, beside, task)


def parse(algorithm: str, row: Row, text: str, beside: list[Row], task: str) -> Any:
    """The value that a person typed for a row, checked as the scenario's file is. Raises ValueError
    with one readable line."""
    if "." not in row.name:
        values = {r.name: r.value for r in beside if "." not in r.name and not r.fixed}
        return algorithm_cards.parse_setting(algorithm, row.name, text, values)
    known = {r.name: r.value for r in beside if r.name.startswith("task.") and not r.fixed}
    return algorithm_cards.parse_run_setting(row.name, text, task, known)
