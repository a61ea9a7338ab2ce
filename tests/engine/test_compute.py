"""The dtype of learning on a CPU: as asked, chosen and recorded, near the sampler; the reference's
scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grpolab.engine.backbone.cpu import compute
from grpolab.engine.backbone.load import load_backbone
from grpolab.headless.rerun import scenario_of
from grpolab.launch import Engine
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.scenario.spec import ModelSection, build
from tests.engine.conftest import OpenLab, finish, only, tiny

CPU = torch.device("cpu")


def test_auto_takes_the_clearly_faster_one(monkeypatch):
    weight = torch.randn(64, 32)
    times = {torch.float32: 1.0, torch.bfloat16: 0.5}
    monkeypatch.setattr(compute, "fast_half", lambda: True)
    monkeypatch.setattr(compute, "_seconds", lambda w, dtype: times[dtype])
    assert compute.choose("auto", weight) == torch.bfloat16
    assert compute.choose("float32", weight) == torch.float32
    assert compute.choose("auto", weight.bfloat16().float()) == torch.float32  # holds no adapter
    times[torch.bfloat16] = 0.9
    assert compute.choose("auto", weight) == torch.float32
    assert compute.choose("bfloat16", weight) == torch.bfloat16
    times[torch.bfloat16] = 0.1
    monkeypatch.setattr(compute, "fast_half", lambda: False)  # as on a CPU without AVX-512
    assert compute.choose("auto", weight) == torch.float32
    assert compute.choose("bfloat16", weight) == torch.bfloat16


def test_in_bf16_the_sampler_stays_near_the_trainer_and_says_how_near(open_lab: OpenLab):
    gaps = {}
    for dtype in ("float32", "bfloat16"):
        plan = tiny(model={"compute": dtype}, rollout={"max_tokens": 16})
        lab, seen = open_lab(plan)
        assert lab.backbone.dtype == dtype
        lab.advance()
        gaps[dtype] = only(seen, ev.StepDone)[0].metrics["sampler_gap"]
    assert gaps["float32"] < 1e-5
    assert gaps["float32"] < gaps["bfloat16"] < 2e-3


@pytest.mark.parametrize("policy", ["small", pytest.param("embedded", marks=pytest.mark.slow)])
def test_in_bf16_the_digest_is_the_same_on_any_number_of_threads(
    policy: str, open_lab: OpenLab, open_small: OpenLab, tmp_path: Path
):
    short = {"prompts": 20, "max_tokens": 6}  # without AVX-512 bf16 is slow
    how = {"model": {"compute": "bfloat16"}, "rollout": short, "train": {"steps": 1}}
    found = set()
    for n in (1, 3) if policy == "small" else (1, 2, 3):
        where: dict[str, Any] = {"threads": n, "folder": tmp_path / f"{n}"}
        lab, _ = open_small(**how, **where) if policy == "small" else open_lab(tiny(**how), **where)
        assert lab.backbone.dtype == "bfloat16"
        found.add(finish(lab))
    assert len(found) == 1


def test_what_auto_chose_is_recorded_and_taken_again(tmp_path: Path):
    plan = tiny(model={"compute": "auto"}, train={"steps": 1})
    engine = Engine.start(directory.create(plan, tmp_path / "run"), threads=1)
    assert engine.wait(120) == 0, engine.log_tail()
    from grpolab.record.tail import read

    events = read(engine.run_dir / directory.EVENTS)
    (loaded,) = (e for _, e in events if isinstance(e, ev.ModelLoaded))
    auto = load_backbone(ModelSection(), CPU).dtype
    assert loaded.dtype in ("float32", "bfloat16") and auto in ("float32", "bfloat16")
    assert directory.recorded_dtype(events) == loaded.dtype
    assert build(scenario_of(events)).model.compute == loaded.dtype
    other = {"float32": "bfloat16", "bfloat16": "float32"}[loaded.dtype]
    for i, (t, e) in enumerate(events):  # as another machine would have recorded it
        if isinstance(e, ev.ModelLoaded):
            changed = ev.ModelLoaded(**{**e.__dict__, "dtype": other})
            events[i] = (t, changed)
    assert build(scenario_of(events)).model.compute == other
    assert directory.recorded_dtype([]) is None


@pytest.mark.parametrize(
    ("every", "measured"),
    [(4, [1, 5]), pytest.param(1, [1, 2, 3, 4, 5], marks=pytest.mark.slow), (0, [])],
)
def test_the_reference_is_scored_where_it_is_due(every, measured, open_small: OpenLab):
    algorithm, record = {"name": "grpo", "beta": 0.0}, {"reference_every": every}
    lab, seen = open_small(algorithm, train={"steps": 5}, record=record)
    finish(lab)
    steps = [s.step for s in only(seen, ev.StepDone) if "kl_ref" in s.metrics]
    told = [t.step for t in only(seen, ev.Tokens) if "kl" in t.channels]
    assert steps == told == measured


def test_an_algorithm_that_needs_the_reference_has_it_always(open_small: OpenLab):
    algorithm = {"name": "grpo", "beta": 0.1}
    lab, seen = open_small(algorithm, record={"reference_every": 0})
    finish(lab)
    assert all("kl_ref" in s.metrics for s in only(seen, ev.StepDone))


def test_how_often_the_reference_is_scored_changes_nothing_learned(
    open_small: OpenLab, tmp_path: Path
):
    digests, algorithm = set(), {"name": "rloo", "beta": 0.0}
    for every in (0, 1):
        how = {"record": {"reference_every": every}, "folder": tmp_path / f"{every}"}
        digests.add(finish(open_small(algorithm, **how)[0]))
    assert len(digests) == 1


def test_the_lens_has_the_reference_in_a_step_that_did_without(open_lab: OpenLab):
    from grpolab.engine.probes.lens import as_batch

    plan = tiny(algorithm={"name": "grpo", "beta": 0.0}, record={"reference_every": 0})
    lab, _ = open_lab(plan)
    lab.advance()
    lane = lab.lanes["main"]
    assert lane.last_step is not None and lane.last_step.batch.ref_logp is None
    first = as_batch(lab, lane, lane.last_step)["groups"][0]["samples"][0]
    assert len(first["ref_logprobs"]) == len(first["logprobs"])
