"""Apply a cue or a command to the lab between two steps: switch, set, fork, evaluate, checkpoint,
and the read-only probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from grpolab.engine import lab_checkpoint
from grpolab.engine.lane import Lane
from grpolab.engine.probes import after_update, chat, kl_bench
from grpolab.engine.probes import lens as lens_probe
from grpolab.errors import RequestError
from grpolab.record import events as ev
from grpolab.scenario import spec
from grpolab.scenario.spec import (
    AfterCue,
    AlgorithmSection,
    ChatCue,
    Cue,
    ForkCue,
    KlBenchCue,
    LensCue,
    RolloutSection,
    Scenario,
    SetCue,
    SwitchCue,
    TrainSection,
)

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


def apply(lab: Lab, cue: Cue, origin: str) -> None:
    """Apply one cue, or emit that it was refused and why; the run continues either way."""
    try:
        if isinstance(cue, SwitchCue):
            for lane in _meant(lab, cue.lane):
                switch(lab, lane, cue.algorithm, origin)
        elif isinstance(cue, SetCue) and spec.lab_wide(cue.key):
            change_for_all(lab, cue.key, cue.value, origin)
        elif isinstance(cue, SetCue):
            for lane in _meant(lab, cue.lane):
                change_setting(lab, lane, cue.key, cue.value, origin)
        elif isinstance(cue, ForkCue):
            fork(lab, cue)
        elif isinstance(cue, LensCue):
            for lane in _meant(lab, cue.lane):
                lab.emit(lens_probe.look(lab, lane, parameters=cue.parameters))
        elif isinstance(cue, AfterCue):
            for lane in _meant(lab, cue.lane):
                lab.emit(after_update.measure(lab, lane))
        elif isinstance(cue, KlBenchCue):
            for lane in _meant(lab, cue.lane):
                lab.emit(kl_bench.bench(lab, lane))
        elif isinstance(cue, ChatCue):
            for lane in _meant(lab, cue.lane):
                lab.emit(chat.chat(lab, lane, cue))
        elif cue.do == "evaluate":
            lab.evaluate()
        elif cue.do == "checkpoint":
            lab_checkpoint.save(lab)
    except (RequestError, ValueError, torch.OutOfMemoryError) as error:
        lab.emit(ev.Refused(lab.step_number, cue.model_dump(mode="json"), str(error)))


def _meant(lab: Lab, name: str | None) -> list[Lane]:
    """The lane of this name; None: all lanes. Raises ValueError."""
    if name is None:
        return list(lab.lanes.values())
    if name not in lab.lanes:
        raise ValueError(f"no lane {name!r}; lanes: {', '.join(lab.lanes)}")
    return [lab.lanes[name]]


def switch(lab: Lab, lane: Lane, section: AlgorithmSection, origin: str) -> None:
    """Change a lane's algorithm; the adapter, the random state and the curves are kept."""
    had_critic, before = lane.critic, lane.algorithm.name
    kept, reset = lane.switch(section)
    settings = lane.algorithm.settings.model_dump(mode="json")
    lab.emit(
        ev.Switched(
            step=lab.step_number,
            lane=lane.name,
            before=before,
            after=lane.algorithm.name,
            preset=lane.preset,
            settings=settings,
            kept=kept,
            reset=reset,
            origin=origin,
        )
    )
    if lane.critic is not had_critic:
        tell_critic(lab, lane)


def change_setting(lab: Lab, lane: Lane, key: str, value: Any, origin: str) -> None:
    """Change one setting of a lane from the next step on: of its algorithm, `train.` or `rollout.`.
    Raises RequestError or ValueError."""
    spec.check_setting(key, value, lane.algorithm, lab.task)
    section, _, name = key.rpartition(".")
    if section == "train":
        before = getattr(lane.train, name)
        lane.train = TrainSection.model_validate(lane.train.model_dump() | {name: value})
    elif section == "rollout":
        if name == "max_tokens":
            _check_room(lab, lane, value)
        before = getattr(lane.rollout, name)
        lane.rollout = RolloutSection.model_validate(lane.rollout.model_dump() | {name: value})
    else:
        settings = lane.algorithm.settings
        before = getattr(settings, name)
        lane.algorithm.settings = type(settings).model_validate(
            settings.model_dump() | {name: value}
        )
        key, had_critic = name, lane.critic
        lane.match_critic()  # the setting may need a critic, or no longer need one
        if lane.critic is not had_critic:
            tell_critic(lab, lane)
    _tell_setting(lab, lane, key, before, value, origin)


def _tell_setting(lab: Lab, lane: Lane, key: str, before: Any, after: Any, origin: str) -> None:
    lab.emit(
        ev.SettingChanged(
            step=lab.step_number,
            lane=lane.name,
            key=key,
            before=before,
            after=after,
            origin=origin,
        )
    )


def change_for_all(lab: Lab, key: str, value: Any, origin: str) -> None:
    """Change a setting of all lanes from the next step on: of the task (evaluations then draw new
    held-out prompts), of evaluation and record, a reward's weight, or the run's length. Raises
    RequestError or ValueError."""
    lanes = list(lab.lanes.values())
    spec.check_setting(key, value, lanes[0].algorithm, lab.task, lab.plan.rewards)
    section, _, name = key.partition(".")
    if section == "rewards":
        at, name = spec.reward_meant(key, lab.plan.rewards), key.rpartition(".")[2]
        plan = lab.plan.complete()
        options = dict(plan["rewards"][at])
        plan["rewards"][at][name] = value
        lab.set_plan(Scenario.model_validate(plan))
    elif section == "task":
        options = lab.task.options.model_dump(mode="json")
        lab.set_task({"name": lab.task.name} | options | {name: value})
    else:
        if key == "train.steps" and value <= lab.step_number:
            raise ValueError(f"train.steps: {lab.step_number} steps are already done")
        options = getattr(lab.plan, section).model_dump(mode="json")
        lab.set_plan(_with(lab.plan, section, name, value))
        if section == "train":  # the schedule of the learning rate follows the length
            for lane in lanes:
                lane.train = lane.train.model_copy(update={name: value})
    for lane in lanes:
        _tell_setting(lab, lane, key, options[name], value, origin)


def _with(plan: Scenario, section: str, name: str, value: Any) -> Scenario:
    """The scenario with one key changed."""
    changed = plan.complete()
    changed[section][name] = value
    return Scenario.model_validate(changed)


def _check_room(lab: Lab, lane: Lane, tokens: int) -> None:
    """Check that the model has positions for answers of `tokens` tokens. Raises ValueError."""
    if lane.model_shape is None:
        return
    encode = lab.backbone.text.encode
    longest = max(len(encode(p.text)) for p in lab.test_prompts)
    if longest + tokens > lane.model_shape.longest:
        raise ValueError(
            f"rollout.max_tokens: prompts of {longest} tokens and answers of {tokens} exceed the "
            f"model's {lane.model_shape.longest} positions"
        )


def fork(lab: Lab, cue: ForkCue) -> None:
    """Open a new lane as a copy of another, on the same or another algorithm. Raises ValueError."""
    parent = _meant(lab, cue.lane)[0]
    if cue.name in lab.lanes:
        raise ValueError(f"there is a lane {cue.name!r} already")
    same = {"name": parent.algorithm.name, "preset": parent.preset}
    same |= parent.algorithm.settings.model_dump(mode="json")
    section = cue.algorithm or AlgorithmSection.model_validate(same)
    lane = lab.add_lane(cue.name, section, parent.name)
    lane.copy_from(parent)
    if lane.critic is not None:
        tell_critic(lab, lane)


def tell_critic(lab: Lab, lane: Lane) -> None:
    """Emit the present state of the lane's critic."""
    critic = lane.critic
    if critic is None:
        lab.emit(ev.CriticChanged(lab.step_number, lane.name, "gone"))
        return
    state = "warm" if critic.warm else "cold"
    lab.emit(
        ev.CriticChanged(
            step=lab.step_number,
            lane=lane.name,
            state=state,
            explained_variance=critic.explained,
            bytes=critic.bytes(),
        )
    )
