"""Where files are: the shipped scenarios, records and the embedded policy (beside the package in a
checkout, inside it in a wheel), and a person's own preferences and keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `assets/` and `scenarios/`."""
    installed = PACKAGE / "_data"
    return installed if installed.is_dir() else PACKAGE.parent


def assets_dir() -> Path:
    """What ships with the package; the embedded policy is in its `policy` folder."""
    return root() / "assets"


def scenarios_dir() -> Path:
    """The shipped scenarios, one YAML file each."""
    return root() / "scenarios"


FORMER_NAMES = {"leash": "kl-penalty"}
"""Shipped scenarios that have a new name."""

FORMER_LANES = {"kl-penalty": {"free": "no-penalty", "long": "weak", "short": "strong"}}
"""Lanes of shipped scenarios that have a new name."""


def lane_now(scenario: object, lane: str, lanes: Container[str]) -> str:
    """The name that a lane of a scenario has now, by the name that was given for it. A lane of
    `lanes` that really has that name comes first."""
    former = FORMER_LANES.get(scenario, {}) if isinstance(scenario, str) else {}
    now = former.get(lane, lane)
    return now if lane not in lanes and now in lanes else lane


def shipped_scenarios() -> dict[str, Path]:
    """Shipped scenarios by name, `default` first."""
    found = {path.stem: path for path in sorted(scenarios_dir().glob("*.yaml"))}
    return {name: found[name] for name in sorted(found, key=lambda n: (n != "default", n))}


def shipped_records() -> dict[str, Path]:
    """Recorded runs that ship with the package, by name, for `replay`."""
    return {path.parent.name: path.parent for path in assets_dir().glob("records/*/events.jsonl")}


def state_file() -> Path:
    """This person's preferences for the screen; see `tui.preferences`."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "grpolab" / "screen.json"


def recall() -> dict[str, Any]:
    """What `state_file` holds; nothing where it is missing or cannot be read."""
    try:
        found = json.loads(state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keys_file() -> Path:
    """This person's own key bindings; see `tui.keymap`."""
    given = os.environ.get("GRPOLAB_KEYS")
    if given:
        return Path(given)
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "grpolab" / "keys.toml"
