"""What this machine has, what a run would use, and whether a scenario fits before it is loaded.

`grpolab doctor` prints all of it, `grpolab check` the part about the scenario. No torch here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from grpolab.errors import RequestError
from grpolab.estimate import memory as estimate
from grpolab.estimate.machine import Machine, has_cuda_build, machine
from grpolab.record.events import MEMORY_PHASES
from grpolab.scenario.spec import Scenario

RESERVE = 0.95
"""Share of the free memory that may be filled."""


@dataclass(frozen=True)
class Verdict:
    """A prediction compared with this machine's free memory, in bytes."""

    prediction: estimate.Prediction
    room: int  # 0: not known
    fits: bool | None  # None: not known

    @property
    def data(self) -> dict[str, Any]:
        """For `--json`."""
        p = self.prediction
        return {
            "model": p.model, "architecture": p.architecture, "parameters": p.parameters,
            "device": p.device, "backend": p.backend, "dtype": p.dtype,
            "weight_copy": p.copy, "prompt_tokens": p.prompt_tokens,
            "peak_memory_bytes": p.peak, "memory": p.memory, "memory_phases": p.phases,
            "room_bytes": self.room, "fits": self.fits,
            "saving": asdict(p.saving) if p.saving is not None else None,
        }  # fmt: skip


def judge(scenario: Scenario, device: str = "auto", found: Machine | None = None) -> Verdict:
    """Predict a scenario's memory on `device` and compare. Raises RequestError where the model's
    config is not on this machine."""
    found = found or machine()
    device = chosen(device, found)
    if device == "cuda":
        room = found.gpus[0].free if found.gpus else 0
        whole = found.gpus[0].memory if found.gpus else None
    else:
        room, whole = found.available, None
    prediction = estimate.predict(scenario, device, found.threads, whole)
    return Verdict(prediction, room, prediction.peak <= RESERVE * room if room else None)


def chosen(device: str, found: Machine) -> str:
    """The device that `--device` means here."""
    if device != "auto":
        return device
    return "cuda" if found.gpus and has_cuda_build() is not False else "cpu"


def verdict_lines(verdict: Verdict) -> list[str]:
    """The prediction in words."""
    p = verdict.prediction
    where = "GPU" if p.device == "cuda" else "CPU"
    how = f"{p.backend} decoder" if p.backend == "native" else "transformers and PEFT"
    lines = [
        f"model    {p.model}: {p.architecture}, {p.parameters / 1e6:.1f} M parameters, "
        f"{p.dtype}, {how}" + (", with a bf16 copy for sampling" if p.copy else ""),
        f"peak     {size(p.peak)} on the {where}, predicted for answers of full length",
    ]
    held = sorted(((n, o) for o, n in p.memory.items() if n), reverse=True)
    lines += [f"  {owner:14}{size(n):>10}  {100 * n / p.peak:3.0f}%" for n, owner in held]
    phases = [name for name in MEMORY_PHASES if name in p.phases]
    told = ", ".join(f"{name} {size(sum(p.phases[name].values()))}" for name in phases)
    lines.append(f"phases   {told}")
    if verdict.fits is None:
        lines.append(f"fits     not known: this machine's {where} memory cannot be read")
    else:
        word = "yes" if verdict.fits else "NO"
        lines.append(f"fits     {word}: {size(verdict.room)} free on the {where}")
    if (s := p.saving) is not None:
        lines.append(
            f"saving   {s.key}: {s.after} instead of {s.before} would free {size(s.bytes)}"
        )
    return lines


def doctor(
    scenario: Scenario | None, *, device: str, as_json: bool, found: Machine | None = None
) -> int:
    """Print the machine and the prediction; exit code 1 where the scenario does not fit."""
    found = found or machine()
    verdict, problem = None, ""
    if scenario is not None:
        try:
            verdict = judge(scenario, device, found)
        except RequestError as error:
            problem = str(error)
    if as_json:
        out: dict[str, Any] = {"machine": asdict(found), "device": chosen(device, found)}
        out["scenario"] = scenario.name if scenario is not None else None
        out["prediction"] = verdict.data if verdict is not None else None
        if problem:
            out["problem"] = problem
        print(json.dumps(out, indent=2, ensure_ascii=False))
    else:
        lines = [*_machine_lines(found), f"device   {chosen(device, found)}"]
        if scenario is not None:
            lines += ["", f"scenario {scenario.name}"]
        lines += verdict_lines(verdict) if verdict is not None else [problem] * bool(problem)
        print("\n".join(lines))
    return 1 if verdict is not None and verdict.fits is False else 0


def _memory(m: Machine) -> str:
    if not m.memory:
        return "not known"
    free = f"{size(m.available)} of it available" if m.available else "free memory not known"
    return f"{size(m.memory)}, {free}"


def _machine_lines(m: Machine) -> list[str]:
    features = ", ".join(m.features) or "no fast bf16"
    lines = [
        f"system   {m.system}, Python {m.python}",
        f"CPU      {m.cpu}: {m.cores} cores, {m.threads} threads of the engine; {features}",
        f"memory   {_memory(m)}",
    ]
    lines += [f"GPU      {g.name}: {size(g.memory)}, {size(g.free)} free" for g in m.gpus]
    if not m.gpus:
        lines.append("GPU      none seen")
    elif has_cuda_build() is False:
        lines.append("         but the installed torch is a CPU build")
    return [*lines, "packages " + ", ".join(f"{k} {v}" for k, v in m.versions.items())]


def size(n: float) -> str:
    """Bytes in binary units: 1.8 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n) < 1023.5:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 99.95 else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"
