"""The family, one file each. A new algorithm is one new file and one line in this table."""

from __future__ import annotations

from grpolab.algorithms.base import Algorithm
from grpolab.algorithms.cispo import Cispo
from grpolab.algorithms.dapo import Dapo
from grpolab.algorithms.dr_grpo import DrGrpo
from grpolab.algorithms.gmpo import Gmpo
from grpolab.algorithms.grpo import Grpo
from grpolab.algorithms.grpo_iterative import GrpoIterative
from grpolab.algorithms.grpo_process import GrpoProcess
from grpolab.algorithms.gspo import Gspo
from grpolab.algorithms.gspo_token import GspoToken
from grpolab.algorithms.is_pg import IsPg
from grpolab.algorithms.kimi_md import KimiMd
from grpolab.algorithms.maxrl import MaxRl
from grpolab.algorithms.opo import Opo
from grpolab.algorithms.ppo import Ppo
from grpolab.algorithms.ppo_adaptive_kl import PpoAdaptiveKl
from grpolab.algorithms.ppo_kl import PpoKl
from grpolab.algorithms.raft import Raft
from grpolab.algorithms.reinforce import Reinforce
from grpolab.algorithms.reinforce_pp import ReinforcePp
from grpolab.algorithms.reinforce_pp_baseline import ReinforcePpBaseline
from grpolab.algorithms.remax import Remax
from grpolab.algorithms.rloo import Rloo
from grpolab.algorithms.sapo import Sapo
from grpolab.algorithms.trpo import Trpo
from grpolab.algorithms.vapo import Vapo
from grpolab.algorithms.vc_ppo import VcPpo

# in the order in which the ideas came
FAMILY: tuple[type[Algorithm], ...] = (
    Reinforce, IsPg, Remax, Rloo, Raft, Opo, ReinforcePp, ReinforcePpBaseline,
    Trpo, PpoKl, PpoAdaptiveKl, Ppo, VcPpo, Vapo,
    Grpo, GrpoProcess, GrpoIterative, DrGrpo, Dapo, Gspo, GspoToken, Cispo, Gmpo, Sapo, KimiMd,
    MaxRl,
)  # fmt: skip

ALGORITHMS: dict[str, type[Algorithm]] = {a.name: a for a in FAMILY}
