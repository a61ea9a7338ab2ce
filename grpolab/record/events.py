"""The vocabulary of a run: one JSON line for each thing that happened, written by the engine alone.

Every event is a frozen record with a `kind`; `codec` writes and reads the lines.
`RunStarted.schema` rises only when an old reader would be wrong. This module imports no torch.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

# --- record ---
# Frozen records whose methods are written once. `dataclass(frozen=True)` writes and compiles
# seven methods for every class: for the vocabulary of a run that is a twentieth of the wait for
# the screen's first frame. Here only the fields are collected; they are a dataclass's, so that
# `fields`, `asdict` and `replace` know them.

C = TypeVar("C", bound="type[Record]")


class Record:
    """Base of what `record` decorates."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _names: ClassVar[tuple[str, ...]] = ()
    _optional: ClassVar[tuple[tuple[str, Any, Any], ...]] = ()  # name, default, factory

    def __init__(self, *values: Any, **named: Any) -> None:
        own = vars(self)
        own.update(zip(self._names, values, strict=False))
        if len(values) > len(self._names) or (values and not own.keys().isdisjoint(named)):
            raise TypeError(f"{type(self).__name__}: a field too many, or given twice")
        own.update(named)
        for name, default, factory in self._optional:
            if name not in own:
                own[name] = default if factory is MISSING else factory()
        if len(own) != len(self._names) or not all(name in own for name in self._names):
            odd = ", ".join(sorted(own.keys() ^ set(self._names)))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {odd}")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._names))

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__qualname__}({told})"


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: C) -> C:
    """Take a class's annotations as the fields of its records, in their order."""
    made = dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
    known = fields(made)
    made._names = tuple(f.name for f in known)
    made._optional = tuple(
        (f.name, f.default, f.default_factory)
        for f in known
        if f.default is not MISSING or f.default_factory is not MISSING
    )
    return made


SCHEMA = 1

CHANNELS = (
    "advantage", "push", "ratio", "clip", "kl", "entropy", "logprob", "value", "return",
)  # fmt: skip
"""Per-token quantities that a `Tokens` event may carry, in the order in which viewers offer
them.

push: −∂loss/∂log π of the newest update times all tokens of the rollout. clip: 1 held at the upper
bound, −1 at the lower, 0 free."""

FOR_THE_LENS = ("log_ratio", "ref_gap")
"""Two more: log π − log π_old and log π_old − log π_ref, small numbers that float16 keeps well;
from them the lens computes a recorded rollout again."""

OWNERS = (
    "backbone", "backbone_copy", "adapters", "critic", "reference", "optimizer", "gradients",
    "kv_cache", "activations", "loss_tiles", "workspace", "fragmentation", "outside", "other",
)  # fmt: skip
"""Who holds memory, in the order in which viewers stack them.

backbone: the weights as loaded. backbone_copy: the weights again, as sampling wants them (adapter
folded in, or dequantized). reference: adapters that only remember. loss_tiles: whatever is as wide
as the vocabulary. workspace: what operations need while they run. fragmentation: kept free by the
allocator. outside: not torch's: interpreter, libraries, on a GPU the context and other processes.
other: what no owner answers for.
"""

MEMORY_PHASES = ("load", "evaluate", "rollout", "score", "update", "forward", "backward", "step")
"""Phases of which the memory is told, in their order. Where microbatches run one after another,
`forward` and `backward` stand in the place of `update`."""

PHASES = (
    "starting", "loading", "evaluating", "sampling", "grading", "scoring", "updating", "waiting",
    "stopping",
)  # fmt: skip


class Event(Record):
    """Base of all events."""

    kind: ClassVar[str]


@record
class RunStarted(Event):
    """First event of a run: everything needed to compute it again."""

    kind: ClassVar[str] = "run"
    schema: int
    run: str  # the run's name, the last part of its directory
    scenario: dict[str, Any]  # complete: defaults filled in, overrides applied
    seed: int
    device: str  # "cpu", "cuda"
    threads: int  # torch threads; part of what the digest depends on
    steps: int
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    started: str = ""  # ISO 8601, UTC
    # bytes by phase and owner, as predicted before anything was loaded
    predicted_memory: dict[str, dict[str, int]] = field(default_factory=dict)


@record
class Resumed(Event):
    """The run goes on from a checkpoint: whatever was recorded for a later step is void."""

    kind: ClassVar[str] = "resumed"
    step: int  # steps that are kept; the next one computed is step + 1
    origin: str = "start"  # of an engine, or "rewind": by hand, in a running one
    before: int = 0  # where a rewind came from


@record
class PhaseChanged(Event):
    kind: ClassVar[str] = "phase"
    phase: str  # one of PHASES
    step: int
    lane: str = ""
    detail: str = ""


@record
class ModelLoaded(Event):
    kind: ClassVar[str] = "model"
    name: str
    architecture: str
    parameters: int
    vocabulary: int
    layers: int
    hidden: int
    dtype: str
    quantize: str
    backend: str  # "native" (own decoder) or "transformers"
    seconds: float
    note: str = ""  # e.g. why the slower path is taken


@record
class LaneOpened(Event):
    """A lane exists: at the start, or forked from another."""

    kind: ClassVar[str] = "lane"
    lane: str
    algorithm: str
    preset: str
    settings: dict[str, Any]
    step: int
    parent: str = ""  # the lane it was forked from
    trainable: int = 0  # adapter parameters


@record
class RolloutStarted(Event):
    """A step begins: its prompts are drawn, answers will stream. Row i answers prompt i //
    group_size."""

    kind: ClassVar[str] = "rollout"
    step: int  # counts from 1
    lane: str
    algorithm: str
    prompts: list[str]
    difficulty: list[str]
    group_size: int
    max_tokens: int


@record
class Sampled(Event):
    """Text that appeared since the last such event: `[row, new text]` pairs; rows in `ended` have
    finished."""

    kind: ClassVar[str] = "sampled"
    step: int
    lane: str
    position: int  # tokens sampled so far by the longest row
    text: list[tuple[int, str]]
    ended: list[int] = field(default_factory=list)


@record
class Graded(Event):
    """All answers of the step, as graded. The lists are indexed by row."""

    kind: ClassVar[str] = "graded"
    step: int
    lane: str
    text: list[str]  # the very string that was graded
    reward: list[float]
    parts: list[dict[str, float]]  # reward by part, weights applied
    correct: list[bool]
    answer: list[str | None]  # what the grader took for the answer
    length: list[int]  # tokens, end token included
    finished: list[bool]  # False: cut at max_tokens
    # per row: (token index of the step's last token, score)
    steps: list[list[tuple[int, float]]] = field(default_factory=list)
    # per prompt, where an algorithm asked for the greedy answer
    greedy_reward: list[float] = field(default_factory=list)


@record
class Tokens(Event):
    """Per-token series of a finished step, packed rows one after another (see `codec.pack`).

    `pieces[row]` are the token texts, `len(pieces[row]) == length[row]`. A channel that the
    algorithm does not have (value without a critic) is absent. `kl` is k3 against the reference;
    `ratio` is the policy after the step's last but one update against the rollout policy, that is,
    the ratio the last update saw.
    """

    kind: ClassVar[str] = "tokens"
    step: int
    lane: str
    pieces: list[list[str]]
    channels: dict[str, str]


@record
class After(Event):
    """What a step's updates have made of its own tokens, measured right after them."""

    kind: ClassVar[str] = "after"
    step: int
    lane: str
    change: str  # packed as a channel: log π after the updates − log π of the rollout policy
    divergence: float = 0.0  # k3 of that, mean per token


@record
class StepDone(Event):
    """One step: rollout, scoring, updates. `metrics` holds plain floats, see `hints.METRICS`."""

    kind: ClassVar[str] = "step"
    step: int
    lane: str
    algorithm: str
    metrics: dict[str, float]
    seconds: dict[str, float]  # rollout, score, update
    updates: int  # optimizer steps made in this step
    tokens: int  # answer tokens sampled in this step
    memory: dict[str, int]  # bytes by owner at this step's peak
    peak_memory: int  # bytes, highest so far in this run
    digest: str  # running sha256, hex
    # bytes by phase and owner, at each phase's peak; `memory` is the phase of the step that held
    # most; loading and evaluations since the step before are here too
    memory_phases: dict[str, dict[str, int]] = field(default_factory=dict)


@record
class Evaluated(Event):
    """Held-out prompts that training never draws."""

    kind: ClassVar[str] = "eval"
    step: int
    lane: str
    accuracy: float  # sampled at the rollout's temperature
    greedy_accuracy: float
    reward: float
    prompts: int
    seconds: float
    length: float = 0.0  # mean tokens
    by_difficulty: dict[str, float] = field(default_factory=dict)


@record
class Switched(Event):
    """The lane changed its algorithm; what was kept and what was reset, in words for the screen."""

    kind: ClassVar[str] = "switch"
    step: int  # steps done when it happened
    lane: str
    before: str
    after: str
    preset: str
    settings: dict[str, Any]
    kept: list[str]
    reset: list[str]
    origin: str  # "cue" or "command"


@record
class SettingChanged(Event):
    kind: ClassVar[str] = "set"
    step: int
    lane: str
    key: str  # "beta", "train.learning_rate", "rollout.temperature"
    before: Any
    after: Any
    origin: str


@record
class CriticChanged(Event):
    """The critic came, warmed up, or went. `explained_variance` is None where it was not measured
    yet."""

    kind: ClassVar[str] = "critic"
    step: int
    lane: str
    state: str  # "cold", "warm", "gone"
    explained_variance: float | None = None
    bytes: int = 0


@record
class LensMade(Event):
    """A step's rollout was looked at under every algorithm; the file holds what was seen."""

    kind: ClassVar[str] = "lens"
    step: int
    lane: str
    path: str  # relative to the run directory; the object of `grpolab lens --json`
    parameters: bool  # the gradients were compared on the adapter's parameters too
    loss: dict[str, float]  # by algorithm


@record
class KlEstimate(Record):
    """One estimator of the KL: its value against the exact one, and its gradient in the loss and
    in the reward against the exact gradient (cosine; distance in lengths of the exact one)."""

    estimator: str
    value: float
    bias: float
    bias_se: float
    std: float  # of one token's estimate
    loss_cosine: float
    loss_error: float
    reward_cosine: float
    reward_error: float


@record
class KlBenched(Event):
    """Estimators of KL(π‖π_ref) on a fresh rollout, beside the exact KL of the same states."""

    kind: ClassVar[str] = "kl-bench"
    step: int
    lane: str
    exact: float  # mean per token
    gradient: float  # norm of its gradient on the adapter's parameters
    tokens: int
    estimates: list[KlEstimate]


@record
class ChatAnswer(Record):
    """One answer to a question of the user's own. The grade is None where the task cannot read the
    question."""

    policy: str  # "now", "reference" or "start"
    text: str
    greedy: bool
    tokens: int
    finished: bool
    reward: float | None = None
    correct: bool | None = None
    answer: str | None = None  # what the grader took for the answer
    detail: str = ""  # the grader's verdict in words


@record
class Chatted(Event):
    """The user asked the policy something; it was answered between two steps and nothing was
    learned from it."""

    kind: ClassVar[str] = "chat"
    step: int
    lane: str
    algorithm: str
    asked: str  # as typed
    prompt: str  # as the policies read it
    temperature: float
    graded: bool
    note: str  # why it was not graded, or how the question was read
    seconds: float
    answers: list[ChatAnswer]


@record
class Checkpointed(Event):
    kind: ClassVar[str] = "checkpoint"
    step: int
    path: str  # relative to the run directory


@record
class Paused(Event):
    kind: ClassVar[str] = "paused"
    step: int
    origin: str = "command"


@record
class Continued(Event):
    kind: ClassVar[str] = "continued"
    step: int


@record
class Refused(Event):
    """A command or cue that could not be carried out, and why; the run goes on."""

    kind: ClassVar[str] = "refused"
    step: int
    command: dict[str, Any]
    reason: str


@record
class Relieved(Event):
    """Memory ran out, and what was done about it; the run goes on."""

    kind: ClassVar[str] = "relieved"
    step: int
    lane: str
    what: str


@record
class Failed(Event):
    """The work failed. `where` is the phase; `trace` stands in engine.log too."""

    kind: ClassVar[str] = "failed"
    step: int
    error: str
    where: str
    trace: str = ""


@record
class Ended(Event):
    """Last event of a stretch of work."""

    kind: ClassVar[str] = "end"
    step: int
    status: str  # "done", "interrupted", "failed"
    seconds: dict[str, float] = field(
        default_factory=dict
    )  # total, startup, rollout, score, update, eval
    digest: str = ""


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunStarted, Resumed, PhaseChanged, ModelLoaded, LaneOpened, RolloutStarted, Sampled,
        Graded, Tokens, StepDone, Evaluated, Switched, SettingChanged, CriticChanged, LensMade,
        After, KlBenched, Chatted, Checkpointed, Paused, Continued, Refused, Relieved, Failed,
        Ended,
    )
}  # fmt: skip


def at_the_peak(phases: dict[str, dict[str, int]]) -> dict[str, int]:
    """Bytes by owner of the phase that held most; every owner is named. Of phases within a
    hundredth of it, the one with most in use: a CPU's allocator keeps what it once had. Loading and
    evaluation lie before the step that tells of them and do not count."""
    phases = {k: v for k, v in phases.items() if k not in ("load", "evaluate")}
    most = max((sum(owners.values()) for owners in phases.values()), default=0)
    high = [owners for owners in phases.values() if sum(owners.values()) >= 0.99 * most]
    used = max(high, key=lambda o: sum(o.values()) - o.get("fragmentation", 0), default={})
    return dict.fromkeys(OWNERS, 0) | used
