"""Whatever is wrong with a scenario: one line with file, line, key and the nearest valid name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpolab.algorithms import ALGORITHMS
from grpolab.errors import RequestError
from grpolab.scenario import sections
from grpolab.scenario.load import changes, load

SECTIONS = {
    "train": sections.TrainSection,
    "rollout": sections.RolloutSection,
    "evaluate": sections.EvaluateSection,
    "record": sections.RecordSection,
    "model": sections.ModelSection,
}
KEYS = [(name, key) for name, model in SECTIONS.items() for key in model.model_fields]


def problem(tmp_path: Path, text: str, **options: object) -> str:
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        load(str(file), changes(**options))  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{file}", "x.yaml")


@st.composite
def misspelt(draw: st.DrawFn, keys: list[tuple[str, str]]) -> tuple[str, str, str]:
    """A section, one of its keys, and that key with one letter lost, doubled or swapped."""
    section, key = draw(st.sampled_from([k for k in keys if len(k[1]) > 3]))
    at = draw(st.integers(1, len(key) - 2))
    wrong = draw(
        st.sampled_from(
            [
                key[:at] + key[at + 1 :],
                key[:at] + key[at] + key[at:],
                key[: at - 1] + key[at] + key[at - 1] + key[at + 1 :],
            ]
        )
    )
    return section, key, wrong


@given(misspelt(KEYS), st.integers(0, 5))
def test_a_misspelt_key_is_named_with_its_line_and_the_right_one(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[str, str, str], above: int
) -> None:
    section, key, wrong = case
    if wrong in SECTIONS[section].model_fields:
        return
    text = "# a comment\n" * above + f"name: x\n{section}:\n  {wrong}: 1\n"
    message = problem(tmp_path_factory.mktemp("s"), text)
    assert message.startswith(f"x.yaml:{above + 3}: {section}.{wrong}: unknown key '{wrong}'")
    assert f"did you mean '{key}'?" in message


@given(misspelt([(n, k) for n, a in ALGORITHMS.items() for k in a.Settings.model_fields]))
def test_a_misspelt_setting_of_an_algorithm_too(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[str, str, str]
) -> None:
    name, _, wrong = case
    if wrong in ALGORITHMS[name].Settings.model_fields:
        return
    message = problem(tmp_path_factory.mktemp("s"), f"algorithm:\n  name: {name}\n  {wrong}: 0.5\n")
    assert message.startswith(f"x.yaml:3: algorithm.{wrong}: unknown key '{wrong}'; did you mean")


@given(st.text(max_size=200))
def test_any_text_is_a_scenario_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("s") / "x.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        load(str(file))
    except RequestError as error:
        assert re.match(r"[^\n]+/x\.yaml(:\d+)?: [^\n]+$", str(error))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trian: {}", "x.yaml:1: trian: unknown key 'trian'; did you mean 'train'?"),
        (
            "name: x\nalgorithm: gpro",
            "x.yaml:2: algorithm: unknown algorithm 'gpro'; did you mean 'grpo'?",
        ),
        (
            "algorithm:\n  name: gpro",
            "x.yaml:2: algorithm.name: unknown algorithm 'gpro'; did you mean 'grpo'?",
        ),
        (
            "algorithm: {name: grpo, preset: trl}",
            "x.yaml:1: algorithm.preset: grpo has no preset 'trl'",
        ),
        ("train:\n  steps: many", "x.yaml:2: train.steps: expected an integer, got 'many'"),
        ("train:\n  steps: true", "x.yaml:2: train.steps: expected an integer, got True"),
        ("train:\n  steps: -1", "x.yaml:2: train.steps: expected a value greater than or equal to"),
        ("train:", "x.yaml:1: train: expected a mapping of keys to values, got nothing"),
        (
            "train:\n  steps: 1\n  steps: 2",
            "x.yaml:3: train.steps: key 'steps' stands twice, first in line 2",
        ),
        ("train: {steps: 3\nfoo: 2", "x.yaml:2: not valid YAML: "),
        ("task: sum", "x.yaml:1: task: unknown task 'sum'; did you mean 'sums'?"),
        ("task: {name: slots, k: 99}", "x.yaml:1: task.k: expected a value less than or equal to"),
        ("rewards:\n  - acuracy", "x.yaml:2: rewards[0]: unknown reward 'acuracy'; did you mean"),
        ("rewards: []", "x.yaml:1: rewards: expected at least 1"),
        (
            "cues:\n  - {at: 1, do: evaluate}\n  - {at: 2, do: swich}",
            "x.yaml:3: cues[1].do: unknown value 'swich'; did you mean 'switch'?",
        ),
        (
            "cues:\n  - {at: 1, do: switch}",
            "x.yaml:2: cues[0].algorithm: key 'algorithm' is missing",
        ),
        (
            "cues:\n  - {at: 1, do: set, key: bta, value: 1}",
            "x.yaml:2: cues[0].key: grpo has no setting 'bta'; did you mean 'beta'?",
        ),
        (
            "cues:\n  - {at: 1, do: set, key: beta, value: -1}",
            "x.yaml:2: cues[0].value: expected a value",
        ),
        (
            "cues:\n  - {at: 1, do: evaluate, lane: main}",
            "x.yaml:2: cues[0].lane: unknown key 'lane'",
        ),
        (
            "lanes:\n  - {name: a, algorithm: grpo}\n  - {name: a, algorithm: ppo}",
            "x.yaml:3: lanes[1].name: two lanes are named 'a'",
        ),
        ("model:\n  quantize: nf5", "x.yaml:2: model.quantize: expected 'none', 'nf4' or 'int8'"),
        ("model: {path: /no/such/folder}", "x.yaml:1: model.path: no model folder"),
        ("- 1", "x.yaml:1: a scenario is a mapping of keys to values"),
        ("", "x.yaml:1: a scenario is a mapping of keys to values"),
    ],
)
def test_what_is_said(tmp_path: Path, text: str, expected: str) -> None:
    assert problem(tmp_path, text).startswith(expected)


def test_a_key_named_like_a_cue_is_not_lost(tmp_path: Path) -> None:
    assert problem(tmp_path, "evaluate: {evry: 1}").startswith("x.yaml:1: evaluate.evry: unknown")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.lerning_rate=1", "unknown key 'lerning_rate'; did you mean 'learning_rate'?"),
        ("algorithm.betaa=1", "unknown key 'betaa'; did you mean 'beta'?"),
        ("train.steps.x=3", "train.steps is 7, which has no keys"),
        ("rewards.fmt.weight=1", "no 'fmt' here; valid: accuracy, format"),
        ("task.k=6", "unknown key 'k'; valid: name, chinese, digits, operations, brackets, mix"),
        ("train.steps=[1", "not valid YAML"),
        ("nothing", "expected key=value"),
    ],
)
def test_a_wrong_override_is_named_by_its_option(
    tmp_path: Path, setting: str, expected: str
) -> None:
    message = problem(tmp_path, "train: {steps: 7}", settings=[setting])
    assert message.startswith(f"--set {setting}: {expected}")


def test_other_options_are_named_too(tmp_path: Path) -> None:
    assert problem(tmp_path, "", algorithm="gpro").endswith("keys to values")
    assert problem(tmp_path, "name: x", algorithm="gpro").startswith(
        "--algorithm gpro: unknown algorithm 'gpro'; did you mean 'grpo'?"
    )


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("defualt", "unknown scenario 'defualt'; did you mean 'default'?"),
        ("scenarios/nothing-like-it.yaml", "scenarios/nothing-like-it.yaml: no such file"),
    ],
)
def test_a_missing_scenario(ref: str, expected: str) -> None:
    with pytest.raises(RequestError, match=re.escape(expected)):
        load(ref)


def test_a_misspelt_file_is_found_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: x\n")
    with pytest.raises(RequestError) as caught:
        load(str(tmp_path / "mien.yaml"))
    assert str(caught.value).endswith(f"no such file; did you mean '{tmp_path / 'mine.yaml'}'?")
