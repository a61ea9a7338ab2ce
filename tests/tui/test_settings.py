"""All settings: every section, what changed, what is settled, read-only where nothing listens."""

from __future__ import annotations

from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.scenario import spec
from grpolab.tui.app import LabApp
from grpolab.tui.lab.screen import LabScreen
from grpolab.tui.settings import model as settings_model
from grpolab.tui.settings.screen import SettingDialog

from .conftest import Live, settle, text
from .fake_run import FakeRun
from .test_time import press


def state(*events: ev.Event) -> LabState:
    plan = spec.build({"algorithm": "grpo", "rollout": {"prompts": 3}}).complete()
    out = LabState()
    own = plan["lanes"][0]["algorithm"]
    values = {k: v for k, v in own.items() if k not in ("name", "preset")}
    lane = ev.LaneOpened("main", "grpo", "paper", values, 0)
    for event in (ev.RunStarted(1, "r", plan, 0, "cpu", 1, 60), lane, *events):
        out.apply(event)
    return out


def named(found: LabState, lane: str = "main") -> dict[str, settings_model.Row]:
    return {r.name: r for r in settings_model.rows(found, found.lanes[lane])}


def test_every_setting_of_every_section_is_there_once() -> None:
    rows = settings_model.rows(s := state(), s.lanes["main"])
    names = [r.name for r in rows]
    assert len(names) == len(set(names))
    for section, model in spec.SECTIONS.items():
        assert {f"{section}.{k}" for k in model.model_fields} <= set(names)
    for key in ("clip_low", "beta", "task.mix", "seed", "model.path", "rewards.accuracy.weight"):
        assert key in names
    by = {r.name: r for r in rows}
    assert by["rollout.prompts"].value == 3 and by["rollout.prompts"].setting.default == 8
    assert by["seed"].fixed and not by["train.steps"].fixed
    assert not any(r.changed for r in rows)


def test_changes_are_followed_also_through_a_fork() -> None:
    def change(step: int, key: str, before: object, after: object, lane: str = "main"):
        return ev.SettingChanged(step, lane, key, before, after, "command")

    fork = ev.LaneOpened("twin", "rloo", "paper", {"beta": 0.0}, 5, "main")
    found = state(
        change(2, "beta", 0.04, 0.3), change(3, "rollout.temperature", 1.0, 0.7), fork,
        change(6, "rollout.temperature", 0.7, 0.5),
        change(7, "train.max_grad_norm", 0.1, 0.2, "twin"),
    )  # fmt: skip
    main, twin = named(found), named(found, "twin")
    assert (main["beta"].value, main["beta"].start, main["beta"].changed) == (0.3, 0.04, True)
    assert main["rollout.temperature"].value == 0.5
    assert twin["rollout.temperature"].value == 0.7  # as its parent had it at the fork
    assert [c.after for c in twin["rollout.temperature"].changes] == [0.7]
    assert not main["train.max_grad_norm"].changed and twin["train.max_grad_norm"].value == 0.2


def test_what_is_typed_is_checked_like_the_file() -> None:
    rows = settings_model.rows(s := state(), s.lanes["main"])
    by = {r.name: r for r in rows}
    for key, typed, value in (
        ("train.microbatch", "auto", "auto"), ("train.microbatch", "4", 4),
        ("evaluate.every", "3", 3), ("record.stream", "no", False), ("train.schedule", "constant",
         "constant"), ("task.mix", "[0, 0, 1]", [0, 0, 1]), ("clip_low", "none", None),
        ("rewards.format.weight", "-1", -1.0),
    ):  # fmt: skip
        assert settings_model.parse("grpo", by[key], typed, rows, "sums") == value
        spec.check_setting(key, value, spec.make_algorithm(
            spec.AlgorithmSection(name="grpo")), spec.make_task(spec.TaskSection()),
            spec.build({}).rewards,
        )  # fmt: skip
    for key, typed in (
        ("evaluate.every", "0"), ("train.schedule", "cosine"), ("task.mix", "[0, 0, 0]"),
        ("task.digits", "[4, 1]"), ("rollout.top_p", "2"), ("task.mix", "[1"),
        ("rewards.format.weight", "much"), ("rewards.format.weight", "nan"),
        ("rewards.format.weight", "inf"),
    ):  # fmt: skip
        try:
            settings_model.parse("grpo", by[key], typed, rows, "sums")
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            raise AssertionError(key)


def test_the_weights_of_the_reward_in_force() -> None:
    def change(step: int, name: str, after: float):
        return ev.SettingChanged(step, "main", f"rewards.{name}.weight", 1.0, after, "command")

    found = state(change(2, "format", 0.5), change(4, "accuracy", 0.0))
    lane = found.lanes["main"]
    by = named(found)
    row = by["rewards.format.weight"]
    assert (row.value, row.start, row.changed) == (0.5, 0.2, True) and not row.fixed
    assert by["rewards"].fixed and "accuracy, format" in by["rewards"].value
    assert settings_model.weights(found, lane) == {"accuracy": 0.0, "format": 0.5}
    assert settings_model.weights(found, lane, 2) == {"accuracy": 1.0, "format": 0.2}
    assert settings_model.weights(found, lane, 4) == {"accuracy": 1.0, "format": 0.5}
    assert settings_model.weights(LabState(), None) == {}


async def test_it_stays_open_follows_what_happens_and_says_what_is_settled(live: Live) -> None:
    live.record(FakeRun(steps=4, switches={}, end=False))
    async with live.app.run_test(size=(120, 36)) as pilot:
        live.app._pilot = pilot  # pyright: ignore
        await settle(live.app)
        told = await press(live.app, pilot, "equals_sign")
        assert "GRPO only" in told and "GRPO, shared by all algorithms" in told
        await press(live.app, pilot, *"evaluate", "full_stop", "e", "enter")
        await press(live.app, pilot, "backspace", "backspace", "backspace", "5", "enter")
        assert live.engine.sent == [{"do": "set", "key": "evaluate.every", "value": 5}]
        screen = live.app.screen
        assert isinstance(screen, SettingDialog)
        assert "sent, applies from the next step on" in text(live.app)
        live.write(ev.SettingChanged(4, "main", "evaluate.every", 12, 5, "command"))
        told = await press(live.app, pilot)
        assert "✎ 12 → 5 after step 4, by command" in told and "was 12" in told
        live.write(ev.Refused(4, {"do": "set", "key": "x"}, "no room\x1b"))
        assert "refused: no room␛" in await press(live.app, pilot)
        told = await press(live.app, pilot, "escape", *"seed", "enter")
        assert "seed can only be set when" in told and "sampled from it" in told
        await press(live.app, pilot, "escape", "escape")
        assert isinstance(live.app.screen, LabScreen) and not live.app.lab.listeners


async def test_a_replay_shows_them_and_changes_nothing(replay: LabApp) -> None:
    async with replay.run_test(size=(80, 24)) as pilot:
        replay._pilot = pilot  # pyright: ignore
        await settle(replay)
        told = await press(replay, pilot, "full_stop", "equals_sign", "enter")
        assert "a replay computes nothing" in told
        screen = replay.screen
        assert isinstance(screen, SettingDialog) and not screen.editing
        await press(replay, pilot, "escape")
        assert isinstance(replay.screen, LabScreen)
