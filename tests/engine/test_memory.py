"""Memory by owner and phase: lasting storages, the tally, the allocators."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from grpolab.engine.memory import account as memory_module
from grpolab.engine.memory import allocator as allocator_module
from grpolab.engine.memory.account import Memory
from grpolab.engine.memory.allocator import HostAllocator, Reading
from grpolab.engine.memory.owners import OwnerRules, owner_of, tensors_in
from grpolab.engine.memory.tally import Tally
from grpolab.estimate import memory as estimate
from grpolab.record import events as ev
from tests.engine.conftest import TRPO, OpenLab, finish, only

MB = 2**20
RULES = OwnerRules(vocabulary=97, kv_heads=2, head_dim=8, trainable=frozenset({(4, 32)}))


def distinct(tensors: Any) -> int:
    """Bytes of the distinct storages, by address."""
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )


# --- owners, from storages ---


@pytest.mark.parametrize("kind", ["llama", pytest.param("qwen2", marks=pytest.mark.slow), "gpt2"])
def test_what_lasts_is_the_sum_of_its_storages(kind: str, open_small: OpenLab):
    lab, seen = open_small("ppo", kind=kind, rollout={"max_tokens": 5})
    lane = lab.lanes["main"]
    lab.step(lane)
    lane.snapshots.renew_reference()
    lab.step(lane)
    owners = only(seen, ev.StepDone)[-1].memory_phases["score"]
    backbone: Any = lab.backbone
    if kind == "gpt2":
        frozen = [p for k, p in backbone.model.named_parameters() if "lora_" not in k]
        frozen += [b for k, b in backbone.model.named_buffers() if "lora_" not in k]
    else:
        frozen = [*backbone.weights.values(), backbone.angle, backbone.cos, backbone.sin]
    policy = backbone.adapter("main").values()
    assert lane.critic is not None
    critic = lane.critic.tensors().values()
    learns = distinct(policy) + distinct(critic)
    assert owners["backbone"] == distinct(frozen)
    assert owners["adapters"] == distinct(policy)
    assert owners["critic"] == distinct(critic)
    assert owners["reference"] == distinct(policy)
    assert owners["optimizer"] == 2 * learns
    assert set(ev.OWNERS) <= set(owners)
    if kind != "gpt2":
        backbone.prepare("main")  # the update left the sampler's weights out of date
        held = list(tensors_in(backbone.tensors_by_owner()["backbone_copy"]))
        own = {t.untyped_storage().data_ptr() for t in frozen}
        derived = distinct(t for t in held if t.untyped_storage().data_ptr() not in own)
        phases = only(seen, ev.StepDone)[-1].memory_phases.values()
        assert max(p["backbone_copy"] for p in phases) == derived > 0


@pytest.mark.parametrize(
    ("algorithm", "compute"),
    [
        ("grpo", "float32"),
        pytest.param("grpo", "bfloat16", marks=pytest.mark.slow),
        pytest.param("ppo", "float32", marks=pytest.mark.slow),
        ("ppo", "bfloat16"),
    ],
)
def test_weights_held_once_more_are_as_predicted(algorithm: str, compute: str, open_small: OpenLab):
    """Of the policy as sampling and as learning has it, of the reference, of a critic's adapter."""
    how: Any = {"name": algorithm, "beta": 0.1}
    lab, seen = open_small(how, model={"compute": compute}, rollout={"max_tokens": 5})
    for _ in range(2):
        lab.step(lab.lanes["main"])
    phases = only(seen, ev.StepDone)[-1].memory_phases.values()
    wanted = estimate.predict(lab.plan, "cpu", 1).phases["update"]["backbone_copy"]
    assert max(p["backbone_copy"] for p in phases) == wanted


def test_a_full_critic_is_counted_whole(open_small: OpenLab):
    lab, seen = open_small("ppo", model={"critic": "full"}, rollout={"max_tokens": 5})
    lab.step(lab.lanes["main"])
    owners = only(seen, ev.StepDone)[-1].memory_phases["score"]
    critic = lab.lanes["main"].critic
    assert critic is not None
    assert owners["critic"] == distinct(critic.tensors().values()) > owners["backbone"] / 2


def test_a_storage_counts_once_at_its_first_owner():
    whole = torch.zeros(100)
    memory = Memory(torch.device("cpu"), lambda: {"backbone": [whole], "critic": (whole[:10],)})
    assert [len(v) for v in memory.lasting().tensors.values()] == [1, 0]


def test_a_four_bit_weight_brings_its_scales():
    weight: Any = torch.nn.Parameter(torch.zeros(8, dtype=torch.uint8), requires_grad=False)

    class State:
        absmax, offset, code, state2 = torch.zeros(3), None, torch.zeros(16), None

    weight.quant_state = State()
    assert distinct(tensors_in({"w": [weight]})) == 8 + 12 + 64


# --- the tally ---

COUNTED = True  # see conftest.py


def tally(phase: str = "update", *, parts: bool = False) -> Tally:
    return Tally(lambda t, back: owner_of(t, RULES, phase, back), lambda: 0, lambda: 0, parts=parts)


def test_the_peak_is_the_highest_moment_and_no_more():
    counted = tally()
    with counted.watching():
        a = torch.zeros(MB // 4)
        b = a + 1
        del a
        c = b * 2
        view = c[10:].view(-1)  # no storage of its own
        c.add_(1)
    assert counted.peaks["forward"].total == 2 * MB
    assert counted.total == 2 * MB
    del b, c
    assert counted.total == MB
    del view
    gc.collect()
    assert counted.total == 0


def test_owners_are_told_apart_by_what_is_known_of_them():
    weight = torch.randn(4, 32, requires_grad=True)
    x = torch.randn(500, 32)
    counted = tally(parts=True)
    counted.know({"adapters": [weight]})
    with counted.watching():
        hidden = (x @ weight.t()).sigmoid()  # kept: [500, 4]
        logits = hidden @ torch.ones(4, 97)  # [500, 97]
        logits.square().mean().backward()
    forward = counted.peaks["forward"].by_owner()
    assert forward["adapters"] == weight.nbytes
    assert forward["activations"] >= 500 * 4 * 4
    assert forward["loss_tiles"] >= 500 * 97 * 4
    assert weight.grad is not None
    backward = counted.peaks["backward"].by_owner()
    assert backward["loss_tiles"] >= 2 * 500 * 97 * 4
    assert {"gradients", "activations"} & set(backward)


def test_threads_add_up():
    counted, ready = tally(), threading.Barrier(3)
    kept: list[Tensor] = []

    def work() -> None:
        with counted.watching():
            kept.append(torch.zeros(MB // 4))
            ready.wait()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert counted.total == counted.peaks["forward"].total == 3 * MB


@pytest.mark.parametrize(
    "shape, phase, backward, owner",
    [
        ((7, 97), "update", False, "loss_tiles"), ((97,), "update", False, "workspace"),
        ((3, 2, 50, 8), "rollout", False, "kv_cache"), ((3, 2, 50, 8), "update", 0, "workspace"),
        ((4, 32), "update", True, "gradients"), ((4, 32), "step", False, "optimizer"),
        ((4, 32), "update", False, "workspace"), ((4, 32), "rollout", False, "workspace"),
    ],
)  # fmt: skip
def test_owner_of(shape, phase, backward, owner):
    assert owner_of(torch.empty(shape), RULES, phase, bool(backward)) == owner


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [(TRPO, "llama"), pytest.param("ppo", "gpt2", marks=pytest.mark.slow)],
    ids=["trpo-llama", "ppo-gpt2"],
)
def test_counting_keeps_nothing(algorithm: Any, kind: str, open_small: OpenLab, monkeypatch):
    """Graphs go with their step, though every one is counted."""
    monkeypatch.setattr(memory_module, "EVERY", 0)
    lab, _ = open_small(
        algorithm,
        kind=kind,
        rollout={"max_tokens": 5},
        train={"microbatch": 8, "updates_per_rollout": 1},
    )
    lane, alive = lab.lanes["main"], list[int]()
    for _ in range(6):
        lab.step(lane)
        gc.collect()
        tensors = [t for t in gc.get_objects() if type(t) is Tensor and t.grad_fn is not None]
        alive.append(len(tensors))
    assert alive[-1] == alive[2], alive


def test_counting_changes_no_result(open_small: OpenLab, tmp_path: Path, monkeypatch):
    digests = []
    for often in (1, 10**9):
        monkeypatch.setattr(memory_module, "EVERY", often)
        how = {
            "folder": tmp_path / str(often),
            "train": {"steps": 2, "updates_per_rollout": 1},
            "threads": 2,
        }
        lab, _ = open_small(TRPO, **how)
        digests.append(finish(lab))
    assert digests[0] == digests[1]


# --- phases ---


class FakeAllocator:
    """An allocator that reports what the test sets."""

    exact = True
    libraries = 0

    def __init__(self) -> None:
        self.held = self.most = 0

    def now(self) -> Reading:
        return Reading(self.held, 50, 7)

    def resident(self) -> int:
        return 0

    def reset(self) -> None:
        self.most = self.held

    def highest(self) -> int:
        return self.most

    def reach(self, most: int) -> None:
        self.most = max(self.most, most)


def with_allocator(owners: dict[str, object]) -> tuple[Memory, FakeAllocator]:
    memory = Memory(torch.device("cpu"), lambda: owners)
    memory.allocator = fake = FakeAllocator()
    fake.held = 400
    return memory, fake


def test_an_inner_phase_is_taken_out_of_the_outer():
    memory, allocator = with_allocator({"backbone": [torch.zeros(100)]})
    with memory.phase("update"):
        allocator.reach(600)
        with memory.phase("step"):
            allocator.reach(900)
        allocator.reach(700)
    phases = memory.take()
    assert phases["update"]["workspace"] == 300 and phases["step"]["workspace"] == 500
    assert phases["step"]["outside"] == 7 and phases["step"]["backbone"] == 400
    assert memory.take() == {}
    assert memory.peak == memory.most == 900
    allocator.held = 1000
    with memory.phase("step"):
        pass
    assert memory.peak == 1050  # the allocator's reserve


def test_the_highest_of_several_stretches_of_a_phase_counts():
    memory, allocator = with_allocator({})
    for most in (500, 900, 600):
        with memory.phase("rollout"):
            memory.note("kv_cache", most // 10)
            allocator.reach(most)
    account = memory.take()["rollout"]
    assert account["kv_cache"] == 90 and account["workspace"] == 810


def test_a_phase_that_fails_is_closed():
    memory, _ = with_allocator({})
    with pytest.raises(RuntimeError), memory.phase("score"):
        raise RuntimeError
    assert memory._open == []


@pytest.mark.parametrize("threads, parts", [(1, {"forward", "backward"}), (2, {"update"})])
def test_forward_and_backward_are_told_apart_where_they_do_not_mix(
    threads: int, parts: set[str], open_small: OpenLab
):
    lab, seen = open_small("grpo", threads=threads, rollout={"max_tokens": 6})
    for _ in range(3):
        lab.step(lab.lanes["main"])
    third = only(seen, ev.StepDone)[-1]
    assert set(third.memory_phases) == {"rollout", "score", "step"} | parts
    assert set(third.memory_phases) <= set(ev.MEMORY_PHASES)
    assert third.memory in third.memory_phases.values()
    assert third.peak_memory >= max(sum(o.values()) for o in third.memory_phases.values()) * 0.99


def test_loading_and_evaluating_are_told_with_the_next_step(open_small: OpenLab):
    lab, seen = open_small("grpo", rollout={"max_tokens": 5})
    lab.evaluate()
    lab.step(lab.lanes["main"])
    assert {"load", "evaluate"} <= set(only(seen, ev.StepDone)[0].memory_phases)


# --- allocators ---


def test_the_host_s_allocator_sees_a_peak_that_is_gone():
    allocator = HostAllocator()
    allocator.reset()
    before = allocator.now().in_use
    torch.ones(64 * MB // 4).sum().item()
    assert allocator.highest() - before > 50 * MB or not allocator.resets
    allocator.reset()
    assert allocator.highest() < before + 50 * MB or not allocator.resets


def test_without_procfs_and_glibc_the_host_is_asked_through_psutil(tmp_path: Path, monkeypatch):
    here = HostAllocator().now().in_use
    monkeypatch.setattr(allocator_module, "PROC", tmp_path)
    monkeypatch.setattr(allocator_module, "_mallinfo", lambda: None)
    (tmp_path / "clear_refs").mkdir()  # not a file that can be written
    elsewhere = HostAllocator()
    assert not elsewhere.resets
    elsewhere.reset()
    before = elsewhere.now()
    assert before.free == 0 and before.non_model is None
    assert 0.8 * here < before.in_use < 1.2 * here  # the same process, by another way
    big = torch.ones(128 * MB // 4)
    assert elsewhere.resident() - before.in_use > 100 * MB
    assert elsewhere.highest() - before.in_use > 100 * MB
    del big
    assert elsewhere.highest() - before.in_use > 100 * MB  # a peak that was seen is kept
    elsewhere.reset()
    assert elsewhere.highest() - before.in_use < 100 * MB


@pytest.mark.parametrize("error", [psutil.NoSuchProcess(1), FileNotFoundError()])
def test_where_psutil_fails_too_the_largest_resident_set_stands_in(
    tmp_path: Path, monkeypatch, error: Exception
):
    def fails(*_):
        raise error

    here = HostAllocator().resident()
    monkeypatch.setattr(allocator_module, "PROC", tmp_path)
    (tmp_path / "clear_refs").mkdir()
    monkeypatch.setattr(psutil, "Process", fails)
    largest = HostAllocator().resident()
    assert 0.9 * here < largest < 2**40
    assert HostAllocator().highest() >= largest


# --- on a GPU ---


@pytest.mark.gpu
def test_the_caching_allocator_is_accounted_for():
    device = torch.device("cuda")
    gc.collect()
    before = torch.cuda.memory_allocated()  # by other tests in this process
    lasting = torch.zeros(8 * MB, device=device)
    weight = torch.randn(4, 32, device=device, requires_grad=True)
    held = {"backbone": [lasting], "adapters": [weight]}
    memory = Memory(device, lambda: held, lambda: RULES)
    for _ in range(2):
        with memory.phase("update"):
            x = torch.randn(200_000, 32, device=device)
            ((x @ weight.t()).sigmoid() @ torch.ones(4, 97, device=device)).sum().backward()
            weight.grad = None
        for account in memory.take().values():
            inside = sum(account.values()) - account["outside"]
            assert account["backbone"] == 32 * MB
            assert account["other"] <= 0.03 * inside + before
            assert account["outside"] > 100 * MB
