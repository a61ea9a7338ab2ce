"""The words in which the session is written: what is pressed, where, and what must come."""

from __future__ import annotations

from dataclasses import dataclass, field

from grpolab.tui.keys import ACTIONS, SCREENS, Action

LAB = "lab"
THERE = r"\b(?:ppo|rloo|reinforce|grpo)\b.*\d"
"""A row of the lens: its algorithms are in lower case."""
ELSEWHERE = ("suspend",)
"""Pressed in `test_bursts`: here no shell would bring the lab back."""

TABLES: dict[str, tuple[Action, ...]] = {LAB: ACTIONS, **SCREENS}


@dataclass(frozen=True)
class Press:
    """One key, by its action or as it is. `expect`: a pattern that must come on the screen."""

    action: str = ""
    raw: str = ""  # a key that is no action of a table, in Textual's spelling
    text: str = ""  # typed letter by letter
    screen: str = LAB
    expect: str = ""
    seconds: float = 25.0  # for `expect`
    shot: str = ""  # the name of a picture of what is seen then
    ends: bool = False  # the program is to end
    in_dialog: bool = False  # only where a dialog is open

    @property
    def keys(self) -> str:
        return table(self.screen, self.action).keys.split(",")[0] if self.action else self.raw


@dataclass
class Script:
    """Presses in order; `on` says which screen the actions belong to."""

    presses: list[Press] = field(default_factory=list)
    on: str = LAB

    def press(self, *actions: str, expect: str = "", shot: str = "", seconds: float = 25.0) -> None:
        """Actions of the screen, one after the other; what is expected belongs to the last."""
        for i, name in enumerate(actions):
            last = i == len(actions) - 1
            self.presses.append(
                Press(name, screen=self.on, expect=expect if last else "",
                      shot=shot if last else "", seconds=seconds)
            )  # fmt: skip

    def key(self, *keys: str, expect: str = "", shot: str = "", seconds: float = 25.0) -> None:
        """Keys of a dialog or of a text field."""
        for i, raw in enumerate(keys):
            last = i == len(keys) - 1
            self.presses.append(
                Press(raw=raw, screen=self.on, expect=expect if last else "",
                      shot=shot if last else "", seconds=seconds)
            )  # fmt: skip

    def type(self, text: str, expect: str = "", shot: str = "") -> None:
        self.presses.append(Press(text=text, screen=self.on, expect=expect, shot=shot))

    def wait(self, expect: str, seconds: float = 60.0, shot: str = "") -> None:
        """Press nothing; the pattern must come."""
        self.presses.append(Press(screen=self.on, expect=expect, seconds=seconds, shot=shot))

    def shut(self) -> None:
        """Esc, where a dialog is open."""
        self.presses.append(Press(raw="escape", screen=self.on, in_dialog=True))

    def ends(self, action: str) -> None:
        self.presses.append(Press(action, screen=self.on, ends=True, seconds=60.0))

    def anywhere(self) -> None:
        """What every screen over the lab understands, but for its two ways out."""
        self.press("page_down", "page_up", "theme", "theme", "theme")
        self.press("algorithm", expect=r"Switch the algorithm")
        self.key("escape")
        self.press("pause", "pause", "single", "evaluate")
        self.press("picture", expect=r"picture saved")
        self.press("glossary", expect=r"─ Glossary ─")
        self.key("escape")
        self.press("explain", expect=r": what it shows|─ Keys ─|This screen")
        self.key("escape")
        self.press("commands", expect=r"(?i)search|command")
        self.key("escape")


def table(screen: str, action: str) -> Action:
    """Raises KeyError with the name where the tables have no such action."""
    for known in TABLES[screen]:
        if known.name == action:
            return known
    raise KeyError(f"{screen} has no action {action}")


def missing(presses: list[Press]) -> list[str]:
    """Actions of the tables that the sessions never press."""
    pressed = {(p.screen, p.action) for p in presses if p.action}
    return [
        f"{screen}.{action.name}"
        for screen, actions in TABLES.items()
        for action in actions
        if (screen, action.name) not in pressed and action.name not in ELSEWHERE
    ]
