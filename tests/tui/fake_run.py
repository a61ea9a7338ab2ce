"""A made-up run with everything in it, deterministic: what a viewer may meet, without an engine.

`python -m tests.tui.fake_run DIR` writes DIR/events.jsonl; with `--live SPEED` it writes at the
recorded pace.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import pickle
import random
import re
import struct
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.tail import Timed

SETTINGS: dict[str, dict] = {
    "grpo": {
        "beta": 0.04,
        "kl_estimator": "k3",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "aggregation": "seq-mean-token-mean",
        "scale": "std",
        "ddof": 0,
        "std_epsilon": 1e-6,
    },
    "ppo": {
        "beta": 0.01,
        "gamma": 1.0,
        "gae_lambda": 0.95,
        "whiten": True,
        "clip_low": 0.2,
        "clip_high": 0.2,
        "clip_value": 0.2,
        "value_weight": 0.5,
        "aggregation": "token-mean",
    },
    "reinforce": {
        "baseline": "batch",
        "decay": 0.9,
        "importance": False,
        "beta": 0.0,
        "kl_estimator": "k3",
        "aggregation": "seq-mean-token-sum",
    },
    "rloo": {"beta": 0.0, "clip_low": None, "clip_high": None},
}
MB = 1 << 20


def pieces_of(text: str) -> list[str]:
    """One token per character, tags and the end as single tokens."""
    return [*re.findall(r"</?(?:think|answer)>|.", text, re.S), "<end>"]


def answer_to(
    rng: random.Random, a: int, b: int, c: int, right: bool, tidy: bool
) -> tuple[str, str]:
    first, value = a + b, (a + b) * c
    if not right:
        if rng.random() < 0.5:
            first += rng.choice((-10, -1, 1, 10))
            value = first * c
        else:
            value += rng.choice((-c, c, -10, 10, 100))
    text = f"<think>{a}+{b}={first}\n{first}*{c}={value}</think><answer>{value}</answer>"
    return (text if tidy else text.replace("</think>", "", 1)), str(value)


@lru_cache(maxsize=32)
def _made(
    steps: int, prompts: int, group: int, seed: int, switches: tuple[tuple[int, str], ...],
    lanes: tuple[str, ...], end: bool, evaluate_every: int,
) -> bytes:  # fmt: skip
    """The same runs are asked for again and again: they are made once."""
    run = FakeRun(steps, prompts, group, seed, dict(switches), lanes, end, evaluate_every)
    return pickle.dumps(list(run._all()))


class FakeRun:
    """Builds the events of a run; `events()` gives them in order with their times, to each who asks
    in a copy of their own."""

    def __init__(
        self,
        steps: int = 30,
        prompts: int = 8,
        group: int = 8,
        seed: int = 0,
        switches: dict[int, str] | None = None,
        lanes: tuple[str, ...] = ("main",),
        end: bool = True,
        evaluate_every: int = 5,
    ) -> None:
        self.steps, self.prompts, self.group, self.seed = steps, prompts, group, seed
        self.switches = {10: "ppo", 20: "reinforce"} if switches is None else switches
        self.lanes, self.end, self.every = lanes, end, evaluate_every
        self.rng = random.Random(seed)
        self.t = 0.0
        self.digest = hashlib.sha256(b"fake").hexdigest()

    def events(self) -> list[Timed]:
        switches = tuple(self.switches.items())
        return pickle.loads(
            _made(
                self.steps, self.prompts, self.group, self.seed, switches, self.lanes, self.end,
                self.every,
            )
        )  # fmt: skip

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "events.jsonl"
        path.write_text(
            "".join(codec.encode(e, t) + "\n" for t, e in self.events()), encoding="utf-8"
        )
        return path

    def _at(self, event: ev.Event, seconds: float = 0.0) -> Timed:
        self.t += seconds
        return self.t, event

    def _skill(self, step: int) -> float:
        return 0.42 + 0.5 * (1 - math.exp(-step / 9)) + 0.015 * math.sin(step * 1.7)

    def _all(self) -> Iterator[Timed]:
        scenario = {
            "name": "switch-midway",
            "description": "GRPO, then PPO, then REINFORCE",
            "seed": self.seed,
            "model": {"path": "embedded", "quantize": "none"},
            "task": {"name": "sums"},
            "rewards": [{"name": "accuracy", "weight": 1.0}, {"name": "format", "weight": 0.2}],
            "lanes": [
                {"name": n, "algorithm": {"name": "grpo", "preset": "paper"}} for n in self.lanes
            ],
            "rollout": {
                "prompts": self.prompts,
                "group_size": self.group,
                "max_tokens": 48,
                "temperature": 1.0,
            },
            "train": {"steps": self.steps, "learning_rate": 2e-3, "updates_per_rollout": 2},
        }
        yield self._at(
            ev.RunStarted(
                ev.SCHEMA,
                "2031-05-04-switch-midway",
                scenario,
                self.seed,
                "cpu",
                1,
                self.steps,
                predicted_memory=_phases(PREDICTED),
            )
        )
        yield self._at(ev.PhaseChanged("loading", 0, detail="libraries"), 0.1)
        yield self._at(ev.PhaseChanged("loading", 0, detail="embedded policy"), 1.4)
        yield self._at(
            ev.ModelLoaded(
                "embedded",
                "LlamaForCausalLM",
                3_450_000,
                64,
                6,
                208,
                "float32",
                "none",
                "native",
                0.4,
            ),
            0.5,
        )
        algorithm = dict.fromkeys(self.lanes, "grpo")
        for lane in self.lanes:
            yield self._at(
                ev.LaneOpened(lane, "grpo", "paper", SETTINGS["grpo"], 0, trainable=368_640)
            )
        for lane in self.lanes:
            yield self._at(ev.PhaseChanged("evaluating", 0, lane), 0.01)
            yield self._eval(0, lane)
        for step in range(1, self.steps + 1):
            for lane in self.lanes:
                yield from self._step(step, lane, algorithm[lane])
                if step % self.every == 0 or step == self.steps:
                    yield self._at(ev.PhaseChanged("evaluating", step, lane), 0.01)
                    yield self._eval(step, lane)
            if step % 10 == 0:
                yield self._at(ev.Checkpointed(step, f"checkpoints/{step:06d}"), 0.02)
            if step in self.switches:
                after = self.switches[step]
                for lane in self.lanes:
                    yield from self._switch(step, lane, algorithm[lane], after)
                    algorithm[lane] = after
        if self.end:
            seconds = {
                "total": self.t,
                "startup": 2.0,
                "rollout": self.t * 0.5,
                "score": 1.0,
                "update": self.t * 0.3,
            }
            yield self._at(ev.Ended(self.steps, "done", seconds, self.digest), 0.1)

    def _switch(self, step: int, lane: str, before: str, after: str) -> Iterator[Timed]:
        kept = ["policy adapter", "optimizer state", "random state", "curves"]
        reset = (
            ["critic: new, cold"]
            if after == "ppo"
            else ["critic: dropped"]
            if before == "ppo"
            else []
        )
        yield self._at(
            ev.Switched(step, lane, before, after, "paper", SETTINGS[after], kept, reset, "cue"),
            0.01,
        )
        if after == "ppo":
            yield self._at(ev.CriticChanged(step, lane, "cold", None, 2 * MB))
        elif before == "ppo":
            yield self._at(ev.CriticChanged(step, lane, "gone"))

    def _eval(self, step: int, lane: str) -> Timed:
        skill = self._skill(step) - (0.06 if lane != "main" else 0)
        sampled = min(1.0, skill + self.rng.uniform(-0.02, 0.02))
        by = {"easy": min(1.0, sampled + 0.2), "medium": sampled, "hard": max(0.0, sampled - 0.25)}
        greedy = min(1.0, sampled + 0.1 * (1 - sampled) + 0.05)
        return self._at(
            ev.Evaluated(step, lane, sampled, greedy, sampled * 1.15, 128, 0.4, 31.0, by), 0.4
        )

    def _step(self, step: int, lane: str, algorithm: str) -> Iterator[Timed]:
        rng, rows = self.rng, self.prompts * self.group
        skill = self._skill(step)
        asks = [
            (rng.randint(2, 99), rng.randint(2, 99), rng.randint(2, 9)) for _ in range(self.prompts)
        ]
        levels = [("easy", "medium", "hard")[(a + b) // 67] for a, b, _ in asks]
        chance = [
            min(0.98, max(0.05, skill + {"easy": 0.2, "medium": 0.0, "hard": -0.3}[d]))
            for d in levels
        ]
        text, taken, right, tidy = [], [], [], []
        for i in range(rows):
            ok, neat = rng.random() < chance[i // self.group], rng.random() < 0.7 + 0.3 * skill
            words, value = answer_to(rng, *asks[i // self.group], ok, neat)
            text.append(words), taken.append(value), right.append(ok), tidy.append(neat)
        pieces = [pieces_of(words) for words in text]
        cut = [i for i in range(rows) if rng.random() < 0.02]
        for i in cut:
            pieces[i] = pieces[i][:-4]
            text[i], right[i], tidy[i] = "".join(pieces[i]), False, False
        yield self._at(ev.PhaseChanged("sampling", step, lane), 0.01)
        prompts = [f"({a}+{b})*{c}=" for a, b, c in asks]
        yield self._at(ev.RolloutStarted(step, lane, algorithm, prompts, levels, self.group, 48))
        longest = max(len(p) for p in pieces)
        for at in range(0, longest, 6):
            said, ended = [], []
            for i, row in enumerate(pieces):
                new = "".join(p for p in row[at : at + 6] if p != "<end>")
                if new:
                    said.append((i, new))
                if at < len(row) <= at + 6:
                    ended.append(i)
            yield self._at(ev.Sampled(step, lane, min(at + 6, longest), said, ended), 0.06)
        yield self._at(ev.PhaseChanged("grading", step, lane), 0.01)
        parts = [
            {"accuracy": float(ok), "format": 0.2 * neat}
            for ok, neat in zip(right, tidy, strict=True)
        ]
        reward = [sum(p.values()) for p in parts]
        length = [len(p) for p in pieces]
        yield self._at(
            ev.Graded(
                step,
                lane,
                text,
                reward,
                parts,
                right,
                list(taken),
                length,
                [i not in cut for i in range(rows)],
            )
        )
        yield self._at(ev.PhaseChanged("scoring", step, lane), 0.02)
        yield self._at(ev.PhaseChanged("updating", step, lane), 0.05)
        channels = self._channels(algorithm, step, reward, pieces)
        packed = {
            k: codec.pack(b"".join(struct.pack(f"<{len(r)}e", *r) for r in rows))
            for k, rows in channels.items()
        }
        yield self._at(ev.Tokens(step, lane, pieces, packed), 0.25)
        yield self._at(self._done(step, lane, algorithm, reward, right, tidy, length, channels))

    def _channels(
        self, algorithm: str, step: int, reward: list[float], pieces: list[list[str]]
    ) -> dict[str, list[list[float]]]:
        rng, out = self.rng, {k: [] for k in ("advantage", "ratio", "kl", "entropy", "logprob")}
        if algorithm == "ppo":
            out |= {"value": [], "return": []}
        batch = sum(reward) / len(reward)
        for i, row in enumerate(pieces):
            group = reward[i // self.group * self.group :][: self.group]
            mean = sum(group) / len(group)
            std = math.sqrt(sum((r - mean) ** 2 for r in group) / len(group))
            base = {"grpo": (reward[i] - mean) / (std + 1e-6), "reinforce": reward[i] - batch}.get(
                algorithm, 0.0
            )
            digit = [p.isdigit() for p in row]
            if algorithm == "ppo":
                value = [
                    batch + 0.3 * (reward[i] - batch) * t / len(row) + rng.gauss(0, 0.05)
                    for t in range(len(row))
                ]
                adv = [
                    (reward[i] - v) * 1.8 * (1.4 if d else 0.6)
                    for v, d in zip(value, digit, strict=True)
                ]
                out["value"].append(value)
                out["return"].append([reward[i]] * len(row))
            else:
                adv = [base] * len(row)
            out["advantage"].append(adv)
            out["ratio"].append(
                [
                    math.exp(rng.gauss(0.02 * a, 0.05 * (2 if d else 0.4)))
                    for a, d in zip(adv, digit, strict=True)
                ]
            )
            out["entropy"].append(
                [abs(rng.gauss(0.7 if d else 0.03, 0.3 if d else 0.02)) for d in digit]
            )
            out["logprob"].append(
                [-abs(rng.gauss(0.5 if d else 0.02, 0.4 if d else 0.02)) for d in digit]
            )
            out["kl"].append(
                [abs(rng.gauss(0.004 * step * (2 if d else 0.2), 0.01)) for d in digit]
            )
        out["log_ratio"] = [[math.log(x) for x in row] for row in out["ratio"]]
        out["ref_gap"] = [
            [(-1) ** t * math.sqrt(2 * x) for t, x in enumerate(row)] for row in out["kl"]
        ]
        return out

    def _done(
        self,
        step: int,
        lane: str,
        algorithm: str,
        reward: list[float],
        right: list[bool],
        tidy: list[bool],
        length: list[int],
        channels: dict[str, list[list[float]]],
    ) -> ev.StepDone:
        def mean(values: list) -> float:
            return sum(values) / max(1, len(values))

        def flat(name: str) -> list[float]:
            return [x for row in channels[name] for x in row]

        rng, n, ratio = self.rng, len(reward), flat("ratio")
        groups = [reward[i : i + self.group] for i in range(0, n, self.group)]
        metrics = {
            "reward": mean(reward),
            "reward_std": math.sqrt(mean([(r - mean(reward)) ** 2 for r in reward])),
            "accuracy": mean([float(x) for x in right]),
            "format": mean([float(x) for x in tidy]),
            "length": mean([float(x) for x in length]),
            "truncated": 0.016,
            "zero_std_groups": mean([float(len(set(g)) == 1) for g in groups]),
            "loss": rng.gauss(0, 0.004),
            "policy_loss": rng.gauss(0, 0.004),
            "grad_norm": 0.35 + 0.2 * rng.random(),
            "ratio_max": max(ratio),
            "ratio_min": min(ratio),
            "clip_fraction": mean([float(abs(r - 1) > 0.2) for r in ratio]),
            "kl_ref": mean(flat("kl")),
            "kl_old": 0.0008 + 0.0009 * rng.random(),
            "entropy": mean(flat("entropy")) * math.exp(-step / 60),
            "advantage_std": 0.8,
            "learning_rate": 2e-3,
            "tokens_per_second": 2100 + 200 * rng.random(),
        }
        memory = {
            "backbone": 13 * MB,
            "adapters": int(1.4 * MB),
            "critic": 0,
            "optimizer": int(2.8 * MB),
            "gradients": int(1.4 * MB),
            "kv_cache": 6 * MB,
            "activations": 21 * MB + rng.randrange(MB),
            "other": 2 * MB,
        }
        if algorithm == "ppo":
            metrics |= {
                "value_loss": 0.06 * math.exp(-step / 20),
                "explained_variance": 1 - 9 / (step + 1),
            }
            memory |= {"critic": int(5.6 * MB)}
        if algorithm == "grpo":
            metrics["kl_loss"] = 0.04 * metrics["kl_ref"]
        seconds = {"rollout": 0.55, "score": 0.05, "update": 0.25}
        return ev.StepDone(
            step,
            lane,
            algorithm,
            metrics,
            seconds,
            2,
            sum(length),
            memory,
            max(60 * MB, sum(memory.values())),
            self.digest,
            _phases(memory),
        )


PREDICTED = {
    "backbone": 13 * MB, "adapters": int(1.4 * MB), "optimizer": int(2.8 * MB), "kv_cache": 5 * MB,
    "gradients": int(1.4 * MB), "activations": 23 * MB, "outside": 3 * MB,
}  # fmt: skip


def _phases(memory: dict[str, int]) -> dict[str, dict[str, int]]:
    """What each phase held, if `memory` is the update's."""
    lasting = {k: v for k, v in memory.items() if k not in ("activations", "gradients", "kv_cache")}
    return {
        "rollout": lasting | {"kv_cache": 6 * MB, "workspace": MB, "fragmentation": 2 * MB},
        "score": lasting | {"workspace": 3 * MB, "loss_tiles": MB, "fragmentation": 5 * MB},
        "update": memory,
        "step": lasting | {"gradients": int(1.4 * MB), "fragmentation": 20 * MB},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--lanes", default="main")
    parser.add_argument(
        "--live", type=float, default=0.0, help="write at this many times the recorded pace"
    )
    args = parser.parse_args()
    run = FakeRun(steps=args.steps, lanes=tuple(args.lanes.split(",")))
    if not args.live:
        print(run.write(args.folder))
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    before = 0.0
    with (args.folder / "events.jsonl").open("w", encoding="utf-8") as file:
        for t, event in run.events():
            time.sleep((t - before) / args.live)
            before = t
            file.write(codec.encode(event, t) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
