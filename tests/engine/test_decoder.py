"""The own decoder computes what transformers and PEFT compute: states, samples, and adapter
gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grpolab.engine.backbone.base import BASE, ModelError, Prompts
from grpolab.engine.backbone.cpu.backbone import NativeBackbone
from grpolab.engine.backbone.hf import TransformersBackbone
from grpolab.engine.backbone.load import load_backbone
from grpolab.engine.backbone.sample import sample
from grpolab.engine.score import score
from grpolab.scenario.sections import LoraSection
from grpolab.scenario.spec import ModelSection
from tests.engine.conftest import POLICY

CPU = torch.device("cpu")


def both(
    path: Path, targets: str | list[str] = "all-linear"
) -> tuple[NativeBackbone, TransformersBackbone]:
    section = ModelSection(
        path=str(path), compute="float32", lora=LoraSection(rank=4, alpha=8.0, targets=targets)
    )
    own = load_backbone(section, CPU)
    assert isinstance(own, NativeBackbone)
    theirs = TransformersBackbone(section, str(path), CPU, "test")
    for backbone in (own, theirs):
        backbone.create_adapter("a.b/c", 3)
    g = torch.Generator().manual_seed(1)
    mine, other = own.adapter("a.b/c"), theirs.adapter("a.b/c")
    assert mine.keys() == other.keys()
    with torch.no_grad():
        for key, tensor in mine.items():
            tensor.copy_(torch.randn(tensor.shape, generator=g) * 0.1)
            other[key].copy_(tensor)
    own.refresh("a.b/c")
    return own, theirs


@pytest.mark.parametrize(
    "kind", ["llama", pytest.param("mistral", marks=pytest.mark.slow), "qwen2", "qwen3"]
)
def test_it_equals_transformers_and_peft(kind, model):
    own, theirs = both(model(kind))
    assert own.parameters == theirs.parameters
    prompts = ["12+34=", "(4+5)*7=", "x", "some-longer-prompt:"]
    ids = [own.text.encode(p) for p in prompts]
    assert ids == [theirs.text.encode(p) for p in prompts]
    padded = Prompts.pad(ids, own.text.pad, CPU)
    group = torch.tensor([0, 0, 1, 2, 2, 3])
    how = {"max_tokens": 21, "temperature": 1.0, "top_p": 1.0}
    rollouts = [
        sample(b, "a.b/c", padded, group, generator=torch.Generator().manual_seed(5), **how)
        for b in (own, theirs)
    ]
    assert torch.equal(rollouts[0].tokens, rollouts[1].tokens)
    torch.testing.assert_close(rollouts[0].logp, rollouts[1].logp, rtol=1e-4, atol=1e-4)
    grads = []
    for b in (own, theirs):
        logp, _ = score(b, "a.b/c", rollouts[0], 1.0)
        torch.testing.assert_close(logp.detach(), rollouts[0].logp, rtol=1e-4, atol=1e-4)
        total = (logp * torch.linspace(-1, 1, logp.shape[1])).sum()
        grads.append(torch.autograd.grad(total, list(b.adapter("a.b/c").values())))
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-3, atol=2e-4)
    reference = [score(b, BASE, rollouts[0], 1.0)[0].detach() for b in (own, theirs)]
    torch.testing.assert_close(reference[0], reference[1], rtol=1e-4, atol=1e-4)
    assert (reference[0] - rollouts[0].logp).abs().max() > 0.01  # the adapter does something


def test_some_linears_only(model):
    own, theirs = both(model("qwen2"), ["k_proj", "up_proj", "down_proj"])
    padded = Prompts.pad([own.text.encode("7*8=")], own.text.pad, CPU)
    rollout = sample(
        own, "a.b/c", padded, torch.zeros(3, dtype=torch.long), max_tokens=9, temperature=1.0,
        top_p=1.0, generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    assert len(own.adapter("a.b/c")) == 12
    grads = []
    for b in (own, theirs):
        loss = score(b, "a.b/c", rollout, 1.0)[0].sum()
        grads.append(torch.autograd.grad(loss, list(b.adapter("a.b/c").values())))
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-3, atol=2e-4)


def test_a_second_derivative_is_right():
    """TRPO's Fisher products need it: hand-written backwards must be differentiable themselves."""
    from grpolab.engine.backbone.lora import _LoraLinears, fold
    from grpolab.engine.backbone.norm import rms_norm

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=g).requires_grad_()

    g = torch.Generator().manual_seed(0)
    x, a, b, a2, b2 = randn(3, 4), randn(2, 4), randn(5, 2), randn(2, 4), randn(3, 2)
    w = randn(10, 4).detach()
    spans = ((0, 5), (6, 9))

    def linears(*t: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            folded = fold(w, spans, t[1:], 0.7)
        return _LoraLinears.apply(t[0], w, folded, None, 0.7, spans, *t[1:])  # pyright: ignore

    assert torch.autograd.gradcheck(linears, (x, a, b, a2, b2))
    assert torch.autograd.gradgradcheck(linears, (x, a, b, a2, b2))

    norm = randn(4).detach()

    def behind_a_norm(*t: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            folded = fold(w, spans, t[1:], 0.7) * norm
        return _LoraLinears.apply(t[0], w, folded, norm, 0.7, spans, *t[1:])  # pyright: ignore

    assert torch.autograd.gradcheck(behind_a_norm, (x, a, b, a2, b2))
    wanted = linears(x * norm, a, b, a2, b2)
    torch.testing.assert_close(behind_a_norm(x, a, b, a2, b2), wanted)
    weight = randn(4)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-5), (x, weight))
    assert torch.autograd.gradgradcheck(lambda x, w: rms_norm(x, w, 1e-5), (x, weight))


def test_other_architectures_and_8_bit_go_through_transformers(model):
    path = model("gpt2")
    backbone = load_backbone(ModelSection(path=str(path)), CPU)
    assert backbone.backend == "transformers" and "gpt2" in backbone.note
    eight_bit = load_backbone(ModelSection(path=str(POLICY), quantize="int8"), CPU)
    assert eight_bit.backend == "transformers" and "int8" in eight_bit.note


def test_4_bit_is_the_own_decoders(tmp_path):
    four_bit = load_backbone(ModelSection(path=str(POLICY), quantize="nf4"), CPU)
    assert four_bit.backend == "native" and "4 bit" in four_bit.note
    assert four_bit.backbone_bytes() < 0.3 * 4 * four_bit.parameters


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing", "not a local folder"),
        ("empty", "no .safetensors"),
        ("targets", "no linear layer is named"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_words(path, says, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    section = ModelSection(path=str(tmp_path / path))
    if path == "empty":
        (tmp_path / path).mkdir()
        (tmp_path / path / "config.json").write_text((POLICY / "config.json").read_text())
        (tmp_path / path / "tokenizer.json").write_text((POLICY / "tokenizer.json").read_text())
    if path == "targets":
        section = ModelSection(path="embedded", lora=LoraSection(targets=["q_porj"]))
    with pytest.raises(ModelError) as found:
        load_backbone(section, CPU)
    assert "model" in str(found.value) or says in str(found.value)
    assert "\n" not in str(found.value)
