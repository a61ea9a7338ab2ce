"""The Llama family in half precision or 4 bit, for training and sampling.

It computes what transformers, PEFT and bitsandbytes compute on the same folder (tests hold it to
rounding). It differs in speed only: linears with the same input are one product that includes their
adapters, each prompt is read once for its group, there is no padding, and the operations between
products are fused (`ops`). The residual stream and all sums are fp32.

Training: the tokens of all prompts and answers are flat, [M, H]. Sampling: `session`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from grpolab.engine.backbone.base import ModelError, Prompts
from grpolab.engine.backbone.gpu import ops
from grpolab.engine.backbone.gpu.attention import attend
from grpolab.engine.backbone.gpu.flat import Flat
from grpolab.engine.backbone.gpu.loading import Frozen, load
from grpolab.engine.backbone.gpu.matrix import Matrix, lora_matrix
from grpolab.engine.backbone.gpu.session import Sampler
from grpolab.engine.backbone.head import fp32_logits
from grpolab.engine.backbone.lora import Lora
from grpolab.engine.backbone.model_folder import Shape, adapted, read_text, rotary
from grpolab.engine.backbone.sample import Listener, Rollout
from grpolab.engine.backbone.tokenizer import Text
from grpolab.scenario.spec import ModelSection

LONGEST = 32768
"""Rotary tables are made for at most this many positions."""


class HalfBackbone:
    """Implements `base.Backbone` for models of the Llama family in half precision and NF4."""

    backend = "native"
    parallel = False

    def __init__(
        self, path: Path, config: dict[str, Any], section: ModelSection, device: torch.device
    ) -> None:
        self.shape = Shape.of(config)
        self.device, self.section = device, section
        self.text: Text = read_text(path, config)
        self.name = "embedded" if section.path == "embedded" else path.name
        self.architecture = (config.get("architectures") or [config["model_type"]])[0]
        self.compute = torch.bfloat16 if device.type == "cuda" else torch.float32
        # partial sums in bf16 would set the sampler's products apart from the trainer's
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self.dtype = str(self.compute).removeprefix("torch.")
        targets = adapted(section)
        self.frozen: Frozen = load(
            path, self.shape, self.compute, device, quantize=section.quantize == "nf4",
            rank=section.lora.rank, adapted=lambda n: targets is None or n in targets,
        )  # fmt: skip
        self.parameters = self.frozen.parameters
        self.vocabulary = len(self.frozen.head)
        self.layers, self.hidden = self.shape.layers, self.shape.hidden
        self.longest = min(self.shape.longest, LONGEST)
        angle, stretch = rotary(self.shape, device, self.longest)
        self.cos, self.sin = angle.cos() * stretch, angle.sin() * stretch
        self.sampler = Sampler(self)
        self.copy_kept = False
        self._adapters: dict[str, Lora] = {}
        self._ids: dict[str, int] = {}
        self._made = 0
        self._full: dict[str, dict[str, Tensor]] = {}
        self._plain = False
        self.never_copies = section.never_copies
        self.checkpointing = self.never_copies and device.type == "cuda"
        if section.quantize == "nf4" and self._roomy():
            self.set_copy(True)

    # --- weights ---

    @property
    def head_weight(self) -> Tensor:
        """[V, H], frozen."""
        return self.frozen.head

    @property
    def note(self) -> str:
        if self.section.quantize != "nf4":
            return ""
        return "4 bit with a bf16 copy" if self.copy_kept else "4 bit, dequantized layer by layer"

    def _roomy(self) -> bool:
        """Whether a dequantized copy is kept: on a GPU, where it leaves half of the free memory."""
        if self.section.copy_weights == "never" or self.device.type != "cuda":
            return self.section.copy_weights != "never"
        copy = sum(m.copied * 2 for m in self.frozen.matrices())
        return self.section.copy_weights == "always" or (
            copy < torch.cuda.mem_get_info(self.device)[0] // 2
        )

    def set_copy(self, kept: bool) -> None:
        """Make the dequantized copy of 4-bit weights, or free it; other weights have none."""
        if self.section.quantize != "nf4":
            return
        self.sampler.forget()
        for m in self.frozen.matrices():
            m.widen() if kept else m.narrow()
        self.copy_kept = kept

    @property
    def stacked_gradients(self) -> frozenset[tuple[int, ...]]:
        """Shapes of the gradients of A, for linears with one input stacked."""
        rank, mine = self.section.lora.rank, self.frozen.adapted
        return frozenset(
            (rank * sum(n in mine for n in m.names), m.width) for m in self.frozen.matrices()
        )

    def backbone_bytes(self) -> int:
        """Bytes of the weights as loaded."""
        return self.frozen.nbytes()[0]

    def tensors_by_owner(self) -> dict[str, object]:
        """The backbone's tensors by memory owner. Columns for an adapter beside weights belong to
        them."""
        packed = [m.packed or [] for m in self.frozen.matrices()]
        wide = [m.wide for m in self.frozen.matrices()]
        quantized = self.section.quantize == "nf4"
        return {
            "backbone": [
                self.frozen.singles(), [m.bias for m in self.frozen.matrices()],
                [] if quantized else wide, [(p.data, p.scales()) for some in packed for p in some],
                self.cos, self.sin,
            ],
            "backbone_copy": [wide if quantized else [], self.frozen.scratch.room],
            "adapters": [[m.a, m.b] for m in self.frozen.matrices()],
            "kv_cache": self.sampler.caches(),
            "workspace": self.sampler.buffers(),
        }  # fmt: skip

    def give_up(self) -> str | None:
        """Free the dequantized copy first, then recompute activations."""
        self.sampler.forget()
        if self.copy_kept and self.section.quantize == "nf4":
            self.set_copy(False)
            return "the bf16 copy of the weights is given up"
        if not self.checkpointing:
            self.checkpointing = True
            return "activations are computed again in the backward"
        return None

    # --- adapters ---

    def create_adapter(self, name: str, seed: int, *, full: bool = False) -> None:
        if full:
            if self.section.quantize != "none":
                raise ModelError(
                    "model.critic: full needs model.quantize: none; use critic: adapter"
                )
            self._full[name] = self.frozen.copy()
            return
        modules = {
            name: width
            for m in self.frozen.matrices()
            for name, width in ((n, m.width) for n in m.names)
            if name in self.frozen.adapted
        }
        outs = {n: o for m in self.frozen.matrices() for n, o in zip(m.names, m.outs, strict=True)}
        lora = self.section.lora
        # only their sizes count: no weight is unpacked for it
        sizes = {
            n: torch.empty(1, device=self.device).expand(outs[n], width)
            for n, width in modules.items()
        }
        self._adapters[name] = Lora.create(sizes, outs, lora.rank, lora.alpha, seed)
        self._name(name)

    def _name(self, name: str) -> None:
        self._made += 1
        self._ids[name] = self._made

    def copy_adapter(self, source: str, target: str) -> None:
        if source in self._full:
            self._full[target] = {
                k: w.detach().clone().requires_grad_() for k, w in self._full[source].items()
            }
        else:
            self._adapters[target] = self._adapters[source].clone()
            self._name(target)

    def drop_adapter(self, name: str) -> None:
        for table in (self._adapters, self._full, self._ids):
            table.pop(name, None)

    def adapter(self, name: str) -> dict[str, Tensor]:
        return self._full[name] if name in self._full else self._adapters[name].tensors()

    def refresh(self, adapter: str) -> None:
        """Nothing to drop: what is derived from an adapter has its version."""

    def warm(self) -> None:
        """Nothing yet: graphs and kernels depend on the shape of a rollout."""

    def prepare(self, adapter: str | None) -> None:
        """Nothing to compute beforehand."""

    def place(self, adapter: str | None) -> None:
        """Copy an adapter's values to where the sampler's products read them."""
        lora, tag = self._of(adapter)
        for m in self.frozen.matrices():
            m.place(lora, tag)

    def _of(self, adapter: str | None) -> tuple[Lora | None, int]:
        if adapter is None:
            return None, 0
        return self._adapters[adapter], self._ids[adapter]

    # --- learning ---

    @contextmanager
    def differentiable_twice(self) -> Iterator[None]:
        """Inside this context, states can be differentiated any number of times, more slowly."""
        self._plain = True
        try:
            yield
        finally:
            self._plain = False

    def contexts(
        self, adapter: str | None, prompts: Prompts, group: Tensor, answers: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        flat = Flat.of(prompts, group, mask)
        ids = torch.cat(
            [prompts.ids.reshape(-1)[flat.prompt_at], answers.reshape(-1)[flat.answer_at]]
        )
        states = self.run(adapter, ids, flat)[flat.state_at]
        at = torch.zeros_like(answers).view(-1)
        at[flat.token_at] = torch.arange(len(states), device=at.device)
        return states, at.view(answers.shape)

    def run(self, adapter: str | None, ids: Tensor, flat: Flat, keep: Any = None) -> Tensor:
        """The decoder over flat tokens [M] -> states after the final norm [M, H]. `keep(layer, k,
        v)` is told each layer's keys and values [M, kv_heads, D]."""
        if adapter in self._full:
            from grpolab.engine.backbone.gpu.whole import run_whole

            return run_whole(self, self._full[adapter], ids, flat)
        x = F.embedding(ids, self.frozen.embed).float()
        y: Tensor | None = None
        for index in range(self.layers):
            if self.checkpointing and torch.is_grad_enabled() and not self._plain:
                x, y = checkpoint(  # pyright: ignore[reportGeneralTypeIssues]
                    self._layer, index, adapter, x, y, flat, None, use_reentrant=False
                )
            else:
                x, y = self._layer(index, adapter, x, y, flat, keep)
        back = self.frozen.layers[-1].down.back
        return ops.add_norm(
            x, y, self.frozen.norm, self.shape.eps, back=back, plain=self._plain
        )[1]  # fmt: skip

    def _layer(
        self, index: int, adapter: str | None, x: Tensor, y: Tensor | None, flat: Flat, keep: Any
    ) -> tuple[Tensor, Tensor]:
        s, layer, plain = self.shape, self.frozen.layers[index], self._plain
        lora, tag = self._of(adapter)

        def linear(h: Tensor, m: Matrix) -> Tensor:
            return lora_matrix(h, m, lora, tag, plain=plain)

        back = self.frozen.layers[index - 1].down.back
        x, h = ops.add_norm(x, y, layer.norm1, s.eps, room=layer.qkv.room, back=back, plain=plain)
        qkv = linear(h, layer.qkv).view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
        bias, turned = layer.qkv.bias, s.heads + s.kv_heads
        if layer.q_norm is not None and layer.k_norm is not None:  # Qwen3
            q, k, v = qkv.split((s.heads, s.kv_heads, s.kv_heads), 1)
            q = ops.norm_heads(q, layer.q_norm, s.eps, plain=plain)
            k = ops.norm_heads(k, layer.k_norm, s.eps, plain=plain)
            qkv, bias = torch.cat([q, k, v], 1), None
        qkv = ops.turn(qkv, bias, self.cos, self.sin, flat.position, turned, plain=plain)
        if keep is not None:
            keep(index, *qkv[:, s.heads :].chunk(2, 1))
        seen = attend(qkv, flat, s.heads, room=layer.out.room, plain=plain)
        y = linear(seen, layer.out)
        x, h = ops.add_norm(
            x, y, layer.norm2, s.eps, room=layer.gate_up.room, back=layer.out.back, plain=plain
        )
        act = ops.swiglu(linear(h, layer.gate_up), room=layer.down.room, plain=plain)
        return x, linear(act, layer.down)

    def head(self, states: Tensor) -> Tensor:
        if states.requires_grad:  # few rows, all of their distributions wanted
            return F.linear(states.float(), self.frozen.head.float())
        return fp32_logits(states.reshape(-1, self.hidden), self.frozen.head).view(
            *states.shape[:-1], -1
        )

    # --- sampling ---

    def rollout(
        self, adapter: str | None, prompts: Prompts, group: Tensor, *, max_tokens: int,
        temperature: float, top_p: float, generator: torch.Generator, greedy: Tensor | None,
        listener: Listener | None,
    ) -> Rollout:  # fmt: skip
        """One rollout by the sampler's own loop; see `sample.sample`."""
        width = prompts.ids.shape[1]
        if width + max_tokens > self.longest:
            raise ModelError(
                f"prompt and answer of {width} + {max_tokens} tokens exceed the model's "
                f"{self.longest} positions: lower rollout.max_tokens"
            )
        try:
            return self.sampler.rollout(
                adapter, prompts, group, max_tokens=max_tokens, temperature=temperature,
                top_p=top_p, seed=generator.initial_seed(), greedy=greedy, listener=listener,
            )  # fmt: skip
        finally:
            if self.never_copies:
                self.sampler.forget()
