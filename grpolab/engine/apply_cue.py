"""What a cue or a command does to the lab between two steps: switch, set, fork, evaluate,
checkpoint."""

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
    """Carry out one cue, or refuse it in an event: the run goes on either way."""
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
    if name is None:
        return list(lab.lanes.values())
    if name not in lab.lanes:
        raise ValueError(f"no lane {name!r}; there are {', '.join(lab.lanes)}")
    return [lab.lanes[name]]


def switch(lab: Lab, lane: Lane, section: AlgorithmSection, origin: str) -> None:
    """Another algorithm for a lane: the adapter, the random state and the curves stay."""
    had_critic, before = lane.critic, lane.algorithm.name
    kept, reset = lane.switch(section)
    settings = lane.algorithm.settings.model_dump(mode="json")
    lab.emit(
        ev.Switched(
            lab.step_number,
            lane.name,
            before,
            lane.algorithm.name,
            lane.preset,
            settings,
            kept,
            reset,
            origin,
        )
    )
    if lane.critic is not had_critic:
        tell_critic(lab, lane)


def change_setting(lab: Lab, lane: Lane, key: str, value: Any, origin: str) -> None:
    """One setting of the algorithm, or of `train.` or `rollout.`, from the next step on."""
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
        lane.match_critic()  # a setting may ask for one, or do without
        if lane.critic is not had_critic:
            tell_critic(lab, lane)
    lab.emit(ev.SettingChanged(lab.step_number, lane.name, key, before, value, origin))


def change_for_all(lab: Lab, key: str, value: Any, origin: str) -> None:
    """A setting that all lanes have in common, from the next step on: of the task (evaluations then
    draw new held-out prompts), of evaluation and record, a reward's weight, or the run's length."""
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
            raise ValueError(f"train.steps: {lab.step_number} steps are done already")
        options = getattr(lab.plan, section).model_dump(mode="json")
        lab.set_plan(_with(lab.plan, section, name, value))
        if section == "train":  # the schedule of the learning rate follows the length
            for lane in lanes:
                lane.train = lane.train.model_copy(update={name: value})
    for lane in lanes:
        lab.emit(ev.SettingChanged(lab.step_number, lane.name, key, options[name], value, origin))


def _with(plan: Scenario, section: str, name: str, value: Any) -> Scenario:
    changed = plan.complete()
    changed[section][name] = value
    return Scenario.model_validate(changed)


def _check_room(lab: Lab, lane: Lane, tokens: int) -> None:
    """Whether the model has positions for answers of so many tokens. Raises ValueError."""
    if lane.model_shape is None:
        return
    encode = lab.backbone.text.encode
    longest = max(len(encode(p.text)) for p in lab.test_prompts)
    if longest + tokens > lane.model_shape.longest:
        raise ValueError(
            f"rollout.max_tokens: prompts of {longest} tokens and answers of {tokens} pass the "
            f"model's {lane.model_shape.longest} positions"
        )


def fork(lab: Lab, cue: ForkCue) -> None:
    """A new lane that starts where another stands now, perhaps under another algorithm."""
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
    """The critic's present state as an event."""
    critic = lane.critic
    if critic is None:
        lab.emit(ev.CriticChanged(lab.step_number, lane.name, "gone"))
        return
    state = "warm" if critic.warm else "cold"
    lab.emit(ev.CriticChanged(lab.step_number, lane.name, state, critic.explained, critic.bytes()))
