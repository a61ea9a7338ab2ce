"""argparse, with errors that help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from grpolab.problems import nearest


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line that name the nearest valid word, exit 2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(c) for c in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            if Path(value).suffix in (".yaml", ".yml"):
                raise argparse.ArgumentError(None, f"no command given; try `grpolab run {value}`")
            raise argparse.ArgumentError(
                None, f"unknown command {value!r}{nearest(value, choices)}"
            )
        raise argparse.ArgumentError(
            action, f"unknown value {value!r}{nearest(str(value), choices)}"
        )

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        known, rest = super().parse_known_args(*args, **kwargs)
        if rest:  # told here, where a command's own options are known, and not by its parent
            word = rest[0].partition("=")[0]
            if not word.startswith("-"):
                self.error(f"unexpected argument {word!r}")
            options = [o for o in self._option_string_actions if o.startswith("--")]
            self.error(f"unknown option {word!r}{nearest(word, options)}")
        return known, rest


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    if count(text) == 0:
        raise argparse.ArgumentTypeError("expected a whole number from 1, got '0'")
    return int(text)


def speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value
