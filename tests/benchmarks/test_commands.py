"""The benchmarks' arguments, scenarios, models and bookkeeping; nothing is timed here."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from grpolab.engine.backbone.tokenizer import FileText
from grpolab.record import events as ev
from grpolab.resources import assets_dir
from grpolab.rewards import grade
from grpolab.scenario.spec import build
from tests.benchmarks import cpu, floor, gpu, long, models, pair, terminal
from tests.benchmarks.sides import Side, SideError, alternate, chosen


def test_arguments_of_the_cpu() -> None:
    assert cpu.arguments([]).only == []
    found = cpu.arguments(["--only", "step", "screen", "--quick", "--json", "x.json"])
    assert found.only == ["step", "screen"] and found.repeats == 3
    assert found.json == Path("x.json")


def test_arguments_of_the_gpu() -> None:
    assert gpu.arguments([]).models == ["0.5b", "1.5b", "7b"]
    found = gpu.arguments(["--models", "7b,0.5b", "--set", "model.copy=none", "--lean"])
    assert found.models == ["0.5b", "7b"] and found.lean
    assert found.set == [("model.copy", "none")]
    assert gpu.setting("train.microbatch=32") == ("train.microbatch", 32)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (cpu, ["--only", "nothing"]),
        (cpu, ["--repeats", "0"]),
        (gpu, ["--models", "70b"]),
        (gpu, ["--set", "nothing"]),
        (gpu, ["--repeats", "0"]),
        (long, ["--steps", "5"]),
    ],
)
def test_wrong_requests_are_refused(command, words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.arguments(words)
    assert refused.value.code == 2


def test_the_scenarios_are_valid(tmp_path: Path) -> None:
    plan = build(cpu.scenario())
    assert plan.rollout.prompts * plan.rollout.group_size == 64
    assert plan.train.updates_per_rollout == 1 and plan.rollout.top_p == 1
    assert [lane.name for lane in build(cpu.scenario(lanes=pair.lanes())).lanes] == [
        "grpo", "ppo", "trpo",
    ]  # fmt: skip
    assert build(long.scenario(100)).train.steps == 100
    bench = gpu.Bench(gpu.arguments(["--microbatch", "32"]), tmp_path)
    plan = build(bench.scenario("0.5b", tmp_path, 256))
    assert plan.model.quantize == "nf4" and plan.train.microbatch == 32
    assert len(build(bench.scenario("0.5b", tmp_path, 256, lanes=pair.lanes())).lanes) == 3


def test_settings_do_not_change_what_they_are_made_from() -> None:
    plan = {"model": {"path": "x"}}
    assert gpu.with_settings(plan, [("model.copy", "none"), ("train.microbatch", 8)]) == {
        "model": {"path": "x", "copy": "none"}, "train": {"microbatch": 8},
    }  # fmt: skip
    assert plan == {"model": {"path": "x"}}


def test_parts_come_in_their_own_order() -> None:
    assert chosen(["b", "a"], ["a", "b", "c"]) == ["a", "b"]
    assert chosen([], ["a", "b"]) == ["a", "b"]
    with pytest.raises(ValueError, match="no part 'd'"):
        chosen(["d"], ["a"])


def test_works_alternate_and_the_first_rounds_do_not_count() -> None:
    seen: list[str] = []

    def work(name: str):
        def measured(at: int) -> float:
            seen.append(f"{name}{at}")
            return at

        return measured

    assert alternate(2, work("a"), work("b"), warm=1) == ([1, 2], [1, 2])
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_a_side_answers_from_its_own_process() -> None:
    with Side("random:Random", {}, {"x": 1}) as side:
        assert side.call("random") == random.Random(1).random()
        with pytest.raises(SideError, match="ValueError"):
            side.call("randint", 2, 1)
        assert 0 <= side.call("random") < 1  # and goes on after an error


def test_a_side_that_cannot_be_made_says_why() -> None:
    with pytest.raises(SideError, match="NoSuchThing"):
        Side("random:NoSuchThing", {}, {})


def test_no_token_ends_an_endless_model(tmp_path: Path) -> None:
    policy = assets_dir() / "policy"
    path = models.endless(policy, tmp_path / "endless")
    config = json.loads((path / "config.json").read_text())
    text = FileText(path, config)
    assert text.eos == {config["vocab_size"]}
    before = FileText(policy, json.loads((policy / "config.json").read_text()))
    assert text.encode("(47+38)*6=") == before.encode("(47+38)*6=")


def test_a_random_model_loads_and_its_end_is_out_of_reach(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = models.random_model("tiny", tmp_path, "cpu")
    model: Any = AutoModelForCausalLM.from_pretrained(path)
    words: Any = AutoTokenizer.from_pretrained(path)
    vocabulary = models.SHAPES["tiny"]["vocab_size"]
    assert model.dtype == torch.bfloat16
    assert model.get_input_embeddings().weight.shape[0] == vocabulary
    assert abs(float(model.get_input_embeddings().weight.detach().float().std()) - 0.02) < 1e-3
    assert words.eos_token_id == model.config.eos_token_id == vocabulary
    text = FileText(path, json.loads((path / "config.json").read_text()))
    assert text.eos == {vocabulary} and text.pad == words.pad_token_id == 0
    assert text.encode("some text") == words("some text")["input_ids"]
    assert len(text.encode("some text")) == 9
    row = [1, 700, 1077, 0]
    assert text.decode([row]) == [words.decode(row, skip_special_tokens=True)] == ["!w700w1077"]
    assert models.random_model("tiny", tmp_path, "cpu") == path  # made once


def test_given_prompts_come_in_their_order_and_are_graded() -> None:
    prompts = models.text_prompts(3, 4, 6)
    assert len(prompts[0].text) == 6
    task = models.Given(None, prompts)
    rng = random.Random(0)
    assert [task.draw(rng, held_out=False) for _ in range(4)] == [*prompts, prompts[0]]
    assert grade(task, [(models.Sevens(), 1.0)], prompts[0], "77 1").reward == 0.5


def test_the_straight_line() -> None:
    start, slope, worst = pair.line([(1, 3), (2, 5), (3, 7)])
    assert (start, slope) == pytest.approx((1, 2)) and worst == pytest.approx(0)
    assert pair.line([(1, 1), (2, 1), (3, 4)])[2] == pytest.approx(1.0)


def test_throughput_is_between_the_first_and_the_last_step() -> None:
    def done(step: int, tokens: int) -> ev.StepDone:
        return ev.StepDone(step, "main", "grpo", {}, {}, 1, tokens, {}, 0, "")

    assert terminal.throughput([(1.0, done(1, 500)), (2.0, done(2, 10)), (3.0, done(3, 30))]) == 20
    with pytest.raises(ValueError):
        terminal.throughput([(1.0, done(1, 500))])


def test_a_frame_is_seen_through_its_colours(tmp_path: Path) -> None:
    assert not terminal.painted(bytearray(b"\x1b]22;default\x1b\\\x1b[?1049h"))
    assert terminal.painted(bytearray(b"\x1b[1;32mgrpo\x1b[0mlab \x1b[2mstep\x1b[0m 0/60"))
    assert not terminal.taken_over(bytearray(b"grpolab step 0/60 \x1b[?1003h"))
    assert terminal.taken_over(bytearray(b"\x1b[?1003h grpolab step 0/60"))
    file = tmp_path / "events.jsonl"
    marked = terminal.Marked(file, '"kind":"step"')
    assert not marked()
    file.write_text('{"kind":"ru')
    assert not marked()
    file.write_text('{"kind":"run"}\n{"kind":"st')
    assert not marked()
    file.write_text('{"kind":"run"}\n{"kind":"step"}\n')
    assert marked()


def test_memory_growth_leaves_out_the_start() -> None:
    points = [(0, 0), (10, 1000), (20, 1000), (50, 1300), (100, 1800)]
    assert long.growth(points) == pytest.approx(10)
    first, last = long.tenths(list(range(100)))
    assert first == list(range(2, 10)) and last == list(range(90, 100))


def test_products_of_a_token_step() -> None:
    config = {
        "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 32,
    }  # fmt: skip
    layer = [(8, 16), (8, 8), (8, 32), (16, 8)]
    assert floor.linears(config) == [*layer, *layer, (8, 32)]
    assert floor.learning_operations(config, 10) == 40 * sum(
        i * o for i, o in floor.linears(config)
    )
