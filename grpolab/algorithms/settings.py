"""Settings that several algorithms have: each is named, described and bounded here once, and an
algorithm states its own default. Those of `Settings` combine with every algorithm."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Beta = Annotated[float, Field(ge=0, description="weight of the KL against the reference; 0: none")]
KlPlace = Annotated[
    Literal["reward", "loss", "none"],
    Field(description="where that KL counts: in each token's reward, in the loss, or nowhere"),
]
KlEstimator = Annotated[
    Literal["k1", "k2", "k3", "unbiased"],
    Field(
        description="which estimate of that KL. In the loss only `unbiased` (k3 weighted with the "
        "ratio) has the KL's gradient, and k2 on-policy; in the reward k1 has it"
    ),
]
ClipLow = Annotated[
    float | None,
    Field(ge=0, le=1, description="ε below 1: the ratio counts down to 1 − ε; none: no bound"),
]
ClipHigh = Annotated[
    float | None, Field(ge=0, description="ε above 1: the ratio counts up to 1 + ε; none: no bound")
]
DualClip = Annotated[
    float | None,
    Field(gt=1, description="c: where Â < 0 the surrogate is at least c·Â; none: no such bound"),
]
Aggregation = Annotated[
    Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"],
    Field(description="how token losses become one number"),
]
Ddof = Annotated[Literal[0, 1], Field(description="0: population std, 1: sample std")]
StdEpsilon = Annotated[float, Field(ge=0, description="added to the std before dividing")]
Baseline = Annotated[
    Literal["none", "batch", "moving"], Field(description="what a reward is compared with")
]
Decay = Annotated[float, Field(ge=0, lt=1, description="memory of the moving baseline")]
Gamma = Annotated[float, Field(ge=0, le=1, description="discount of later rewards")]


class Settings(BaseModel):
    """Base of every algorithm's settings: strict types, unknown names refused, never changed in
    place."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    beta: Beta = 0.0
    kl_place: KlPlace = "loss"
    kl_estimator: KlEstimator = "k3"
    kl_controller: Literal["fixed", "adaptive"] = Field(
        "fixed", description="β stays, or is steered so that the KL nears its target"
    )
    kl_target: float = Field(
        6.0, gt=0, description="the KL that an adaptive β aims at: nats per answer"
    )
    kl_gain: float = Field(0.1, gt=0, description="K_β: how fast an adaptive β moves")
    entropy_bonus: float = Field(
        0.0, ge=0, description="weight of the policy's entropy in the objective"
    )
    top_entropy: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of tokens, highest entropy first, that get a gradient",
    )
    tis_cap: float | None = Field(
        None,
        gt=0,
        description="cap of the weight π_trainer/π_sampler of a token; none: off",
    )
    overlong_buffer: float = Field(
        0.0, ge=0, le=1, description="last share of max_tokens, over which the length penalty rises"
    )
    overlong_penalty: float = Field(
        1.0, ge=0, description="length penalty of an answer of max_tokens"
    )
