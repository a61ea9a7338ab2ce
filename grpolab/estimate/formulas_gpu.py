"""Temporary bytes of the half-precision and 4-bit decoder, by phase and owner. No torch here.

Its caches stay from one rollout to the next, unless `copy_weights` is `never`
(`Load.never_copies`). An update takes the most between forward and backward, when all activations
exist: then comes either the loss's tile or the widest layer's backward, whichever takes more.
"""

from __future__ import annotations

from dataclasses import replace

from grpolab.estimate import formulas as f
from grpolab.estimate.formulas import Load
from grpolab.estimate.model_shape import ModelShape

Phases = dict[str, dict[str, int]]

LIBRARIES = 3 * 32 * f.MIB
"""cuBLAS workspaces on Hopper: of forward passes, backward passes and graph capture."""


def passing(m: ModelShape, load: Load) -> Phases:
    """Temporary bytes by phase, for one lane."""
    evaluated = min(load.evaluated, load.rows // 2) if load.never_copies else load.evaluated
    held_out = replace(load, groups=evaluated, rows=2 * evaluated)
    kept = {"kv_cache": 0, "workspace": LIBRARIES if load.cuda else 0}
    if not load.never_copies:
        kept["kv_cache"] = f.kv_cache(m, load)
        kept["workspace"] += buffers(m, load)
    out = {"rollout": sampling(m, load)}
    if evaluated:
        out["evaluate"] = sampling(m, held_out)
    scored = load.micro_rows if load.never_copies else load.chunk_rows
    forward = f.tokens(load, scored) * _wide_forward(m, load)
    out["score"] = _with(kept, _larger(f.loss_tiles(m, load) * 2 // 3, forward))
    out["score"]["activations"] = f.ahead(load, activations(m, load))
    out["update"] = _with(kept, update(m, load))
    learned = 4 * f.trainable(m, load)
    out["step"] = _with(kept, {"gradients": learned, "workspace": learned})
    return out


def update(m: ModelShape, load: Load) -> dict[str, int]:
    """One microbatch, and the gradients of those before. The widest backward is that of the last
    MLP: gradients of gate and up beside these."""
    before = 4 * f.trainable(m, load) if load.micro_rows < load.rows else 0
    flat = f.tokens(load, load.micro_rows)
    backward = flat * 2 * m.inner * load.width
    states = flat * 2 * m.hidden * load.width
    kept = activations(m, load)
    if load.never_copies and load.cuda:
        backward += _layer(m, load)
    return _with(
        {"gradients": before, "activations": kept, "workspace": states},
        _larger(f.loss_tiles(m, load), backward),
    )


def update_bytes(m: ModelShape, load: Load) -> int:
    """Bytes of everything temporary in an update."""
    return sum(update(m, load).values())


def sampling(m: ModelShape, load: Load) -> dict[str, int]:
    """Caches and buffers; then either the prompts' forward, or the logits that follow it: of every
    prompt and of every row."""
    logits = 4 * (load.rows + load.groups) * m.vocabulary
    out = {
        "kv_cache": f.kv_cache(m, load),
        "workspace": buffers(m, load) + (LIBRARIES if load.cuda else 0),
    }
    prompts = load.groups * (load.mean_prompt or load.prompt) * _wide_forward(m, load)
    return _with(out, _larger(logits, prompts))


def buffers(m: ModelShape, load: Load) -> int:
    """The sampler's own: inputs of products, tokens and log-probs."""
    inputs = 3 * m.hidden + m.heads * m.head_dim + m.inner + 4 * 64
    return load.rows * (inputs * load.width + 12 * load.answer)


def activations(m: ModelShape, load: Load) -> int:
    """For each token and layer: normed rows and products' inputs before attention and MLP, queries,
    keys and values as rotated, the attended, gate and up, and their product; the adapter's part of
    four inputs; the softmax's sum; where heads are normed, what came to that, and its scales. After
    the last layer normed rows, the states, and those that predict a token. Where they are computed
    again, the stream between layers and its newest part. With a critic twice."""
    flat = f.tokens(load, load.micro_rows)
    if load.never_copies and load.cuda:
        kept = m.layers * flat * m.hidden * (4 + load.width)
    else:
        kept = m.layers * _layer(m, load)
    return (kept + 4 * flat * m.hidden * load.width) * (2 if load.critic else 1)


def _layer(m: ModelShape, load: Load) -> int:
    """One layer's activations."""
    q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    flat = f.tokens(load, load.micro_rows)
    wide = 4 * m.hidden + 2 * q + 2 * kv + 3 * m.inner + 4 * 64
    scales = m.heads
    if m.normed_heads:
        wide, scales = wide + q + 2 * kv, scales + m.heads + m.kv_heads
    return flat * (wide * load.width + 4 * scales)


def fragmentation(m: ModelShape, load: Load, passing: int) -> int:
    """What the allocator keeps free at the peak: a share of what comes and goes, as measured on an
    H100, and what belongs to captured graphs and their stream, above all logits of every row."""
    return round(0.06 * passing) + 32 * f.MIB + 3 * 4 * load.rows * m.vocabulary


def _wide_forward(m: ModelShape, load: Load) -> int:
    """Bytes a token of the widest place in a forward that keeps nothing: all of one layer, and the
    stream before and in it."""
    q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return (3 * m.inner + 4 * m.hidden + 3 * q + 2 * kv) * load.width + 8 * m.hidden


def _larger(tiles: int, workspace: int) -> dict[str, int]:
    return {"loss_tiles": tiles} if tiles > workspace else {"workspace": workspace}


def _with(some: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {k: some.get(k, 0) + more.get(k, 0) for k in some | more}
