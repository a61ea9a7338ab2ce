"""Any causal LM through transformers, with adapters through PEFT and 4 and 8 bit through
bitsandbytes.

Slower than our own decoder; used for architectures that it does not support and for int8. PEFT's
active adapter is a state of the model, so one thread at a time uses this backbone.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from grpolab.engine.backbone.base import BASE, ModelError, Prompts, Session
from grpolab.engine.backbone.tokenizer import Text
from grpolab.engine.seeds import torch_generator
from grpolab.scenario.spec import ModelSection

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


class HubText:
    """The model's own tokenizer and, where it has one, its chat template."""

    def __init__(self, tokenizer: Any, config: Any, generation: Any) -> None:
        self._tokenizer = tokenizer
        eos = (
            getattr(generation, "eos_token_id", None)
            or config.eos_token_id
            or tokenizer.eos_token_id
        )
        self.eos = frozenset(eos if isinstance(eos, list) else [eos] if eos is not None else [])
        pad = tokenizer.pad_token_id
        self.pad = pad if pad is not None else min(self.eos, default=0)
        self._silent = self.eos | {self.pad}
        self._pieces: dict[int, str] = {}

    def encode(self, prompt: str) -> list[int]:
        if getattr(self._tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": prompt}]
            text = self._tokenizer.apply_chat_template(
                turn, add_generation_prompt=True, tokenize=False
            )
            return self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._tokenizer(prompt)["input_ids"]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        shown = [[i for i in row if i not in self._silent] for row in rows]
        return self._tokenizer.batch_decode(
            shown, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def pieces(self, ids: Sequence[int]) -> list[str]:
        known = self._pieces
        if new := sorted({i for i in ids if i not in known}):
            texts = self._tokenizer.batch_decode(
                [[i] for i in new], clean_up_tokenization_spaces=False
            )
            known |= dict(zip(new, texts, strict=True))
        return [known[i] for i in ids]


def hub_text(path: str) -> HubText:
    """The tokenizer of a model folder, read by transformers without loading the model."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    try:
        generation = GenerationConfig.from_pretrained(path)
    except OSError:
        generation = None
    return HubText(
        AutoTokenizer.from_pretrained(path), AutoConfig.from_pretrained(path), generation
    )


class TransformersBackbone:
    """Implements `base.Backbone` for whatever AutoModelForCausalLM loads."""

    backend = "transformers"
    parallel = False

    def __init__(self, section: ModelSection, path: str, device: torch.device, reason: str) -> None:
        from transformers import AutoConfig, AutoTokenizer

        self.section, self.path, self.device = section, path, device
        self.note = f"transformers and PEFT: {reason}"
        try:
            config = AutoConfig.from_pretrained(path)
            tokenizer = AutoTokenizer.from_pretrained(path)
            model = self._load()
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"model {path}: {str(error).splitlines()[0]}") from error
        self.model: Any = model.requires_grad_(False).eval()
        self.text: Text = HubText(tokenizer, config, getattr(model, "generation_config", None))
        self.name = path.rstrip("/").split("/")[-1]
        self.architecture = (config.architectures or [config.model_type])[0]
        self.dtype = str(
            next(p.dtype for p in model.parameters() if p.is_floating_point())
        ).removeprefix("torch.")
        self.parameters = model.num_parameters()
        out = model.get_output_embeddings()
        self.vocabulary, self.hidden = out.weight.shape
        self.layers = config.get_text_config().num_hidden_layers
        self._peft: Any = None
        self._names: dict[
            str, str
        ] = {}  # ours to PEFT's: a lane's name may hold dots, PEFT's may not
        self._made = 0  # adapters so far, the dropped ones too: no name comes twice
        self._full: dict[str, Any] = {}
        self._active: Any = model
        takes = inspect.signature(_body(model).forward).parameters
        self._positions = "position_ids" in takes
        self._cache = "cache" if "cache" in takes else "past_key_values"  # before 5.2x
        self._check_head()

    def _load(self, *, trainable: bool = False) -> Any:
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        half = torch.bfloat16 if self.device.type == "cuda" and not trainable else torch.float32
        quantize = "none" if trainable else self.section.quantize
        how: dict[str, Any] = {"dtype": half}
        if quantize == "nf4":
            how["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=half,
            )  # fmt: skip
        elif quantize == "int8":
            how["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        if quantize != "none":
            how["device_map"] = {"": self.device}
        model = AutoModelForCausalLM.from_pretrained(self.path, **how)
        if quantize == "nf4" and self.device.type == "cpu":
            module: Any
            for module in model.modules():
                # or else bitsandbytes packs the weights anew for AVX512-BF16: in that format
                # widths under 64 fail, and whatever the dtype asked for, it computes in bf16
                if hasattr(module, "support_avx512bf16_for_cpu"):
                    module.support_avx512bf16_for_cpu = False
        if quantize == "none":
            model.to(self.device)  # pyright: ignore[reportArgumentType]
        return model

    @torch.no_grad()
    def _check_head(self) -> None:
        """Raise ModelError for a model that scales or caps its logits after the head: it would be
        scored wrongly."""
        ids = torch.zeros(1, 2, dtype=torch.long, device=self.device)
        whole = self.model(ids, use_cache=False).logits.float()
        ours = self.head(_body(self.model)(ids, use_cache=False).last_hidden_state).float()
        if not torch.allclose(whole, ours, atol=1e-2, rtol=1e-2):
            raise ModelError(
                f"model {self.path}: {self.architecture} changes its logits after the head; "
                "not supported"
            )

    # --- adapters ---

    def create_adapter(self, name: str, seed: int, *, full: bool = False) -> None:
        from peft import LoraConfig, get_peft_model

        if full:
            if self.section.quantize != "none":
                raise ModelError(
                    "model.critic: full needs model.quantize: none; use critic: adapter"
                )
            self._full[name] = self._load(trainable=True).requires_grad_(True)
            self._full[name].get_output_embeddings().weight.requires_grad_(
                self._full[name].get_output_embeddings().weight
                is self._full[name].get_input_embeddings().weight
            )
            return
        safe = f"a{self._made}"
        self._made += 1
        lora = self.section.lora
        config = LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]
            target_modules=lora.targets, task_type="CAUSAL_LM",
            lora_dropout=0.0, bias="none",
        )  # fmt: skip
        try:
            if self._peft is None:
                self._peft = get_peft_model(self.model, config, adapter_name=safe)
            else:
                self._peft.add_adapter(safe, config)
        except ValueError as error:
            raise ModelError(f"model.lora.targets: {str(error).splitlines()[0]}") from error
        self._names[name] = safe
        generator = torch_generator(seed, "lora")
        with torch.no_grad():
            for key, tensor in self.adapter(name).items():
                if ".lora_A." in key or ".lora_embedding_A" in key:
                    bound = tensor.shape[-1] ** -0.5
                    tensor.copy_((torch.rand(tensor.shape, generator=generator) * 2 - 1) * bound)

    def copy_adapter(self, source: str, target: str) -> None:
        self.create_adapter(target, 0, full=source in self._full)
        with torch.no_grad():
            for mine, theirs in zip(
                self.adapter(target).values(), self.adapter(source).values(), strict=True
            ):
                mine.copy_(theirs)

    def drop_adapter(self, name: str) -> None:
        self._full.pop(name, None)
        if (safe := self._names.pop(name, None)) is not None:
            self._peft.delete_adapter(safe)

    def adapter(self, name: str) -> dict[str, Tensor]:
        if name in self._full:
            return {k: p for k, p in self._full[name].named_parameters() if p.requires_grad}
        mark = f".{self._names[name]}."
        return {k.replace(mark, "."): p for k, p in self._peft.named_parameters() if mark in k}

    def refresh(self, adapter: str) -> None:
        """Nothing to drop: nothing is derived from an adapter."""

    def warm(self) -> None:
        """Nothing to compile."""

    def prepare(self, adapter: str | None) -> None:
        """Nothing to compute beforehand."""

    def backbone_bytes(self) -> int:
        own = sum(p.nbytes for k, p in self.model.named_parameters() if "lora_" not in k)
        for module in self.model.modules():
            state = getattr(getattr(module, "weight", None), "quant_state", None)
            if state is not None:
                own += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
        return own

    def give_up(self) -> None:
        """Nothing to free: all of it is needed."""

    def differentiable_twice(self) -> AbstractContextManager[None]:
        """States can always be differentiated any number of times."""
        return nullcontext()

    def tensors_by_owner(self) -> dict[str, object]:
        """The backbone's tensors by memory owner, as nested containers."""
        named = (*self.model.named_parameters(), *self.model.named_buffers())
        return {"backbone": [t for k, t in named if "lora_" not in k]}

    def _activate(self, adapter: str | None) -> Any:
        """The model to call, with only this adapter active."""
        if adapter in self._full:
            return self._full[adapter]
        if self._peft is None:
            return self.model
        if adapter is BASE:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(self._names[adapter or ""])
        for key, parameter in self._peft.named_parameters():
            if "lora_" in key:  # PEFT turns off the gradients of whatever is not active
                parameter.requires_grad_(True)
        return self.model

    # --- learning and sampling ---

    def _inputs(self, mask: Tensor) -> dict[str, Tensor]:
        more = {"attention_mask": mask.long()}
        if self._positions:
            more["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
        return more

    def contexts(
        self, adapter: str | None, prompts: Prompts, group: Tensor, answers: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        model = self._activate(adapter)
        ids = torch.cat([prompts.ids[group], answers[:, :-1]], 1)
        seen = torch.cat([prompts.mask[group], mask[:, :-1].bool()], 1)
        out = _body(model)(input_ids=ids, use_cache=False, **self._inputs(seen))
        states = out.last_hidden_state[:, prompts.ids.shape[1] - 1 :]
        return states.flatten(0, 1), torch.arange(mask.numel(), device=mask.device).view_as(mask)

    @property
    def head_weight(self) -> Tensor | None:
        head: Any = self.model.get_output_embeddings()
        plain = type(head) is torch.nn.Linear and head.bias is None
        return head.weight if plain else None

    def head(self, states: Tensor) -> Tensor:
        head: Any = self.model.get_output_embeddings()
        return head(states.to(head.weight.dtype))

    @torch.no_grad()
    def decode(
        self, adapter: str | None, prompts: Prompts, group: Tensor, max_tokens: int
    ) -> tuple[Session, Tensor]:
        model = self._activate(adapter)
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if longest and prompts.ids.shape[1] + max_tokens > longest:
            raise ModelError(
                f"prompt and answer of {prompts.ids.shape[1]} + {max_tokens} tokens exceed the "
                f"model's {longest} positions: lower rollout.max_tokens"
            )
        out = _body(model)(input_ids=prompts.ids, use_cache=True, **self._inputs(prompts.mask))
        cache = out.past_key_values
        cache.batch_select_indices(group)
        session = _Session(self, model, cache, prompts.mask[group])
        return session, self.head(out.last_hidden_state[:, -1])[group]


class _Session:
    """Decoding with transformers' own cache."""

    def __init__(self, owner: TransformersBackbone, model: Any, cache: Any, mask: Tensor) -> None:
        self.owner, self.body, self.cache, self.mask = owner, _body(model), cache, mask
        self._peak = 0

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        more = self.owner._inputs(self.mask)
        if "position_ids" in more:
            more["position_ids"] = more["position_ids"][:, -1:]
        out = self.body(
            input_ids=tokens[:, None], use_cache=True, **{self.owner._cache: self.cache}, **more
        )
        self._peak = max(self._peak, _cache_bytes(self.cache))
        return self.owner.head(out.last_hidden_state[:, -1])

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    @property
    def cache_bytes(self) -> int:
        return self._peak


def _body(model: Any) -> Any:
    """The model without its head."""
    return getattr(model, model.base_model_prefix)


def _cache_bytes(cache: Any) -> int:
    layers = getattr(cache, "layers", [])
    return sum(t.nbytes for x in layers for t in (x.keys, x.values) if isinstance(t, Tensor))
