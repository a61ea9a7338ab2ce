"""Commands by name: every action, every algorithm, every setting with a value, and places to go to.

A command is checked before it is carried out: `prepare` raises ValueError with one line on what is
wrong, and returns what is to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import word
from grpolab.tui.keys import ACTIONS, LAB, SCREEN, TRAINING, Action
from grpolab.tui.settings import model as settings_model
from grpolab.tui.widgets.chooser import closeness
from grpolab.tui.widgets.layout import LAYOUTS, PANES
from grpolab.tui.widgets.palette import PALETTES

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp

Do = Callable[[], object]

ALSO = {
    "train.learning_rate": ("lr",),
    "rollout.temperature": ("temp",),
    "rollout.group_size": ("answers-per-prompt",),
    "goto": ("step",),
    "quit": ("exit",),
}
"""Further names, by setting or action."""

LEAST = 3
"""Letters from which on the descriptions are searched too."""

ALGORITHMS, SETTINGS = "Algorithms", "Settings"


@dataclass(frozen=True)
class Command:
    """One entry of the list."""

    name: str  # as it is typed
    told: str  # what it does, one line
    group: str  # its heading
    prepare: Callable[[str], Do]  # what is to be done, from the argument as it was typed
    takes: str = ""  # what may follow the name: VALUE, STEP; nothing if empty
    values: tuple[str, ...] = ()  # what may follow, where that is a list
    also: tuple[str, ...] = ()  # further names
    key: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.also)


def commands(app: LabApp, screen: Screen[Any]) -> list[Command]:
    """All that can be done on a screen in this kind of run: its own actions first."""
    own = getattr(screen, "actions", ())
    mine = {a.name for a in own} if own else set()
    mode = app.context.mode
    actions = [*own, *(a for a in ACTIONS if mode in a.modes and a.name not in mine)]
    found = [_action(app, screen, a) for a in actions if a.name != "commands" and a.help]
    taken = {name for command in found for name in command.names}
    rest = [*_algorithms(app), *_settings(app)]
    return [*found, *(c for c in rest if c.name not in taken)]


def matching(known: Sequence[Command], typed: str) -> list[Command]:
    """The commands that what was typed may mean, the likeliest first: of that very name, beginning
    with it, containing it, described by it."""
    head, space, _ = typed.strip().partition(" ")
    if not head:
        return list(known)
    wanted = _plain(head)
    ranked: list[tuple[int, Command]] = []
    for command in known:
        best = min(
            (closeness(_plain(name), wanted) for name in command.names if wanted in _plain(name)),
            default=9,
        )
        if best == 9 or (space and not command.takes):
            told = typed.strip().lower()
            best = 3 if len(told) >= LEAST and told in command.told.lower() else 9
        if best < 9:
            ranked.append((best, command))
    return [command for _, command in sorted(ranked, key=lambda r: r[0])]


def argument(typed: str) -> str:
    """What was typed behind a command's name."""
    return typed.strip().partition(" ")[2].strip()


def completed(command: Command, typed: str) -> str:
    """The text with the command's name, or the value that was begun, written out."""
    given = argument(typed)
    if not typed.strip().startswith(command.name) or not given:
        return f"{command.name} " if command.takes else command.name
    found = [v for v in command.values if v.lower().startswith(given.lower())]
    return f"{command.name} {found[0]}" if found else typed


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


# actions


def _action(app: LabApp, screen: Screen[Any], action: Action) -> Command:
    def prepare(text: str) -> Do:
        if text:
            raise ValueError(f"{name} takes nothing behind it")
        return partial(_run, app, screen, action)

    name = _plain(action.name)
    label = _plain(action.label).replace(" ", "-").replace("/", "-")
    also = tuple(n for n in (label, *ALSO.get(action.name, ())) if n and n != name)
    key = app.context.keymap.shown(action)
    with_value = _with_value(app).get(action.name)
    if with_value is None:
        return Command(name, action.help, action.group, prepare, also=also, key=key)
    takes, values, taken = with_value

    def either(text: str) -> Do:
        return taken(text) if text else prepare("")

    return Command(name, action.help, action.group, either, takes, values, also, key)


def _run(app: LabApp, screen: Screen[Any], action: Action) -> None:
    """Carry an action out: one of the screen's own there, one of the lab's in the lab. Those that
    steer the training leave the screen as it is; others are about the lab, and lead back to it."""
    if action.group == SCREEN or screen is app.lab:
        app.call_later(app.run_action, action.call, screen)
        return
    if action.group not in (TRAINING, LAB):
        app.lab.navigation.close_overlays()
    app.call_later(app.run_action, action.call, app.lab)


def _with_value(app: LabApp) -> dict[str, tuple[str, tuple[str, ...], Callable[[str], Do]]]:
    """Actions that also take a value: what, which, and what is done with it."""
    lab, context = app.lab, app.context

    def among(values: Sequence[str], do: Callable[[str], object]) -> Callable[[str], Do]:
        def chosen(text: str) -> Do:
            found = [v for v in values if v.lower() == text.lower()]
            found = found or [v for v in values if v.lower().startswith(text.lower())]
            if len(found) != 1:
                raise ValueError(f"{text}: one of {', '.join(values)}")
            return partial(do, found[0])

        return chosen

    def step(text: str) -> Do:
        from grpolab.tui.timeline import model as timeline

        to = timeline.step_meant(text, context.view.step(context.state), timeline.whole(context)[1])
        return lambda: (lab.navigation.close_overlays(), lab.go_to(to))

    def set_theme(name: str) -> None:
        app.theme = f"grpolab-{name}"

    lanes = tuple(context.state.lanes)
    themes = tuple(name.removeprefix("grpolab-") for name in PALETTES)
    channels = tuple(context.view.channels(context.state)) if lanes else ()
    return {
        "goto": ("STEP", (), step),
        "lane": ("NAME", lanes, among(lanes, lab.navigation.show_lane)),
        "channel": ("NAME", channels, among(channels, partial(lab.select, "channel"))),
        "theme": ("NAME", themes, among(themes, set_theme)),
        "layout": ("NAME", tuple(LAYOUTS), among(tuple(LAYOUTS), lab.set_layout)),
        "zoom": ("PANE", PANES, among(PANES, lab.zoom_pane)),
        "algorithm": (
            "NAME",
            tuple(algorithm_cards.cards()),
            among(tuple(algorithm_cards.cards()), lambda name: lab.training.switch_to(name)),
        ),
    }


# algorithms and settings


def _algorithms(app: LabApp) -> list[Command]:
    lane = app.context.view.lane_state(app.context.state)
    now = lane.algorithm if lane else ""

    def prepare(name: str, text: str) -> Do:
        presets = algorithm_cards.cards()[name].presets
        if text and text not in presets:
            raise ValueError(f"{text}: {name} has the presets {', '.join(presets)}")
        return partial(app.lab.training.switch_to, name, text)

    return [
        Command(
            name,
            "current" if name == now else f"switch to it: {algorithm_cards.change(now, name)[0]}",
            ALGORITHMS,
            partial(prepare, name),
            takes="PRESET" if len(card.presets) > 1 else "",
            values=tuple(card.presets),
        )
        for name, card in algorithm_cards.load().items()
    ]


def _settings(app: LabApp) -> list[Command]:
    context, training = app.context, app.lab.training
    lane = context.view.lane_state(context.state)
    rows = settings_model.rows(context.state, lane)
    if lane is None:
        return []

    def prepare(row: settings_model.Row, text: str) -> Do:
        if not text:
            return partial(training.settings, row.name)
        value = settings_model.parsed(context.state, lane, row, text, rows)
        return partial(training.set, row.name, value)

    return [
        Command(
            row.name, f"{word(row.value)} now; {row.setting.description}", SETTINGS,
            partial(prepare, row), takes="VALUE", also=ALSO.get(row.name, ()),
        )
        for row in rows
        if not row.fixed
    ]  # fmt: skip
