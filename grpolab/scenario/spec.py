"""A complete scenario, and how it is checked. No torch here.

`build` turns the mapping of a scenario file into a frozen `Scenario` with every default written
out, checked down to the settings of each algorithm. `check_setting` checks what a running lab may
change; `schema` describes scenario files for an editor. `load` reads the YAML file and reports
errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from grpolab import algorithms, rewards, tasks
from grpolab.algorithms import ALGORITHMS, Algorithm
from grpolab.errors import Loc, ScenarioError, nearest, validated
from grpolab.rewards import REWARDS
from grpolab.scenario.sections import (
    AfterCue,
    AlgorithmSection,
    ChatCue,
    Cue,
    EvaluateSection,
    ExtendCue,
    ForkCue,
    KlBenchCue,
    LaneSection,
    LensCue,
    ModelSection,
    RecordSection,
    RewardSection,
    RolloutSection,
    SetCue,
    Strict,
    SwitchCue,
    TaskSection,
    TrainSection,
)
from grpolab.tasks import TASKS

__all__ = [
    "AfterCue", "AlgorithmSection", "ChatCue", "Cue", "EvaluateSection", "ExtendCue", "ForkCue",
    "KlBenchCue", "LaneSection", "LensCue", "ModelSection", "RecordSection", "RewardSection",
    "RolloutSection",
    "Scenario", "ScenarioError", "SetCue", "SwitchCue", "TaskSection", "TrainSection", "build",
    "check_setting", "expand", "lab_wide", "make_algorithm", "make_reward", "make_task",
    "reward_meant",
]  # fmt: skip

Result = TypeVar("Result")


class Scenario(Strict):
    """A complete scenario. Lanes share prompts and sampling seeds, so they differ only by
    algorithm."""

    name: str = "unnamed"
    description: str = ""
    model: ModelSection = ModelSection()
    task: TaskSection = TaskSection()
    rewards: list[RewardSection] = Field(
        default=[
            RewardSection(name="accuracy", weight=1.0),
            RewardSection(name="format", weight=0.2),
        ],
        min_length=1,
    )
    lanes: list[LaneSection] = Field(min_length=1)
    rollout: RolloutSection = RolloutSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    seed: int = Field(default=0, ge=0)
    record: RecordSection = RecordSection()
    cues: list[Cue] = Field(default_factory=list)

    def complete(self) -> dict[str, Any]:
        """The scenario as plain data, every default written out; `build` of it is the same
        scenario.
        """
        return self.model_dump(mode="json")


def make_algorithm(section: AlgorithmSection) -> Algorithm:
    """The algorithm with its preset and settings. Raises ScenarioError with a loc inside the
    section.
    """
    cls = _named(algorithms.ALGORITHMS, section.name, "algorithm")
    if section.preset not in cls.presets:
        hint = nearest(section.preset, cls.presets)
        raise ScenarioError(("preset",), f"{section.name} has no preset {section.preset!r}{hint}")
    given = cls.presets[section.preset] | (section.model_extra or {})
    return cls(validated(cls.Settings, given, ("name", "preset")))


def make_task(section: TaskSection) -> tasks.Task:
    """The task with its options. Raises ScenarioError with a loc inside the section."""
    cls: Any = _named(tasks.TASKS, section.name, "task")
    return cls(validated(cls.Options, section.model_extra or {}, ("name",)))


def make_reward(section: RewardSection) -> tuple[rewards.Reward, float]:
    """The reward with its weight. Raises ScenarioError with a loc inside the section."""
    cls: Any = _named(rewards.REWARDS, section.name, "reward")
    options = validated(
        cls.Options, {"weight": section.weight} | (section.model_extra or {}), ("name",)
    )
    return cls(options), options.weight


def build(data: object) -> Scenario:
    """A complete scenario from a mapping, checked down to the settings of each algorithm.

    Every default is written out, those of the task, rewards and algorithms included, so a recorded
    scenario means the same after a default has changed. The short forms of `expand` are accepted.
    Raises ScenarioError for the first error.
    """
    scenario = validated(Scenario, expand(data), ("algorithm",))
    lanes: dict[str, Algorithm] = {}
    for i, lane in enumerate(scenario.lanes):
        if lane.name in lanes:
            raise ScenarioError(("lanes", i, "name"), f"two lanes are named {lane.name!r}")
        lanes[lane.name] = _within(("lanes", i, "algorithm"), make_algorithm, lane.algorithm)
    whole = scenario.complete()
    whole["task"] = _within(("task",), _whole_task, scenario.task)
    whole["rewards"] = [
        _within(("rewards", i), _whole_reward, r) for i, r in enumerate(scenario.rewards)
    ]
    for i, lane in enumerate(scenario.lanes):
        whole["lanes"][i]["algorithm"] = _whole_algorithm(lane.algorithm, lanes[lane.name])
    for i, cue in sorted(enumerate(scenario.cues), key=lambda item: item[1].at):
        algorithm = _within(
            ("cues", i), _follow_cue, cue, lanes, make_task(scenario.task), scenario.rewards
        )
        if algorithm is not None:
            whole["cues"][i]["algorithm"] = _whole_algorithm(cue.algorithm, algorithm)  # pyright: ignore
    return Scenario.model_validate(whole)


def expand(data: object) -> dict[str, Any]:
    """Expand short forms: `algorithm:` for a single lane, bare names for what has no options.

    Raises ScenarioError. Long forms stay as they are.
    """
    if not isinstance(data, dict):
        raise ScenarioError((), "a scenario is a mapping of keys to values")
    data = dict(data)
    if "algorithm" in data and "lanes" in data:
        raise ScenarioError(("algorithm",), "give either `algorithm` or `lanes`, not both")
    data.setdefault("lanes", [{"name": "main", "algorithm": data.pop("algorithm", "grpo")}])

    def named(value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def with_algorithm(value: Any) -> Any:
        if isinstance(value, dict) and "algorithm" in value:
            return value | {"algorithm": named(value["algorithm"])}
        return value

    if "task" in data:
        data["task"] = named(data["task"])
    if isinstance(data.get("rewards"), list):
        data["rewards"] = [named(r) for r in data["rewards"]]
    for key in ("lanes", "cues"):
        if isinstance(data.get(key), list):
            data[key] = [with_algorithm(v) for v in data[key]]
    return data


def _follow_cue(
    cue: Cue, lanes: dict[str, Algorithm], task: tasks.Task, scenario_rewards: list[RewardSection]
) -> Algorithm | None:
    """Check a cue against the lanes as they will be at that step, and update `lanes` as it will.

    Returns the algorithm that the cue names, if any.
    """
    lane: str | None = getattr(cue, "lane", None)
    if lane is not None and lane not in lanes:
        raise ScenarioError(("lane",), f"no lane {lane!r}{nearest(lane, lanes)}")
    meant = [lane] if lane is not None else list(lanes)
    if isinstance(cue, SwitchCue):
        algorithm = _within(("algorithm",), make_algorithm, cue.algorithm)
        lanes.update(dict.fromkeys(meant, algorithm))
        return algorithm
    if isinstance(cue, ForkCue):
        if cue.name in lanes:
            raise ScenarioError(("name",), f"there is a lane {cue.name!r} already")
        lanes[cue.name] = lanes[meant[0]]
        if cue.algorithm is not None:
            lanes[cue.name] = _within(("algorithm",), make_algorithm, cue.algorithm)
            return lanes[cue.name]
    if isinstance(cue, SetCue):
        for name in meant:
            check_setting(cue.key, cue.value, lanes[name], task, scenario_rewards)
    return None


LAB_WIDE = ("train.steps", "train.checkpoint_every")
"""Settings of `train` that all lanes share, as they do `task`, `evaluate`, `record` and `rewards`.
"""

SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainSection,
    "rollout": RolloutSection,
    "evaluate": EvaluateSection,
    "record": RecordSection,
}
"""Sections of a scenario whose settings a running lab can change, besides `task`."""

FIXED: dict[str, str] = {
    "seed": "prompts and answers are sampled from it",
    "model": "backbone, dtype and adapter shape are fixed when the model is loaded",
    "task.name": "another task has other prompts; start a new run for it",
    "rewards": "the list is fixed; weights can change: rewards.NAME.weight",
    "lanes": "fork a lane to get another; a lane's algorithm can be switched",
}
"""Settings that a running lab cannot change, and why."""


def lab_wide(key: str) -> bool:
    """Whether a setting is the same for all lanes."""
    return key in LAB_WIDE or key.startswith(("task.", "evaluate.", "record.", "rewards."))


def reward_meant(key: str, sections: Sequence[RewardSection]) -> int:
    """Which of a run's rewards `rewards.NAME.weight` means. Raises ScenarioError with loc `key`."""
    name = key.removeprefix("rewards.").rpartition(".")[0]
    names = [section.name for section in sections]
    if names.count(name) != 1:
        problem = f"several rewards {name!r}" if name in names else f"no reward {name!r}"
        raise ScenarioError(("key",), f"{problem}; the run has {', '.join(names) or 'none'}")
    return names.index(name)


def check_setting(
    key: str,
    value: object,
    algorithm: Algorithm,
    task: tasks.Task,
    sections: Sequence[RewardSection] = (),
) -> None:
    """Whether `set` may give this value to this key of a lane, of the task, or of the rewards,
    whose `sections` these are. Raises ScenarioError with loc `key` or `value`.
    """
    section, _, field = key.rpartition(".")
    known: dict[str, Any] = {}
    if section.startswith("rewards."):
        reward = make_reward(sections[reward_meant(key, sections)])[0]
        _check_field(section, reward.Options, reward.options.model_dump(), field, value)
        return
    why = FIXED.get(key) or FIXED.get(key.partition(".")[0])
    if why is not None:
        raise ScenarioError(("key",), f"{key} can only be set when a run starts: {why}")
    if section in SECTIONS:
        model = SECTIONS[section]
    elif section == "task":
        model, known = task.Options, task.options.model_dump()
    elif section in ("", "algorithm"):
        model, known = algorithm.Settings, algorithm.settings.model_dump()
    else:
        raise ScenarioError(
            ("key",),
            f"unknown setting {key!r}; valid: train.…, rollout.…, task.…, evaluate.…, record.…, "
            f"rewards.…, or the algorithm's own",
        )
    whose = section if section in (*SECTIONS, "task") else algorithm.name
    _check_field(whose, model, known, field, value)


def _check_field(
    whose: str, model: type[BaseModel], known: dict[str, Any], field: str, value: object
) -> None:
    if field not in model.model_fields:
        raise ScenarioError(
            ("key",), f"{whose} has no setting {field!r}{nearest(field, model.model_fields)}"
        )
    _within(("value",), lambda: _without_loc(model, known | {field: value}))


def _without_loc(model: type[BaseModel], data: dict[str, Any]) -> None:
    try:
        validated(model, data)
    except ScenarioError as error:
        raise ScenarioError((), error.message) from None


def _whole_task(section: TaskSection) -> dict[str, Any]:
    options: Any = make_task(section)
    return {"name": section.name} | options.options.model_dump(mode="json")


def _whole_reward(section: RewardSection) -> dict[str, Any]:
    reward: Any = make_reward(section)[0]
    return {"name": section.name} | reward.options.model_dump(mode="json")


def _whole_algorithm(section: AlgorithmSection, algorithm: Algorithm) -> dict[str, Any]:
    return {"name": section.name, "preset": section.preset} | algorithm.settings.model_dump(
        mode="json"
    )


def _named(table: Mapping[str, type[Result]], name: str, what: str) -> type[Result]:
    if name not in table:
        raise ScenarioError(("name",), f"unknown {what} {name!r}{nearest(name, table)}")
    return table[name]


def _within(prefix: Loc, check: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return check(*arguments)
    except ScenarioError as error:
        raise ScenarioError(prefix + error.loc, error.message) from None


def schema() -> dict[str, Any]:
    """The JSON Schema of scenario files, short forms included, with every algorithm's settings and
    every task's and reward's options: with it, an editor completes keys and marks errors.
    """
    out = Scenario.model_json_schema()
    definitions: dict[str, Any] = out["$defs"]
    out["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    out["title"] = "grpolab scenario"
    out["required"] = []
    out["properties"]["algorithm"] = {
        "$ref": "#/$defs/AlgorithmSection",
        "description": "short for a single lane",
    }
    out["not"] = {"required": ["algorithm", "lanes"]}
    algorithms: list[dict[str, Any]] = []
    for name, algorithm in ALGORITHMS.items():
        preset = {"enum": list(algorithm.presets), "default": "paper"}
        algorithms.append(
            _named_section(name, algorithm.title, algorithm.Settings, definitions, preset=preset)
        )
    definitions["AlgorithmSection"] = {"anyOf": [{"enum": list(ALGORITHMS)}, *algorithms]}
    for section, table in (("TaskSection", TASKS), ("RewardSection", REWARDS)):
        kinds = [_named_section(n, k.description, k.Options, definitions) for n, k in table.items()]
        definitions[section] = {"anyOf": [{"enum": list(table)}, *kinds]}
    return out


def _named_section(
    name: str, title: str, model: type[BaseModel], definitions: dict[str, Any], **also: Any
) -> dict[str, Any]:
    """The schema of a section with this name and this model's fields."""
    inner = model.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= inner.get("$defs", {})
    return {
        "type": "object",
        "title": title,
        "properties": {"name": {"const": name}, **also, **inner.get("properties", {})},
        "required": ["name"],
        "additionalProperties": False,
    }
