"""Our own decoder for the Llama family (Llama, Mistral, Qwen2, Qwen3) on a CPU.

It reads the same folder as transformers and computes the same numbers (tests hold it to rounding),
but starts in milliseconds, has no padding, and reads each prompt once for its whole group.

Training: the tokens of all rows are flat, [M, H], so linears never see padding; only attention
knows rows. Sampling: `session.Session`, on weights with the adapter folded in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.base import ModelError, Prompts
from grpolab.engine.backbone.cpu import compile_ahead, compute, layers, session
from grpolab.engine.backbone.cpu.layers import Layers
from grpolab.engine.backbone.cpu.plan import Plan
from grpolab.engine.backbone.cpu.weights import Folded, SamplingWeights
from grpolab.engine.backbone.flat_ops import pick
from grpolab.engine.backbone.lora import Lora, lora_linears
from grpolab.engine.backbone.model_folder import (
    GATE_UP,
    LINEARS,
    QKV,
    Shape,
    adapted,
    read_text,
    read_weights,
    rotary,
    stack,
    stacked,
    stacked_bias,
)
from grpolab.engine.backbone.norm import rms_norm
from grpolab.engine.backbone.sample import Listener, Rollout
from grpolab.engine.backbone.tokenizer import Text
from grpolab.estimate import formulas
from grpolab.scenario.spec import ModelSection

SAME_SIZES = 64
"""bf16 products have a multiple of this many tokens: oneDNN compiles and caches a kernel for each
size."""


class NativeBackbone:
    """Implements `base.Backbone` for full-precision models of the Llama family."""

    backend = "native"
    parallel = True

    def __init__(
        self, path: Path, config: dict[str, Any], section: ModelSection, device: torch.device
    ) -> None:
        self.shape = Shape.of(config)
        self.device = device
        self.section = section
        self.text: Text = read_text(path, config)
        self.name = "embedded" if section.path == "embedded" else path.name
        self.architecture = (config.get("architectures") or [config["model_type"]])[0]
        self.note = ""
        self.weights = read_weights(path, device)
        if "lm_head.weight" not in self.weights:
            self.weights["lm_head.weight"] = self.weights["model.embed_tokens.weight"]
        self.parameters = self.backbone_bytes() // 4
        for i in range(self.shape.layers):
            for group in (QKV, GATE_UP):
                stack(self.weights, [f"model.layers.{i}.{n}" for n in group])
        self.vocabulary = self.weights["lm_head.weight"].shape[0]
        self.layers, self.hidden = self.shape.layers, self.shape.hidden
        self.targets = adapted(section)
        self.learning = compute.choose(
            section.compute,
            stacked(self.weights, [f"model.layers.0.{n}" for n in GATE_UP], "weight"),
        )
        self.dtype = str(self.learning).removeprefix("torch.")
        self.angle, self.stretch = rotary(self.shape, device)
        self.cos, self.sin = self.angle.cos() * self.stretch, self.angle.sin() * self.stretch
        self._twice = False  # second derivatives are needed
        self._adapters: dict[str, Lora] = {}
        self._full: dict[str, dict[str, Tensor]] = {}  # full trainable copies, by name
        # derived from an adapter until its values change, for training and for sampling
        self._folded: dict[tuple[str | None, bool], Folded] = {}  # by adapter and `_twice`
        self._fused: dict[str | None, tuple[Folded, SamplingWeights]] = {}

    # --- adapters ---

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
        for key in [k for k in self._folded if k[0] == name]:
            del self._folded[key]

    def adapter(self, name: str) -> dict[str, Tensor]:
        return self._full[name] if name in self._full else self._adapters[name].tensors()

    def refresh(self, adapter: str) -> None:
        """Nothing to do: what is derived from an adapter has its stamp (`Lora.stamp`)."""

    def _with(self, adapter: str | None) -> Folded:
        """The weights with this adapter (None: no adapter) folded in, for its present values."""
        lora = None if adapter is None else self._adapters[adapter]
        key = adapter, self._twice
        folded = self._folded.get(key)
        if folded is None or not folded.current(lora):
            keep = self.backbone_bytes() <= formulas.KEPT_BYTES
            dtype = torch.float32 if self._twice else self.learning
            self._folded.pop(key, None)  # the old ones are as large
            self._fused.pop(adapter, None)
            folded = self._folded[key] = Folded(self.weights, lora, dtype, keep=keep)
        return folded

    def backbone_bytes(self) -> int:
        storages = {
            w.untyped_storage().data_ptr(): w.untyped_storage().nbytes()
            for w in self.weights.values()
        }
        return sum(storages.values())

    def give_up(self) -> None:
        """Nothing to free: all of it is needed."""

    @contextmanager
    def differentiable_twice(self) -> Iterator[None]:
        self._twice = True
        try:
            yield
        finally:
            self._twice = False

    def tensors_by_owner(self) -> dict[str, object]:
        """The backbone's tensors by memory owner, as nested containers."""
        derived = [f.tensors() for _, f in self._fused.values()]
        derived += [f.tensors() for f in self._folded.values()]
        return {
            "backbone": [self.weights, self.angle, self.cos, self.sin], "backbone_copy": derived,
        }  # fmt: skip

    def _modules(self) -> list[str]:
        return [
            f"model.layers.{i}.{name}"
            for i in range(self.layers)
            for name in LINEARS
            if self.targets is None or name.split(".")[-1] in self.targets
        ]

    # --- training ---

    def contexts(
        self, adapter: str | None, prompts: Prompts, group: Tensor, answers: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        model = self._layers(adapter)
        half = model.dtype == torch.bfloat16
        plan = Plan.of(prompts, group, answers, mask, SAME_SIZES if half else 1)
        ids = torch.cat(
            [prompts.ids.reshape(-1)[plan.prompt_at], answers.reshape(-1)[plan.answer_at]]
        )
        ids = F.pad(ids, (0, len(plan.position) - len(ids)))
        x = F.embedding(ids, model.w["model.embed_tokens.weight"])
        x = model.plain(x, plan) if self._twice else model.compiled(x, plan)
        x = rms_norm(pick(x, plan.context_at), model.w["model.norm.weight"], self.shape.eps)
        return x, plan.contexts

    def _layers(self, adapter: str | None) -> Layers:
        """The layers with this adapter."""
        if adapter in self._full:
            whole = self._full[adapter]

            def plain(h: Tensor, names: list[str], _: Tensor | None) -> Tensor:
                return F.linear(h, stacked(whole, names, "weight"), stacked_bias(whole, names))

            exact = torch.float32
            return Layers(
                shape=self.shape,
                w=whole,
                linears=plain,
                learned=True,
                dtype=exact,
                cos=self.cos,
                sin=self.sin,
            )
        w, folded = self.weights, self._with(adapter)

        def linear(h: Tensor, names: list[str], norm: Tensor | None) -> Tensor:
            return lora_linears(
                h, stacked(w, names, "weight"), folded(names, norm), norm, stacked_bias(w, names),
                folded.lora, names,
            )  # fmt: skip

        return Layers(
            shape=self.shape,
            w=w,
            linears=linear,
            learned=False,
            dtype=folded.dtype,
            cos=self.cos,
            sin=self.sin,
        )

    @property
    def head_weight(self) -> Tensor:
        return self.weights["lm_head.weight"]

    def head(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weights["lm_head.weight"])

    # --- sampling ---

    def rollout(
        self, adapter: str | None, prompts: Prompts, group: Tensor, *, max_tokens: int,
        temperature: float, top_p: float, generator: torch.Generator, greedy: Tensor | None,
        listener: Listener | None,
    ) -> Rollout:  # fmt: skip
        if prompts.ids.shape[1] + max_tokens > self.shape.longest:
            raise ModelError(
                f"prompt and answer of {prompts.ids.shape[1]} + {max_tokens} tokens exceed the "
                f"model's {self.shape.longest} positions: lower rollout.max_tokens"
            )
        return session.rollout(
            self._fuse(adapter), prompts, group, max_tokens=max_tokens, temperature=temperature,
            top_p=top_p, generator=generator, greedy=greedy, listener=listener,
            ends=self.text.eos, pad=self.text.pad,
        )  # fmt: skip

    def warm(self) -> None:
        with compile_ahead.compiling(self.learning):
            session.warm()
        layers.warm(self.learning)

    def prepare(self, adapter: str | None) -> None:
        self._fuse(adapter)

    def _fuse(self, adapter: str | None) -> SamplingWeights:
        """The weights of the sampler for the adapter's present values."""
        folded = self._with(adapter)
        found = self._fused.get(adapter)
        if found is None or found[0] is not folded:
            fused = SamplingWeights.of(self, self.weights, folded)
            found = self._fused[adapter] = folded, fused
        return found[1]
