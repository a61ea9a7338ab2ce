"""Our own forward of the Llama family (Llama, Mistral, Qwen2, Qwen3), for learning and for
sampling.

It reads the folder that transformers would read and computes the same numbers (tests hold it to
rounding), but starts in milliseconds, wastes nothing on padding, and reads each prompt once for
its whole group.

Learning: the tokens of all rows lie flat, [M, H], so linears never see padding; only attention
sees rows. Sampling: `cache.NativeSession`, with the adapter folded into fused fp32 weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from grpolab.engine.backbone import BASE, ModelError, Prompts, Session
from grpolab.engine.layout import GATE_UP, LINEARS, QKV, rotate, stack, stacked, stacked_bias
from grpolab.engine.lora import Lora, lora_linears
from grpolab.engine.norm import rms_norm
from grpolab.engine.text import FileText, Text
from grpolab.scenario import ModelSection

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


def unsupported(config: dict[str, Any], section: ModelSection) -> str | None:
    """Why this model must go through transformers, or None."""
    kind = config.get("model_type", "?")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if section.quantize != "none":
        return f"weights quantized to {section.quantize}"
    if kind not in ARCHITECTURES:
        return f"architecture {kind!r}"
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        return "scaled rotary positions"
    if config.get("use_sliding_window") or (kind == "mistral" and config.get("sliding_window")):
        return "sliding-window attention"
    if config.get("attention_bias") and kind != "qwen2":
        return "biases in the attention"
    if config.get("hidden_act", "silu") != "silu" or config.get("mlp_bias"):
        return "an unusual MLP"
    return None


@dataclass(frozen=True)
class Shape:
    """Sizes of the model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    theta: float
    longest: int

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
        )


class NativeBackbone:
    """Implements `backbone.Backbone` for full-precision models of the Llama family."""

    backend = "native"
    parallel = True

    def __init__(
        self, path: Path, config: dict[str, Any], section: ModelSection, device: torch.device
    ) -> None:
        self.shape = Shape.of(config)
        self.device = device
        self.section = section
        self.text: Text = _text(path, config)
        self.name = "embedded" if section.path == "embedded" else path.name
        self.architecture = (config.get("architectures") or [config["model_type"]])[0]
        self.note = ""
        self.dtype = "float32"
        self.weights = _read_weights(path, device)
        if "lm_head.weight" not in self.weights:
            self.weights["lm_head.weight"] = self.weights["model.embed_tokens.weight"]
        self.parameters = self.backbone_bytes() // 4
        for i in range(self.shape.layers):
            for group in (QKV, GATE_UP):
                stack(self.weights, [f"model.layers.{i}.{n}" for n in group])
        self.vocabulary = self.weights["lm_head.weight"].shape[0]
        self.layers, self.hidden = self.shape.layers, self.shape.hidden
        self.targets = _targets(section)
        self.cos, self.sin = _rotary(self.shape, device)
        self._adapters: dict[str, Lora] = {}
        self._full: dict[str, dict[str, Tensor]] = {}  # whole trainable copies, by name
        self._fused: dict[str | None, Any] = {}  # fused sampling weights, until the adapter moves

    # --- adapters
    # -------------------------------------------------------------------------------------------------

    def create_adapter(self, name: str, seed: int, *, full: bool = False) -> None:
        if full:
            self._full[name] = {
                k: w.detach().clone().requires_grad_()
                for k, w in self.weights.items()
                if k != "lm_head.weight" and "+" not in k
            }
            return
        self._adapters[name] = Lora.create(
            {n: self.weights[f"{n}.weight"] for n in self._modules()},
            {
                n[: -len(".weight")]: len(w)
                for n, w in self.weights.items()
                if n.endswith(".weight")
            },
            self.section.lora.rank,
            self.section.lora.alpha,
            seed,
        )

    def copy_adapter(self, source: str, target: str) -> None:
        if source in self._full:
            self._full[target] = {
                k: w.detach().clone().requires_grad_() for k, w in self._full[source].items()
            }
        else:
            self._adapters[target] = self._adapters[source].clone()

    def drop_adapter(self, name: str) -> None:
        self._adapters.pop(name, None)
        self._full.pop(name, None)
        self._fused.pop(name, None)

    def adapter(self, name: str) -> dict[str, Tensor]:
        return self._full[name] if name in self._full else self._adapters[name].tensors()

    def refresh(self, adapter: str) -> None:
        self._fused.pop(adapter, None)

    def backbone_bytes(self) -> int:
        storages = {
            w.untyped_storage().data_ptr(): w.untyped_storage().nbytes()
            for w in self.weights.values()
        }
        return sum(storages.values())

    def _modules(self) -> list[str]:
        return [
            f"model.layers.{i}.{name}"
            for i in range(self.layers)
            for name in LINEARS
            if self.targets is None or name.split(".")[-1] in self.targets
        ]

    # --- learning
    # -------------------------------------------------------------------------------------------------

    def states(
        self, adapter: str | None, prompts: Prompts, group: Tensor, answers: Tensor, mask: Tensor
    ) -> Tensor:
        weights = self._full.get(adapter, self.weights) if adapter is not BASE else self.weights
        lora = self._adapters.get(adapter) if adapter is not BASE else None
        plan = _Plan.of(prompts, group, mask)
        ids = torch.cat(
            [prompts.ids.reshape(-1)[plan.prompt_at], answers.reshape(-1)[plan.answer_at]]
        )
        x = F.embedding(ids, weights["model.embed_tokens.weight"])
        cos, sin = self.cos[plan.position], self.sin[plan.position]
        for i in range(self.layers):
            x = self._layer(f"model.layers.{i}", weights, lora, x, cos, sin, plan)
        x = rms_norm(x, weights["model.norm.weight"], self.shape.eps)
        return plan.gather_states(x)

    def head(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weights["lm_head.weight"])

    def _layer(
        self,
        at: str,
        w: dict[str, Tensor],
        lora: Lora | None,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        plan: _Plan,
    ) -> Tensor:
        s = self.shape

        def linear(h: Tensor, *names: str) -> Tensor:
            full = [f"{at}.{n}" for n in names]
            return lora_linears(h, stacked(w, full, "weight"), stacked_bias(w, full), lora, full)

        h = rms_norm(x, w[f"{at}.input_layernorm.weight"], s.eps)
        qk, v = (
            linear(h, *QKV)
            .view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
            .split((s.heads + s.kv_heads, s.kv_heads), 1)
        )
        if (norm := w.get(f"{at}.self_attn.q_norm.weight")) is not None:  # Qwen3
            q, k = qk.split((s.heads, s.kv_heads), 1)
            k = rms_norm(k, w[f"{at}.self_attn.k_norm.weight"], s.eps)
            qk = torch.cat([rms_norm(q, norm, s.eps), k], 1)
        q, k = rotate(qk, cos, sin).split((s.heads, s.kv_heads), 1)
        x = x + linear(plan.attend(q, k, v), "self_attn.o_proj")
        h = rms_norm(x, w[f"{at}.post_attention_layernorm.weight"], s.eps)
        gate, up = linear(h, *GATE_UP).chunk(2, 1)
        return x + linear(F.silu(gate) * up, "mlp.down_proj")

    # --- sampling
    # -------------------------------------------------------------------------------------------------

    def decode(
        self, adapter: str | None, prompts: Prompts, group: Tensor, max_tokens: int
    ) -> tuple[Session, Tensor]:
        from grpolab.engine.cache import NativeSession

        if prompts.ids.shape[1] + max_tokens > self.shape.longest:
            raise ModelError(
                f"prompt and answer of {prompts.ids.shape[1]} + {max_tokens} tokens pass the model's "
                f"{self.shape.longest} positions: lower rollout.max_tokens"
            )
        self.prepare(adapter)
        return NativeSession.open(self, self._fused[adapter], prompts, group, max_tokens)

    def prepare(self, adapter: str | None) -> None:
        from grpolab.engine.cache import FusedWeights

        if adapter not in self._fused:
            lora = self._adapters.get(adapter) if adapter is not BASE else None
            self._fused[adapter] = FusedWeights.of(
                self, self._full.get(adapter or "", self.weights), lora
            )


@dataclass(frozen=True)
class _Plan:
    """Where each flat token stands: first all prompt tokens, then all answer tokens but each row's
    last.

    K prompts of up to P tokens, n rows of up to T answer tokens, S = T − 1 answer inputs, M flat
    tokens.
    """

    prompt_at: Tensor  # [Mp] index into [K·P]
    answer_at: Tensor  # [Ma] index into [n·T]
    padded_at: Tensor  # [Ma] index into [n·S]
    position: Tensor  # [M] rotary position
    group: Tensor  # [n]
    prompt_attn: Tensor  # [K, 1, P, P] bool
    answer_attn: Tensor  # [n, 1, S, P + S] bool
    shape: tuple[int, int, int, int]  # K, P, n, S

    @staticmethod
    def of(prompts: Prompts, group: Tensor, mask: Tensor) -> _Plan:
        (k, p), (n, t), device = prompts.ids.shape, mask.shape, mask.device
        s = t - 1
        inputs = mask[:, 1:].bool()  # token j is an input where token j + 1 exists
        prompt_at = prompts.mask.reshape(-1).nonzero().squeeze(1)
        padded_at = inputs.reshape(-1).nonzero().squeeze(1)
        row, col = padded_at // max(s, 1), padded_at % max(s, 1)
        lengths = prompts.mask.sum(1)
        prompt_position = (prompts.mask.cumsum(1) - 1).reshape(-1)[prompt_at]
        position = torch.cat([prompt_position, lengths[group[row]] + col])
        causal_p = torch.ones(p, p, dtype=torch.bool, device=device).tril()
        eye = torch.eye(
            p, dtype=torch.bool, device=device
        )  # keeps padded queries from an empty softmax
        prompt_attn = (causal_p & prompts.mask[:, None, :] | eye)[:, None]
        causal_s = torch.ones(s, s, dtype=torch.bool, device=device).tril().expand(n, s, s)
        seen = prompts.mask[group][:, None, :].expand(n, s, p)
        answer_attn = torch.cat([seen, causal_s], 2)[:, None]
        return _Plan(
            prompt_at,
            row * t + col,
            padded_at,
            position,
            group,
            prompt_attn,
            answer_attn,
            (k, p, n, s),
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of prompts over themselves and of answers over their prompt and themselves.

        q [M, heads, D], k and v [M, kv_heads, D] -> [M, heads · D].
        """
        K, P, n, S = self.shape
        mp = len(self.prompt_at)
        heads, kv_heads = q.shape[1], k.shape[1]
        groups = {"enable_gqa": True} if heads != kv_heads else {}

        def rows(x: Tensor, at: Tensor, count: int, width: int) -> Tensor:
            flat = x.new_zeros(count * width, *x.shape[1:]).index_copy(0, at, x)
            return flat.view(count, width, *x.shape[1:]).transpose(1, 2)  # [count, heads, width, D]

        kp, vp = rows(k[:mp], self.prompt_at, K, P), rows(v[:mp], self.prompt_at, K, P)
        qp = rows(q[:mp], self.prompt_at, K, P)
        out = F.scaled_dot_product_attention(qp, kp, vp, attn_mask=self.prompt_attn, **groups)
        prompt = out.transpose(1, 2).reshape(K * P, -1)[self.prompt_at]
        if S == 0 or len(self.padded_at) == 0:
            return prompt
        ks = torch.cat([kp[self.group], rows(k[mp:], self.padded_at, n, S)], 2)
        vs = torch.cat([vp[self.group], rows(v[mp:], self.padded_at, n, S)], 2)
        qs = rows(q[mp:], self.padded_at, n, S)
        out = F.scaled_dot_product_attention(qs, ks, vs, attn_mask=self.answer_attn, **groups)
        return torch.cat([prompt, out.transpose(1, 2).reshape(n * S, -1)[self.padded_at]])

    def gather_states(self, x: Tensor) -> Tensor:
        """Flat states [M, H] -> [n, T, H]: the last prompt token's state first, then the answer
        inputs'."""
        K, P, n, S = self.shape
        mp = len(self.prompt_at)
        prompt = x.new_zeros(K * P, x.shape[1]).index_copy(0, self.prompt_at, x[:mp])
        first = prompt.view(K, P, -1)[:, -1][self.group]  # left-padded: the last column is real
        rest = x.new_zeros(n * S, x.shape[1]).index_copy(0, self.padded_at, x[mp:])
        return torch.cat([first[:, None], rest.view(n, S, -1)], 1)


def _text(path: Path, config: dict[str, Any]) -> Text:
    """The folder's tokenizer: read directly, or by transformers where there is a chat template to
    fill in."""
    settings = path / "tokenizer_config.json"
    template = (path / "chat_template.jinja").exists() or (
        settings.exists() and "chat_template" in json.loads(settings.read_text())
    )
    if (path / "tokenizer.json").exists() and not template:
        return FileText(path, config)
    from grpolab.engine.hf import hub_text

    return hub_text(str(path))


def _rotary(shape: Shape, device: torch.device) -> tuple[Tensor, Tensor]:
    d = shape.head_dim
    frequency = 1.0 / shape.theta ** (torch.arange(0, d, 2, device=device, dtype=torch.float32) / d)
    angle = torch.outer(torch.arange(shape.longest, device=device, dtype=torch.float32), frequency)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def _targets(section: ModelSection) -> set[str] | None:
    if section.lora.targets == "all-linear":
        return None
    wanted = section.lora.targets
    names = set([wanted] if isinstance(wanted, str) else wanted)
    valid = {name.split(".")[-1] for name in LINEARS}
    if unknown := names - valid:
        raise ModelError(
            f"model.lora.targets: no linear is named {sorted(unknown)[0]!r}; valid: {', '.join(sorted(valid))}"
        )
    return names


def _read_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{path}: no .safetensors file in this folder")
    out: dict[str, Tensor] = {}
    for file in files:
        with safe_open(str(file), framework="pt", device=str(device)) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                out[name] = tensors.get_tensor(name).float()
    return out
