"""The events of a run: what the engine writes to events.jsonl, one JSON line for each.

Every event is a frozen record with a `kind`; `codec` writes and reads the lines. First the base of
these records, then the names that events use (channels, memory owners, phases), then the events,
from `RunStarted` on. A step is `RolloutStarted`, `Sampled`, `Graded`, `Tokens`, `StepDone`.
`RunStarted.schema` rises only when an old reader would be wrong. No torch here.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

C = TypeVar("C", bound="type[Record]")


class Record:
    """Base of what `record` decorates: a frozen record whose methods are written once, here.

    `dataclass(frozen=True)` generates and compiles seven methods for every class, which for all
    events takes a twentieth of the time to the screen's first frame. Here only the fields are
    collected; they are dataclass fields, so `fields`, `asdict` and `replace` work.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _names: ClassVar[tuple[str, ...]] = ()
    _optional: ClassVar[tuple[tuple[str, Any, Any], ...]] = ()  # name, default, factory

    def __init__(self, *values: Any, **named: Any) -> None:
        own = vars(self)
        own.update(zip(self._names, values, strict=False))
        if len(values) > len(self._names) or (values and not own.keys().isdisjoint(named)):
            raise TypeError(f"{type(self).__name__}: too many fields, or one given twice")
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
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__qualname__}({values})"


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: C) -> C:
    """Make the annotations of a class the fields of its records, in their order."""
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

push: what the screen calls grad weight: −∂loss/∂log π of the newest update times the tokens of the
rollout. clip: 1 clipped at the upper bound, −1 at the lower, 0 not clipped."""

FOR_THE_LENS = ("log_ratio", "ref_gap")
"""Two more channels: log π − log π_old and log π_old − log π_ref. They are small, so float16 keeps
them precisely; from them the lens recomputes a recorded rollout."""

OWNERS = (
    "backbone", "backbone_copy", "adapters", "critic", "reference", "optimizer", "gradients",
    "kv_cache", "activations", "loss_tiles", "workspace", "fragmentation", "outside", "other",
)  # fmt: skip
"""Owners of memory, in the order in which viewers stack them.

backbone: the weights as loaded. backbone_copy: the weights again for sampling (adapter folded in,
or dequantized). reference: frozen adapters of the reference policy. loss_tiles: tensors as wide as
the vocabulary. workspace: temporary buffers of operations. fragmentation: reserved by the allocator
but unused. outside: non-model memory, not torch's: interpreter, libraries, on a GPU the CUDA
context and other processes. other: not attributed to an owner.
"""

MEMORY_PHASES = ("load", "evaluate", "rollout", "score", "update", "forward", "backward", "step")
"""Phases whose memory is reported, in their order. Where microbatches run one after another,
`forward` and `backward` take the place of `update`."""

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
    """The run continues from a checkpoint: what was recorded of later steps is discarded."""

    kind: ClassVar[str] = "resumed"
    step: int  # steps that are kept; the next one computed is step + 1
    origin: str = "start"  # "start" of an engine, or "rewind" in a running one
    before: int = 0  # the step that was current before a rewind


@record
class PhaseChanged(Event):
    """The engine began another kind of work."""

    kind: ClassVar[str] = "phase"
    phase: str  # one of PHASES
    step: int
    lane: str = ""
    detail: str = ""


@record
class ModelLoaded(Event):
    """The backbone is loaded."""

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
    note: str = ""  # e.g. why a slower backend is used


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
    """A step begins: its prompts are drawn, answers will stream. Row i answers prompt
    i // group_size."""

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
    """New text since the last such event as `[row, text]` pairs; the rows in `ended` are
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
    text: list[str]  # exactly the string that was graded
    reward: list[float]
    parts: list[dict[str, float]]  # reward by part, weights applied
    correct: list[bool]
    answer: list[str | None]  # the parsed answer
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
    algorithm does not have (value without a critic) is absent. `kl` is k3 to the reference; `ratio`
    is the probability ratio that the step's last update used: the policy before that update over
    the rollout policy.
    """

    kind: ClassVar[str] = "tokens"
    step: int
    lane: str
    pieces: list[list[str]]
    channels: dict[str, str]


@record
class After(Event):
    """Log-probs of a step's tokens under the policy after its updates."""

    kind: ClassVar[str] = "after"
    step: int
    lane: str
    change: str  # packed as a channel: log π after the updates − log π of the rollout policy
    divergence: float = 0.0  # k3 of that, mean per token


@record
class StepDone(Event):
    """One finished step: rollout, scoring, updates. `metrics` are explained in
    `analysis.metric_help`."""

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
    # bytes by phase and owner at each phase's peak; `memory` is the phase with the highest one;
    # loading and evaluations since the previous step are included here
    memory_phases: dict[str, dict[str, int]] = field(default_factory=dict)


@record
class Evaluated(Event):
    """An evaluation on test prompts, which training never draws."""

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
    """The lane changed its algorithm; `kept` and `reset` say in words what became of its state."""

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
    """A setting of a lane, or of the whole lab, has a new value."""

    kind: ClassVar[str] = "set"
    step: int
    lane: str
    key: str  # "beta", "train.learning_rate", "rollout.temperature"
    before: Any
    after: Any
    origin: str


@record
class CriticChanged(Event):
    """A critic was added, is warmed up, or was removed. `explained_variance` is None until it is
    measured."""

    kind: ClassVar[str] = "critic"
    step: int
    lane: str
    state: str  # "cold", "warm", "gone"
    explained_variance: float | None = None
    bytes: int = 0


@record
class LensMade(Event):
    """A step's rollout was scored under every algorithm; the result is in a file."""

    kind: ClassVar[str] = "lens"
    step: int
    lane: str
    path: str  # relative to the run directory; the object of `grpolab lens --json`
    parameters: bool  # gradients were compared on the adapter's parameters too
    loss: dict[str, float]  # by algorithm


@record
class KlEstimate(Record):
    """One estimator of the KL: its value against the exact one, and its gradient, used in the loss
    and in the reward, against the exact gradient (cosine; distance relative to its norm)."""

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
    """Estimators of KL(π‖π_ref) on a fresh rollout, and the exact KL of the same states."""

    kind: ClassVar[str] = "kl-bench"
    step: int
    lane: str
    exact: float  # mean per token
    gradient: float  # norm of its gradient on the adapter's parameters
    tokens: int
    estimates: list[KlEstimate]


@record
class ChatAnswer(Record):
    """One answer to a question of the user. The grade is None where the task cannot parse the
    question."""

    policy: str  # "now", "reference" or "start"
    text: str
    greedy: bool
    tokens: int
    finished: bool
    reward: float | None = None
    correct: bool | None = None
    answer: str | None = None  # the parsed answer
    detail: str = ""  # the grade in words


@record
class Chatted(Event):
    """The user asked the policy something; it was answered between two steps, without training on
    it."""

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
    """A checkpoint was written: the run can resume here."""

    kind: ClassVar[str] = "checkpoint"
    step: int
    path: str  # relative to the run directory


@record
class Paused(Event):
    """Training waits, until it is continued."""

    kind: ClassVar[str] = "paused"
    step: int
    origin: str = "command"


@record
class Continued(Event):
    """Training continues after a pause."""

    kind: ClassVar[str] = "continued"
    step: int


@record
class Refused(Event):
    """A command or cue that could not be carried out, and why; the run continues."""

    kind: ClassVar[str] = "refused"
    step: int
    command: dict[str, Any]
    reason: str


@record
class Relieved(Event):
    """Memory ran out, and what was done about it; the run continues."""

    kind: ClassVar[str] = "relieved"
    step: int
    lane: str
    what: str


@record
class Failed(Event):
    """The run failed. `where` is the phase; `trace` is in engine.log too."""

    kind: ClassVar[str] = "failed"
    step: int
    error: str
    where: str
    trace: str = ""


@record
class Ended(Event):
    """The last event that an engine writes."""

    kind: ClassVar[str] = "end"
    step: int
    status: str  # "done", "interrupted", "failed"
    # total, startup, rollout, score, update, eval
    seconds: dict[str, float] = field(default_factory=dict)
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
    """Bytes by owner of the phase with the highest total; every owner has a value. Of phases within
    1 % of it, the one with most in use is taken, because a CPU allocator keeps what it once had.
    Loading and evaluation come before the step that reports them and do not count."""
    phases = {k: v for k, v in phases.items() if k not in ("load", "evaluate")}
    most = max((sum(owners.values()) for owners in phases.values()), default=0)
    high = [owners for owners in phases.values() if sum(owners.values()) >= 0.99 * most]
    used = max(high, key=lambda o: sum(o.values()) - o.get("fragmentation", 0), default={})
    return dict.fromkeys(OWNERS, 0) | used
