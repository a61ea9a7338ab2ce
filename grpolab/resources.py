"""Where the shipped scenarios and the embedded policy lie: beside the package in a checkout,
inside it in a wheel.
"""

from __future__ import annotations

from pathlib import Path

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
