"""The command line: `parser` says which commands and options there are, `main` runs one of them.

Nothing heavy is imported before it is known to be needed. What each command does is in `commands`.
"""

from __future__ import annotations

import argparse
import codecs
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from grpolab import __version__
from grpolab.errors import RequestError, nearest
from grpolab.resources import FORMER_NAMES


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
        if rest:  # reported here, where a command's own options are known, not by its parent
            word = rest[0].partition("=")[0]
            if not word.startswith("-"):
                self.error(f"unexpected argument {word!r}")
            options = [o for o in self._option_string_actions if o.startswith("--")]
            self.error(f"unknown option {word!r}{nearest(word, options)}")
        return known, rest


def count(text: str) -> int:
    """A whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1."""
    if count(text) == 0:
        raise argparse.ArgumentTypeError("expected a whole number from 1, got '0'")
    return int(text)


def speed(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def weight(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, got {text!r}")
    return value


DESCRIPTION = """\
A terminal lab for reinforcement learning on language models: watch a small policy learn a task,
and change its RL algorithm while it trains.

Without a command, the scenario named `default` opens; without a terminal it runs headless.
"""

EPILOG = """\
examples:
  grpolab                                        open the lab
  grpolab run ppo --seed 3                       a shipped scenario with another seed
  grpolab run default --algorithm rloo --set train.steps=100 --set task.mix=[0,0,1]
  grpolab run mine.yaml --headless --json        one JSON object on stdout, progress on stderr
  grpolab run --resume last                      resume the newest run
  grpolab run --resume last --from 40            … from the checkpoint of its step 40
  grpolab run --resume last --steps 100          … 100 steps further, a finished run too
  grpolab compare default --algorithms grpo,ppo --seeds 3 --headless
  grpolab replay last                            replay it; nothing is computed
  grpolab plot last --metric reward --smooth     its curves, without a screen

exit codes: 0 done; 1 the work failed; 2 the request was wrong; 130 interrupted (checkpointed)
"""


RUN = "a run directory, its name under runs/, or `last`"


def parser() -> Parser:
    """The whole command line."""
    top = Parser("grpolab", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"grpolab {__version__}")
    _sparing(top)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    run = commands.add_parser(
        "run", help="run a scenario, in the terminal lab or headless",
        description="Run a scenario: a YAML file, or a shipped one by its name.",
    )  # fmt: skip
    run.add_argument(
        "scenario", nargs="?", metavar="SCENARIO", help="file or shipped name; default: default"
    )
    _scenario_options(run)
    run.add_argument(
        "--out", metavar="DIR", help="the run directory, new or empty; default: one under runs/"
    )
    run.add_argument(
        "--resume", metavar="RUN",
        help="resume an interrupted run (`last`: the newest); with --steps N, train it N steps "
        "further, a finished one too",
    )  # fmt: skip
    run.add_argument(
        "--from", type=count, metavar="STEP", dest="back_to",
        help="with --resume: resume from this step's checkpoint (0: the start); later steps are "
        "discarded",
    )  # fmt: skip
    _output(run, "no screen; progress on stderr")

    replay = commands.add_parser(
        "replay", help="replay a recorded run; computes nothing",
        description="Play a recorded run. Several runs, or a folder of runs such as a "
        "comparison's, are\nshown as lanes side by side, with one band for the seeds of a "
        "configuration.",
    )  # fmt: skip
    replay.add_argument("run", metavar="RUN", nargs="+", help=RUN)
    replay.add_argument(
        "--speed", type=speed, metavar="X",
        help="play at X times the recorded pace; headless default: no limit",
    )  # fmt: skip
    _output(replay, "no screen; plain progress")

    watch = commands.add_parser(
        "watch", help="follow a run that another process is writing",
        description="Follow a run that another process is writing, without affecting it.",
    )  # fmt: skip
    watch.add_argument("run", metavar="RUN", help=RUN)
    _output(watch, "no screen; plain progress")

    plot = commands.add_parser(
        "plot", help="curves of recorded runs in the terminal, or as SVG",
        description="Curves of recorded runs, without a screen. Several runs are drawn over each "
        "other, and seeds of\none configuration as their mean with a band from the lowest to the "
        "highest.",
    )  # fmt: skip
    plot.add_argument("run", metavar="RUN", nargs="+", help=RUN)
    plot.add_argument(
        "--metric", action="append", metavar="NAME",
        help="a recorded number; may be repeated; default: test accuracy and the KL to reference",
    )  # fmt: skip
    plot.add_argument(
        "--by", choices=("step", "update", "samples", "tokens", "time"), default="step",
        help="what the curves run along: steps, optimizer steps, answers or tokens sampled, "
        "seconds; default: step",
    )  # fmt: skip
    plot.add_argument(
        "--smooth", nargs="?", type=weight, const=0.9, metavar="WEIGHT",
        help="an exponential mean that gives the past this weight; without a number: 0.9",
    )  # fmt: skip
    plot.add_argument("--log-y", action="store_true", help="a logarithmic y axis")
    plot.add_argument(
        "--size", metavar="WxH", help="columns and rows of each chart; with --out, pixels"
    )
    plot.add_argument("--out", metavar="FILE.svg", help="write the charts there instead")

    rerun = commands.add_parser(
        "rerun", help="compute a run again and compare digests",
        description="Compute a run again from its recorded scenario and seed, manual changes "
        "included, and compare\ndigests. Exit 0: equal. Exit 1: different; the first step and "
        "quantity that differ are named.",
    )  # fmt: skip
    rerun.add_argument("run", metavar="RUN", help=RUN)
    rerun.add_argument(
        "--out", metavar="DIR", help="keep the second run here; default: it is deleted"
    )
    rerun.add_argument("--json", action="store_true", help="one JSON object on stdout")

    compare = commands.add_parser(
        "compare", help="several algorithms on one scenario, side by side",
        description="Several algorithms on one scenario. In a terminal: a column for each, on the "
        "first seed, while\nfurther seeds are computed behind it; the standing is printed at the "
        "end. Headless: a table of means\nover seeds with confidence intervals, each algorithm "
        "with each seed a run of its own under --out.\nRepeated with the same --out, it "
        "computes only what is missing.",
    )  # fmt: skip
    compare.add_argument("scenario", metavar="SCENARIO", help="file or shipped name")
    compare.add_argument(
        "--algorithms", required=True, metavar="A,B,C",
        help="names, or NAME:PRESET as in grpo:verl; all: every algorithm",
    )  # fmt: skip
    compare.add_argument(
        "--seeds", type=positive, default=1, metavar="K",
        help="number of seeds, counted up from the scenario's seed; default: 1",
    )  # fmt: skip
    compare.add_argument(
        "--jobs", type=positive, default=1, metavar="N", help="runs at a time; default: 1"
    )
    _scenario_options(
        compare, algorithm=False, steps="steps of each run", seed="the first seed",
        threads="CPU threads of each run; default: its share of the CPUs",
    )  # fmt: skip
    compare.add_argument(
        "--out", metavar="DIR", help="folder of the runs and the report; default: one under runs/"
    )
    _sparing(compare)
    compare.add_argument("--headless", action="store_true", help="no screen; progress on stderr")
    shape = compare.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="headless; one JSON object on stdout")
    shape.add_argument("--markdown", action="store_true", help="headless; the table in Markdown")

    lens = commands.add_parser(
        "lens", help="one rollout under every algorithm",
        description="One rollout under every algorithm: loss, advantages, and the gradient "
        "on every token.\nThe rollout is a JSON file (`-`: stdin) or a step of a recorded run.",
    )  # fmt: skip
    lens.add_argument(
        "source", metavar="BATCH.json|RUN", help="a batch, or a run directory, its name, or `last`"
    )
    lens.add_argument(
        "--step", type=count, metavar="N", help="of a run; default: its newest that is complete"
    )
    lens.add_argument("--lane", metavar="NAME", help="of a run; default: its first")
    lens.add_argument(
        "--algorithm", default="all", metavar="NAME", help="one, several as a,b,c, or all (default)"
    )
    lens.add_argument(
        "--preset", default="paper", metavar="NAME",
        help="settings as in a framework: trl-1.16, verl, openrlhf; default: paper",
    )  # fmt: skip
    lens.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="a setting of the algorithm: beta=0.1, clip_high=none; may be repeated",
    )  # fmt: skip
    lens.add_argument(
        "--explain", metavar="G,S,T",
        help="explain one token: group, sample (which answer of the group) and token, counted "
        "from 0",
    )  # fmt: skip
    lens.add_argument(
        "--disagree", metavar="A,B", help="the tokens on which two algorithms differ most"
    )
    lens.add_argument("--json", action="store_true", help="one JSON object on stdout")

    check = commands.add_parser(
        "check", help="validate a scenario without running it, and predict its memory",
        description="Validate a scenario without running it, and predict what memory it takes: by "
        "owner, at the peak,\nwhether it fits here, and which setting would save the most.",
    )  # fmt: skip
    check.add_argument(
        "scenario", nargs="?", metavar="SCENARIO",
        help="file or shipped name; required, unless --schema is given",
    )  # fmt: skip
    check.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of scenario files"
    )
    _scenario_options(check)
    check.add_argument(
        "--json", action="store_true",
        help="print the complete scenario, defaults filled in, and the prediction under `memory`",
    )  # fmt: skip

    doctor = commands.add_parser(
        "doctor", help="what this machine has, what will be used, and whether a scenario fits",
        description="What this machine has, what will be used, and whether a scenario fits before "
        "its model is loaded.\nExit 1: it does not fit.",
    )  # fmt: skip
    doctor.add_argument(
        "scenario", nargs="?", metavar="SCENARIO", help="file or shipped name; default: `default`"
    )
    _scenario_options(doctor)
    doctor.add_argument("--json", action="store_true", help="one JSON object on stdout")

    serve = commands.add_parser(
        "serve", help="the lab in a browser",
        description="The lab in a browser: `grpolab serve`, `grpolab serve run ppo --seed 3`,\n"
        "`grpolab serve replay last`. Every page that is opened is a session of its own.\n"
        "Needs the extra: pip install '.[serve]'",
    )  # fmt: skip
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="address to listen on; default: 127.0.0.1, this machine only",
    )  # fmt: skip
    serve.add_argument(
        "--port", type=count, default=8000, metavar="N", help="port to listen on; default: 8000"
    )
    serve.add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="COMMAND …",
        help="run, replay, watch or compare with its own options; without it, the lab",
    )  # fmt: skip
    serve.set_defaults(top=top)

    for name, what in (("algorithms", "formula, settings and source"), ("scenarios", "contents")):
        lists = commands.add_parser(
            name, help=f"list {name}; with a name, its {what}",
            description=f"List {name}; with a name, show its {what}.",
        )  # fmt: skip
        lists.add_argument(
            "name", nargs="?", metavar="NAME", help=f"one of them; default: list all {name}"
        )
        if name == "algorithms":
            lists.add_argument(
                "--diff",
                metavar="OTHER",
                help="how NAME's formula and settings differ from OTHER's",
            )
            lists.add_argument(
                "--lineage", action="store_true", help="which algorithm was derived from which"
            )
        lists.add_argument("--json", action="store_true", help="one JSON object on stdout")

    grade = commands.add_parser(
        "grade", help="apply a scenario's rewards to given completions",
        description="Grade completions.\n\n"
        'input lines:  {"prompt": {…} or "question": "…", "completion": "…"}\n'
        'output lines: {"reward": …, "parts": {…}, "answer": …, "steps": […]}',
    )  # fmt: skip
    grade.add_argument("scenario", metavar="SCENARIO", help="file or shipped name")
    grade.add_argument("file", metavar="FILE.jsonl", help="`-` reads stdin")

    completion = commands.add_parser(
        "completion", help="shell completion for bash, zsh or fish",
        description="Print a completion script. To load it now, and in every new shell from its "
        "startup file:\n\n"
        "  bash  eval \"$(grpolab completion bash)\"\n"
        "  zsh   eval \"$(grpolab completion zsh)\"     (after compinit)\n"
        "  fish  grpolab completion fish | source",
    )  # fmt: skip
    completion.add_argument(
        "shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish"
    )
    completion.set_defaults(top=top)
    return top


def _scenario_options(
    command: argparse.ArgumentParser,
    *,
    algorithm: bool = True,
    steps: str = "number of steps",
    seed: str = "seed of prompts, sampling and adapters",
    threads: str = "CPU threads of the engine",
) -> None:
    """The options that change a scenario, and where it runs; see `scenario.load.changes`."""
    if algorithm:
        command.add_argument(
            "--algorithm", metavar="NAME", help="another algorithm for the first lane"
        )
    command.add_argument(
        "--model", metavar="PATH_OR_HUB_ID", help="another causal language model: folder or hub id"
    )
    command.add_argument(
        "--quantize", choices=("none", "nf4", "int8"), help="weights of the frozen backbone"
    )
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="where the engine computes; auto (default): on a GPU if there is one",
    )  # fmt: skip
    command.add_argument("--steps", type=count, metavar="N", help=steps)
    command.add_argument("--seed", type=count, metavar="N", help=seed)
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="change any key of the scenario: algorithm.beta=0.1, task.k=6; may be repeated",
    )  # fmt: skip
    command.add_argument("--threads", type=positive, metavar="N", help=threads)


def _sparing(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ssh", action="store_true", default=argparse.SUPPRESS,
        help="repaint as little as possible; default in an SSH session",
    )  # fmt: skip


def _output(command: argparse.ArgumentParser, headless: str) -> None:
    _sparing(command)
    command.add_argument("--headless", action="store_true", help=headless)
    command.add_argument("--json", action="store_true", help="headless; one JSON object on stdout")


def _use_new_name(args: argparse.Namespace) -> None:
    """Replace the former name of a shipped scenario, and say so."""
    where = "name" if args.command == "scenarios" else "scenario"
    given: str = getattr(args, where, None) or ""
    if given in FORMER_NAMES and not Path(given).exists():
        print(f"the scenario {given!r} is called {FORMER_NAMES[given]!r} now", file=sys.stderr)
        setattr(args, where, FORMER_NAMES[given])


def print_anything() -> None:
    """Let stdout write `?` for what its encoding lacks (PYTHONIOENCODING=ascii), instead of
    raising."""
    if isinstance(out := sys.stdout, io.TextIOWrapper) and out.errors in STRICT:
        utf8 = codecs.lookup(out.encoding).name == "utf-8"
        if out.errors == "strict" or not utf8:
            out.reconfigure(errors="replace")


STRICT = ("strict", "surrogateescape")
"""How Python's own stdout takes characters that it cannot encode."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; its exit code."""
    print_anything()
    try:
        try:
            return _run(parser().parse_args(argv))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # a broken pipe shows here, and not when the interpreter ends
    except BrokenPipeError:  # `grpolab algorithms | head`
        from grpolab.launch import write_no_more

        write_no_more(sys.stdout, sys.stderr)
        return 0
    except OSError as error:
        from grpolab.launch import disk_failed

        return disk_failed(error)


def _run(args: argparse.Namespace) -> int:
    _use_new_name(args)
    from grpolab import commands
    from grpolab.launch import write_no_more

    if getattr(args, "ssh", False):
        import os

        os.environ["GRPOLAB_SSH"] = "1"  # read where preferences are applied
    try:
        return getattr(commands, args.command or "default")(args)
    except RequestError as error:
        try:
            print(error, file=sys.stderr)
        except BrokenPipeError:
            write_no_more(sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
