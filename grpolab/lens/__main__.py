"""The process behind `grpolab lens`: reads the batch, loads torch, computes, prints.

`python -m grpolab.lens` takes the arguments of `grpolab lens`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from grpolab import cli
from grpolab.errors import RequestError
from grpolab.launch import disk_failed, write_no_more
from grpolab.lens import show
from grpolab.lens.ask import Ask
from grpolab.lens.show import disagreements


def main(argv: Sequence[str]) -> int:
    """The exit code of `grpolab lens` with these arguments."""
    cli.print_anything()
    try:
        ask = Ask.of(cli.parser().parse_args(["lens", *argv]))
        where, batch = ask.batch()
        print(_answer(ask, where, batch))
        sys.stdout.flush()
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `grpolab lens … | head`
        write_no_more(sys.stdout, sys.stderr)
        return 0
    except OSError as error:
        return disk_failed(error)
    except KeyboardInterrupt:
        return 130
    return 0


def _answer(ask: Ask, where: str, batch: dict[str, Any]) -> str:
    import torch

    from grpolab.lens.compute import lens

    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    result = lens(batch, ask.names, ask.preset, ask.settings, ask.explain, where=where)
    parts = []
    if ask.disagree is not None:
        first, second = ask.disagree
        tokens = disagreements(result, first, second)
        result["disagree"] = {"a": first, "b": second, "tokens": tokens}
        parts.append(show.disagreement(result, tokens, first, second))
    if ask.as_json:
        return json.dumps(result, allow_nan=False)  # ASCII: any token can be printed
    if ask.explain is not None:
        parts.insert(0, show.explanation(result, ask.explain))
    return "\n\n".join([show.table(result), *parts])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
