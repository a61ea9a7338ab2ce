"""A model folder as frozen matrices, read tensor by tensor, so that no more than one layer is in
memory twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from grpolab.engine.backbone.base import ModelError
from grpolab.engine.backbone.gpu.matrix import ROOM, Matrix, Packed, Scratch
from grpolab.engine.backbone.model_folder import GATE_UP, QKV, Shape


@dataclass(frozen=True)
class Layer:
    norm1: Tensor
    qkv: Matrix
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Matrix
    norm2: Tensor
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True)
class Frozen:
    """All frozen tensors. embed and head are [V, H]; they may be the same tensor."""

    layers: list[Layer]
    embed: Tensor
    norm: Tensor
    head: Tensor
    adapted: frozenset[str]  # names of the linears that get an adapter
    scratch: Scratch

    def matrices(self) -> Iterator[Matrix]:
        for layer in self.layers:
            yield from (layer.qkv, layer.out, layer.gate_up, layer.down)

    def _singles(self) -> Iterator[tuple[str, Tensor]]:
        yield "model.embed_tokens.weight", self.embed
        yield "model.norm.weight", self.norm
        if self.head is not self.embed:
            yield "lm_head.weight", self.head
        for i, layer in enumerate(self.layers):
            at = f"model.layers.{i}"
            yield f"{at}.input_layernorm.weight", layer.norm1
            yield f"{at}.post_attention_layernorm.weight", layer.norm2
            if layer.q_norm is not None and layer.k_norm is not None:
                yield f"{at}.self_attn.q_norm.weight", layer.q_norm
                yield f"{at}.self_attn.k_norm.weight", layer.k_norm

    def singles(self) -> list[Tensor]:
        """Embedding, head and norms."""
        return [t for _, t in self._singles()]

    @property
    def parameters(self) -> int:
        inner = sum(
            m.out * m.width + (0 if m.bias is None else len(m.bias)) for m in self.matrices()
        )
        return inner + sum(t.numel() for _, t in self._singles())

    def nbytes(self) -> tuple[int, int]:
        """(bytes of the weights as loaded, bytes of the dequantized copy)."""
        sizes = [m.nbytes() for m in self.matrices()]
        return sum(s[0] for s in sizes) + sum(t.nbytes for _, t in self._singles()), sum(
            s[1] for s in sizes
        )

    def copy(self) -> dict[str, Tensor]:
        """A trainable fp32 copy of everything but the head, by transformers' names."""
        out = {k: t for k, t in self._singles() if k != "lm_head.weight"}
        for m in self.matrices():
            for name, part in zip(m.names, m.dense().split(m.outs), strict=True):
                out[f"{name}.weight"] = part
            if m.bias is not None:
                for name, part in zip(m.names, m.bias.split(m.outs), strict=True):
                    out[f"{name}.bias"] = part
        return {k: t.detach().float().clone().requires_grad_() for k, t in out.items()}


def load(
    path: Path, shape: Shape, dtype: torch.dtype, device: torch.device, *, quantize: bool,
    rank: int, adapted: Callable[[str], bool],
) -> Frozen:  # fmt: skip
    """Read the folder's safetensors files. Raises ModelError."""
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{path}: no .safetensors file in this folder")
    with ExitStack() as stack:
        where = {}
        for file in files:
            opened = stack.enter_context(safe_open(str(file), "pt", device=str(device)))
            where |= dict.fromkeys(opened.keys(), opened)

        def get(name: str) -> Tensor:
            if name not in where:
                raise ModelError(f"{path}: no tensor {name} in its safetensors files")
            return where[name].get_tensor(name).to(dtype)

        def maybe(name: str) -> Tensor | None:
            return get(name) if name in where else None

        scratch, names_adapted = Scratch(), set()

        def matrix(at: str, *names: str) -> Matrix:
            full = [f"{at}.{n}" for n in names]
            ours = [n for n in full if adapted(n.split(".")[-1])]
            names_adapted.update(ours)
            room = -(-len(ours) * rank // ROOM) * ROOM
            weights = [get(f"{n}.weight") for n in full]
            biases = [maybe(f"{n}.bias") for n in full]
            m = Matrix(
                names=full,
                outs=[len(w) for w in weights],
                width=weights[0].shape[1],
                room=room,
                dtype=dtype,
                scratch=scratch,
                bias=torch.cat([b for b in biases if b is not None])
                if biases[0] is not None
                else None,
            )
            if quantize:
                m.packed = [Packed.of(w) for w in weights]
            else:
                m.wide = m.room_for_weights(weights[0])
                for part, w in zip(m.dense().split(m.outs), weights, strict=True):
                    part.copy_(w)
            return m

        layers = [
            Layer(
                norm1=get(f"{at}.input_layernorm.weight"), qkv=matrix(at, *QKV),
                q_norm=maybe(f"{at}.self_attn.q_norm.weight"),
                k_norm=maybe(f"{at}.self_attn.k_norm.weight"),
                out=matrix(at, "self_attn.o_proj"),
                norm2=get(f"{at}.post_attention_layernorm.weight"),
                gate_up=matrix(at, *GATE_UP), down=matrix(at, "mlp.down_proj"),
            )
            for at in (f"model.layers.{i}" for i in range(shape.layers))
        ]  # fmt: skip
        embed = get("model.embed_tokens.weight")
        head = maybe("lm_head.weight")
        return Frozen(
            layers=layers,
            embed=embed,
            norm=get("model.norm.weight"),
            head=embed if head is None else head,
            adapted=frozenset(names_adapted),
            scratch=scratch,
        )
