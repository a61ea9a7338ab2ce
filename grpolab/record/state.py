"""The state of a lab, folded from its events. Live, watched and replayed runs all use it."""

from __future__ import annotations

from dataclasses import dataclass, field

from grpolab.record import events as ev
from grpolab.record.lane_state import Archive, Counts, LaneState, RolloutView

KEPT_ROLLOUTS = 48
"""Rollouts that a lane keeps; older ones are read from the run file."""

WHOLE_ROLLOUTS = 4
"""Rollouts that stay in memory as a whole where older ones can be read again."""


@dataclass
class LabState:
    """What a viewer knows. `version` rises with every event, so a pane can tell whether it is up to
    date."""

    run: ev.RunStarted | None = None
    model: ev.ModelLoaded | None = None
    phase: ev.PhaseChanged | None = None
    lanes: dict[str, LaneState] = field(default_factory=dict)
    paused: bool = False
    failed: ev.Failed | None = None
    ended: ev.Ended | None = None
    refused: ev.Refused | None = None
    relieved: ev.Relieved | None = None
    checkpoint: ev.Checkpointed | None = None
    rewinds: list[ev.Resumed] = field(default_factory=list)  # that were not undone
    saved: dict[int, dict[str, Counts]] = field(default_factory=dict)  # at each checkpoint, by lane
    time: float = 0.0
    version: int = 0
    archive: Archive | None = None

    @property
    def step(self) -> int:
        """Steps that every lane has finished; a fork counts its parent's."""
        done = ((lane.axis("step"), lane.opened) for lane in self.lanes.values())
        return min((steps[-1] if steps else opened for steps, opened in done), default=0)

    @property
    def steps(self) -> int:
        """Planned steps of the run, with later changes."""
        changes = next(iter(self.lanes.values())).changes if self.lanes else []
        changed = (c.after for c in reversed(changes) if c.key == "train.steps")
        return int(next(changed, self.run.steps if self.run else 0))

    @property
    def more(self) -> int:
        """By how many steps `p` extends a run at its end: as many as it began with."""
        return max(1, self.run.steps) if self.run else 0

    @property
    def waits_at_end(self) -> bool:
        """Whether all planned steps are done and the engine waits for what is to come."""
        done = bool(self.lanes) and self.step >= self.steps
        return self.paused and done and self.ended is None and self.failed is None

    @property
    def predicted_memory(self) -> dict[str, dict[str, int]]:
        """Bytes by phase and owner, as predicted before the model was loaded; empty in old runs."""
        return self.run.predicted_memory if self.run else {}

    def apply(self, event: ev.Event, t: float = 0.0) -> None:
        """Add one event. Events of an unknown kind or lane are ignored."""
        self.version += 1
        self.time = max(self.time, t)
        handler = getattr(self, f"_on_{event.kind.replace('-', '_')}", None)
        if handler is not None:
            handler(event)

    def _on_run(self, e: ev.RunStarted) -> None:
        self.run = e

    def _on_resumed(self, e: ev.Resumed) -> None:
        self.ended = self.failed = None
        self.paused = False
        self.rewinds = [r for r in self.rewinds if r.step <= e.step]
        if e.origin == "rewind":
            self.rewinds.append(e)
        saved = self.saved.get(e.step)
        self.saved = {k: v for k, v in self.saved.items() if k <= e.step}
        for name, lane in list(self.lanes.items()):
            if lane.new_since(e.step, saved):
                del self.lanes[name]
                continue
            lane.steps.cut(e.step)
            lane.evals = [s for s in lane.evals if s.step <= e.step]
            kept = lane.counts_at(e.step) if saved is None else saved[name]
            if kept.switches < len(lane.switches):
                lane.algorithm = lane.switches[kept.switches].before
            del lane.changes[kept.changes :], lane.switches[kept.switches :]
            del lane.history[max(1, kept.history) :]
            lane.chats = [c for c in lane.chats if c.step <= e.step]
            lane.lenses = {k: v for k, v in lane.lenses.items() if k <= e.step}
            lane.benches = [b for b in lane.benches if b.step <= e.step]
            lane.rollouts = {k: v for k, v in lane.rollouts.items() if k <= e.step}

    def _on_phase(self, e: ev.PhaseChanged) -> None:
        self.phase = e
        if e.phase == "sampling" and e.lane in self.lanes:
            self.lanes[e.lane].samples.sampling(e.detail)

    def _on_model(self, e: ev.ModelLoaded) -> None:
        self.model = e

    def _on_lane(self, e: ev.LaneOpened) -> None:
        known = self.lanes.get(e.lane)
        if known is None:
            self.lanes[e.lane] = LaneState(
                name=e.lane,
                algorithm=e.algorithm,
                preset=e.preset,
                settings=e.settings,
                parent=e.parent,
                opened=e.step,
                trainable=e.trainable,
                archive=self.archive,
            )
        else:  # recorded again by a resumed engine
            known.algorithm, known.preset, known.settings = e.algorithm, e.preset, e.settings
            known.began(e.step)

    def _on_rollout(self, e: ev.RolloutStarted) -> None:
        lane = self.lanes.get(e.lane)
        if lane is None:
            return
        lane.samples.rollout(len(e.prompts), e.group_size)
        lane.rollouts[e.step] = RolloutView.of(e)
        while len(lane.rollouts) > KEPT_ROLLOUTS:
            del lane.rollouts[next(iter(lane.rollouts))]
        old = list(lane.rollouts)[-1 - WHOLE_ROLLOUTS : -WHOLE_ROLLOUTS]
        if self.archive is not None and old and (stored := self.archive.rollout(e.lane, old[0])):
            lane.rollouts[old[0]] = stored

    def _view(self, lane: str, step: int) -> RolloutView | None:
        state = self.lanes.get(lane)
        return state.rollouts.get(step) if state else None

    def _on_sampled(self, e: ev.Sampled) -> None:
        view = self._view(e.lane, e.step)
        if view is None:
            return
        view.position = e.position
        for row, text in e.text:
            view.text[row] += text
        view.ended.update(e.ended)

    def _on_graded(self, e: ev.Graded) -> None:
        view = self._view(e.lane, e.step)
        if view is not None:
            view.grade(e)

    def _on_tokens(self, e: ev.Tokens) -> None:
        view = self._view(e.lane, e.step)
        if view is not None:
            view.tokens = e

    def _on_after(self, e: ev.After) -> None:
        view = self._view(e.lane, e.step)
        if view is not None:
            view.after = e

    def _on_step(self, e: ev.StepDone) -> None:
        lane = self.lanes.get(e.lane)
        if lane is not None:
            lane.steps.append(e, self.time, lane.samples.done(e.metrics))

    def _on_eval(self, e: ev.Evaluated) -> None:
        lane = self.lanes.get(e.lane)
        if lane is None:
            return
        if lane.evals and lane.evals[-1].step == e.step:
            lane.evals[-1] = e
        else:
            lane.evals.append(e)

    def _on_switch(self, e: ev.Switched) -> None:
        lane = self.lanes.get(e.lane)
        if lane is not None:
            lane.algorithm, lane.preset, lane.settings = e.after, e.preset, e.settings
            lane.switches.append(e)
            lane.began(e.step)

    def _on_set(self, e: ev.SettingChanged) -> None:
        lane = self.lanes.get(e.lane)
        if lane is not None:
            lane.changes.append(e)
            if e.key in lane.settings:
                lane.settings = lane.settings | {e.key: e.after}
                lane.began(e.step)

    def _on_extended(self, e: ev.Extended) -> None:
        for name, lane in self.lanes.items():
            lane.changes.append(
                ev.SettingChanged(
                    step=e.step,
                    lane=name,
                    key="train.steps",
                    before=e.before,
                    after=e.after,
                    origin=e.origin,
                )
            )

    def _on_critic(self, e: ev.CriticChanged) -> None:
        if e.lane in self.lanes:
            self.lanes[e.lane].critic = e

    def _on_lens(self, e: ev.LensMade) -> None:
        if e.lane in self.lanes:
            self.lanes[e.lane].lenses[e.step] = e

    def _on_kl_bench(self, e: ev.KlBenched) -> None:
        if e.lane in self.lanes:
            self.lanes[e.lane].benches.append(e)

    def _on_chat(self, e: ev.Chatted) -> None:
        if e.lane in self.lanes:
            self.lanes[e.lane].chats.append(e)

    def _on_checkpoint(self, e: ev.Checkpointed) -> None:
        self.checkpoint = e
        self.saved[e.step] = {name: lane.counts for name, lane in self.lanes.items()}

    def _on_paused(self, e: ev.Paused) -> None:
        self.paused = True

    def _on_continued(self, e: ev.Continued) -> None:
        self.paused = False

    def _on_refused(self, e: ev.Refused) -> None:
        self.refused = e

    def _on_relieved(self, e: ev.Relieved) -> None:
        self.relieved = e

    def _on_failed(self, e: ev.Failed) -> None:
        self.failed = e

    def _on_end(self, e: ev.Ended) -> None:
        self.ended = e
