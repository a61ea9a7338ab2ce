"""The lens on a live lane: the newest rollout under every algorithm, and on request the gradients'
directions on the adapter's parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grpolab.engine.lane import Lane
from grpolab.engine.microbatches import rows_at_once
from grpolab.engine.rollout import LastStep, graded_steps, greedy_rewards
from grpolab.engine.score import part, score
from grpolab.lens.compute import cosine, lens
from grpolab.record import events as ev

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


def look(lab: Lab, lane: Lane, *, parameters: bool = False) -> ev.LensMade:
    """Write `lens/<step>-<lane>.json` into the run directory: the object of `grpolab lens --json`
    with the `batch` itself, and with `parameter_cosine` if `parameters`.

    The current log-probs are those that the newest update saw; the directions on the parameters
    are taken at the current policy. Raises ValueError before the first step.
    """
    if lane.last_step is None:
        raise ValueError("there is no rollout yet: make a step first")
    lab.phase("scoring", lane, "lens")
    last = lane.last_step
    batch = as_batch(lab, lane, last)
    found = lens(batch, own=last.algorithm, own_preset=last.preset)
    found = {"step": last.step, "lane": lane.name, "current": last.algorithm.name} | found
    found["batch"] = batch  # for a what-if: the run file has these numbers rounded to fp16
    if parameters:
        found["parameter_cosine"] = _on_parameters(lane, last, found)
    path = lab.run_dir / "lens" / f"{last.step}-{_safe(lane.name)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return ev.LensMade(
        step=last.step,
        lane=lane.name,
        path=str(path.relative_to(lab.run_dir)),
        parameters=parameters,
        loss={name: one["loss"] for name, one in found["algorithms"].items()},
    )


def as_batch(lab: Lab, lane: Lane, last: LastStep) -> dict[str, Any]:
    """The lane's last step as a lens batch, with the greedy rewards and graded steps that some
    algorithms need."""
    collected, batch, now = last.collected, last.batch, last.report.logp
    text, size = lab.backbone.text, len(collected.ids) // len(collected.prompts)
    logp = batch.old_logp if now is None else now
    steps = graded_steps(text, collected)
    if batch.greedy_reward is not None:
        greedy = batch.greedy_reward[::size].tolist()
    else:
        greedy = greedy_rewards(lab, lane, last.task, collected.prompts)
    entropy = last.report.entropy if batch.entropy is None else batch.entropy
    ref = batch.ref_logp
    if ref is None:  # the algorithm does without it, so it is still the same
        ref = lane.reference_logp(collected.rollout, last.temperature)
    optional = {
        "ref_logprobs": ref, "values": batch.value, "entropies": entropy,
        "sampler_logprobs": batch.sampler_logp,
    }  # fmt: skip

    def row(x: Tensor, i: int) -> list[float]:
        return x[i, : len(collected.ids[i])].double().tolist()

    def sample(i: int) -> dict[str, Any]:
        out: dict[str, Any] = {
            "tokens": text.pieces(collected.ids[i]),
            "reward": float(batch.reward[i]),
            "step_rewards": [{"end": end, "reward": r} for end, r in steps[i]],
            "logprobs": row(logp, i),
            "old_logprobs": row(batch.old_logp, i),
        }
        return out | {k: row(x, i) for k, x in optional.items() if x is not None}

    return {
        "format": "grpolab.batch/1",
        "max_tokens": batch.max_tokens,
        "groups": [
            {
                "prompt": prompt.text,
                "greedy_reward": greedy[k],
                "samples": [sample(i) for i in range(k * size, (k + 1) * size)],
            }
            for k, prompt in enumerate(collected.prompts)
        ],
    }


def _on_parameters(
    lane: Lane, last: LastStep, found: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Cosine of every two algorithms' gradients with respect to the adapter: the gradient on the
    tokens' log-probs, backpropagated through them. Terms of a critic are left out."""
    tensors = list(lane.optimizer.tensors.values())
    rollout = last.collected.rollout
    names = list(found["algorithms"])
    weights = torch.zeros(len(names), *rollout.mask.shape, device=lane.backbone.device)
    for a, name in enumerate(names):
        groups = found["algorithms"][name]["groups"]
        for i, one in enumerate(s for group in groups for s in group["samples"]):
            weights[a, i, : len(one["gradient"])] = torch.tensor(one["gradient"])

    def work(rows: Tensor) -> Tensor:
        piece, width = part(rollout, rows)
        logp, _ = score(lane.backbone, lane.adapter, piece, last.temperature)
        out = []
        for weight in weights[:, rows, :width]:
            grads = torch.autograd.grad(
                logp, tensors, weight, retain_graph=True, materialize_grads=True
            )
            out.append(torch.cat([g.reshape(-1) for g in grads]))
        return torch.stack(out).double()

    rows = torch.arange(len(rollout.group), device=lane.backbone.device)
    total = torch.stack(lane.workers.map(work, rows.split(rows_at_once(lane, rollout)))).sum(0)
    return cosine(dict(zip(names, total, strict=True)))


def _safe(name: str) -> str:
    """A lane's name with only characters that are safe in a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
