"""The prediction of memory, `doctor` and `check`."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpolab import cli
from grpolab.errors import RequestError
from grpolab.estimate import doctor
from grpolab.estimate import formulas as f
from grpolab.estimate import machine as machine_module
from grpolab.estimate import memory as estimate
from grpolab.estimate.machine import Gpu, machine
from grpolab.estimate.model_shape import ModelShape, read_config
from grpolab.record.events import MEMORY_PHASES, OWNERS
from grpolab.resources import assets_dir
from grpolab.scenario.spec import build

QWEN: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151936,
    "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "intermediate_size": 4864, "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}  # fmt: skip
LOAD = f.Load(
    cuda=True, native=True, quantize="nf4", copy=True, rank=16, targets=None, groups=8, rows=64,
    prompt=100, answer=256, microbatch=16, threads=2, learned_in=4, critic=None, remembers=0,
)  # fmt: skip


def test_parameters_are_those_of_the_file():
    with (assets_dir() / "policy" / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    stored = 0
    for tensor in header.values():
        count = 1
        for n in tensor["shape"]:
            count *= n
        stored += count
    assert ModelShape.of(read_config("embedded")).parameters == stored


def test_known_parameter_counts():
    assert ModelShape.of(QWEN).parameters == 494_032_768  # as published: 0.49 B
    gpt2 = {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "model_type": "gpt2"}
    assert ModelShape.of(gpt2).parameters == pytest.approx(124e6, rel=0.01)


def test_four_bits_and_their_scales():
    m = ModelShape.of(QWEN)
    linears = sum(i * o for i, o in m.linears.values()) * 24
    scales = linears // 64 + linears // (64 * 256) * 4
    rest = (494_032_768 - linears) * 2
    rotary = 32768 * 64 * 4
    tables = 24 * 7 * 4 * 273
    assert f.backbone(m, LOAD) == linears // 2 + scales + rest + rotary + tables
    assert f.backbone(m, replace(LOAD, quantize="none", native=False)) == 494_032_768 * 2
    assert (
        f.backbone(m, replace(LOAD, quantize="none", native=False, cuda=False)) == 494_032_768 * 4
    )


def test_the_sampler_s_weights_lie_in_whole_panels():
    from grpolab.engine.backbone.cpu.target import WIDTH

    m = ModelShape.of(QWEN)
    load = replace(LOAD, cuda=False, quantize="none", copy=False, panel=48)
    assert estimate._panel() == WIDTH  # as the engine finds it on this CPU
    assert [f.in_panels(o, load) for o in (1, 48, 49, 1152)] == [48, 48, 96, 1152]
    layer = 896 * (1152 + 912 + 9744) + 4864 * 912  # 896 outputs in 19 panels, 9728 in 203
    head = 151968 * 896
    assert f.backbone_copy(m, load) == 4 * (24 * layer + head)


def test_sampling_works_on_so_many_tokens_at_once():
    m = ModelShape.of(QWEN)
    load = replace(LOAD, cuda=False, quantize="none", copy=False)
    wide = 4 * (3 * 896 + 2 * 896 + 2 * 128 + 3 * 4864)
    assert f.sampling_workspace(m, load) == 2 * 400 * wide  # 4 prompts of 100 for 32 rows
    assert f.sampling_workspace(m, replace(load, prompt=4)) == 2 * 32 * wide  # then the rows
    assert f.sampling_workspace(m, replace(load, prompt=1000)) == 2 * f.READ * wide
    assert f.sampling_workspace(m, replace(load, native=False)) == 0
    # an evaluation: two answers to each prompt, 32 prompts to a thread
    section = {"name": "x", "algorithm": "grpo", "rollout": {"max_tokens": 20}}
    kept = [
        estimate.predict(build(section | {"evaluate": {"prompts": n}}), "cpu", 2).phases["evaluate"]
        for n in (32, 64, 128)
    ]
    assert kept[1] == kept[2] and kept[1]["kv_cache"] == 2 * kept[0]["kv_cache"]
    rollout = estimate.predict(build(section), "cpu", 2).phases["rollout"]
    assert kept[1]["kv_cache"] > rollout["kv_cache"]


def test_the_critic_s_activations_are_there_from_scoring_on():
    section = {"name": "x", "algorithm": "ppo", "rollout": {"prompts": 4, "group_size": 8}}
    for rows, threads, kept in ((32, 1, True), (16, 1, False), (16, 2, True)):
        phases = estimate.predict(
            build(section | {"train": {"microbatch": rows}}), "cpu", threads
        ).phases
        score, update = (phases[p].get("activations", 0) for p in ("score", "update"))
        assert score == (update // 2 if kept else 0) < update
    phases = estimate.predict(build(section | {"algorithm": "grpo"}), "cpu", 2).phases
    assert phases["score"].get("activations", 0) == 0


def test_a_copy_has_room_for_the_adapters_and_lean_mode_for_one_layer():
    m = ModelShape.of(QWEN)
    # at the side of the weights for B; for A under those that have fewer outputs than inputs
    layer = (896 + 256) * 960 + 896 * 960 + 9728 * 960 + (896 + 64) * 4928
    assert f.backbone_copy(m, LOAD) == 24 * layer * 2
    assert f.backbone_copy(m, replace(LOAD, copy=False)) == 9728 * 896 * 2


def test_what_learns():
    m = ModelShape.of(QWEN)
    one = 16 * sum(i + o for i, o in m.linears.values()) * 24
    assert f.adapters(m, LOAD) == one * 4 and f.optimizer(m, LOAD) == one * 8
    # with the copy's weights there is room for B, and for one A
    assert f.placed(m, LOAD) == 64 * 3 * 896 * 24 * 2
    a, b = 3 * 896 + 4864, 2 * 896 + 1152 + 9728
    assert f.placed(m, replace(LOAD, copy=False)) == 64 * (a + b) * 24 * 2
    some = replace(LOAD, targets=["q_proj"])
    assert f.adapter_parameters(m, some) == 24 * 16 * (896 + 896)
    assert f.critic(m, LOAD) == 0
    full = replace(LOAD, critic="full")
    assert f.critic(m, full) == (494_032_768 + 897) * 4


def test_the_cache_holds_prompts_once():
    m = ModelShape.of(QWEN)
    assert f.kv_cache(m, LOAD) == 2 * 24 * 2 * 64 * 2 * (
        9 * 128 + 65 * 256
    )  # padded, and a spare row
    cpu = replace(LOAD, cuda=False, quantize="none")
    assert f.kv_cache(m, cpu) == 2 * 24 * 2 * 64 * 4 * (8 * 100 + 64 * 256)
    foreign = replace(cpu, native=False)
    assert f.kv_cache(m, foreign) == 2 * 24 * 2 * 64 * 4 * 64 * 356


def test_a_large_vocabulary_is_tiled():
    m = ModelShape.of(QWEN)
    assert 192 * 2**20 // (4 * 151936) == 331  # tokens, and with whole products 384
    assert f.loss_tiles(m, LOAD) == 6 * 384 * 151936
    assert f.loss_tiles(replace(m, vocabulary=500), LOAD) == 12 * 16 * 256 * 500


def scenario(**changes: Any):
    return build({"task": "sums", "algorithm": "grpo"} | changes)


def test_every_phase_names_owners_that_there_are():
    found = estimate.predict(scenario(), "cpu", 2)
    assert set(found.phases) <= set(MEMORY_PHASES)
    for owners in found.phases.values():
        assert set(owners) <= set(OWNERS) and min(owners.values()) >= 0
    assert found.peak == sum(found.memory.values())


def test_more_work_takes_more():
    peak = estimate.predict(scenario(), "cpu", 2).peak
    for more in (
        {"algorithm": "ppo"}, {"model": {"lora": {"rank": 256}}},
        {"cues": [{"at": 1, "do": "fork", "name": "b", "algorithm": "ppo"}]},
        {"cues": [{"at": 1, "do": "switch", "algorithm": "ppo"}]},
    ):  # fmt: skip
        assert estimate.predict(scenario(**more), "cpu", 2).peak > peak, more
    assert estimate.predict(scenario(train={"microbatch": 8}), "cpu", 2).peak < peak


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(QWEN))
    return tmp_path


def test_the_copy_is_kept_where_it_fits(qwen: Path):
    plan = scenario(model={"path": str(qwen), "quantize": "nf4"}, rollout={"max_tokens": 256})
    roomy, tight = (estimate.predict(plan, "cuda", 2, room) for room in (80 * 2**30, 2**30))
    assert roomy.copy and not tight.copy and roomy.peak > tight.peak
    assert roomy.backend == "native" and roomy.dtype == "bfloat16"


def test_the_saving_is_what_the_change_frees(qwen: Path):
    short = {"max_tokens": 32}
    plan = scenario(model={"path": str(qwen), "critic": "full"}, algorithm="ppo", rollout=short)
    found = estimate.predict(plan, "cuda", 2)
    assert found.saving is not None and found.saving.key == "model.critic"
    model = {"path": str(qwen), "critic": "adapter"}
    changed = scenario(model=model, algorithm="ppo", rollout=short)
    assert found.peak - estimate.predict(changed, "cuda", 2).peak == found.saving.bytes


def test_a_cached_hub_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RequestError, match="not in the hub's cache"):
        read_config("some/model")
    folder = tmp_path / "models--some--model"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc\n")
    (folder / "snapshots" / "abc" / "config.json").write_text(json.dumps(QWEN))
    assert read_config("some/model")["hidden_size"] == 896


@pytest.mark.parametrize("text, word", [("{", "cannot be read"), ("[]", "not a model's config")])
def test_a_broken_config_is_said(tmp_path: Path, text: str, word: str):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RequestError, match=word):
        read_config(str(tmp_path))


def test_a_missing_size_is_named():
    with pytest.raises(RequestError, match="hidden_size"):
        ModelShape.of({"model_type": "llama"})


# --- the commands ---


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(argv)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_check_predicts(capsys: pytest.CaptureFixture[str]):
    code, out, _ = told(capsys, "check", "ppo", "--device", "cpu")
    assert code == 0 and "ok: task sums" in out
    for word in ("peak ", "activations", "fits     yes", "saving   ", "instead of"):
        assert word in out
    found = json.loads(told(capsys, "check", "ppo", "--json")[1])
    assert found["seed"] == 0 and found["memory"]["memory"]["critic"] > 0
    assert found["memory"]["fits"] is True


def test_check_of_a_model_that_is_not_here(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "far.yaml"
    file.write_text("model: {path: some/where}\n")
    code, out, _ = told(capsys, "check", str(file))
    assert code == 0 and "ok: task sums" in out and "cannot be predicted" in out
    found = json.loads(told(capsys, "check", str(file), "--json")[1])
    assert "some/where" in found["memory"]["problem"]


def test_doctor_says_what_there_is(capsys: pytest.CaptureFixture[str]):
    code, out, _ = told(capsys, "doctor")
    assert code == 0
    for word in ("system ", "CPU ", "memory ", "GPU ", "packages grpolab", "device ", "peak "):
        assert word in out
    found = json.loads(told(capsys, "doctor", "task-slots", "--json")[1])
    assert found["machine"]["cores"] >= 1 and found["machine"]["memory"] > 0
    assert found["scenario"] == "task-slots" and found["prediction"]["peak_memory_bytes"] > 0


def test_doctor_says_what_does_not_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, qwen: Path
):
    small = replace(machine(), gpus=(Gpu("Small", 2**31, 2**30),), available=2**30)
    monkeypatch.setattr(doctor, "machine", lambda: small)
    code, out, _ = told(capsys, "doctor", "--model", str(qwen), "--device", "cuda")
    assert code == 1 and "fits     NO" in out and "saving   train.microbatch: 32" in out


@pytest.mark.parametrize(
    "argv, line",
    [
        (["doctor", "defualt"], "did you mean 'default'?"),
        (["doctor", "--set", "model.lora.rnak=4"], "did you mean 'rank'?"),
    ],
)
def test_wrong_requests(capsys: pytest.CaptureFixture[str], argv: list[str], line: str):
    code, out, err = told(capsys, *argv)
    assert code == 2 and line in err and len(err.splitlines()) == 1 and out == ""


def test_without_procfs_memory_is_read_through_psutil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = machine()
    monkeypatch.setattr(machine_module, "PROC", tmp_path)
    monkeypatch.setattr(machine_module, "_container", lambda: (None, 0))
    elsewhere = machine()
    assert elsewhere.memory >= here.memory  # a container's limit shows on Linux only
    assert 0 < elsewhere.available < elsewhere.memory  # not all of it is free
    assert elsewhere.cpu and elsewhere.features == ()


@pytest.mark.parametrize("error", [psutil.AccessDenied(), FileNotFoundError(), KeyError("x")])
def test_where_psutil_fails_too_the_c_library_tells_the_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, error: Exception
):
    def fails():
        raise error

    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(machine_module, "PROC", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", fails)
    monkeypatch.setattr(machine_module, "_container", lambda: (None, 0))
    assert (machine().memory, machine().available) == (pages * size, 0)
    code, out, _ = told(capsys, "doctor")
    assert code == 0 and "free memory not known" in out and "fits     not known" in out
    monkeypatch.setattr(machine_module, "_container", lambda: (1000, 400))
    assert (machine().memory, machine().available) == (1000, 600)
    monkeypatch.setattr(os, "sysconf", lambda name: -1 if name == "SC_PHYS_PAGES" else size)
    assert (machine().memory, machine().available) == (1000, 600)
    monkeypatch.setattr(machine_module, "_container", lambda: (None, 0))
    assert (machine().memory, machine().available) == (0, 0)
    monkeypatch.delattr(os, "sysconf")
    assert (machine().memory, machine().available) == (0, 0)
    assert "memory   not known" in told(capsys, "doctor")[1]


def test_no_package_is_loaded_for_what_procfs_tells():
    if not Path("/proc/meminfo").exists():
        pytest.skip("this system has no /proc")
    code = "import sys; from grpolab.estimate import machine as m; m.machine(); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "psutil" not in out.stdout.split()


def test_no_torch_is_imported():
    script = "import sys; from grpolab import cli; cli.main(['doctor']); "
    script += "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
