"""The newcomer's session, without tmux: it presses every action, and its checks can fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from newcomer import again, live, looking, words
from newcomer.script import LAB, TABLES, Press, Script, missing
from newcomer.terminal import SIGNS, TMUX

from grpolab.analysis.metric_help import METRICS
from grpolab.tui import quantities
from grpolab.tui.glossary.words import WORDS
from grpolab.tui.keys import Action

EVERY = [*live.session(), *again.everything()]


def test_every_action_of_every_table_is_pressed() -> None:
    assert missing(EVERY) == []


def test_a_new_action_without_a_stop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Action("somersault", "8", "", "", "Look")
    monkeypatch.setitem(TABLES, "curves", (*TABLES["curves"], new))
    assert missing(EVERY) == ["curves.somersault"]
    with pytest.raises(KeyError, match="nowhere"):
        _ = Press("nowhere").keys


def test_every_key_can_be_sent() -> None:
    for press in EVERY:
        assert press.keys in TMUX or len(SIGNS.get(press.keys, press.keys)) <= 1, press


def test_each_session_leaves_by_itself() -> None:
    for presses in (live.session(), again.session(), *(p for _, p in again.ways_out())):
        assert presses[-1].ends


def test_every_screen_is_known_by_its_footer() -> None:
    for mode in ("live", "replay"):
        names = [n for n in TABLES if n != LAB]
        marks = {tuple(looking.signature(n, mode)) for n in names}
        assert len(marks) == len(names)
    footer = ["", " ↑/↓ metric  space draw  ←/→ cursor     ? help  esc back"]
    assert looking.where(footer, "live") == "curves"
    assert looking.where([" a algorithm  p pause     ? help  q quit"], "live") == LAB
    assert looking.where(["$ "], "live") == ""


def test_what_is_broken_is_found() -> None:
    rows = ["one", "two", "three", "four"]
    assert looking.problems(rows, 20, 5) == []
    assert "exception" in looking.problems([*rows, "KeyError: 'x'"], 20, 5)[0]
    assert "blank" in looking.problems(["", "x", ""], 20, 5)[0]
    assert "wider" in looking.problems([*rows, "x" * 21], 20, 5)[0]
    assert "wider" in looking.problems(rows, 20, 3)[0]


def test_unexplained_words_are_found() -> None:
    screen = ["kl_ref 0.1  entropy  advantage_std  Â = r − b", "frobnication_rate  ZQX"]
    assert words.unexplained([screen]) == ["ZQX", "frobnication_rate"]


def test_what_a_run_records_is_explained(run_dir: Path) -> None:
    """Metrics by METRICS, channels by their hints, the titles of panes by the glossary or help."""
    for line in (run_dir / "events.jsonl").read_text().splitlines():
        for name in json.loads(line).get("metrics") or {}:
            assert name in METRICS, name
    from grpolab.record.events import CHANNELS

    assert [c for c in CHANNELS if c not in quantities.HINTS and c not in WORDS] == []


def test_typing_and_waiting_are_no_keys() -> None:
    s = Script()
    s.type("abc")
    s.wait("x")
    assert [p.keys for p in s.presses] == ["", ""]
