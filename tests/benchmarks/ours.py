"""grpolab's side: the engine that the lab runs, in a process of its own."""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grpolab.algorithms.types import BatchTotals, Credit, Forward, Loss
from grpolab.engine import apply_cue
from grpolab.engine.backbone.sample import Rollout
from grpolab.engine.host import Writer
from grpolab.engine.lab import Lab
from grpolab.engine.lane import Lane
from grpolab.engine.learner import Learner
from grpolab.record import events as ev
from grpolab.rewards import Reward
from grpolab.scenario.spec import SetCue, build
from grpolab.tasks import Prompt
from tests.benchmarks.models import Given, Sevens


class Ours:
    """A lab with an open scenario, recorded to a file as in a headless run."""

    def __init__(
        self, scenario: dict[str, Any], device: str, threads: int,
        prompts: list[dict[str, Any]] | None = None, sevens: bool = False,
    ) -> None:  # fmt: skip
        """`prompts`: records to draw in their order, instead of the task's own; `sevens`: graded
        by `models.Sevens`."""
        self.device = torch.device(device)
        self.folder = Path(tempfile.mkdtemp(prefix="grpolab-bench-"))
        self.write = Writer(self.folder / "events.jsonl", 0.0)
        self.done: ev.StepDone | None = None
        self.graded: ev.Graded | None = None
        self.refused = ""
        start = time.perf_counter()
        self.lab = Lab(build(scenario), self.folder, self._emit, self.device, threads)
        self._wait()
        self.opened = time.perf_counter()
        self.load_seconds = self.opened - start
        if prompts is not None:
            given = [Prompt.from_dict(p) for p in prompts]
            self.lab.task = Given(None if sevens else self.lab.task, given)
        if sevens:
            parts: list[tuple[Reward, float]] = [(Sevens(), 1.0)]
            self.lab.parts = parts
        self.rollout_now: Rollout | None = None
        self.sampled = 0
        self.step_of: dict[str, int] = {}

    def _emit(self, event: ev.Event) -> None:
        self.write(event)
        if isinstance(event, ev.StepDone):
            self.done = event
        elif isinstance(event, ev.Graded):
            self.graded = event
        elif isinstance(event, ev.Refused):
            self.refused = event.reason

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def lane(self, name: str = "") -> Lane:
        return self.lab.lanes[name] if name else next(iter(self.lab.lanes.values()))

    def facts(self) -> dict[str, Any]:
        b = self.lab.backbone
        return {
            "backend": b.backend, "dtype": b.dtype, "parameters": b.parameters, "note": b.note,
            "threads": self.lab.threads, "load_seconds": round(self.load_seconds, 3),
        }  # fmt: skip

    # --- whole steps ---

    def step(self, lane: str = "") -> dict[str, Any]:
        """One recorded step: seconds in all and by phase, tokens, rewards and lengths."""
        name = lane or self.lane().name
        made = self.step_of.get(name, 0)
        self.lab.step_number = made  # lanes make their steps one by one here
        if isinstance(self.lab.task, Given):
            self.lab.task.at = made * self.lane(name).rollout.prompts
        self._wait()
        start = time.perf_counter()
        self.lab.step(self.lane(lane))
        self._wait()
        seconds = time.perf_counter() - start
        self.step_of[name] = self.lab.step_number + 1
        assert self.done is not None and self.graded is not None
        return {
            "seconds": seconds, "phases": self.done.seconds, "tokens": self.done.tokens,
            "reward": self.graded.reward, "length": self.graded.length,
            "memory": self.done.memory, "peak_memory": self.done.peak_memory,
        }  # fmt: skip

    def set(self, key: str, value: Any) -> None:
        """Change a setting as a viewer would."""
        self.refused = ""
        apply_cue.apply(self.lab, SetCue(at=0, do="set", key=key, value=value), "command")
        if self.refused:
            raise ValueError(self.refused)

    # --- rollouts ---

    def rollout(self, prompts: list[list[int]]) -> dict[str, float]:
        """Answers to these prompts, kept for `sequences` and `loss_backward`."""
        self.sampled += 1
        self._wait()
        start = time.perf_counter()
        rollout = self.lane().sample(prompts, ("bench", self.sampled))
        self._wait()
        seconds = time.perf_counter() - start
        self.rollout_now = rollout
        tokens = int(rollout.mask.sum())
        return {"seconds": seconds, "tokens": tokens, "rate": tokens / seconds}

    def first_tokens(self, prompts: list[list[int]]) -> float:
        """Seconds from the weights being loaded to the first streamed tokens; ask before anything
        else."""
        first: list[float] = []

        def listen(*_: object) -> None:
            if not first:
                first.append(time.perf_counter())

        self.lane().sample(prompts, ("bench", 0), listen)
        return first[0] - self.opened

    def encode(self, prompts: list[str]) -> list[list[int]]:
        return [self.lab.backbone.text.encode(p) for p in prompts]

    def sequences(self) -> list[list[int]]:
        """The newest rollout's answers."""
        rollout = self._rollout()
        rows = zip(rollout.tokens.tolist(), rollout.lengths.tolist(), strict=True)
        return [row[:n] for row, n in rows]

    def logprobs(self) -> dict[str, Any]:
        """Of the newest rollout: the trainer's [rows][tokens], and the mean difference of the
        sampler's from them, with its sign and without."""
        rollout, seen = self._rollout(), {}

        def watch(rows: Tensor, now: Forward) -> None:
            for row, values in zip(rows.tolist(), now.logp.detach().float().cpu(), strict=True):
                seen[row] = values

        self._gradient(watch)
        lengths = rollout.lengths.tolist()
        trainer = [seen[i][:n].tolist() for i, n in enumerate(lengths)]
        sampler = rollout.logp.float().cpu()
        apart = torch.cat([seen[i][:n] - sampler[i, :n] for i, n in enumerate(lengths)]).double()
        return {
            "trainer": trainer, "gap": float(apart.mean()), "distance": float(apart.abs().mean()),
        }  # fmt: skip

    # --- loss and backward ---

    def prepare(self, reward: list[float]) -> list[float]:
        """Score the newest rollout with these rewards; the advantage of every row."""
        rollout, lane = self._rollout(), self.lane()
        self.batch = lane.score(rollout, torch.tensor(reward, device=self.device))
        self.credit: Credit = lane.algorithm.credit(self.batch)
        return self.credit.advantage[:, 0].tolist()

    def loss_backward(self) -> dict[str, float]:
        """One minibatch: all rows, forward and backward; seconds and the gradient's norm."""
        self._wait()
        start = time.perf_counter()
        norm = self._gradient()
        return {"seconds": norm[1] - start, "norm": norm[0]}

    def _gradient(self, watch: Any = None) -> tuple[float, float]:
        """The norm of the gradient of the loss on the newest rollout, and when it was there."""
        lane, batch, credit = self.lane(), self.batch, self.credit
        learner = Learner(lane, self._rollout(), 1)
        for pieces in learner.minibatches(0):
            whole = BatchTotals.of(batch, pieces)

            def loss(rows: Tensor, width: int, now: Forward, whole: BatchTotals = whole) -> Loss:
                if watch is not None:
                    watch(rows, now)
                return lane.algorithm.loss(
                    batch.rows(rows, width), credit.rows(rows, width), now, whole
                )

            learner.accumulate(pieces, loss)
        self._wait()
        ended = time.perf_counter()
        grads = [t.grad for t in lane.optimizer.tensors.values() if t.grad is not None]
        norm = float(torch.stack([g.float().norm() for g in grads]).norm())
        lane.optimizer.clear()
        return norm, ended

    # --- the adapter ---

    def fill_adapter(self, *, active: bool) -> list[str]:
        """Give the adapter the values that `values_of` gives the other side too; the names."""
        lane = self.lane()
        with torch.no_grad():
            for name, tensor in lane.optimizer.tensors.items():
                tensor.copy_(values_of(name, tensor, active=active))
        lane.backbone.refresh(lane.adapter)
        return sorted(lane.optimizer.tensors)

    # --- memory ---

    def peak(self) -> float:
        """GiB at the highest point since `forget_peak`, of this process alone. torch's own mark
        starts anew with every phase of the lab, whose account knows the phases before, by the bytes
        that tensors asked for."""
        if self.device.type != "cuda":
            return 0.0
        return max(self.lab.memory.most, torch.cuda.max_memory_allocated()) / 2**30

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.lab.memory.most = 0

    def _rollout(self) -> Rollout:
        if self.rollout_now is None:
            raise RuntimeError("sample a rollout first")
        return self.rollout_now


def values_of(name: str, like: Tensor, *, active: bool) -> Tensor:
    """A LoRA tensor's values by its name: A as it is drawn at the start; B small noise, or zero
    where the adapter is not to be `active`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(seed)
    if ".lora_B." in name:
        noise = torch.randn(like.shape, generator=generator) * (0.01 if active else 0.0)
    else:
        noise = (torch.rand(like.shape, generator=generator) * 2 - 1) * like.shape[-1] ** -0.5
    return noise.to(like.device, like.dtype)
