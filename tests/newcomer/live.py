"""The first session: what somebody does who has never seen the lab, in that order."""

from __future__ import annotations

from .script import LAB, THERE, Press, Script


def session() -> list[Press]:
    s = Script()
    for part in (
        _start, _watching, _panes, _drill, _steer, _lens, _formula, _curves, _health, _memory,
        _slow, _trace, _bench, _search, _chat, _time, _liking, _leave,
    ):  # fmt: skip
        s.on = LAB
        part(s)
    return s.presses


def _start(s: Script) -> None:
    s.wait(r"Your first time here\?", 60, shot="start")
    s.key("enter", expect=r"━ Welcome ━")
    s.wait(r"1 Rollouts", 120)
    for stop in range(2, 11):
        s.key("enter", expect=rf" {stop}/10 ", shot="tour" if stop == 3 else "")
    s.key("enter", expect=r"q quit")


def _watching(s: Script) -> None:
    s.wait(r"step [3-9]", 120, shot="lab-live")
    s.press("prompt_next", "prompt_previous", "answer_next", "answer_next", "answer_previous")
    s.press("hold", expect=r"(?i)held|hold|follow")
    s.press("token_next", "token_jump", "token_back", "token_previous")
    s.press("channel", "channel", "channel_back", "second", "second", shot="lab-two-channels")
    s.press("second_back", "second_back", "hold")
    s.press("pause", expect=r"(?i)paused")
    s.press("single", expect=r"(?i)step")
    s.wait(r"(?i)paused", 60)


def _panes(s: Script) -> None:
    for n in range(1, 7):
        s.press(f"pane_{n}", "zoom", shot=("pane-tokens" if n == 2 else ""))
        s.press("page_down", "page_up", "explain", expect=r"esc close")
        s.key("escape")
        s.press("zoom")
    s.press("pane_next", "pane_previous", "layout", "layout", "layout", "layout")


def _drill(s: Script) -> None:
    s.press("pane_3", "token_previous", "open", expect=r"back to the curve")
    s.press("pane_1", "open")
    s.on = "group"
    s.press("group_next", "group_previous", "group_down", "group_up", "group_last", "group_first")
    s.press("group_order", "group_order", "group_turn", "group_apart", shot="group")
    s.press("group_apart", "prompt_next", "prompt_previous")
    s.press("answer_copy", expect=r"(?i)clipboard|copied")
    s.press("answer_save", expect=r"(?i)saved")
    s.anywhere()
    s.press("group_read")
    s.on = "reader"
    s.press("reader_render", shot="reader")
    s.press("reader_render", "reader_next", "reader_previous", "prompt_next", "prompt_previous")
    s.press("answer_copy", "answer_save", "reader_last", "reader_first", "reader_down", "reader_up")
    s.anywhere()
    s.press("group")
    s.on = "group"
    s.press("group_read")
    s.on = "reader"
    s.press("reader_tokens", expect=r"back to")
    s.on = LAB
    s.press("back")
    s.on = "reader"
    s.press("close")
    s.on = "group"
    s.press("close")
    s.on = LAB
    s.press("back", "group")
    s.on = "group"
    s.press("close")
    s.on = LAB
    s.press("read")
    s.on = "reader"
    s.press("close")
    s.on = LAB
    s.press("answer_copy", expect=r"(?i)clipboard|copied")
    s.press("answer_save", expect=r"(?i)saved")
    s.press("last")


def _steer(s: Script) -> None:
    s.press("algorithm", expect=r"Switch the algorithm", shot="algorithm")
    s.type("ppo", expect=r"of 26")
    s.key("enter", expect=r"(?i)switching|PPO")
    s.press("single")
    s.wait(r"(?m)^\s+PPO ", 60)
    s.press("single", "setting", expect=r"(?i)settings", shot="settings")
    s.key("down", "up")
    s.type("learning_rate")
    s.key("enter")
    s.key("escape", "escape", "escape")
    s.press("evaluate", expect=r"(?i)evaluat")
    s.press("checkpoint", expect=r"(?i)checkpoint")
    s.press("single")
    s.wait(r"(?i)paused", 90)


def _lens(s: Script) -> None:
    s.press("lens")
    s.on = "lens"
    s.wait(THERE, 120)
    s.press("row_next", "row_next", "row_previous", "token_next", "token_jump", "token_back")
    s.press("token_previous", "lens_answer_next", "lens_answer_previous", "prompt_next")
    s.press("prompt_previous", "lens_mark", "lens_mark", "lens_focus", shot="lens")
    s.press(*(f"lens_jump_{i}" for i in range(1, 11)))
    s.press("lens_focus", "lens_enter", "lens_enter", "lens_parameters", "lens_again")
    s.wait(THERE, 120)
    s.anywhere()
    s.press("lens_what_if")
    s.on = "what-if"
    s.press("row_next", "row_next", "whatif_turn_back", "whatif_turn_back", "whatif_turn")
    s.press("row_next", "row_previous")
    s.wait(r"clipped|adv\. std|◂ *\d", 60, shot="what-if")
    s.press("whatif_undo", "whatif_turn", "whatif_undo_all", "whatif_page", "whatif_page")
    s.press("whatif_page", "lens_answer_next", "lens_answer_previous", "prompt_next")
    s.press("prompt_previous", "whatif_type", expect=r"esc ")
    s.key("escape")
    s.press("row_next", "whatif_turn", "whatif_apply")
    s.anywhere()
    s.press("close")
    s.on = "lens"
    s.press("close")


def _formula(s: Script) -> None:
    s.press("formula")
    s.on = "formula"
    s.press("row_next", "row_previous", "token_next", "token_previous", "formula_mark")
    s.press("row_next", shot="formula")
    s.press("formula_mark", "formula_mark", "formula_home")
    s.anywhere()
    s.press("formula_source")
    s.on = "source"
    s.press("source_down", "source_down", "source_up", "source_last", "source_first")
    s.press("source_next", "source_previous", shot="source")
    s.anywhere()
    s.press("close")
    s.on = "formula"
    s.press("close")


def _curves(s: Script) -> None:
    s.press("curves")
    s.on = "curves"
    s.press("row_next", "row_previous", "curves_pick", "curves_pick", "curves_first")
    s.press("curves_cursor", "curves_jump", "curves_back", "curves_cursor_back", "curves_last")
    s.press("curves_smooth", "curves_smooth", shot="curves")
    s.press("curves_smooth_back", "curves_smooth_back", "curves_axis", "curves_axis_back")
    s.press("curves_log", "curves_log", "curves_zoom", "curves_zoom_back", "curves_whole")
    s.press("curves_range", "curves_back", "curves_range", "curves_whole", "curves_bands")
    s.press("curves_bands", "curves_list", "curves_list")
    s.press(*(f"curves_lane_{i}" for i in range(1, 10)), "curves_lane_1")
    s.anywhere()
    s.press("close")
    s.on = LAB
    s.press("curves")
    s.on = "curves"
    s.press("curves_cursor_back", "curves_go")
    s.on = LAB
    s.press("back")
    s.key("escape", "escape")


def _health(s: Script) -> None:
    s.press("health")
    s.on = "health"
    s.press("row_next", "row_previous", "health_focus", "row_next", "health_focus", shot="health")
    s.press("health_try_1", "health_try_2", "older", "newer", "lane")
    s.anywhere()
    s.press("health_curve")
    s.key("escape", "escape")


def _memory(s: Script) -> None:
    s.press("memory_screen")
    s.on = "memory"
    s.press("memory_first", "memory_right", "memory_right_back", "memory_jump", "memory_jump_back")
    s.press("memory_last", "row_next", "row_previous", "memory_shares", "memory_shares")
    s.press("memory_foreign", "memory_table", shot="memory")
    s.press("memory_table", "memory_foreign", "lane")
    s.anywhere()
    s.press("close")


def _slow(s: Script) -> None:
    s.press("slow")
    s.on = "slow"
    s.press("slow_play", "slow_play", "slow_next", "slow_next", "slow_back", "slow_stage")
    s.press("slow_stage", "slow_stage", "slow_next", "slow_next", shot="slow-motion")
    s.press("slow_stage_back", "slow_faster", "slow_speed_back", "answer_next", "answer_previous")
    s.press("prompt_next", "prompt_previous", "slow_start", "slow_again", "pause", "pause")
    s.anywhere()
    s.press("close")


def _trace(s: Script) -> None:
    s.press("trace")
    s.on = "trace"
    s.press("token_next", "token_previous", "token_jump", "token_back", "trace_answer_next")
    s.press(
        "trace_answer_previous", "prompt_next", "prompt_previous", "recorded", "hold", shot="trace"
    )
    s.press("hold")
    s.anywhere()
    s.press("close")


def _bench(s: Script) -> None:
    s.press("kl_bench")
    s.on = "kl-bench"
    s.press("kl_bench_again")
    s.press("row_next", "row_previous")
    s.anywhere()
    s.press("close")


def _search(s: Script) -> None:
    s.press("answers")
    s.key("enter")
    s.on = "answers"
    s.wait(r"(?i)found|answers", 30)
    s.press("row_next", "answers_jump", "answers_back", "row_previous", "answers_last")
    s.press("answers_first", "answers_text")
    s.type("think")
    s.key("enter")
    s.press("answers_regex", "answers_regex", "answers_verdict", "answers_verdict", shot="search")
    s.press("answers_verdict", "answers_ended", "answers_ended", "answers_ended")
    s.press("answers_reward")
    s.key("escape")
    s.press("answers_steps")
    s.key("escape")
    s.press(
        "answers_level",
        "answers_lane",
        "answers_order",
        "answers_order",
        "answers_order",
        "answers_clear",
    )
    s.press("answers_again")
    s.wait(r"answers", 30)
    s.press("row_next", "row_previous", "answer_copy", "answer_save", "read")
    s.key("escape")
    s.press("group")
    s.key("escape")
    s.anywhere()
    s.press("answers_go", expect=r"back to")
    s.on = LAB
    s.press("back")
    s.on = "answers"
    s.press("close")


def _chat(s: Script) -> None:
    s.press("chat")
    s.on = "chat"
    s.key("escape")  # out of the line in which one can type at once
    s.press("chat_example", "chat_more", "chat_fewer", "chat_greedy", "chat_greedy", "chat_type")
    s.type("12+7*3=")
    s.key("enter")
    s.key("escape")
    s.wait(r"12\+7\*3=", 60)
    s.wait(r"(?s)12\+7\*3=.*(right|wrong|33|●|○)", 60, shot="chat")
    s.press("row_next", "row_previous", "lane")
    s.anywhere()
    s.press("close")


def _time(s: Script) -> None:
    s.press("bookmark", expect=r"Bookmark at step")
    s.type("the critic is new")
    s.key("enter", expect=r"bookmark at step")
    s.press("older", "older", "newer", "jump_back", "jump_on", "first", "last")
    s.press("moment_previous", "moment_next", "goto", expect=r"Go to a step")
    s.type("2")
    s.key("enter")
    s.press("slower", "faster", "play", "play", "slower", "faster", "last")
    s.press("time")
    s.on = "time"
    s.press("row_previous", "row_next", "first", "last", "goto", expect=r"Go to a step")
    s.key("escape")
    s.press("bookmark", expect=r"Bookmark at step")
    s.type("worth a look")
    s.key("enter")
    s.press("row_next", "row_previous", shot="time")
    s.press("session", expect=r"session\S*\.yaml")
    s.press("time_delete", "first", "fork")
    s.shut()
    s.anywhere()
    s.press("rewind")
    s.shut()
    s.press("close")
    s.on = LAB
    s.press("time")
    s.on = "time"
    s.press("row_previous", "time_go")
    s.on = LAB
    s.press("back", "last", "rewind")
    s.on = "time"
    s.press("rewind", expect=r"Rewind to step|Undone|undone", shot="rewind")
    s.key("enter")
    s.wait(r"(?i)rewound|paused", 60)
    s.on = LAB
    s.press("fork", expect=r"(?i)fork")
    s.key("enter")
    s.key("enter", expect=r"(?i)fork")
    _compare(s)
    s.on = LAB
    s.press("lane", shot="lab-two-lanes")
    s.wait(r"(?i)sampling|scoring|updating|paused|evaluating", 60)
    s.press("lane", "session", expect=r"session\S*\.yaml")


def _compare(s: Script) -> None:
    """The view that a second lane opens by itself; all of its keys."""
    s.on = "compare"
    s.wait(r"esc one lane", 60)
    s.press("pause")
    s.wait(r"(?s)mean r.*mean r", 120)
    s.press("answer_next", "answer_previous", "prompt_next", "prompt_previous", "token_next")
    s.press("token_jump", "token_back", "token_previous", "channel", "channel", "channel_back")
    s.press("lane", "lane", "seed", "lower", "lower", "lower", "lower", "lower", shot="compare")
    for name in (
        "group", "read", "lens", "formula", "kl_bench", "curves", "health",
        "memory_screen", "trace", "slow", "time", "rewind", "setting", "algorithm", "fork", "goto",
        "bookmark", "tour", "glossary", "explain", "commands",
    ):  # fmt: skip
        s.press(name)
        s.key("escape")
    for name in ("answers", "chat"):
        s.press(name)
        s.key("escape", "escape")  # the first out of the line in which one can type at once
    s.press("single", "evaluate", "checkpoint", "hold", "hold", "older", "newer", "jump_back")
    s.press("jump_on", "moment_previous", "moment_next", "first", "last", "slower", "faster")
    s.press("play", "play", "last", "answer_copy", "answer_save", "session")
    s.press("theme", "theme", "theme", "motion", "motion", "motion")
    s.press("picture", expect=r"picture saved")
    for n in range(1, 7):
        s.press(f"pane_{n}")
        s.on = LAB
        s.press("compare")
        s.on = "compare"
    s.press("compare")
    s.on = LAB
    s.press("compare")
    s.on = "compare"
    s.press("close")


def _liking(s: Script) -> None:
    s.press("picture", expect=r"picture saved")
    s.press("explain", expect=r"esc close", shot="help")
    s.key("down", "pagedown", "escape")
    s.press("glossary", expect=r"─ Glossary ─", shot="words")
    s.type("adv", expect=r"advantage")
    s.key("escape", "escape")
    s.press("commands", shot="commands")
    s.type("zoom")
    s.key("escape")
    s.press("theme", shot="theme-1")
    s.press("theme", shot="theme-2")
    s.press("theme", "motion", "motion", "motion", "layout", "layout", "layout", "layout")
    s.press("tour", expect=r"━ Welcome ━")
    s.key("escape")


def _leave(s: Script) -> None:
    s.ends("quit")
