"""The lab: one running scenario. The file to read first: `Lab.step` is one step of one lane, from
drawn prompts to recorded update.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from grpolab import rewards
from grpolab.algorithms.metrics import step_metrics
from grpolab.algorithms.types import Batch
from grpolab.engine import apply_cue, lab_checkpoint, value_pretraining
from grpolab.engine.backbone.load import load_backbone
from grpolab.engine.evaluate import evaluate, held_out
from grpolab.engine.lane import Lane
from grpolab.engine.learner import scheduled
from grpolab.engine.memory.account import Memory
from grpolab.engine.memory.owners import OwnerRules
from grpolab.engine.probes import after_update
from grpolab.engine.record import channels
from grpolab.engine.rollout import (
    Collected,
    LastStep,
    answer_metrics,
    collect,
    graded_steps,
    greedy_rewards,
    padded_steps,
)
from grpolab.engine.workers import Workers
from grpolab.record import events as ev
from grpolab.scenario import spec
from grpolab.scenario.spec import AfterCue, Cue, KlBenchCue, LensCue, Scenario
from grpolab.tasks import Prompt, Task

READ_ONLY = (LensCue, AfterCue, KlBenchCue)
"""Cues that measure and change nothing of a lane."""

Emit = Callable[[ev.Event], None]


@dataclass
class Clock:
    """Seconds of work by phase, summed over resumes."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("total", "startup", "rollout", "score", "update", "eval"), 0.0
        )
    )
    started: float = field(default_factory=time.perf_counter)  # of this process's work

    def now(self) -> dict[str, float]:
        """The seconds by phase, with `total` up to this moment."""
        total = self.seconds["total"] + time.perf_counter() - self.started
        return self.seconds | {"total": total}

    def add(self, phase: str, since: float) -> float:
        """Add the time since `since` (perf_counter) to a phase; returns the time now."""
        now = time.perf_counter()
        self.seconds[phase] += now - since
        return now


class Lab:
    """Owns the backbone, the lanes and the step counter. `emit` writes events; nothing is
    printed."""

    def __init__(
        self,
        plan: Scenario,
        run_dir: Path,
        emit: Emit,
        device: torch.device,
        threads: int,
        clock: Clock | None = None,
    ) -> None:
        """Load the model and open the scenario's lanes: seconds, for a large model minutes. Raises
        ModelError where it cannot be loaded."""
        self.plan = self.first = plan  # as it is now, and as the run began
        self.run_dir, self.emit = run_dir, emit
        self.device, self.threads = device, threads
        self.clock = clock or Clock()
        self.step_number = 0
        self.cues = self.planned_cues()
        self.cues_done = 0
        self.parts = parts_of(plan)
        self.lanes: dict[str, Lane] = {}
        self.evaluated: tuple[int, int] = (-1, 0)  # step and lanes of the newest evaluation
        self.saved = -1  # step of the newest checkpoint
        self.task_section, self.task, self.test_prompts = self._made_task(plan.task)
        self.memory = Memory(device)

        start = time.perf_counter()
        self.emit(ev.PhaseChanged("loading", self.step_number, detail=plan.model.path))
        with self.memory.phase("load"):
            self.backbone = load_backbone(plan.model, device)
            self.memory.follow(self.tensors_by_owner, self.owner_rules)
            kernels = "CPU" if device.type == "cpu" else "GPU"
            detail = f"compiling {kernels} kernels (first run only)"
            self.emit(ev.PhaseChanged("loading", self.step_number, detail=detail))
            self.backbone.warm()
        b = self.backbone
        self.workers = Workers(threads, parallel=b.parallel and device.type == "cpu")
        self.workers.around = self.memory.watched
        self.memory.parts = self.workers.at_once == 1
        self.emit(
            ev.ModelLoaded(
                name=b.name,
                architecture=b.architecture,
                parameters=b.parameters,
                vocabulary=b.vocabulary,
                layers=b.layers,
                hidden=b.hidden,
                dtype=b.dtype,
                quantize=plan.model.quantize,
                backend=b.backend,
                seconds=time.perf_counter() - start,
                note=b.note,
            )
        )
        self.open_lanes()

    # --- lanes, task and plan ---

    def planned_cues(self) -> list[tuple[Cue, str]]:
        """The scenario's own cues by step, each with its origin."""
        return sorted(((c, "cue") for c in self.first.cues), key=lambda c: c[0].at)

    def open_lanes(self) -> None:
        """Open the lanes of the scenario and set its task."""
        for section in self.plan.lanes:
            self.add_lane(section.name, section.algorithm)
        self.set_task(self.plan.task.model_dump(mode="json"))

    def drop_lanes(self, keep: Sequence[str] = ()) -> None:
        """Close the lanes that are not named and free what they have on the backbone."""
        for name in [n for n in self.lanes if n not in keep]:
            self.lanes.pop(name).drop()

    def set_plan(self, plan: Scenario) -> None:
        """Take over changed settings of the whole lab: the run's length, evaluations, what is
        recorded, weights of the rewards."""
        if plan.rewards != self.plan.rewards:
            self.parts = parts_of(plan)
        self.plan = plan
        self.test_prompts = held_out(self.task, plan.seed, plan.evaluate.prompts)

    def set_task(self, options: dict[str, Any]) -> None:
        """Change the task of all lanes, by name and options, and draw its held-out prompts."""
        section = spec.TaskSection.model_validate(options)
        self.task_section, self.task, self.test_prompts = self._made_task(section)

    def _made_task(self, section: spec.TaskSection) -> tuple[spec.TaskSection, Task, list[Prompt]]:
        task = spec.make_task(section)
        return section, task, held_out(task, self.plan.seed, self.plan.evaluate.prompts)

    def add_lane(self, name: str, section: spec.AlgorithmSection, parent: str = "") -> Lane:
        """Open a lane; `parent` names the lane that it is forked from."""
        lane = Lane(
            name=name,
            section=section,
            scenario=self.plan,
            backbone=self.backbone,
            workers=self.workers,
            memory=self.memory,
        )
        lane.oom.tell = lambda what: self.emit(ev.Relieved(self.step_number + 1, name, what))
        self.lanes[name] = lane
        self.announce(lane, parent)
        return lane

    def announce(self, lane: Lane, parent: str = "") -> None:
        """Emit what a lane is now."""
        trainable = sum(t.numel() for t in lane.optimizer.tensors.values())
        settings = lane.algorithm.settings.model_dump(mode="json")
        self.emit(
            ev.LaneOpened(
                lane=lane.name,
                algorithm=lane.algorithm.name,
                preset=lane.preset,
                settings=settings,
                step=self.step_number,
                parent=parent,
                trainable=trainable,
            )
        )
        if lane.critic is not None:
            apply_cue.tell_critic(self, lane)

    # --- one step ---

    def step(self, lane: Lane) -> None:
        """One step of one lane: draw prompts, sample, grade, score, compute advantages, update,
        record."""
        number, now = self.step_number + 1, time.perf_counter()
        before = dict(self.clock.seconds)
        if lane.critic is not None and lane.wants_pretraining():
            value_pretraining.pretrain(self, lane)
            before, now = dict(self.clock.seconds), time.perf_counter()

        self.phase("sampling", lane)
        with self.memory.phase("rollout", lane.doing):
            collected = collect(self, lane, number)
            rollout, graded = collected.rollout, collected.graded
            greedy = steps = None
            if lane.algorithm.needs_greedy:
                greedy = greedy_rewards(self, lane, self.task, collected.prompts)
            if lane.algorithm.needs_steps:
                steps = graded_steps(self.backbone.text, collected)
        now = self.clock.add("rollout", now)
        self.emit(
            ev.Graded(
                step=number,
                lane=lane.name,
                text=collected.answers,
                reward=collected.reward,
                parts=[g.parts for g in graded],
                correct=[g.correct for g in graded],
                answer=[g.answer for g in graded],
                length=[len(row) for row in collected.ids],
                finished=rollout.finished.tolist(),
                steps=steps or [],
                greedy_reward=greedy or [],
            )
        )

        self.phase("scoring", lane)
        with self.memory.phase("score", lane.doing):
            batch = self.score(lane, collected, greedy, steps)
            credit = lane.algorithm.credit(batch)
        now = self.clock.add("score", now)

        self.phase("updating", lane)
        before_update = copy.copy(lane.algorithm)
        with self.memory.phase("update", lane.doing):
            report = lane.update(rollout, batch, credit, number)
        self.clock.add("update", now)

        lane.last_step = LastStep(
            step=number,
            task=self.task,
            temperature=lane.rollout.temperature,
            algorithm=before_update,
            preset=lane.preset,
            collected=collected,
            batch=batch,
            credit=credit,
            report=report,
        )
        lane.digest = lab_checkpoint.chain(
            lane.digest, collected.ids, batch.reward, credit.advantage
        )
        record = self.plan.record
        if record.tokens and (number - 1) % record.tokens_every == 0:
            pieces = [self.backbone.text.pieces(row) for row in collected.ids]
            self.emit(ev.Tokens(number, lane.name, pieces, channels(batch, credit, report)))
            if record.after:
                self.emit(after_update.measure(self, lane))
        metrics = step_metrics(lane.algorithm, batch, credit, report)
        metrics |= answer_metrics(batch, collected, self.parts)
        spent = {k: self.clock.seconds[k] - before[k] for k in ("rollout", "score", "update")}
        metrics["tokens_per_second"] = collected.tokens / max(spent["rollout"], 1e-9)
        metrics["learning_rate"] = lane.learning_rate * scheduled(lane.train, number)
        phases = self.memory.take()
        self.emit(
            ev.StepDone(
                step=number,
                lane=lane.name,
                algorithm=lane.algorithm.name,
                metrics=metrics,
                seconds=spent,
                updates=report.updates,
                tokens=collected.tokens,
                memory=ev.at_the_peak(phases),
                peak_memory=self.memory.peak,
                digest=lane.digest,
                memory_phases=phases,
            )
        )
        explained = metrics.get("explained_variance")
        if lane.critic is not None and explained is not None and lane.critic.judge(explained):
            apply_cue.tell_critic(self, lane)

    def score(
        self,
        lane: Lane,
        collected: Collected,
        greedy: list[float] | None = None,
        steps: list[list[tuple[int, float]]] | None = None,
    ) -> Batch:
        """The batch that the lane's algorithm sees: the rollout with its rewards, log-probs and
        values, and whatever else the algorithm needs."""

        def tensor(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, device=self.device)

        every = self.plan.record.reference_every
        return lane.score(
            collected.rollout,
            tensor(collected.reward),
            reference=every > 0 and self.step_number % every == 0,
            greedy_reward=None if greedy is None else tensor(greedy)[collected.rollout.group],
            steps=None if steps is None else padded_steps(steps, self.device),
        )

    def phase(self, name: str, lane: Lane | None = None, detail: str = "") -> None:
        """Emit that a phase of the next step begins."""
        self.emit(ev.PhaseChanged(name, self.step_number + 1, lane.name if lane else "", detail))

    def tensors_by_owner(self) -> dict[str, object]:
        """The tensors that outlive a phase, of backbone and lanes, by memory owner, as nested
        containers."""
        parts = [self.backbone.tensors_by_owner()]
        parts += [lane.tensors_by_owner() for lane in self.lanes.values()]
        return {owner: [p.get(owner) for p in parts] for owner in ev.OWNERS}

    def owner_rules(self) -> OwnerRules:
        """How the memory account finds the owner of a tensor made inside a phase."""
        return OwnerRules.of(self.backbone, [lane.learns() for lane in self.lanes.values()])

    # --- the loop ---

    def advance(self) -> None:
        """One step of every lane, then the evaluation and the checkpoint if they are due."""
        for lane in list(self.lanes.values()):
            self.step(lane)
        self.step_number += 1
        done = self.step_number >= self.plan.train.steps
        if done or self.step_number % self.plan.evaluate.every == 0:
            self.evaluate()
        self.apply_cues(READ_ONLY)  # now: they need the last step, which no checkpoint holds
        if done or self.step_number % self.plan.train.checkpoint_every == 0:
            lab_checkpoint.save(self)

    @property
    def cues_due(self) -> bool:
        """Whether one of `cues` must be applied before the next step."""
        ahead = self.cues[self.cues_done :]
        return bool(ahead) and ahead[0][0].at <= self.step_number

    def apply_cues(self, kinds: tuple[type, ...] = (object,)) -> list[str]:
        """Apply the cues that are due before the next step, up to the first that is not of these
        kinds. Returns what was done, by the cues' `do`."""
        did = []
        while (
            self.cues_done < len(self.cues) and self.cues[self.cues_done][0].at <= self.step_number
        ):
            cue, origin = self.cues[self.cues_done]
            if not isinstance(cue, kinds):
                break
            self.cues_done += 1
            apply_cue.apply(self, cue, origin)
            did.append(cue.do)
        return did

    def evaluate(self) -> None:
        """Evaluate every lane; does nothing where this step was evaluated already."""
        if self.evaluated == (self.step_number, len(self.lanes)):
            return
        start = time.perf_counter()
        for lane in self.lanes.values():
            self.emit(ev.PhaseChanged("evaluating", self.step_number, lane.name))
            with self.memory.phase("evaluate", lane.doing):
                found = evaluate(lane, self.task, self.parts, self.test_prompts, self.step_number)
            self.emit(found)
        self.evaluated = (self.step_number, len(self.lanes))
        self.clock.add("eval", start)


def parts_of(plan: Scenario) -> list[tuple[rewards.Reward, float]]:
    """The rewards of a scenario with their weights."""
    return [spec.make_reward(section) for section in plan.rewards]
