"""The process behind the what-if: what it changes about a rollout, and that it answers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grpolab.errors import RequestError
from grpolab.launch import environment, python
from grpolab.lens import whatif as whatif_model
from grpolab.lens.compute import lens
from grpolab.lens.whatif import GREEDY, NO_BONUS, Session, alike, altered, rollout


def batch(rewards: tuple[float, ...] = (1.0, 0.0, 0.0, 0.2), groups: int = 2) -> dict[str, Any]:
    def sample(reward: float, k: int) -> dict[str, Any]:
        old = [-0.5 - 0.1 * t - 0.01 * k for t in range(3 + k)]
        return {
            "tokens": ["x"] * len(old), "reward": reward, "old_logprobs": old,
            "logprobs": [x + 0.02 * (k - 1) for x in old], "ref_logprobs": [x - 0.05 for x in old],
        }  # fmt: skip

    one = {"prompt": "1+1=", "greedy_reward": 1.0,
           "samples": [sample(r, k) for k, r in enumerate(rewards)]}  # fmt: skip
    return {"format": "grpolab.batch/1", "max_tokens": 16, "groups": [one] * groups}


def request(**changes: Any) -> dict[str, Any]:
    return {"algorithm": "grpo", "preset": "paper", "settings": {}, "base": False} | changes


def test_the_first_answers_and_other_rewards() -> None:
    whole = batch()
    few = altered(whole, 2, [float(i) for i in range(8)])
    assert [[s["reward"] for s in g["samples"]] for g in few["groups"]] == [[0, 1], [4, 5]]
    assert whole == batch()  # it was not changed in place
    with pytest.raises(RequestError, match="7 rewards for 8 answers"):
        altered(whole, None, [0.0] * 7)
    with pytest.raises(RequestError, match="at least one"):
        altered(whole, 0)


def test_cosine_over_the_answers_that_both_have() -> None:
    a = [[[1.0, 0.0], [0.0, 2.0]]]
    assert alike(a, a) == pytest.approx(1.0)
    assert alike([[[-1.0, 0.0]]], a) == pytest.approx(-1.0)  # the second is left out
    assert alike([[[0.0, 3.0]]], a) == 0.0
    assert alike([[[0.0, 0.0]]], a) is None


def test_it_is_the_lens_under_these_settings() -> None:
    session = Session(batch())
    base = session.score(request(base=True, settings={"beta": 0.04}))
    assert base["cosine"] == pytest.approx(1.0)
    for changes in (
        {"settings": {"beta": 0.5}},
        {"settings": {"beta": 0.04, "clip_low": 0.001, "clip_high": 0.001}},
        {"algorithm": "dr-grpo"},
        {"algorithm": "grpo", "preset": "trl-1.16"},
    ):
        asked = request(**changes)
        found = session.score(asked)
        name = asked["algorithm"]
        wanted = lens(batch(), [name], asked["preset"], asked["settings"])["algorithms"][name]
        assert found["loss"] == wanted["loss"]
        for group, other in zip(found["groups"], wanted["groups"], strict=True):
            for s, t in zip(group["samples"], other["samples"], strict=True):
                assert s["gradient"] == t["gradient"] and s["advantages"] == t["advantages"]
    assert -1 <= found["cosine"] < 0.9999999


@pytest.mark.parametrize("key", ["kl_scale", "leash"])  # the second is of earlier versions
def test_the_scale_of_beta_is_applied(key: str) -> None:
    session = Session(batch())
    moved = session.score(request(settings={"beta": 0.04}) | {key: 2.0})
    straight = session.score(request(settings={"beta": 0.08}))
    assert moved["terms"]["kl"] == pytest.approx(straight["terms"]["kl"])
    assert moved["terms"]["kl"] > 0


def test_what_it_cannot_do_it_says() -> None:
    session = Session(batch())
    with pytest.raises(RequestError, match="needs values"):
        session.score(request(algorithm="ppo"))
    with pytest.raises(RequestError, match="clip_low"):
        session.score(request(settings={"clip_low": -1.0}))
    assert session.score(request(settings={"entropy_bonus": 0.1}))["notes"] == [NO_BONUS]
    again = session.score(request(algorithm="remax", rewards=[1.0, 0, 0, 0] * 2))
    assert again["notes"] == [GREEDY]


def test_equal_rewards_have_no_direction() -> None:
    session = Session(batch())
    session.score(request(base=True, settings={"beta": 0.0}))
    found = session.score(request(settings={"beta": 0.0}, rewards=[1.0] * 8))
    assert found["cosine"] is None and found["metrics"]["zero_std_groups"] == 2


def test_the_engines_own_numbers_come_first(tmp_path: Path) -> None:
    (tmp_path / "lens").mkdir()
    (tmp_path / "lens" / "3-main.json").write_text(json.dumps({"batch": batch()}))
    assert rollout(tmp_path, 3, "main", "lens/3-main.json") == batch()
    for wrong in ("lens/none.json", ""):
        with pytest.raises(RequestError, match="events"):
            rollout(tmp_path, 3, "main", wrong)


def lines_in(folder: Path) -> str:
    (folder / "x.json").write_text(json.dumps({"batch": batch()}))
    place = {"run": str(folder), "step": 1, "lane": "main", "file": "x.json"}
    lines = [place, request(id=1, base=True), request(id=2, algorithm="ppo"), request(id=3)]
    return "\n".join(map(json.dumps, lines))


def assert_answered(out: str) -> None:
    told = [json.loads(x) for x in out.splitlines()]
    assert [x["id"] for x in told] == [0, 1, 2, 3]
    assert "needs values" in told[2]["error"] and told[3]["cosine"] == pytest.approx(1.0)


@pytest.mark.slow
def test_a_process_of_its_own_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        python("-m", "grpolab.lens.whatif"), input=lines_in(tmp_path),
        text=True, capture_output=True, env=environment(), check=True,
    )  # fmt: skip
    assert_answered(done.stdout)


def test_lines_in_and_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines_in(tmp_path)))
    assert whatif_model.main() == 0
    assert_answered(capsys.readouterr().out)
    place = {"run": str(tmp_path), "step": 1, "lane": "main", "file": "x.json"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(place | {"file": ""})))
    assert whatif_model.main() == 2 and "error" in json.loads(capsys.readouterr().out)
