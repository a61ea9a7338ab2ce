"""Pretraining from nothing to a folder that transformers loads."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from grpolab.pretrain import corpus
from grpolab.pretrain.card import model_card
from grpolab.pretrain.evaluate import evaluate
from grpolab.pretrain.optimizer import Optimizer
from grpolab.pretrain.students import HABITS
from grpolab.pretrain.tokenizer import save_tokenizer
from grpolab.pretrain.vocabulary import EOS_ID, PAD_ID, TOKENS

POSITIONS = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a pretraining run needs to know. It ends at `steps` or after `minutes`, if given."""

    out: Path
    seed: int = 0
    steps: int = 7_000
    minutes: float | None = None
    rows_per_step: int = 2048
    workers: int = 14
    eval_prompts: int = 512
    eval_samples: int = 64
    hidden: int = 192
    layers: int = 4
    compiled: bool = True


def policy_config(hidden: int = 192, layers: int = 4) -> LlamaConfig:
    """The policy's architecture: a small Llama with heads of 32 and tied embeddings."""
    return LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=hidden,
        intermediate_size=(hidden * 8 // 3 + 63) // 64 * 64,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        head_dim=32,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )


def loss_of(model: LlamaForCausalLM, ids: Tensor, starts: Tensor) -> Tensor:
    """Σ −ln p over the completions' tokens. `ids` is [rows, width], `starts` is [rows]."""
    logits = model(input_ids=ids, use_cache=False).logits  # [rows, width, vocabulary]
    targets = functional.pad(ids[:, 1:], (0, 1), value=PAD_ID)
    places = torch.arange(1, ids.size(1) + 1, device=ids.device)
    learned = (places >= starts[:, None]) & (targets != PAD_ID)
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="none"
    )
    return (losses * learned.flatten()).sum()


def schedule(progress: float) -> float:
    """Learning-rate factor at `progress` in [0, 1]: a short rise, a plateau, a line to zero."""
    return min(1.0, progress / 0.01, (1.0 - progress) / 0.6) if progress < 1 else 0.0


def train(recipe: Recipe, device: torch.device) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    """Train a new policy; returns it (float32) and what the training cost."""
    torch.manual_seed(recipe.seed)
    torch.set_float32_matmul_precision("high")
    model = LlamaForCausalLM(policy_config(recipe.hidden, recipe.layers))
    nn.Module.to(model, device)
    optimizer = Optimizer(model, compiled=recipe.compiled)
    loss_function = torch.compile(loss_of, dynamic=False) if recipe.compiled else loss_of
    counts = corpus.plan(recipe.rows_per_step, recipe.seed)
    started = time.perf_counter()
    clock: float | None = None  # minutes count from the second step on: the first compiles
    step, tokens, waited, shown = 0, 0, 0.0, torch.zeros((), device=device)
    with corpus.streamed(counts, recipe.seed, recipe.workers) as stream:
        while True:
            progress = step / recipe.steps
            if recipe.minutes is not None and clock is not None:
                progress = max(progress, (time.perf_counter() - clock) / 60 / recipe.minutes)
            if progress >= 1:
                break
            before = time.perf_counter()
            buckets = next(stream)
            waited += time.perf_counter() - before
            targets = sum(bucket.targets for bucket in buckets)
            total = torch.zeros((), device=device)
            for bucket in buckets:
                ids = torch.from_numpy(bucket.ids.copy()).to(device, non_blocking=True).long()
                starts = torch.from_numpy(bucket.starts).to(device, non_blocking=True).long()
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    loss = loss_function(model, ids, starts) / targets
                loss.backward()
                total += loss.detach()
            optimizer.step(schedule(progress))
            step += 1
            tokens += targets
            shown = total if step == 1 else shown.lerp(total, 0.05)
            if step == 2:
                if device.type == "cuda":
                    torch.cuda.synchronize()
                print(f"first steps after {time.perf_counter() - started:.0f} s", flush=True)
                clock, waited = time.perf_counter(), 0.0
            if step % 250 == 0:
                gone = time.perf_counter() - started
                print(
                    f"step {step}  loss {shown.item():.4f}  {gone:.0f} s  waited {waited:.0f} s",
                    flush=True,
                )
    cost = {
        "steps": step,
        "rows": step * sum(counts),
        "tokens_learned": tokens,
        "final_loss": shown.item(),
        "seconds": time.perf_counter() - started,
        "hardware": "one " + torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
    }
    return model, cost


def save(model: LlamaForCausalLM, out: Path) -> None:
    """Write the weights as fp16 and everything that transformers needs beside them."""
    out.mkdir(parents=True, exist_ok=True)
    nn.Module.to(model, "cpu", torch.float16)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    model.save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    # stored as fp16, meant for fp32: a load that names no dtype then does the right thing
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_tokenizer(out, POSITIONS)
    (out / "model.safetensors").chmod(0o644)


def run(recipe: Recipe) -> dict[str, Any]:
    """Train, save, evaluate what was saved, and write evaluation.json and the model card."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, cost = train(recipe, device)
    save(model, recipe.out)
    del model
    figures = evaluate(
        recipe.out, prompts=recipe.eval_prompts, samples=recipe.eval_samples, device=device
    )
    asked = asdict(recipe)
    del asked["out"]
    figures["training"] = {**asked, **cost, "habits": asdict(HABITS)}
    (recipe.out / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    (recipe.out / "README.md").write_text(model_card(figures))
    return figures
