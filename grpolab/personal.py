"""Where a person's own files lie: what they like, and which keys they changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
