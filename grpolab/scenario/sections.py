"""The sections of a scenario file: strict types, defaults, and unknown keys refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """Base of all sections: unknown keys are refused, values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class LoraSection(Strict):
    rank: int = Field(default=16, ge=1, description="rank of the adapters")
    alpha: float = Field(default=32.0, gt=0, description="scale of the adapters: alpha / rank")
    targets: str | list[str] = Field(
        default="all-linear", description="module names, or all-linear"
    )


class ModelSection(Strict):
    path: str = Field(
        default="embedded", description="embedded, a folder, or a hub id of a causal LM"
    )
    quantize: Literal["none", "nf4", "int8"] = Field(
        default="none", description="weights of the frozen backbone"
    )
    compute: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="dtype of matrix products in training on a CPU; auto: float32, or bfloat16 "
        "where that is measured to be faster",
    )
    copy_weights: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="nf4 on a GPU: keep a dequantized bf16 copy (faster), or never (less memory)",
    )
    lora: LoraSection = LoraSection()
    critic: Literal["adapter", "full"] = Field(
        default="adapter", description="second adapter, or a whole second model"
    )

    @property
    def never_copies(self) -> bool:
        """Whether 4-bit weights never get a copy (`copy_weights: never`): memory comes first, and
        everything that can be recomputed is recomputed."""
        return self.quantize == "nf4" and self.copy_weights == "never"


class RolloutSection(Strict):
    prompts: int = Field(default=8, ge=1, description="prompts per step")
    group_size: int = Field(default=8, ge=1, description="answers to each prompt")
    max_tokens: int = Field(
        default=96, ge=1, description="longest answer in tokens, end token included"
    )
    temperature: float = Field(default=1.0, gt=0, description="of the sampling distribution")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus; 1 keeps every token")


class TrainSection(Strict):
    steps: int = Field(default=60, ge=0, description="steps of the run")
    updates_per_rollout: int = Field(default=2, ge=1, description="μ: passes over each rollout")
    minibatches: int = Field(default=1, ge=1, description="optimizer steps of one pass")
    learning_rate: float | None = Field(
        default=None, gt=0, description="of the policy adapter (AdamW); none: the algorithm's own"
    )
    critic_learning_rate: float = Field(default=1e-3, gt=0, description="of the critic")
    schedule: Literal["constant", "linear"] = Field(
        default="linear",
        description="learning rates stay constant, or decay linearly to a tenth at the last step",
    )
    warmup_updates: int = Field(
        default=4,
        ge=0,
        description="updates of learning-rate warm-up, at the start and after a switch",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's")
    max_grad_norm: float = Field(
        default=0.1, gt=0, description="gradient clipping: larger norms are scaled down to this"
    )
    microbatch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="rows of one forward and backward pass; auto: on a GPU as many as fit, else 32",
    )
    checkpoint_every: int = Field(default=10, ge=1, description="steps between checkpoints")


class EvaluateSection(Strict):
    every: int = Field(default=12, ge=1, description="steps between evaluations")
    prompts: int = Field(default=128, ge=1, description="test prompts of one evaluation")


class RecordSection(Strict):
    tokens: bool = Field(default=True, description="record per-token channels in the run file")
    tokens_every: int = Field(
        default=1, ge=1, description="record them every this many steps; 1: every step"
    )
    stream: bool = Field(default=True, description="record partial text while sampling")
    after: bool = Field(
        default=False,
        description="measure log-probs again after each step's updates, for slow motion: one more "
        "forward pass per step",
    )
    reference_every: int = Field(
        default=4,
        ge=0,
        description="steps between measurements of the KL to reference for algorithms that do not "
        "need it; 0: none",
    )


class RewardSection(BaseModel):
    """A reward by name, with its own options besides `name` and `weight`."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)
    name: str
    weight: float = 1.0


class TaskSection(BaseModel):
    """A task by name, with its own options."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)
    name: str = "sums"


class AlgorithmSection(BaseModel):
    """An algorithm by name, with its own settings, which take precedence over the preset's."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)
    name: str
    preset: str = "paper"


class LaneSection(Strict):
    name: str = Field(default="main", min_length=1, description="the lane's name")
    algorithm: AlgorithmSection


class SwitchCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["switch"]
    algorithm: AlgorithmSection
    lane: str | None = Field(default=None, description="which lane; none: every lane")


class SetCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["set"]
    key: str = Field(
        description="an algorithm setting, or train.…, rollout.…, task.…, evaluate.…, record.…, "
        "rewards.NAME.weight"
    )
    value: bool | int | float | str | list[int | float] | None
    lane: str | None = None


class ForkCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["fork"]
    name: str = Field(min_length=1, description="the new lane's name")
    algorithm: AlgorithmSection | None = Field(default=None, description="none: the same algorithm")
    lane: str | None = Field(default=None, description="which lane to fork; none: the first")


class LensCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["lens"]
    lane: str | None = Field(default=None, description="which lane; none: every lane")
    parameters: bool = Field(
        default=False, description="also compare the gradients on the adapter's parameters"
    )


class KlBenchCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["kl-bench"]
    lane: str | None = Field(default=None, description="which lane; none: every lane")


class ChatCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["chat"]
    text: str = Field(min_length=1, max_length=4000, description="what the policy is asked")
    lane: str | None = Field(default=None, description="which lane; none: every lane")
    samples: int = Field(default=2, ge=0, le=16, description="answers at the rollout's temperature")
    greedy: bool = Field(default=True, description="the greedy answer too")
    turn: int = Field(default=0, ge=0, description="another turn samples other answers")

    @model_validator(mode="after")
    def _some(self) -> ChatCue:
        if not self.samples and not self.greedy:
            raise ValueError("samples: ask for at least one answer, or for the greedy one")
        return self


class AfterCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["after"]
    lane: str | None = Field(default=None, description="which lane; none: every lane")


class SimpleCue(Strict):
    at: int = Field(ge=0, description="after this many steps")
    do: Literal["pause", "evaluate", "checkpoint"]


Cue = Annotated[
    SwitchCue | SetCue | ForkCue | LensCue | AfterCue | KlBenchCue | ChatCue | SimpleCue,
    Field(discriminator="do"),
]
