"""Load a scenario by name or file, with changes from the command line, and check it. Errors are one
line with file, line, key and the nearest valid name:

scenarios/x.yaml:12: train.learning_rat: unknown key 'learning_rat'; did you mean 'learning_rate'?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpolab.errors import Loc, RequestError, ScenarioError, closest
from grpolab.resources import FORMER_NAMES, lane_now, shipped_scenarios

if TYPE_CHECKING:
    from grpolab.scenario.spec import Scenario
    from grpolab.scenario.yaml_lines import Lines

Change = tuple[str, str, Any]
"""A change from the command line: the option as written, the dotted key, the value."""


def changes(
    *,
    algorithm: str | None = None,
    model: str | None = None,
    quantize: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    settings: Sequence[str] = (),
) -> list[Change]:
    """The options of `grpolab run` as changes to the scenario, in the order in which they apply.

    Raises RequestError for a `--set` that is no `key=value`.
    """
    given = {"model": ("model.path", model), "quantize": ("model.quantize", quantize)}
    given |= {"steps": ("train.steps", steps), "seed": ("seed", seed)}
    found: list[Change] = []
    if algorithm is not None:
        found.append((f"--algorithm {algorithm}", "algorithm", algorithm))
    for option, (key, value) in given.items():
        if value is not None:
            found.append((f"--{option} {value}", key, value))
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RequestError(f"--set {text}: expected key=value, for example train.steps=5")
        from grpolab.scenario.yaml_lines import YamlError, scalar  # the other options need no YAML

        try:
            found.append((f"--set {text}", key.strip(), scalar(value)))
        except YamlError as error:
            raise RequestError(f"--set {text}: {error.message}") from None
    return found


def load(ref: str, changed: Iterable[Change] = ()) -> Scenario:
    """The scenario that `ref` names (a file, or a shipped scenario's name), with the changes
    applied, checked.

    Raises RequestError.
    """
    from grpolab.scenario.spec import build, expand

    path = find(ref)
    data, lines = _read(path)
    origins: dict[Loc, str] = {}
    try:
        data = expand({"name": path.stem} | data if isinstance(data, dict) else data)
        for origin, key, value in changed:
            _apply(data, origin, key, value, origins)
            data = expand(data)
        _name_lanes_as_now(data)
        scenario = build(data)
    except ScenarioError as error:
        raise RequestError(_line(path, lines, origins, error)) from None
    _check_model(scenario, path, lines, origins)
    return scenario


def find(ref: str) -> Path:
    """The file that `ref` names. Raises RequestError with the nearest one that exists."""
    shipped = shipped_scenarios()
    if ref in shipped:
        return shipped[ref]
    path = Path(ref)
    if path.is_file():
        return path
    if path.is_dir() and (path / "scenario.yaml").is_file():
        return path / "scenario.yaml"
    if path.is_dir():
        raise RequestError(f"{ref}: is a folder, not a scenario file")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        beside = [str(p) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        close = closest(ref, [*beside, *shipped])
        raise RequestError(f"{ref}: no such file" + (f"; did you mean {close!r}?" if close else ""))
    if ref in FORMER_NAMES:
        return shipped[FORMER_NAMES[ref]]
    close = closest(ref, shipped)
    hint = f"did you mean {close!r}?" if close else f"shipped: {', '.join(shipped)}"
    raise RequestError(f"unknown scenario {ref!r}; {hint}")


def _read(path: Path) -> tuple[Any, Lines]:
    from grpolab.scenario.yaml_lines import YamlError, parse

    try:
        return parse(path.read_text(encoding="utf-8"))
    except YamlError as error:
        key = f"{dotted(error.loc)}: " if error.loc else ""
        raise RequestError(f"{_shown(path)}:{error.line}: {key}{error.message}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{_shown(path)}:1: not a text file in UTF-8") from None
    except OSError as error:
        raise RequestError(f"{_shown(path)}: {(error.strerror or str(error)).lower()}") from None


def _apply(
    data: dict[str, Any], origin: str, key: str, value: Any, origins: dict[Loc, str]
) -> None:
    """Apply one change to the long form of the data. Raises RequestError."""
    parts: list[str] = key.split(".")
    lanes = data.get("lanes")
    if parts[0] == "algorithm" and isinstance(lanes, list) and lanes:
        if len(lanes) > 1 and not origin.startswith("--algorithm"):
            raise RequestError(f"{origin}: there are {len(lanes)} lanes; write lanes.NAME.{key}=…")
        parts = ["lanes", "0", *parts]
    if parts[0] == "lanes" and isinstance(lanes, list) and len(parts) > 1:
        parts[1] = lane_now(data.get("name"), parts[1], _names(lanes))
    if parts[0] == "rewards" and "rewards" not in data:
        data["rewards"] = _default_rewards()
    here: Any = data
    loc: Loc = ()
    step: Any  # a key or an index, as `here` needs
    for part in parts[:-1]:
        step = _position(here, part, origin)
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = {}
        here, loc = here[step], (*loc, step)
        if not isinstance(here, dict | list):
            raise RequestError(f"{origin}: {dotted(loc)} is {here!r}, which has no keys")
    step = _position(here, parts[-1], origin)
    old = here[step] if isinstance(here, list) else here.get(step)
    if parts[-1] == "algorithm" and isinstance(old, dict) and old.get("name") == value:
        return  # the same algorithm keeps its settings
    here[step], loc = value, (*loc, step)
    for known in [known for known in origins if known[: len(loc)] == loc]:
        del origins[known]
    origins[loc] = origin


def _default_rewards() -> list[dict[str, Any]]:
    from grpolab.scenario.spec import Scenario

    return [r.model_dump() for r in Scenario.model_fields["rewards"].default]


def _position(items: dict[str, Any] | list[Any], part: str, origin: str) -> Any:
    """A key of a mapping, or the index of a list's item, given by its number from 0 or its name."""
    if isinstance(items, dict):
        return part
    names = _names(items)
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    known = [n for n in names if n and n != "None"] or [str(i) for i in range(len(items))]
    raise RequestError(f"{origin}: no {part!r} here; valid: {', '.join(known) or 'nothing yet'}")


def _names(items: list[Any]) -> list[str]:
    return [str(item.get("name")) if isinstance(item, dict) else "" for item in items]


def _name_lanes_as_now(data: dict[str, Any]) -> None:
    """Where a cue from the command line has a lane's former name, put its new one."""
    lanes, cues = data.get("lanes"), data.get("cues")
    if isinstance(lanes, list) and isinstance(cues, list):
        for cue in cues:
            if isinstance(cue, dict) and isinstance(cue.get("lane"), str):
                cue["lane"] = lane_now(data.get("name"), cue["lane"], _names(lanes))


def _line(path: Path, lines: Lines, origins: dict[Loc, str], error: ScenarioError) -> str:
    """The error with its place: the option that caused it, or the line and key in the file."""
    for size in range(len(error.loc), 0, -1):
        if origin := origins.get(error.loc[:size]):
            return f"{origin}: {error.message}"
    loc = error.loc
    if loc[:2] == ("lanes", 0) and ("lanes",) not in lines:  # written as `algorithm:`
        loc = loc[2:]
    known = next((loc[:size] for size in range(len(loc), 0, -1) if loc[:size] in lines), ())
    if loc[-1:] == ("name",) and known == loc[:-1]:  # written as a bare name
        loc = known
    key = f"{dotted(loc)}: " if loc else ""
    return f"{_shown(path)}:{lines.get(known, 1)}: {key}{error.message}"


def dotted(loc: Loc) -> str:
    """`("cues", 0, "algorithm")` as `cues[0].algorithm`."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc).removeprefix(".")


def _shown(path: Path) -> str:
    """The path as a user would write it."""
    try:
        return str(path.relative_to(Path.cwd())) if path.is_absolute() else str(path)
    except ValueError:
        return str(path)


def _check_model(scenario: Scenario, path: Path, lines: Lines, origins: dict[Loc, str]) -> None:
    """A model path that can only be a folder must exist; what may be a hub id is left to the
    engine."""
    name = scenario.model.path
    looks_local = name.startswith(("/", ".", "~")) or name.count("/") > 1
    folder = Path(name).expanduser()
    if name == "embedded" or (not looks_local and not folder.exists()):
        return
    problem = None
    if not folder.is_dir():
        problem = f"no model folder {name!r}"
    elif not (folder / "config.json").is_file():
        problem = f"{name!r} is no model folder: it has no config.json"
    if problem:
        raise RequestError(_line(path, lines, origins, ScenarioError(("model", "path"), problem)))
