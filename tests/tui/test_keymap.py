"""What every letter means, over all screens; and that a key file of before still works."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpolab.tui.keymap import BY_NAME, load_keymap
from grpolab.tui.keys import ACTIONS, ANYWHERE, SCREENS, Action

EVERYWHERE = {
    "a": "algorithm", "p": "pause", "n": "single", "e": "evaluate", "question_mark": "explain",
    "t": "theme", "q": "quit", "colon": "commands", "P": "picture", "H": "glossary",
}  # fmt: skip
"""Keys that every screen has."""

MEANING = {
    "a": "algorithm", "b": "bookmark", "c": "channel", "d": "seed", "e": "evaluate",
    "f": "formula",
    "g": "prompt_next", "h": "health", "i": "chat", "j": "goto", "k": "kl_bench", "l": "lens",
    "m": "slow", "n": "single", "o": "read", "p": "pause", "q": "quit", "r": "recorded",
    "s": "checkpoint", "t": "theme", "u": "curves", "v": "hold", "w": "group", "x": "second",
    "y": "answer_copy", "z": "zoom", "A": "compare", "B": "lens_parameters", "C": "channel_back",
    "D": "motion",
    "F": "fork", "G": "prompt_previous", "H": "glossary", "I": "lens_what_if", "L": "lane",
    "M": "memory_screen", "N": "tour", "O": "order", "P": "picture", "R": "rewind",
    "S": "session", "T": "time", "U": "whatif_apply", "V": "trace", "W": "layout",
    "X": "second_back", "Y": "answer_save", "Z": "group_turn",
}  # fmt: skip
"""The one thing that each letter means, wherever it means anything."""

BEFORE = (
    "algorithm", "pause", "single", "setting", "evaluate", "fork", "rewind", "checkpoint",
    "hold", "prompt_next", "prompt_previous", "answer_next", "answer_previous", "token_next",
    "token_previous", "token_jump", "token_back", "channel", "channel_back", "second",
    "second_back", "lane", "older", "newer", "jump_back", "jump_on", "moment_previous",
    "moment_next", "goto", "bookmark", "time", "first", "last", "group", "read", "answers",
    "answer_copy", "answer_save", "lens", "formula", "chat", "kl_bench", "curves", "health",
    "memory_screen", "recorded", "trace", "slow", "play", "slower", "faster", "pane_next",
    "pane_previous", "open", "zoom", "page_down", "page_up", "pane_1", "pane_2", "pane_3",
    "pane_4", "pane_5", "pane_6", "theme", "layout", "motion", "picture", "tour", "glossary",
    "explain", "session", "commands", "back", "quit", "close", "row_next", "row_previous",
    "lens_enter", "lens_answer_next", "lens_answer_previous", "lens_mark", "lens_what_if",
    "lens_focus", "lens_jump_1", "lens_parameters", "lens_again", "whatif_turn",
    "whatif_turn_back", "whatif_type", "whatif_apply", "whatif_undo", "whatif_undo_all",
    "whatif_page", "source_down", "source_up", "source_first", "source_last", "source_next",
    "source_previous", "formula_mark", "formula_source", "formula_home", "group_next",
    "group_previous", "group_up", "group_down", "group_read", "group_order", "group_turn",
    "group_apart", "group_first", "group_last", "answers_go", "answers_text", "answers_regex",
    "answers_verdict", "answers_ended", "answers_reward", "answers_steps", "answers_level",
    "answers_lane", "answers_order", "answers_clear", "answers_again", "answers_jump",
    "answers_back", "answers_first", "answers_last", "reader_render", "reader_tokens",
    "reader_next", "reader_previous", "reader_down", "reader_up", "reader_first", "reader_last",
    "chat_type", "chat_example", "chat_more", "chat_fewer", "chat_greedy", "time_go",
    "time_delete", "trace_answer_next", "trace_answer_previous", "slow_play", "slow_next",
    "slow_back", "slow_stage", "slow_stage_back", "slow_faster", "slow_speed_back",
    "slow_again", "slow_start", "kl_bench_again", "health_try_1", "health_try_2",
    "health_curve", "health_focus", "memory_right", "memory_right_back", "memory_jump",
    "memory_jump_back", "memory_first", "memory_last", "memory_shares", "memory_foreign",
    "memory_table", "curves_pick", "curves_cursor", "curves_cursor_back", "curves_jump",
    "curves_back", "curves_first", "curves_last", "curves_smooth", "curves_smooth_back",
    "curves_axis", "curves_axis_back", "curves_log", "curves_range", "curves_zoom",
    "curves_zoom_back", "curves_whole", "curves_bands", "curves_list", "curves_go",
    "curves_lane_1",
)  # fmt: skip
"""Names that people may have in their key files."""


def tables() -> dict[str, tuple[Action, ...]]:
    return {"the lab": ACTIONS} | SCREENS


def meanings() -> dict[str, set[str]]:
    """What each letter means on any screen."""
    out: dict[str, set[str]] = {}
    for actions in tables().values():
        for action in actions:
            for key in action.keys.split(","):
                if len(key) == 1 and key.isalpha():
                    out.setdefault(key, set()).add(action.form_of or action.name)
    return out


def test_one_letter_means_one_thing() -> None:
    assert meanings() == {letter: {meaning} for letter, meaning in MEANING.items()}


def test_no_key_has_two_actions_on_one_screen() -> None:
    for place, actions in tables().items():
        keys = [key for action in actions for key in action.keys.split(",")]
        assert len(keys) == len(set(keys)), (place, [k for k in keys if keys.count(k) > 1])
        assert all(keys), place


def test_some_keys_do_the_same_on_every_screen() -> None:
    for place, actions in tables().items():
        found = {key: a.form_of or a.name for a in actions for key in a.keys.split(",")}
        assert {key: found.get(key) for key in EVERYWHERE} == EVERYWHERE, place
    # the compare view has the lab's own actions
    over = [name for name in SCREENS if name != "compare"]
    assert all(SCREENS[name][-len(ANYWHERE) :] == ANYWHERE for name in over)


@pytest.mark.parametrize("name", [a.form_of for t in tables().values() for a in t if a.form_of])
def test_what_an_action_is_a_form_of(name: str) -> None:
    assert name in BY_NAME or name == "order"


def test_a_key_file_of_before_still_works(tmp_path: Path) -> None:
    keys = (f"ctrl+{chr(97 + i % 26)},f{i}" for i in range(len(BEFORE)))
    for name, key in zip(BEFORE, keys, strict=True):
        path = tmp_path / "keys.toml"
        path.write_text(f'{name} = "{key}"\n')
        keymap, problem = load_keymap(path)
        assert keymap.changed[name] == key, name
        assert "no action" not in problem, problem


def test_the_forms_of_an_action_follow_its_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('lens = "a"\nalgorithm = "l"\nread = "ctrl+r"\nquit = "ctrl+x"\n')
    keymap, problem = load_keymap(path)
    assert problem == ""  # exchanged, on every screen
    assert keymap.keys["lens_again"] == "a" and keymap.keys["group_read"] == "enter,ctrl+r"
    assert keymap.keys["close"] == "escape,q"
