"""The family, one file each. A new algorithm is one new file and one line in this table."""

from __future__ import annotations

from grpolab.algorithms.base import Algorithm
from grpolab.algorithms.grpo import Grpo
from grpolab.algorithms.ppo import Ppo
from grpolab.algorithms.reinforce import Reinforce
from grpolab.algorithms.rloo import Rloo

ALGORITHMS: dict[str, type[Algorithm]] = {a.name: a for a in (Reinforce, Rloo, Grpo, Ppo)}
