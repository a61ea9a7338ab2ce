"""What a scenario comes to: defaults, short forms, overrides, YAML's words, the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpolab.algorithms import ALGORITHMS
from grpolab.resources import shipped_scenarios
from grpolab.scenario import yaml_lines
from grpolab.scenario.load import changes, load
from grpolab.scenario.spec import build, make_algorithm, make_task, schema

OVERRIDES = [
    "algorithm.beta=0.1",
    "train.steps=5",
    "rollout.group_size=4",
    "train.learning_rate=1e-3",
]


@pytest.mark.parametrize("name", shipped_scenarios())
def test_shipped_scenarios_are_valid_described_and_named_like_their_file(name: str) -> None:
    scenario = load(name)
    assert scenario.name == name
    assert "ook " in scenario.description or "atch " in scenario.description


@pytest.mark.parametrize("name", shipped_scenarios())
def test_a_complete_scenario_is_a_fixed_point(name: str, tmp_path: Path) -> None:
    scenario = load(name)
    assert build(scenario.complete()) == scenario
    again = tmp_path / "again.yaml"
    again.write_text(yaml_lines.dump(scenario.complete()))
    assert load(str(again)) == scenario


def test_a_complete_scenario_writes_every_setting_out() -> None:
    cue = {"at": 3, "do": "switch", "algorithm": "rloo"}
    whole = build({"algorithm": "ppo", "task": "slots", "cues": [cue]}).complete()
    assert whole["lanes"][0]["algorithm"]["gae_lambda"] == 0.95
    assert whole["cues"][0]["algorithm"]["clip_low"] is None
    assert whole["task"]["k"] == 4
    assert whole["rewards"][1] == {"name": "format", "weight": 0.2}


def test_a_preset_is_filled_in_and_a_setting_wins_over_it() -> None:
    section = {"name": "grpo", "preset": "trl-1.16", "beta": 0.5}
    settings = make_algorithm(build({"algorithm": section}).lanes[0].algorithm).settings
    assert (settings.beta, settings.ddof, settings.aggregation) == (0.5, 1, "token-mean")


def test_overrides() -> None:
    scenario = load("default", changes(settings=OVERRIDES))
    algorithm = make_algorithm(scenario.lanes[0].algorithm)
    assert algorithm.settings.beta == 0.1
    assert (scenario.train.steps, scenario.rollout.group_size) == (5, 4)
    assert scenario.train.learning_rate == 1e-3


def test_overrides_of_lists_and_of_what_the_file_leaves_out() -> None:
    settings = [
        "task=slots",
        "task.k=6",
        "rewards.format.weight=0.5",
        "lanes.main.algorithm.beta=0",
    ]
    scenario = load("default", changes(settings=settings))
    task: Any = make_task(scenario.task)
    assert task.options.k == 6
    assert [r.weight for r in scenario.rewards] == [1.0, 0.5]
    assert make_algorithm(scenario.lanes[0].algorithm).settings.beta == 0


def test_options_are_overrides() -> None:
    options = {"model": "someone/model", "quantize": "nf4", "steps": 3, "seed": 9}
    scenario = load("default", changes(**options))  # type: ignore[arg-type]
    assert (scenario.model.path, scenario.model.quantize) == ("someone/model", "nf4")
    assert (scenario.train.steps, scenario.seed) == (3, 9)


def test_another_algorithm_replaces_the_first_lanes_and_the_same_keeps_its_settings(
    tmp_path: Path,
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("algorithm: {name: grpo, beta: 0.3}\n")
    same = load(str(file), changes(algorithm="grpo")).lanes[0].algorithm
    other = load(str(file), changes(algorithm="ppo")).lanes[0].algorithm
    assert make_algorithm(same).settings.beta == 0.3
    assert (other.name, make_algorithm(other).settings.beta) == ("ppo", 0.01)


def test_an_override_comes_after_the_option_algorithm() -> None:
    scenario = load("default", changes(algorithm="ppo", settings=["algorithm.gae_lambda=0.5"]))
    assert make_algorithm(scenario.lanes[0].algorithm).settings.gae_lambda == 0.5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("0.1", 0.1), (".5", 0.5), ("-3", -3), ("+3", 3), ("010", 10),
        ("true", True), ("off", "off"), ("no", "no"), ("none", "none"), ("null", None), ("~", None),
        ("", None), ("12:30", "12:30"), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"),
        ("[1, a]", [1, "a"]), ("'1'", "1"), ("{a: 1}", {"a": 1}),
    ],
)  # fmt: skip
def test_words_and_numbers(text: str, value: object) -> None:
    found = yaml_lines.scalar(text)
    assert found == value
    assert type(found) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_what_yaml_writes_is_read_back(value: object) -> None:
    assert yaml_lines.parse(yaml_lines.dump(value))[0] == value


@pytest.mark.parametrize("text", ["1e-3", "1e5", "010", "off", "1:30", "null", "", "1.", "+.inf"])
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert yaml_lines.parse(yaml_lines.dump({"a": text}))[0] == {"a": text}


def test_lines() -> None:
    _, lines = yaml_lines.parse("a: 1\nb:\n  - x\n  - c: 2\n    d: 3\n")
    assert lines["a",] == 1
    assert lines["b", 1] == 4
    assert lines["b", 1, "d"] == 5


def test_an_alias_to_itself_ends() -> None:
    with pytest.raises(yaml_lines.YamlError):
        yaml_lines.parse("a: &x [*x]")


def test_the_schema_knows_every_setting() -> None:
    out = schema()
    assert set(out["properties"]) >= {"algorithm", "lanes", "task", "cues", "train"}
    kinds = out["$defs"]["AlgorithmSection"]["anyOf"]
    by_name = {k["properties"]["name"]["const"]: k for k in kinds if "properties" in k}
    assert set(by_name) == set(ALGORITHMS)
    for name, algorithm in ALGORITHMS.items():
        assert set(algorithm.Settings.model_fields) < set(by_name[name]["properties"])
    references = {part["$ref"] for part in _references(out)}
    assert {r.removeprefix("#/$defs/") for r in references} <= set(out["$defs"])


def _references(node: Any) -> list[dict[str, str]]:
    if isinstance(node, dict):
        own = [node] if isinstance(node.get("$ref"), str) else []
        return own + [r for value in node.values() for r in _references(value)]
    return [r for item in node for r in _references(item)] if isinstance(node, list) else []
