"""A batch from a recorded run: the rollout of one step, as the lens reads it. No torch here.

What is exact: rewards, step rewards, greedy rewards, tokens, lengths. The per-token numbers are
float16 in the run file, 11 significant bits: an old log-probability of −5 is known to ±.002, one
near 0 to about ±3e-8; the difference to the policy now, and to the reference, is recorded on its
own, so a log-ratio of .01 is known to ±4e-6. In a run without those channels the ratio stands in,
known to ±5e-4, and there is no reference. `logprobs` are of the policy that the step's last update
saw, `entropies` as well; `values` are the critic's before the step.

The lens takes the whole rollout as one minibatch and a fresh algorithm: a moving baseline or an
adaptive β begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpolab import codec
from grpolab import events as ev
from grpolab.lens.batch_file import FORMAT
from grpolab.problems import RequestError, nearest
from grpolab.rundir import EVENTS
from grpolab.runlog import RunLog


def from_run(run_dir: Path, step: int | None = None, lane: str | None = None) -> dict[str, Any]:
    """The rollout of a step (default: the newest that is complete) of a lane (default: the first).

    Raises RequestError where the run has no such lane or step, or did not record its tokens.
    """
    path = run_dir / EVENTS
    log = RunLog(path)
    try:
        path.stat()
        while log.read():
            pass
    except OSError as error:
        raise RequestError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    lanes = {name: log.rollouts(of, log.lines) for name, of in log.lanes.items()}
    lanes = {name: found for name, found in lanes.items() if found}
    if lane is None:
        lane = next(iter(lanes), "")
    if lane not in lanes:
        hint = nearest(lane, lanes) if lanes else "; nothing is recorded yet"
        raise RequestError(f"{run_dir}: no lane {lane!r}{hint}")
    of = log.lanes[lane]
    kinds = "graded", "tokens"
    complete = [s for s, at in lanes[lane].items() if all(of.parts[kind][at] for kind in kinds)]
    if not complete:
        raise RequestError(
            f"{run_dir}: lane {lane} has no step with its tokens; record.tokens must be true"
        )
    if step is None:
        step = complete[-1]
    if step not in complete:
        raise RequestError(
            f"{run_dir}: no step {step} in lane {lane}; recorded: {_spans(complete)}"
        )
    at = lanes[lane][step]
    lines = of.rollout_line[at], *(of.parts[kind][at] for kind in kinds)
    started, graded, tokens = (timed and timed[1] for timed in map(log.event, lines))
    log.close()
    try:
        if not (
            isinstance(started, ev.RolloutStarted)
            and isinstance(graded, ev.Graded)
            and isinstance(tokens, ev.Tokens)
        ):
            raise ValueError("its events are damaged")
        return _batch(started, graded, tokens)
    except (ValueError, IndexError, KeyError) as error:
        raise RequestError(f"{path}: step {step} of lane {lane}: {error}") from None


def _batch(started: ev.RolloutStarted, graded: ev.Graded, tokens: ev.Tokens) -> dict[str, Any]:
    lengths = [len(pieces) for pieces in tokens.pieces]
    rows, size = len(lengths), started.group_size
    if not rows == len(graded.reward) == len(started.prompts) * size:
        raise ValueError(f"{rows} rows of tokens, {len(graded.reward)} of rewards")

    def channel(name: str) -> list[list[float]] | None:
        packed = tokens.channels.get(name)
        return None if packed is None else codec.unpack(packed, lengths)

    old, drift, gap = channel("logprob"), channel("log_ratio"), channel("ref_gap")
    if drift is None and (ratios := channel("ratio")) is not None:
        drift = [[math.log(max(r, 1e-8)) for r in row] for row in ratios]
    if old is None or drift is None:
        raise ValueError("its log-probabilities are not recorded")
    value, entropy = channel("value"), channel("entropy")
    samples = []
    for i, pieces in enumerate(tokens.pieces):
        sample: dict[str, Any] = {"tokens": pieces, "reward": graded.reward[i]}
        if graded.steps:
            sample["step_rewards"] = [{"end": e, "reward": r} for e, r in graded.steps[i]]
        sample |= logprobs(old[i], drift[i], None if gap is None else gap[i])
        if value is not None:
            sample["values"] = value[i]
        if entropy is not None:
            sample["entropies"] = [max(x, 0.0) for x in entropy[i]]
        samples.append(sample)
    groups: list[dict[str, Any]] = []
    for p, prompt in enumerate(started.prompts):
        group: dict[str, Any] = {"prompt": prompt, "samples": samples[p * size : (p + 1) * size]}
        if graded.greedy_reward:
            group["greedy_reward"] = graded.greedy_reward[p]
        groups.append(group)
    return {"format": FORMAT, "max_tokens": max(started.max_tokens, *lengths), "groups": groups}


def logprobs(
    old: Sequence[float], drift: Sequence[float], gap: Sequence[float] | None
) -> dict[str, list[float]]:
    """The three log-probabilities of one answer. Where rounding would lift one above 0, all of its
    token move down together: their differences are what was recorded best."""
    gaps = gap or [0.0] * len(old)
    found: dict[str, list[float]] = {"logprobs": [], "old_logprobs": []}
    if gap is not None:
        found["ref_logprobs"] = []
    for was, moved, away in zip(old, drift, gaps, strict=True):
        base = min(was, -moved, away, 0.0)
        found["logprobs"].append(min(base + moved, 0.0))
        found["old_logprobs"].append(base)
        if gap is not None:
            found["ref_logprobs"].append(min(base - away, 0.0))
    return found


def _spans(steps: Sequence[int]) -> str:
    """1, 2, 3, 7 as `1 to 3, 7`."""
    out: list[list[int]] = []
    for step in steps:
        if out and step == out[-1][1] + 1:
            out[-1][1] = step
        else:
            out.append([step, step])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in out)
