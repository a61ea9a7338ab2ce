"""Whether every word of the field that a screen shows is explained somewhere in the lab."""

from __future__ import annotations

import re
from collections.abc import Iterable

from grpolab.analysis.metric_help import METRICS
from grpolab.tui import quantities
from grpolab.tui.glossary.words import WORDS

NAME = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")
CAPITALS = re.compile(r"\b[A-Z][A-Z-]{1,}[A-Z]\b|\b[A-Z]{2}\b")
LETTER = re.compile(r"[ρεβλγδσμτπ]")
EVERYDAY = {"OSC", "SSH", "SVG", "JSON", "YAML", "UTF", "MB", "GB", "KB", "MIB", "GIB", "KIB", "OK",
            "URL", "PAUSED", "PAUSING", "PANE", "THEN", "HTML", "CPU", "GPU",
            "PNG", "ID"}  # fmt: skip

OWNERS = set("BWACOGKXLRSFU")
"""The letters of which the memory's bars are made."""


def known() -> str:
    """All that explains: the glossary, the hints of metrics, channels and settings, and what the
    algorithms say of themselves, as one lower-case text."""
    from grpolab.analysis.curves import HINTS
    from grpolab.scenario.spec import Scenario
    from grpolab.tui.algorithm_cards import load

    parts: list[str] = []
    for table in (WORDS, METRICS, quantities.HINTS, HINTS):
        parts += [f"{k} {v}" for k, v in table.items()]
    parts += [str(card) for card in load().values()]
    parts.append(str(Scenario.model_json_schema()))
    return "\n".join(parts).lower()


def unexplained(screens: Iterable[list[str]], ignored: Iterable[str] = ()) -> list[str]:
    """Names with an underscore, abbreviations and Greek letters of the screens that nothing
    explains."""
    text, seen = known(), set[str]()
    for lines in screens:
        shown = "\n".join(lines)
        for pattern in (NAME, CAPITALS, LETTER):
            seen |= set(pattern.findall(shown))
    seen = {w for w in seen if not set(w) <= OWNERS and not w.startswith("grpolab_")}
    spare = {w.lower() for w in (*EVERYDAY, *ignored)}
    return sorted(w for w in seen if w.lower() not in spare and not _there(w.lower(), text))


def _there(word: str, text: str) -> bool:
    forms = {word, word.replace("_", " "), word.replace("_", "-")}
    return any(form in text for form in forms)
