"""A model's sizes, from its config.json alone: no weights, no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from grpolab.errors import RequestError
from grpolab.resources import assets_dir


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder-only transformer."""

    architecture: str
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int  # the MLP's width
    longest: int  # positions
    tied: bool  # the head is the embedding
    gated: bool  # the MLP has a gate beside its up projection
    qkv_bias: bool
    normed_heads: bool  # queries and keys have norms of their own

    @staticmethod
    def of(config: Mapping[str, Any]) -> ModelShape:
        """Raises RequestError where a size is missing."""
        c = config.get("text_config") or config

        def size(*names: str) -> int:
            for name in names:
                if isinstance(c.get(name), int):
                    return c[name]
            raise RequestError(f"config.json: no {names[0]!r}; its memory cannot be predicted")

        hidden, heads = size("hidden_size", "n_embd"), size("num_attention_heads", "n_head")
        kind = str(c.get("model_type", "?"))
        old = "n_embd" in c  # GPT-2's family
        return ModelShape(
            architecture=(config.get("architectures") or [kind])[0],
            vocabulary=size("vocab_size"),
            hidden=hidden,
            layers=size("num_hidden_layers", "n_layer"),
            heads=heads,
            kv_heads=c.get("num_key_value_heads") or heads,
            head_dim=c.get("head_dim") or hidden // heads,
            inner=c.get("intermediate_size") or c.get("n_inner") or 4 * hidden,
            longest=c.get("max_position_embeddings") or c.get("n_positions") or 4096,
            tied=bool(c.get("tie_word_embeddings", old)),
            gated=not old,
            qkv_bias=kind == "qwen2" or bool(c.get("attention_bias")) or old,
            normed_heads=kind == "qwen3",
        )

    @cached_property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of one layer's linears."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        out = {
            "q_proj": (self.hidden, q), "k_proj": (self.hidden, kv), "v_proj": (self.hidden, kv),
            "o_proj": (q, self.hidden),
        }  # fmt: skip
        if self.gated:
            out["gate_proj"] = (self.hidden, self.inner)
        out["up_proj"] = (self.hidden, self.inner)
        return out | {"down_proj": (self.inner, self.hidden)}

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Linears on one input, which the engine stacks into one product."""
        mlp = ("gate_proj", "up_proj") if self.gated else ("up_proj",)
        return (("q_proj", "k_proj", "v_proj"), ("o_proj",), mlp, ("down_proj",))

    @property
    def in_linears(self) -> int:
        """Parameters of all layers' linear weights."""
        return self.layers * sum(i * o for i, o in self.linears.values())

    @property
    def elsewhere(self) -> int:
        """Parameters of embeddings, head, norms and biases."""
        words = self.vocabulary * self.hidden * (1 if self.tied else 2)
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim * self.qkv_bias
        norms = 2 * self.hidden + 2 * self.head_dim * self.normed_heads
        return words + self.layers * (norms + biases) + self.hidden

    @property
    def parameters(self) -> int:
        return self.in_linears + self.elsewhere


def read_config(path: str) -> dict[str, Any]:
    """config.json of `model.path`: embedded, a folder, or a hub id whose files are on this machine.

    Raises RequestError.
    """
    file = _config_file(path)
    if file is None:
        raise RequestError(
            f"model {path}: no such folder, and not in the hub's cache on this machine; "
            "its memory cannot be predicted before it is downloaded"
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file}: cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise RequestError(f"{file}: not a model's config")
    return config


def _config_file(path: str) -> Path | None:
    folder = assets_dir() / "policy" if path == "embedded" else Path(path).expanduser()
    if (folder / "config.json").exists():
        return folder / "config.json"
    if folder.is_dir():
        raise RequestError(f"{folder}: no config.json in this folder")
    cached = hub_cache() / f"models--{path.replace('/', '--')}"
    try:
        commit = (cached / "refs" / "main").read_text().strip()
    except OSError:
        return None
    file = cached / "snapshots" / commit / "config.json"
    return file if file.exists() else None


def hub_cache() -> Path:
    """The folder in which the Hugging Face client caches downloads."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own)
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"
    )
    return Path(home).expanduser() / "hub"
