"""Where the shipped scenarios and the embedded policy lie: beside the package in a checkout,
inside it in a wheel.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `assets/` and `scenarios/`."""
    installed = PACKAGE / "_data"
    return installed if installed.is_dir() else PACKAGE.parent


def assets_dir() -> Path:
    """What ships with the package; the embedded policy lies in its `policy` folder."""
    return root() / "assets"


def scenarios_dir() -> Path:
    """The shipped scenarios, one YAML file each."""
    return root() / "scenarios"


def shipped_scenarios() -> dict[str, Path]:
    """Shipped scenarios by name, `default` first."""
    found = {path.stem: path for path in sorted(scenarios_dir().glob("*.yaml"))}
    return {name: found[name] for name in sorted(found, key=lambda n: (n != "default", n))}


def shipped_records() -> dict[str, Path]:
    """Recorded runs that ship with the package, by name, to be replayed."""
    return {path.parent.name: path.parent for path in assets_dir().glob("records/*/events.jsonl")}


# --- personal ---
# Where a person's own files lie: what they like, and which keys they changed.


def state_file() -> Path:
    """How this person likes the screen; see `tui.tastes`."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "grpolab" / "screen.json"


def recall() -> dict[str, Any]:
    """What is remembered of it; nothing where the file is not there or not understood."""
    try:
        found = json.loads(state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keys_file() -> Path:
    """The keys that this person changed; see `tui.keymap`."""
    given = os.environ.get("GRPOLAB_KEYS")
    if given:
        return Path(given)
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "grpolab" / "keys.toml"
