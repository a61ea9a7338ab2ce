"""`grpolab completion`: a completion script for a shell, made from the parser by shtab.

The names of shipped scenarios and algorithms are written into the script. Runs are looked up under
runs/ when the shell asks.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterable, Iterator
from typing import Any

from grpolab.algorithms import ALGORITHMS
from grpolab.resources import shipped_records, shipped_scenarios


def script(parser: ArgumentParser, shell: str) -> str:
    """The completion script of `parser` for bash, zsh or fish."""
    import shtab

    scenarios = _words_or_files("scenario", shipped_scenarios())
    runs = _runs(shipped_records())
    algorithms = _words("algorithm", ALGORITHMS)
    lists = _words("algorithm_list", [*ALGORITHMS, "all"])
    by_metavar: dict[str, Any] = {
        "SCENARIO": scenarios, "RUN": runs, "BATCH.json|RUN": runs, "FILE.jsonl": shtab.FILE,
        "DIR": shtab.DIRECTORY, "A,B,C": lists, "OTHER": algorithms,
    }  # fmt: skip
    for command, action in _actions(parser):
        complete = by_metavar.get(str(action.metavar))
        if "--algorithm" in action.option_strings:
            complete = algorithms
        elif action.dest == "name":  # the lists: `algorithms NAME`, `scenarios NAME`
            complete = scenarios if command == "scenarios" else algorithms
        if complete is not None:
            action.complete = complete  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _actions(parser: ArgumentParser, command: str = "") -> Iterator[tuple[str, Action]]:
    """Every argument with the command that takes it."""
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for name, inner in action.choices.items():
                yield from _actions(inner, name)
        else:
            yield command, action


def _words(name: str, words: Iterable[str]) -> dict[str, Any]:
    """Fixed words, as shtab wants an argument's completion."""
    found = " ".join(words)
    bash = f"_grpolab_{name}() {{ compgen -W '{found}' -- \"$1\"; }}"
    return {
        "bash": f"_grpolab_{name}",
        "zsh": f"({found})",
        "fish": found,
        "preamble": {"bash": bash},
    }


def _words_or_files(name: str, words: Iterable[str]) -> dict[str, Any]:
    """Fixed words, or a file."""
    found = " ".join(words)
    return _functions(
        name,
        bash=f'compgen -W \'{found}\' -- "$1"; compgen -f -- "$1"',
        zsh=f"compadd -- {found}; _files",
        fish=f"string split ' ' -- '{found}'; __fish_complete_path (commandline -ct)",
    )


def _runs(shipped: Iterable[str]) -> dict[str, Any]:
    """`last`, a run under runs/, a shipped record, or a folder."""
    found = " ".join(["last", *shipped])
    return _functions(
        "run",
        bash=f'compgen -W "{found} $(ls runs 2>/dev/null)" -- "$1"; compgen -d -- "$1"',
        zsh=f'compadd -- {found} ${{(f)"$(ls runs 2>/dev/null)"}}; _files -/',
        fish=f"string split ' ' -- '{found}'; ls runs 2>/dev/null; __fish_complete_directories",
    )


def _functions(name: str, *, bash: str, zsh: str, fish: str) -> dict[str, Any]:
    """A shell function for each shell."""
    function = f"_grpolab_{name}"
    return {
        "bash": function,
        "zsh": function,
        "fish": f"({function})",
        "preamble": {
            "bash": f"{function}() {{\n  {bash}\n}}",
            "zsh": f"{function}() {{\n  {zsh}\n}}",
            "fish": f"function {function}\n  {fish}\nend",
        },
    }
