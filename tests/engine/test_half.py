"""The decoder in half precision and 4 bit computes what transformers, PEFT and bitsandbytes do:
every architecture, with the dequantized copy and without, states, samples and gradients; and its
kernels compute what the plain operations do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from grpolab.engine.backbone.base import BASE, Prompts
from grpolab.engine.backbone.gpu.backbone import HalfBackbone
from grpolab.engine.backbone.hf import TransformersBackbone
from grpolab.engine.backbone.model_folder import unsuited
from grpolab.engine.backbone.sample import Rollout, sample
from grpolab.engine.score import score
from grpolab.scenario.sections import LoraSection
from grpolab.scenario.spec import ModelSection
from tests.engine.conftest import random_model
from tests.engine.test_attention import check_blocks

CPU = torch.device("cpu")
PROMPTS = ["12+34=", "(4+5)*7=", "x", "some-longer-prompt:"]
GROUP = [0, 0, 1, 2, 2, 3]


def pair(
    path: Path, device: torch.device = CPU, **section
) -> tuple[HalfBackbone, TransformersBackbone]:
    """Both backbones on one folder, with one adapter of the same values."""
    how = ModelSection(path=str(path), lora=LoraSection(rank=4, alpha=8.0), **section)
    config = json.loads((path / "config.json").read_text())
    own = HalfBackbone(path, config, how, device)
    theirs = TransformersBackbone(how, str(path), device, "test")
    g = torch.Generator().manual_seed(1)
    for backbone in (own, theirs):
        backbone.create_adapter("a.b/c", 3)
    mine, other = own.adapter("a.b/c"), theirs.adapter("a.b/c")
    assert mine.keys() == other.keys()
    with torch.no_grad():
        for key, tensor in mine.items():
            tensor.copy_(torch.randn(tensor.shape, generator=g) * 0.1)
            other[key].copy_(tensor)
    return own, theirs


def rollout(
    backbone, *, greedy: bool = False, seed: int = 5, tokens: int = 21, times: int = 1
) -> Rollout:
    device = backbone.device
    ids = [backbone.text.encode(p) for p in PROMPTS]
    group = torch.tensor(GROUP * times, device=device)
    return sample(
        backbone, "a.b/c", Prompts.pad(ids, backbone.text.pad, device), group, max_tokens=tokens,
        temperature=1.0, top_p=1.0, generator=torch.Generator(device).manual_seed(seed),
        greedy=torch.ones(len(group), dtype=torch.bool, device=device) if greedy else None,
    )  # fmt: skip


def pull(backbone, seen: Rollout, **how) -> list[torch.Tensor]:
    """Gradients of a weighted sum of log-probs."""
    logp, _ = score(backbone, "a.b/c", seen, 1.0)
    total = (logp * torch.linspace(-1, 1, logp.shape[1], device=logp.device)).sum()
    return list(torch.autograd.grad(total, list(backbone.adapter("a.b/c").values()), **how))


CASES = [
    ("llama", {}),
    *(pytest.param(kind, {}, marks=pytest.mark.slow) for kind in ("mistral", "qwen2")),
    ("qwen3", {}), ("llama3", {}),
    ("qwen2", {"quantize": "nf4"}), ("qwen3", {"quantize": "nf4", "copy_weights": "never"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_it_equals_transformers_peft_and_bitsandbytes(kind, how, model):
    own, theirs = pair(model(kind), **how)
    assert own.parameters == theirs.parameters
    assert own.copy_kept == (how == {"quantize": "nf4"})
    greedy = [rollout(b, greedy=True) for b in (own, theirs)]
    assert torch.equal(greedy[0].tokens, greedy[1].tokens)
    torch.testing.assert_close(greedy[0].logp, greedy[1].logp, rtol=1e-4, atol=1e-4)
    seen = rollout(own)
    for b in (own, theirs):
        logp, _ = score(b, "a.b/c", seen, 1.0)
        torch.testing.assert_close(logp.detach(), seen.logp, rtol=1e-4, atol=1e-4)
    want = pull(theirs, seen)
    with own.differentiable_twice():
        twice = pull(own, seen, create_graph=True)
    for mine, plain, other in zip(pull(own, seen), twice, want, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-3, atol=2e-4)
        torch.testing.assert_close(plain.detach(), other, rtol=2e-3, atol=2e-4)
    assert sum(g.square().sum() for g in twice).requires_grad
    reference = [score(b, BASE, seen, 1.0)[0].detach() for b in (own, theirs)]
    torch.testing.assert_close(reference[0], reference[1], rtol=1e-4, atol=1e-4)
    assert (reference[0] - seen.logp).abs().max() > 0.01  # the adapter does something


def test_checkpointing_changes_nothing(model):
    own, _ = pair(model("qwen2"))
    seen = rollout(own)
    want = pull(own, seen)
    own.checkpointing = True
    for mine, other in zip(pull(own, seen), want, strict=True):
        torch.testing.assert_close(mine, other)


def test_two_adapters_in_one_backward_keep_apart(model):
    """Their values take turns in the room beside the weights; each gradient finds its own."""
    own, _ = pair(model("llama"))
    own.copy_adapter("a.b/c", "other")
    with torch.no_grad():
        for tensor in own.adapter("other").values():
            tensor.mul_(-2)
    seen = rollout(own)
    alone = [
        torch.autograd.grad(score(own, name, seen, 1.0)[0].sum(), list(own.adapter(name).values()))
        for name in ("a.b/c", "other")
    ]
    both = [score(own, name, seen, 1.0)[0].sum() for name in ("a.b/c", "other")]
    wrt = [*own.adapter("a.b/c").values(), *own.adapter("other").values()]
    together = torch.autograd.grad(both[0] + both[1], wrt)
    for mine, other in zip(together, [*alone[0], *alone[1]], strict=True):
        torch.testing.assert_close(mine, other)


def test_a_changed_adapter_is_seen_at_once(model):
    own, _ = pair(model("llama"))
    seen = rollout(own)
    before = score(own, "a.b/c", seen, 1.0)[0].detach()
    with torch.no_grad():
        torch._foreach_mul_(list(own.adapter("a.b/c").values()), 0.0)
    after, base = (score(own, name, seen, 1.0)[0].detach() for name in ("a.b/c", BASE))
    torch.testing.assert_close(after, base)
    assert (after - before).abs().max() > 0.01


def test_noise_depends_on_row_and_place_alone(model):
    """Dropping finished rows changes nothing for the others."""
    own, _ = pair(model("llama"))
    eos = own.text.eos
    with_ends = rollout(own, tokens=40)
    own.text.eos = frozenset()  # pyright: ignore
    own.sampler.forget()
    without = rollout(own, tokens=40)
    own.text.eos = eos  # pyright: ignore
    for row, length in enumerate(with_ends.lengths.tolist()):
        assert torch.equal(with_ends.tokens[row, :length], without.tokens[row, :length])


def test_the_kernels_compute_what_the_plain_operations_do(model):
    """Triton's interpreter runs them on the CPU, in a process that is told so before it starts."""
    pytest.importorskip("triton")
    path = model("qwen3")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED, str(path)], capture_output=True, text=True,
        env=os.environ | {"TRITON_INTERPRET": "1"}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if "only 0-dimensional arrays" in done.stderr:
        pytest.skip("Triton's interpreter does not know this numpy")
    assert done.returncode == 0, done.stderr[-3000:]


INTERPRETED = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.engine.test_half import check_kernels
check_kernels(Path(sys.argv[1]))
"""


def check_kernels(path: Path) -> None:
    from grpolab.engine.backbone.gpu import ops

    assert ops.INTERPRETED and ops.fused(torch.zeros(1))
    check_blocks()
    own, theirs = pair(path)
    greedy = [rollout(b, greedy=True, tokens=8) for b in (own, theirs)]
    assert torch.equal(greedy[0].tokens, greedy[1].tokens)
    seen = rollout(own, tokens=8)
    logp, _ = score(own, "a.b/c", seen, 1.0)
    torch.testing.assert_close(logp.detach(), seen.logp, rtol=1e-4, atol=1e-4)
    for mine, other in zip(pull(own, seen), pull(theirs, seen), strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-3, atol=2e-4)


def test_heads_that_the_kernels_cannot_serve_go_through_transformers():
    config = {"hidden_size": 96, "num_attention_heads": 2, "num_hidden_layers": 1}
    assert unsuited(config, torch.device("cuda")) == "heads of 48 dimensions"
    assert unsuited(config | {"num_attention_heads": 3}, torch.device("cuda")) is None
    assert unsuited(config, CPU) is None


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "how"), CASES)
def test_on_a_gpu_it_stays_within_rounding_of_transformers(kind, how, tmp_path):
    own, theirs = pair(random_model(kind, tmp_path, wide=True), torch.device("cuda"), **how)
    seen = rollout(own, tokens=64, times=16)
    logps = [score(b, "a.b/c", seen, 1.0)[0].detach() for b in (own, theirs)]
    tokens = seen.mask.sum()
    # on average the sampler is right; token by token bf16 rounds it to within a hundredth, and two
    # trainers' products to twice that (.007 and .012 on an H100)
    assert (seen.logp - logps[0]).sum().abs() / tokens < 1e-3
    assert (seen.logp - logps[0]).abs().sum() / tokens < 1e-2
    assert (logps[1] - logps[0]).sum().abs() / tokens < 1e-3
    assert (logps[1] - logps[0]).abs().sum() / tokens < 2e-2
    mine, other = (torch.cat([g.flatten() for g in pull(b, seen)]) for b in (own, theirs))
    assert torch.nn.functional.cosine_similarity(mine, other, dim=0) > 0.998
