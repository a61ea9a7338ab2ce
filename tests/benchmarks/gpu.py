"""`python -m tests.benchmarks.gpu`: Qwen2.5 shapes with random weights on one GPU, 4-bit, grpolab
and TRL in turn."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grpolab import launch
from grpolab.tasks import Prompt
from tests.benchmarks import floor
from tests.benchmarks.models import SHAPES, text_prompts
from tests.benchmarks.pair import OURS, PEER, Pair, compare_algorithms, lanes
from tests.benchmarks.report import Report, Row, Spread, Target
from tests.benchmarks.sides import Side, SideError, chosen

PARTS = ("start", "step", "rollout", "backward", "lean", "algorithms")

IN_PAIR = ("step", "rollout", "backward")
"""Parts that need both sides."""

TOKENS = {"0.5b": 256, "1.5b": 256, "7b": 128, "tiny": 16}
ROWS = {"0.5b": 64, "1.5b": 64, "7b": 32, "tiny": 64}
"""Completions of one forward and backward of TRL; halved where they do not fit."""

ROLLOUT = {"0.5b": 20.0, "1.5b": 12.0, "7b": 6.0, "tiny": 1.0}
STEP = {"0.5b": 10.0, "1.5b": 7.0, "7b": 5.0, "tiny": 1.0}
LEAN = {"1.5b": 4.0, "7b": 9.0}
"""Targets by model."""

SHORTEST, LONGEST = 48, 48
"""Tokens of a prompt: all alike, as rows that begin with padding make TRL's gradient NaN."""

CONTEXT = 1024
"""Prompt and answer of the memory measurement."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    add = parser.add_argument
    add("--models", default="0.5b,1.5b,7b", metavar="LIST", help=f"of {', '.join(SHAPES)}")
    add("--only", nargs="+", choices=PARTS, default=[], metavar="PART",
        help=f"of {', '.join(PARTS)}; lean only where --lean is given")  # fmt: skip
    add("--repeats", type=int, default=2, metavar="N", help="timed rounds; default 2")
    add("--backward-repeats", type=int, default=5, metavar="N", help="of loss and backward")
    add("--tokens", type=int, metavar="N", help="answer tokens; default 256, 128 for 7b")
    add("--trl-rows", type=int, metavar="N",
        help="completions of one forward and backward of TRL; default 64, 32 for 7b")  # fmt: skip
    add("--microbatch", type=int, metavar="N", help="train.microbatch of grpolab")
    add("--settle", type=float, default=60.0, metavar="SECONDS",
        help="longest wait until grpolab's steps take equally long")  # fmt: skip
    add("--lean", action="store_true",
        help=f"memory at context {CONTEXT} with model.copy_weights: never")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE",
        help="of grpolab's scenario, as model.copy_weights=auto; the value in JSON")  # fmt: skip
    add("--folder", type=Path, metavar="DIR", help="keep the models here, to use them again")
    add("--device", default="cuda", choices=("cuda", "cpu"), help="cpu only to try it out")
    add("--json", type=Path, metavar="FILE", help="everything that was found")
    add("--quick", action="store_true", help="few tokens and one round, to try it out")
    add("--despite", action="store_true", help="time it even where the sides do not agree")
    found = parser.parse_args(words)
    try:
        found.models = chosen([m for m in found.models.split(",") if m], list(SHAPES))
    except ValueError as error:
        parser.error(str(error).replace("part", "model"))
    try:
        found.set = [setting(text) for text in found.set]
    except ValueError:
        parser.error("--set takes KEY=VALUE")
    if found.quick:
        found.repeats = found.backward_repeats = 1
        found.tokens = found.tokens or 16
        found.settle = min(found.settle, 10.0)
    if found.repeats < 1 or found.backward_repeats < 1:
        parser.error("--repeats must be at least 1")
    return found


def setting(text: str) -> tuple[str, Any]:
    """`a.b=value` as key and value; what is no JSON is a word. Raises ValueError."""
    key, sign, value = text.partition("=")
    if not (key and sign):
        raise ValueError(text)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def with_settings(plan: dict[str, Any], settings: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A scenario with these values at these dotted keys; the given one stays as it is."""
    whole = json.loads(json.dumps(plan))
    for key, value in settings:
        *sections, name = key.split(".")
        at = whole
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return whole


class Bench:
    """One model after the other, and what they share."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.o, self.folder = options, folder
        shown = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        self.report = Report("gpu", shown, options.json)
        self.rate = self.operations = 0.0

    def measure_device(self) -> None:
        """What it is, and what it could do."""
        import torch

        big = self.o.device == "cuda"
        if big:
            self.report.device = torch.cuda.get_device_name()
        self.rate = floor.read_rate(self.o.device, 2**31 if big else 2**26)
        peak = floor.peak_products(self.o.device, 8192 if big else 256)
        self.operations = max(peak.values())
        self.report.note("bytes/s read and written by a copy", f"{self.rate:.3g}")
        self.report.note("FLOP/s", {k: f"{v:.3g}" for k, v in peak.items()})
        if big:
            torch.cuda.empty_cache()

    def scenario(self, name: str, path: Path, tokens: int, **changes: Any) -> dict[str, Any]:
        """GRPO as TRL does it, on-policy, 8 × 8, NF4 with LoRA 16 on all linears."""
        train: dict[str, Any] = {
            "steps": 100_000, "updates_per_rollout": 1, "learning_rate": 1e-6,
            "critic_learning_rate": 1e-6, "schedule": "constant",
        }  # fmt: skip
        if self.o.microbatch:
            train["microbatch"] = self.o.microbatch
        plan: dict[str, Any] = {
            "name": f"benchmark-{name}",
            "model": {"path": str(path), "quantize": "nf4",
                      "lora": {"rank": 16, "alpha": 32.0, "targets": "all-linear"}},
            "rollout": {"prompts": 8, "group_size": 8, "max_tokens": tokens},
            "evaluate": {"prompts": 1},
            "train": train,
        }  # fmt: skip
        if "lanes" not in changes:
            plan["algorithm"] = {"name": "grpo", "preset": "trl-1.16"}
        return with_settings(plan | changes, self.o.set)

    def ours(self, plan: dict[str, Any], prompts: Sequence[Prompt]) -> Side:
        options = {
            "scenario": plan, "device": self.o.device, "threads": launch.default_threads(),
            "prompts": [p.to_dict() for p in prompts], "sevens": True,
        }  # fmt: skip
        return Side(OURS, launch.environment(), options)

    def peer(self, path: Path, plan: dict[str, Any], prompts: Sequence[Prompt], rows: int) -> Side:
        plain = {k: v for k, v in plan.items() if k != "model"}  # no keys that TRL has no use for
        plain["model"] = {k: plan["model"][k] for k in ("path", "quantize", "lora")}
        options = {
            "path": str(path), "scenario": plain, "device": self.o.device, "rows": rows,
            "prompts": [p.to_dict() for p in prompts], "half": True, "quantize": True,
            "sevens": True,
        }  # fmt: skip
        return Side(PEER, {"TOKENIZERS_PARALLELISM": "false"}, options)

    # --- one model ---

    def model(self, name: str) -> None:
        wanted = chosen(self.o.only, PARTS)
        options = {"name": name, "folder": self.folder, "device": self.o.device}
        with Side("tests.benchmarks.models:random_model", {}, options):
            path = self.folder / name
        prompts = text_prompts(8 * 16, SHORTEST, LONGEST)
        tokens = self.o.tokens or TOKENS[name]
        plan = self.scenario(name, path, tokens)
        if any(p in wanted for p in ("start", *IN_PAIR)):
            self.report.part(
                f"{name}: both sides",
                lambda: self.both(name, path, plan, prompts, tokens, wanted),
            )
        if "lean" in wanted and self.o.lean:
            self.report.part(f"{name}: lean", lambda: self.lean(name, path))
        if "algorithms" in wanted and name in ("0.5b", "tiny"):
            self.report.part(
                f"{name}: algorithms", lambda: self.algorithms(name, path, prompts, tokens)
            )

    def both(
        self, name: str, path: Path, plan: dict[str, Any], prompts: Sequence[Prompt], tokens: int,
        wanted: Sequence[str],
    ) -> None:  # fmt: skip
        with self.ours(plan, prompts) as ours:
            self.report.note(f"{name}: grpolab", ours.call("facts"))
            encoded = ours.call("encode", [p.text for p in prompts[:8]])
            if "start" in wanted:
                first = Spread.of([ours.call("first_tokens", encoded)])
                self.report.add(
                    Row(f"{name}: first tokens after the weights are loaded", "s", first,
                        target=Target("≤", 10, "grpolab"))
                )  # fmt: skip
            if not any(p in wanted for p in IN_PAIR):
                return
            rows = self.o.trl_rows or ROWS[name]
            while True:
                try:
                    with self.peer(path, plan, prompts, rows) as peer:
                        self.report.note(f"{name}: TRL", peer.call("facts"))
                        pair = Pair(self.report, f"{name}: ", ours, peer, prompts, half=True)
                        self.in_turn(name, pair, tokens, wanted)
                    return
                except SideError as error:
                    if rows <= 4 or PEER not in str(error) or "OutOfMemory" not in str(error):
                        raise
                    rows //= 2
                    self.report.say(f"  TRL does not fit: on with {rows} rows at a time")

    def in_turn(self, name: str, pair: Pair, tokens: int, wanted: Sequence[str]) -> None:
        if not (pair.agree(1) or self.o.despite):
            return
        pair.settle(self.o.settle)
        shape = f"64 rows × {tokens} tokens"
        prompt = sum(map(len, pair.encoded()))
        reading = self.reading(name, prompt // 8, tokens)
        learning = floor.learning_operations(SHAPES[name], prompt + 64 * (tokens - 1))
        learning /= self.operations
        if "rollout" in wanted:
            self.forget(pair)
            row = pair.rollouts(self.o.repeats, ROLLOUT[name], f"rollout, {shape}", warm=0)
            assert row.ours is not None
            self.report.add(replace(row, share=row.ours.median * reading / (64 * tokens)))
            self.memory(name, pair, "rollout")
        if "step" in wanted:
            self.forget(pair)
            row = pair.steps(self.o.repeats, STEP[name], f"GRPO step, {shape}", warm=0)
            assert row.ours is not None
            self.report.add(replace(row, share=(reading + learning) / row.ours.median))
            self.memory(name, pair, "step")
        if "backward" in wanted:
            self.forget(pair)
            row, _ = pair.backwards(self.o.backward_repeats, 2.5, f"loss and backward, {shape}")
            assert row.ours is not None
            self.report.add(replace(row, share=learning / row.ours.median))
            self.memory(name, pair, "loss and backward")

    def reading(self, name: str, prompt: int, tokens: int) -> float:
        """Seconds to read the bf16 weights and the keys and values once for every token."""
        shape = SHAPES[name]
        weights = 2 * sum(i * o for i, o in floor.linears(shape))
        size = shape["hidden_size"] // shape["num_attention_heads"]
        kv = 4 * shape["num_key_value_heads"] * size * shape["num_hidden_layers"]
        cache = 64 * (prompt + tokens / 2) * kv
        return tokens * (weights + cache) / self.rate

    def forget(self, pair: Pair) -> None:
        for side in (pair.ours, pair.peer):
            side.call("forget_peak")

    def memory(self, name: str, pair: Pair, work: str) -> None:
        mine, theirs = (Spread.of([side.call("peak")]) for side in (pair.ours, pair.peer))
        if mine.median:
            self.report.add(
                Row(f"{name}: peak memory, {work}", "GiB", mine, theirs,
                    theirs.median / mine.median)
            )  # fmt: skip

    def lean(self, name: str, path: Path) -> None:
        """Peak memory of a step without a bf16 copy, with prompts that fill the context."""
        tokens = self.o.tokens or 256
        prompts = text_prompts(8, CONTEXT - tokens, CONTEXT - tokens)
        plan = with_settings(self.scenario(name, path, tokens), [("model.copy_weights", "never")])
        with self.ours(plan, prompts) as ours:
            ours.call("forget_peak")
            steps = [ours.call("step") for _ in range(2)]
            peak = Spread.of([ours.call("peak")])
        self.report.note(f"{name}: lean, memory by owner", steps[-1]["memory"])
        target = Target("≤", LEAN[name], "grpolab") if name in LEAN else None
        self.report.add(
            Row(f"{name}: peak memory, lean, step of 64 rows at context {CONTEXT}", "GiB", peak,
                target=target, note=f"{steps[-1]['seconds']:.3g} s a step")
        )  # fmt: skip

    def algorithms(self, name: str, path: Path, prompts: Sequence[Prompt], tokens: int) -> None:
        plan = self.scenario(name, path, tokens, lanes=lanes())
        with self.ours(plan, prompts) as ours:
            compare_algorithms(self.report, ours, max(2, self.o.repeats), f"{name}: ")

    def run(self) -> int:
        self.report.part("device", self.measure_device)
        for name in self.o.models:
            self.report.part(name, lambda n=name: self.model(n))
        return self.report.finish()


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        return Bench(options, options.folder).run()
    with tempfile.TemporaryDirectory(prefix="grpolab-bench-") as folder:
        return Bench(options, Path(folder)).run()


if __name__ == "__main__":
    sys.exit(main())
