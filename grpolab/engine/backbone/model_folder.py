"""A model folder of the Llama family, read without transformers: sizes, weights, tokenizer, and how
weights are named and stacked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from grpolab.engine.backbone.base import ModelError
from grpolab.engine.backbone.tokenizer import FileText, Text
from grpolab.scenario.spec import ModelSection

LINEARS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
QKV, GATE_UP = LINEARS[:3], LINEARS[4:6]
"""Linear layers with the same input, stacked into one product."""

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


ROPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions whose frequencies do not depend on the length of the text."""


def rope_type(config: dict[str, Any]) -> str:
    """The kind of rotary positions in a config."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return rope.get("rope_type", rope.get("type", "default"))


def unsupported(config: dict[str, Any], section: ModelSection) -> str | None:
    """Why our own decoder cannot run this model, or None."""
    kind = config.get("model_type", "?")
    if section.quantize == "int8":
        return "weights quantized to int8"
    if kind not in ARCHITECTURES:
        return f"architecture {kind!r}"
    if rope_type(config) not in ROPES:
        return f"rotary positions scaled by {rope_type(config)!r}"
    if config.get("use_sliding_window") or (kind == "mistral" and config.get("sliding_window")):
        return "sliding-window attention"
    if config.get("attention_bias") and kind != "qwen2":
        return "attention biases"
    if config.get("hidden_act", "silu") != "silu" or config.get("mlp_bias"):
        return "an MLP with biases or another activation than SiLU"
    return None


def unsuited(config: dict[str, Any], device: torch.device) -> str | None:
    """Why the GPU kernels cannot run a model of the family, or None."""
    d = Shape.of(config).head_dim
    if device.type == "cuda" and d not in (32, 64, 128, 256):
        return f"heads of {d} dimensions"
    return None


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, from its config."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    theta: float
    longest: int
    scaled: dict[str, Any] | None = None  # the config, where rotary positions are scaled

    @staticmethod
    def of(c: dict[str, Any]) -> Shape:
        heads = c["num_attention_heads"]
        rope = c.get("rope_parameters") or {}
        return Shape(
            hidden=c["hidden_size"],
            layers=c["num_hidden_layers"],
            heads=heads,
            kv_heads=c.get("num_key_value_heads") or heads,
            head_dim=c.get("head_dim") or c["hidden_size"] // heads,
            eps=c.get("rms_norm_eps", 1e-6),
            theta=rope.get("rope_theta", c.get("rope_theta", 10000.0)),
            longest=c.get("max_position_embeddings", 4096),
            scaled=None if rope_type(c) == "default" else c,
        )


def read_text(path: Path, config: dict[str, Any]) -> Text:
    """The folder's tokenizer, read by transformers where it has a chat template."""
    settings = path / "tokenizer_config.json"
    template = (path / "chat_template.jinja").exists() or (
        settings.exists() and "chat_template" in json.loads(settings.read_text())
    )
    if (path / "tokenizer.json").exists() and not template:
        return FileText(path, config)
    from grpolab.engine.backbone.hf import hub_text

    return hub_text(str(path))


def rotary(shape: Shape, device: torch.device, longest: int | None = None) -> tuple[Tensor, float]:
    """Angles of the rotary positions [longest, D / 2], and the factor on their cos and sin."""
    d = shape.head_dim
    if shape.scaled is None:
        steps = torch.arange(0, d, 2, device=device, dtype=torch.float32)
        frequency, factor = 1.0 / shape.theta ** (steps / d), 1.0
    else:
        frequency, factor = _scaled(shape.scaled, device)
    positions = torch.arange(longest or shape.longest, device=device, dtype=torch.float32)
    return torch.outer(positions, frequency), factor


def _scaled(config: dict[str, Any], device: torch.device) -> tuple[Tensor, float]:
    """Frequencies [D / 2] and attention factor of scaled rotary positions, from transformers."""
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    kind = config["model_type"]
    made = AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
    return ROPE_INIT_FUNCTIONS[rope_type(config)](made, device)


def adapted(section: ModelSection) -> set[str] | None:
    """Names of the linears with an adapter; None: all of them. Raises ModelError."""
    if section.lora.targets == "all-linear":
        return None
    wanted = section.lora.targets
    names = set([wanted] if isinstance(wanted, str) else wanted)
    valid = {name.split(".")[-1] for name in LINEARS}
    if unknown := names - valid:
        raise ModelError(
            f"model.lora.targets: no linear layer is named {sorted(unknown)[0]!r}; "
            f"valid: {', '.join(sorted(valid))}"
        )
    return names


def read_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    """All tensors of the folder in fp32, by transformers' names. Raises ModelError."""
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{path}: no .safetensors file in this folder")
    out: dict[str, Tensor] = {}
    for file in files:
        with safe_open(str(file), framework="pt", device=str(device)) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                out[name] = tensors.get_tensor(name).float()
    return out


def stack(w: dict[str, Tensor], names: list[str]) -> None:
    """Stack the tensors of several linears; their own names become views of the whole."""
    for what in ("weight", "bias"):
        parts = [w.get(f"{n}.{what}") for n in names]
        if parts[0] is None:
            continue
        sizes = [len(p) for p in parts if p is not None]
        whole = torch.cat([p for p in parts if p is not None])
        w["+".join(names) + f".{what}"] = whole
        for name, view in zip(names, whole.split(sizes), strict=True):
            w[f"{name}.{what}"] = view


def stacked(w: dict[str, Tensor], names: list[str], what: str) -> Tensor:
    """The stacked tensors of several linears: those that `stack` made, or for a trainable copy,
    which has none, a new concatenation."""
    if len(names) == 1:
        return w[f"{names[0]}.{what}"]
    together = w.get("+".join(names) + f".{what}")
    return together if together is not None else torch.cat([w[f"{n}.{what}"] for n in names])


def stacked_bias(w: dict[str, Tensor], names: list[str]) -> Tensor | None:
    """The stacked biases; None where there are none."""
    return stacked(w, names, "bias") if f"{names[0]}.bias" in w else None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, halves convention. x [..., heads, D]; cos and sin [..., D], the first half
    of sin negated."""
    half = x.shape[-1] // 2
    turned = torch.cat([x[..., half:], x[..., :half]], -1)
    return x * cos.unsqueeze(-2) + turned * sin.unsqueeze(-2)
