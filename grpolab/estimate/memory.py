"""Predict the memory of a scenario before anything is loaded: bytes by phase and owner. No torch.

The prediction is for answers of full length, `rollout.max_tokens`; shorter ones take less.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from grpolab.estimate import formulas as f
from grpolab.estimate import formulas_gpu
from grpolab.estimate.formulas import Load
from grpolab.estimate.machine import features
from grpolab.estimate.model_shape import ModelShape, read_config
from grpolab.record.events import at_the_peak
from grpolab.scenario.sections import ForkCue, SwitchCue
from grpolab.scenario.spec import Scenario, make_algorithm, make_task

NATIVE = ("llama", "mistral", "qwen2", "qwen3")
"""Model types that our own decoder supports."""

Phases = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Saving:
    """A change of one setting and the bytes that it would free."""

    key: str
    before: Any
    after: Any
    bytes: int


@dataclass(frozen=True)
class Prediction:
    """Bytes by phase and owner; `peak` is the highest phase."""

    model: str
    architecture: str
    parameters: int
    device: str
    backend: str
    dtype: str
    copy: bool  # whether a bf16 copy of the backbone is kept on a GPU
    prompt_tokens: int
    phases: Phases
    saving: Saving | None

    @property
    def memory(self) -> dict[str, int]:
        """Bytes by owner at the peak."""
        return at_the_peak(self.phases)

    @property
    def peak(self) -> int:
        return max(sum(owners.values()) for owners in self.phases.values())


def predict(scenario: Scenario, device: str, threads: int, room: int | None = None) -> Prediction:
    """Predict the memory of a scenario on "cpu" or "cuda". `room`: total bytes of the GPU, which
    decide whether a bf16 copy of the backbone is kept. Raises RequestError where the model's config
    is not on this machine."""
    config = read_config(scenario.model.path)
    shape = ModelShape.of(config)
    prompt = prompt_tokens(scenario, shape)
    loads, phases = _settled(scenario, config, shape, prompt, device, threads, room)
    first = loads[0]
    peak = _highest(phases)
    return Prediction(
        model=scenario.model.path,
        architecture=shape.architecture,
        parameters=shape.parameters,
        device=device,
        backend="native" if first.native else "transformers",
        dtype="bfloat16" if first.cuda else "float32",
        copy=first.copy,
        prompt_tokens=prompt,
        phases=phases,
        saving=_saving(scenario, config, shape, prompt, device, threads, room, peak),
    )


def _highest(phases: Phases) -> int:
    return max(sum(owners.values()) for owners in phases.values())


def _settled(
    scenario: Scenario, config: Mapping[str, Any], shape: ModelShape, prompt: int, device: str,
    threads: int, room: int | None,
) -> tuple[list[Load], Phases]:  # fmt: skip
    """The lanes' loads, with a copy of the backbone where it fits, and the phases."""
    loads = _loads(scenario, config, shape, prompt, device, threads)
    phases = by_phase(shape, loads)
    if loads[0].half and scenario.model.copy_weights != "never":
        with_copy = [replace(load, copy=True) for load in loads]
        size = f.backbone_copy(shape, with_copy[0])
        if room is None or size <= room // 2 or scenario.model.copy_weights == "always":
            return with_copy, by_phase(shape, with_copy)
    return loads, phases


def is_native(config: Mapping[str, Any], scenario: Scenario) -> bool:
    """Whether our own decoder runs the model."""
    return config.get("model_type") in NATIVE and scenario.model.quantize != "int8"


def prompt_tokens(scenario: Scenario, shape: ModelShape) -> int:
    """Tokens of the longest of 32 sample prompts: one per character for a vocabulary of characters,
    else one per 3.5 characters plus a chat template."""
    return max(_prompts(scenario, shape))


def _prompts(scenario: Scenario, shape: ModelShape) -> list[int]:
    task, rng = make_task(scenario.task), random.Random(scenario.seed)
    letters = [len(task.draw(rng, held_out=False).text) for _ in range(32)]
    if shape.vocabulary < f.LARGE_VOCABULARY:
        return letters
    return [round(count / 3.5) + 30 for count in letters]


def _loads(
    scenario: Scenario, config: Mapping[str, Any], shape: ModelShape, prompt: int, device: str,
    threads: int,
) -> list[Load]:  # fmt: skip
    """One load per lane, with everything that its algorithms will need over the run."""
    algorithms = {lane.name: [lane.algorithm] for lane in scenario.lanes}
    for cue in sorted(scenario.cues, key=lambda c: c.at):
        if isinstance(cue, SwitchCue):
            for name in [cue.lane] if cue.lane else list(algorithms):
                algorithms[name].append(cue.algorithm)
        elif isinstance(cue, ForkCue):
            source = algorithms[cue.lane or next(iter(algorithms))]
            algorithms[cue.name] = [cue.algorithm or source[-1]]
    model, rollout, targets = scenario.model, scenario.rollout, scenario.model.lora.targets
    named = None if targets == "all-linear" else [targets] if isinstance(targets, str) else targets
    mean = round(statistics.fmean(_prompts(scenario, shape)))
    loads = []
    for sections in algorithms.values():
        made = [make_algorithm(s) for s in sections]
        loads.append(
            Load(
                cuda=device == "cuda", native=is_native(config, scenario),
                quantize=model.quantize, copy=False, rank=model.lora.rank, targets=named,
                groups=rollout.prompts, rows=rollout.prompts * rollout.group_size, prompt=prompt,
                answer=min(rollout.max_tokens, max(1, shape.longest - prompt)),
                microbatch=_rows(scenario, device, prompt), threads=threads,
                learned_in=_learned_in(scenario, config),
                critic=model.critic if any(a.needs_critic for a in made) else None,
                minibatches=scenario.train.minibatches,
                remembers=int(any(a.needs_kl_to_rollout for a in made))
                + any(a.renews_reference for a in made),
                never_copies=model.never_copies, evaluated=scenario.evaluate.prompts,
                panel=_panel(),
            )
        )  # fmt: skip
    # where no row is padded
    return [replace(load, mean_prompt=mean) if load.half else load for load in loads]


def _learned_in(scenario: Scenario, config: Mapping[str, Any]) -> int:
    """Bytes per element in the products of training on a CPU. `auto` is decided by a measurement
    when the model is loaded; before that, bf16 is assumed where the processor has it."""
    if scenario.model.compute != "auto":
        return 2 if scenario.model.compute == "bfloat16" else 4
    stored = config.get("dtype") or config.get("torch_dtype")
    has_it = any(feature.endswith("bf16") for feature in features())
    return 2 if has_it and stored != "bfloat16" else 4


def _panel() -> int:
    """Outputs per panel of the sampler's weights: three of this CPU's fp32 vectors."""
    known = features()
    return 3 * (16 if "AVX-512" in known else 8 if "AVX2" in known else 4)


def _rows(scenario: Scenario, device: str, prompt: int) -> int:
    """Rows of a microbatch. `auto`: all rows on a GPU, fewer where they do not fit or with
    `model.copy_weights: never`."""
    if scenario.train.microbatch != "auto":
        return scenario.train.microbatch
    if device != "cuda":
        return f.CPU_MICROBATCH
    rollout = scenario.rollout
    if scenario.model.never_copies:
        return max(1, f.FRUGAL_TOKENS // (prompt + rollout.max_tokens))
    return rollout.prompts * rollout.group_size


def by_phase(shape: ModelShape, loads: list[Load]) -> Phases:
    """Bytes of what all lanes keep and, by phase, of what the lane with the most needs while it
    runs."""
    first = loads[0]
    lasting = {
        "backbone": f.backbone(shape, first),
        "backbone_copy": _copies(shape, loads),
        "adapters": sum(f.adapters(shape, load) for load in loads) + f.placed(shape, first),
        "critic": sum(f.critic(shape, load) for load in loads),
        "reference": sum(f.reference(shape, load) for load in loads),
        "optimizer": sum(f.optimizer(shape, load) for load in loads),
    }
    passing = [_passing(shape, load) for load in loads]
    out: Phases = {}
    for phase in passing[0]:
        most = max((p[phase] for p in passing), key=lambda owners: sum(owners.values()))
        out[phase] = lasting | most
        out[phase]["outside"] = f.outside(first)
        free = formulas_gpu.fragmentation if first.half and first.cuda else f.fragmentation
        out[phase]["fragmentation"] = free(shape, first, sum(most.values()))
    return out


def _copies(shape: ModelShape, loads: list[Load]) -> int:
    """On a CPU each lane has its own copy, with its adapter folded in."""
    if loads[0].half:
        return f.backbone_copy(shape, loads[0])
    return sum(f.backbone_copy(shape, load) for load in loads)


def _passing(shape: ModelShape, load: Load) -> Phases:
    """Temporary bytes by phase."""
    if load.half:
        return formulas_gpu.passing(shape, load)
    held_out = replace(
        load, groups=load.evaluated, rows=2 * load.evaluated, chunk=2 * f.CHUNK
    )  # each prompt sampled, and answered greedily
    evaluate = {"evaluate": _sampling(shape, held_out)} if load.evaluated else {}
    return evaluate | {
        "rollout": _sampling(shape, load),
        "score": {
            "activations": f.ahead(load, f.activations(shape, load)),
            "workspace": f.score_workspace(shape, load),
            "loss_tiles": f.loss_tiles(shape, load),
        },
        "update": {
            "gradients": f.gradients(shape, load),
            "activations": f.activations(shape, load),
            "loss_tiles": f.loss_tiles(shape, load),
            "workspace": f.update_workspace(shape, load),
        },
        "step": {
            "gradients": 4 * f.trainable(shape, load),
            "workspace": f.step_workspace(shape, load),
        },
    }


def _sampling(shape: ModelShape, load: Load) -> dict[str, int]:
    return {
        "kv_cache": f.kv_cache(shape, load),
        "loss_tiles": f.sampling_tiles(shape, load),
        "workspace": f.sampling_workspace(shape, load),
    }


# --- the one setting that would free the most ---


def _saving(
    scenario: Scenario, config: Mapping[str, Any], shape: ModelShape, prompt: int, device: str,
    threads: int, room: int | None, peak: int,
) -> Saving | None:  # fmt: skip
    best: Saving | None = None
    for key, before, after in _choices(scenario, device, prompt):
        changed = _with(scenario, key, after)
        _, phases = _settled(changed, config, shape, prompt, device, threads, room)
        freed = peak - _highest(phases)
        if freed > 0 and (best is None or freed > best.bytes):
            best = Saving(key, before, after, freed)
    return best


def _choices(scenario: Scenario, device: str, prompt: int) -> list[tuple[str, Any, Any]]:
    model, rollout, rows = scenario.model, scenario.rollout, _rows(scenario, device, prompt)
    out: list[tuple[str, Any, Any]] = []
    for key, value in (
        ("train.microbatch", rows), ("rollout.max_tokens", rollout.max_tokens),
        ("model.lora.rank", model.lora.rank),
    ):  # fmt: skip
        if value > 1:
            out.append((key, value, value // 2))
    if device == "cuda" and model.quantize == "none" and model.critic != "full":
        out.append(("model.quantize", "none", "nf4"))
    if model.critic == "full":
        out.append(("model.critic", "full", "adapter"))
    return out


def _with(scenario: Scenario, key: str, value: Any) -> Scenario:
    """The scenario with one key changed."""
    section, _, rest = key.partition(".")
    part = getattr(scenario, section)
    if "." in rest:
        inner, _, name = rest.partition(".")
        value = getattr(part, inner).model_copy(update={name: value})
        rest = inner
    return scenario.model_copy(update={section: part.model_copy(update={rest: value})})
