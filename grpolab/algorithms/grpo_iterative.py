"""Iterative GRPO: at regular intervals the reference is replaced by the current policy.

Paper    Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, §4.1.4 and Algorithm 1
Formula  Â and J unchanged from GRPO, so both are inherited; π_ref ← π after every
         `iteration_steps` steps
Differs  the paper's outer loop also continues training the reward model with 10 % replay; rewards
         here are computed by rules, so there is none to train.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms.base import Batch, Report, Settings
from grpolab.algorithms.grpo import Grpo, GrpoSettings


class GrpoIterativeSettings(GrpoSettings):
    iteration_steps: int = Field(
        20, ge=1, description="steps after which the reference becomes the policy"
    )


class GrpoIterative(Grpo):
    name = "grpo-iterative"
    title = "Iterative GRPO"
    paper = "arXiv 2402.03300, §4.1.4, Algorithm 1"
    formula = Grpo.formula + "\nπ_ref = π, every few steps"
    lineage = (("grpo", "the reference is renewed, so the KL is measured from there"),)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}  # nobody else has it
    Settings = GrpoIterativeSettings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.since = 0  # steps since the reference was renewed

    @property
    def renews_reference(self) -> bool:
        return True

    def observe(self, batch: Batch, report: Report) -> None:
        super().observe(batch, report)
        self.since += 1

    def wants_new_reference(self) -> bool:
        if self.since < self.settings.iteration_steps:
            return False
        self.since = 0
        return True

    def state(self) -> dict[str, float]:
        return super().state() | {"since": float(self.since)}

    def load_state(self, state: dict[str, float]) -> None:
        super().load_state(state)
        self.since = int(state.get("since", 0))
