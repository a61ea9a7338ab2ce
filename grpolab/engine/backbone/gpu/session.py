"""Sampling: one token of every live row per replay of a CUDA graph.

Each prompt is read once for its group and its keys and values are cached once. A step is fifteen
launches per layer or fewer, captured once for each number of live rows; everything that changes
between steps (position, newest tokens, live rows) is in buffers that the graph reads. The host
reads the results every `LOOK` tokens: it streams text, and drops finished rows by rewriting the
list of live ones. On other devices the same steps run in plain torch operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.gpu import ops
from grpolab.engine.backbone.gpu.draw import Draw
from grpolab.engine.backbone.gpu.flat import Flat
from grpolab.engine.backbone.gpu.matrix import Matrix
from grpolab.engine.backbone.head import fp32_logits
from grpolab.engine.backbone.sample import Listener, Rollout

if TYPE_CHECKING:
    from grpolab.engine.backbone.gpu.backbone import HalfBackbone

LOOK = 16
"""Tokens between two reads by the host."""


@dataclass(frozen=True)
class Cache:
    """Keys and values by layer, prompts once; the last row and prompt are unused padding slots."""

    prompt_k: Tensor  # [layers, K + 1, kv_heads, P, D]
    prompt_v: Tensor
    answer_k: Tensor  # [layers, N + 1, kv_heads, T, D]
    answer_v: Tensor

    @property
    def nbytes(self) -> int:
        some = (self.prompt_k, self.prompt_v, self.answer_k, self.answer_v)
        return sum(t.nbytes for t in some)


class Sampler:
    """Buffers and graphs of the newest shape of rollout, kept for the next one of that shape."""

    def __init__(self, model: HalfBackbone) -> None:
        self.model = model
        self._room: _Room | None = None

    @cached_property
    def stream(self) -> torch.cuda.Stream:
        """The stream on which steps are captured."""
        return torch.cuda.Stream(self.model.device)

    def forget(self) -> None:
        """Free buffers and graphs."""
        self._room = None

    def caches(self) -> object:
        """The key/value caches, kept between rollouts."""
        return [] if self._room is None else self._room.cache

    def buffers(self) -> object:
        """All other buffers."""
        room = self._room
        return [] if room is None else [list(room.inputs.values()), room.draw.tensors()]

    @torch.no_grad()
    def rollout(
        self, adapter: str | None, prompts: Prompts, group: Tensor, *, max_tokens: int,
        temperature: float, top_p: float, seed: int, greedy: Tensor | None,
        listener: Listener | None,
    ) -> Rollout:  # fmt: skip
        """Sample one answer for each entry of `group` [N], the prompt of each row; rows marked in
        `greedy` [N] bool take the argmax. Random numbers depend on seed, row and position alone."""
        model, (k, p), n = self.model, prompts.ids.shape, len(group)
        shape = _Shape(n, k, -(-p // 64) * 64, max_tokens, temperature, top_p)
        if self._room is None or self._room.shape != shape:
            self._room = None  # first give back, then take
            self._room = _Room(model, shape)
        room = self._room
        model.place(adapter)
        room.begin(adapter, prompts, group, seed, greedy)
        told = None  # what a listener hears while the device is at the next tokens
        for t in range(1, max_tokens):
            if t % LOOK == 0 or t == 1:
                if listener is not None and told is not None:
                    listener(*told)
                lengths = room.draw.lengths[:n].cpu()  # waits for the device
                alive = (lengths > max_tokens).nonzero().squeeze(1)
                if len(alive) == 0:
                    break
                if t > 1:
                    told = room.draw.tokens[:n, :t].cpu(), lengths.clamp(max=t), t
                room.live(alive.to(model.device))
            room.step()
        lengths = room.draw.lengths[:n].clamp(max=max_tokens)
        finished = room.draw.lengths[:n] <= max_tokens
        width = int(lengths.max())
        tokens, logp = room.draw.tokens[:n, :width], room.draw.logp[:n, :width]
        mask = (torch.arange(width, device=model.device) < lengths[:, None]).float()
        if listener is not None:
            listener(room.draw.tokens[:n].cpu(), lengths.cpu(), width)
        return Rollout(
            prompts=prompts,
            group=group,
            tokens=tokens.where(mask.bool(), model.text.pad),
            mask=mask,
            logp=logp.where(mask.bool(), 0.0),
            finished=finished,
            cache_bytes=room.cache.nbytes,
        )


@dataclass(frozen=True)
class _Shape:
    rows: int
    prompts: int
    prompt_tokens: int
    max_tokens: int
    temperature: float
    top_p: float


class _Room:
    """Buffers for one shape of rollout, and a graph for each number of live rows."""

    def __init__(self, model: HalfBackbone, shape: _Shape) -> None:
        self.model, self.shape = model, shape
        s, device, dtype = model.shape, model.device, model.compute
        n, k = shape.rows, shape.prompts

        def zeros(*size: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        def cache(count: int, tokens: int) -> Tensor:
            size = (model.layers, count + 1, s.kv_heads, tokens, s.head_dim)
            return zeros(*size, dtype=dtype)

        self.cache = Cache(
            cache(k, shape.prompt_tokens), cache(k, shape.prompt_tokens),
            cache(n, shape.max_tokens), cache(n, shape.max_tokens),
        )  # fmt: skip
        self.rows = zeros(n, dtype=torch.int32)  # which row each slot serves
        self.prompt = zeros(n + 1, dtype=torch.int32)  # the prompt of each row
        self.lengths = zeros(k + 1, dtype=torch.int32)  # tokens of each prompt
        self.time = zeros(1, dtype=torch.int32)  # tokens of each answer that the caches hold
        self.draw = Draw(
            rows=n,
            max_tokens=shape.max_tokens,
            vocabulary=model.vocabulary,
            eos=model.text.eos,
            temperature=shape.temperature,
            top_p=shape.top_p,
            time=self.time,
            device=device,
        )
        self.slots = n
        self.graphs: dict[int, Any] = {}
        self._pool: Any = None
        self.inputs: dict[tuple[str, int], Tensor] = {}

    # --- a rollout ---

    def begin(
        self, adapter: str | None, prompts: Prompts, group: Tensor, seed: int,
        greedy: Tensor | None,
    ) -> None:  # fmt: skip
        """Read the prompts and draw every row's first token."""
        model, k, n = self.model, len(prompts.ids), len(group)
        empty = torch.zeros(0, dtype=torch.long, device=model.device)
        flat = Flat.of(prompts, empty, prompts.mask[:0].float())
        ids = prompts.ids.reshape(-1)[flat.prompt_at]
        lengths = prompts.mask.sum(1)
        owner = torch.arange(k, device=model.device).repeat_interleave(lengths)

        def keep(layer: int, keys: Tensor, values: Tensor) -> None:
            self.cache.prompt_k[layer][owner, :, flat.position] = keys
            self.cache.prompt_v[layer][owner, :, flat.position] = values

        states = model.run(adapter, ids, flat, keep)
        first = fp32_logits(states[lengths.cumsum(0) - 1], model.frozen.head)  # [K, V]
        self.lengths[:k] = lengths.int()
        self.prompt[:n] = group.int()
        self.prompt[n] = k
        self.time.zero_()
        self.draw.begin(seed, greedy)
        self.live(torch.arange(n, device=model.device))
        # rows of one group start from the same distribution, each with its own noise
        step = max(1, 2**28 // model.vocabulary)
        for at in range(0, n, step):
            some = slice(at, min(at + step, n))
            self.draw(first[group[some]], self.rows[some])

    def live(self, rows: Tensor) -> None:
        """Continue with these rows; unused slots compute the dummy row."""
        count = len(rows)
        self.slots = _bucket(count, self.shape.rows)
        self.rows[:count] = rows.int()
        self.rows[count : self.slots] = self.shape.rows

    def step(self) -> None:
        """Draw one more token of every live row."""
        slots = self.slots
        if not self.rows.is_cuda:
            self._advance(slots)
            return
        if slots not in self.graphs:
            self._capture(slots)
        self.graphs[slots].replay()

    def _capture(self, slots: int) -> None:
        """Capture a step. What the trial step writes is overwritten by the real one. Always on one
        stream: libraries keep tens of megabytes for each stream they are used on."""
        kept = self.time.clone()
        lengths = self.draw.lengths.clone()
        stream = self.model.sampler.stream
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            last = self.draw.last.clone()
            self._advance(slots)
            self.time.copy_(kept)
            self.draw.lengths.copy_(lengths)
            self.draw.last.copy_(last)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            self._advance(slots)
        self._pool = self._pool or graph.pool()
        self.graphs[slots] = graph

    # --- one step ---

    def _advance(self, slots: int) -> None:
        model, s = self.model, self.model.shape
        rows = self.rows[:slots]
        x = F.embedding(self.draw.last[rows.long()], model.frozen.embed).float()
        y: Tensor | None = None
        for index, layer in enumerate(model.frozen.layers):
            x, inner = self._norm(x, y, layer.norm1, layer.qkv, "qkv")
            qkv = self._product(inner, layer.qkv, "qkv")
            seen = self._input(layer.out, "out", slots)
            self._attend(index, layer, qkv, seen, rows)
            y = self._product(seen, layer.out, "out")
            x, inner = self._norm(x, y, layer.norm2, layer.gate_up, "gate_up")
            gate_up = self._product(inner, layer.gate_up, "gate_up")
            act = self._input(layer.down, "down", slots)
            self._swiglu(gate_up, act, layer.down.width)
            y = self._product(act, layer.down, "down")
        x, last = self._norm(x, y, model.frozen.norm, None, "final")
        self.time.add_(1)
        self.draw(fp32_logits(last[:, : s.hidden], model.frozen.head), rows)

    def _input(self, m: Matrix | None, name: str, slots: int) -> Tensor:
        """Buffer for a product's input with u to its right. [slots, width + room]."""
        width = self.model.hidden if m is None else m.width + m.room
        key = (name, slots)
        if key not in self.inputs:
            self.inputs[key] = torch.zeros(
                slots, width, dtype=self.model.compute, device=self.rows.device
            )
        return self.inputs[key]

    def _norm(
        self, x: Tensor, y: Tensor | None, weight: Tensor, m: Matrix | None, name: str
    ) -> tuple[Tensor, Tensor]:
        out, eps = self._input(m, name, len(x)), self.model.shape.eps
        width = x.shape[1]
        if ops.fused(x):
            ops.kernels().add_norm[(len(x),)](
                x, x if y is None else y, x, weight, out, out, x, width, out.shape[1], eps,
                ADD=y is not None, SAVE=False, BLOCK=ops.block(width), num_warps=4,
            )  # fmt: skip
            return x, out
        x, normed = ops.add_norm(x, y, weight, eps, plain=True)
        out[:, :width] = normed
        return x, out

    def _product(self, xu: Tensor, m: Matrix, name: str) -> Tensor:
        """[slots, width + room] -> [slots, Σ out], the adapter included."""
        x = xu[:, : m.width]
        if m.wide is None:
            y = F.linear(x, m.dense())
            if m.room and m.a is not None and m.b is not None:
                y = torch.addmm(y, F.linear(x, m.a), m.b.t())
            return y
        if m.room:
            assert m.a is not None
            torch.mm(x, m.a.t(), out=xu[:, m.width :])
        return F.linear(xu, m.along)

    def _swiglu(self, gate_up: Tensor, out: Tensor, width: int) -> None:
        if ops.fused(gate_up):
            size = min(1024, ops.block(width))
            ops.kernels().swiglu[(len(out), -(-width // size))](
                gate_up, out, width, out.shape[1], BLOCK=size
            )
        else:
            out[:, :width] = ops.plain_swiglu(gate_up)

    def _attend(self, index: int, layer: Any, qkv: Tensor, out: Tensor, rows: Tensor) -> None:
        model, s, c = self.model, self.model.shape, self.cache
        caches = (c.prompt_k[index], c.prompt_v[index], c.answer_k[index], c.answer_v[index])
        if not ops.fused(qkv):
            self._attend_plain(caches, layer, qkv, out, rows)
            return
        bias, norm = layer.qkv.bias, layer.q_norm is not None
        per = s.heads // s.kv_heads
        ops.kernels().attend[(len(qkv), s.kv_heads)](
            qkv, qkv if bias is None else bias, layer.q_norm if norm else qkv,
            layer.k_norm if norm else qkv, model.cos, model.sin, *caches, rows, self.prompt,
            self.lengths, self.time, out, out.shape[1], self.shape.prompt_tokens,
            self.shape.max_tokens, s.head_dim**-0.5, s.eps,
            HEADS=s.heads, KV=s.kv_heads, HALF=s.head_dim // 2, G=max(16, ops.block(per)),
            BLOCK=64, BIAS=bias is not None, NORM=norm, num_warps=4,
        )  # fmt: skip

    def _attend_plain(
        self, caches: tuple[Tensor, ...], layer: Any, qkv: Tensor, out: Tensor, rows: Tensor
    ) -> None:
        model, s = self.model, self.model.shape
        prompt_k, prompt_v, answer_k, answer_v = caches
        row = rows.long()
        prompt, time = self.prompt[row].long(), int(self.time)
        position = self.lengths[prompt].long() + time
        heads = qkv.view(len(row), -1, s.head_dim)
        bias = layer.qkv.bias
        if layer.q_norm is not None:
            q, k, v = heads.split((s.heads, s.kv_heads, s.kv_heads), 1)
            q = ops.plain_norm(q.float(), layer.q_norm, s.eps)
            k = ops.plain_norm(k.float(), layer.k_norm, s.eps)
            heads = torch.cat([q, k, v], 1)
        turned = s.heads + s.kv_heads
        heads = ops.plain_turn(heads, bias, model.cos[position], model.sin[position], turned)
        q, k, v = heads.split((s.heads, s.kv_heads, s.kv_heads), 1)
        answer_k[row, :, time], answer_v[row, :, time] = k, v
        keys = torch.cat([prompt_k[prompt], answer_k[row, :, : time + 1]], 2).unsqueeze(2)
        values = torch.cat([prompt_v[prompt], answer_v[row, :, : time + 1]], 2).unsqueeze(2)
        width = prompt_k.shape[2]
        hidden = torch.arange(width, device=q.device) >= self.lengths[prompt][:, None]
        q = q.view(len(row), s.kv_heads, -1, 1, s.head_dim)
        scores = (q @ keys.transpose(-1, -2)).float() * s.head_dim**-0.5
        scores[..., :width] = scores[..., :width].masked_fill(
            hidden[:, None, None, None], float("-inf")
        )
        seen = torch.softmax(scores, -1).to(values.dtype) @ values
        out[:, : s.heads * s.head_dim] = seen.reshape(len(row), -1)


def _bucket(count: int, most: int) -> int:
    """Slots for `count` live rows: few different sizes, so that few graphs are captured."""
    size = 8
    while size < count:
        size += size // 4 if size >= 32 else 8
    return min(size, most)
