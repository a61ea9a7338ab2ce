"""Questions of the user's own: answered, graded, and nothing is touched."""

from __future__ import annotations

from pathlib import Path

from grpolab.engine import apply_cue
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.scenario.spec import ChatCue
from tests.engine.conftest import OpenLab, finish, only, state_of, tiny


def ask(lab, text: str, **how) -> None:
    apply_cue.apply(lab, ChatCue(at=lab.step_number, do="chat", text=text, **how), "command")


def test_a_run_that_was_asked_has_the_same_digest(open_small: OpenLab, tmp_path: Path):
    how = {"train": {"steps": 2}}
    digest = finish(open_small("ppo", folder=tmp_path / "plain", **how)[0])
    lab, seen = open_small("ppo", folder=tmp_path / "asked", **how)
    lab.evaluate()
    for turn in range(2):
        before = state_of(lab.lanes["main"])
        ask(lab, "3+4; 7*2; 9-5; 1+1", turn=turn)
        assert state_of(lab.lanes["main"]) == before
        lab.advance()
    assert finish(lab) == digest
    assert len(only(seen, ev.Chatted)) == 2 and not only(seen, ev.Refused)


def test_a_question_of_the_task_is_graded_and_policies_differ_once_it_learns(open_lab: OpenLab):
    lab, seen = open_lab(tiny(train={"learning_rate": 0.05, "max_grad_norm": 1.0}))
    ask(lab, "3+4; 7*2; 9-5; 1+1", samples=3)
    (first,) = only(seen, ev.Chatted)
    assert first.graded and first.prompt == "3+4; 7*2; 9-5; 1+1=" and "asked as" in first.note
    assert [a.policy for a in first.answers] == ["now"] * 4 + ["start"] * 4
    now, start = first.answers[:4], first.answers[4:]
    assert [(a.text, a.reward) for a in now] == [(a.text, a.reward) for a in start]
    assert [a.greedy for a in now] == [True, False, False, False]
    assert all(a.reward is not None and a.detail and a.tokens > 0 for a in now)
    for _ in range(3):
        lab.advance()
    ask(lab, "3+4; 7*2; 9-5; 1+1", samples=3)
    second = only(seen, ev.Chatted)[1]
    assert [a.text for a in second.answers[:4]] != [a.text for a in second.answers[4:]]
    assert second.answers[4].text == start[0].text  # the start's greedy answer stays
    decoded = codec.decode(codec.encode(second, 0.0))
    assert decoded is not None and decoded[1] == second


def test_a_renewed_reference_answers_too(open_small: OpenLab):
    lab, seen = open_small("grpo-iterative")
    lab.advance()
    lab.lanes["main"].snapshots.renew_reference()
    ask(lab, "abc", samples=1, greedy=False)
    (event,) = only(seen, ev.Chatted)
    assert [a.policy for a in event.answers] == ["now", "reference", "start"]
    assert event.answers[0].text == event.answers[1].text
    assert not event.graded and event.note.startswith("not graded: expected")
    assert event.answers[0].reward is None


def test_another_turn_draws_other_answers(open_small: OpenLab):
    lab, seen = open_small("grpo")
    for turn in (0, 0, 1):
        ask(lab, "abc", samples=4, greedy=False, turn=turn)
    texts = [[a.text for a in e.answers] for e in only(seen, ev.Chatted)]
    assert texts[0] == texts[1] != texts[2]


def test_what_the_model_cannot_hold_or_read_is_told(open_small: OpenLab):
    lab, seen = open_small("grpo")
    ask(lab, "a" * 200)
    assert "positions" in only(seen, ev.Refused)[0].reason
    ask(lab, "漢a")
    assert only(seen, ev.Chatted)[0].note == "the model has no token for 漢"
    lab.advance()
