"""The other side: TRL's GRPOTrainer on transformers, PEFT and bitsandbytes, as fast as its own
settings make it without a serving engine."""

from __future__ import annotations

import json
import queue
import tempfile
import threading
import time
import warnings
from typing import Any

import torch
from torch import Tensor

from grpolab import rewards
from grpolab.scenario.spec import Scenario, build, make_reward, make_task
from grpolab.tasks import Prompt
from tests.benchmarks.models import Given, Sevens
from tests.benchmarks.ours import values_of


class Peer:
    """A trainer that makes one step whenever it is asked to, through its own training loop."""

    def __init__(
        self, path: str, scenario: dict[str, Any], prompts: list[dict[str, Any]], device: str,
        rows: int, half: bool, quantize: bool = False, threads: int = 0, sevens: bool = False,
    ) -> None:  # fmt: skip
        """`rows`: completions of one forward and backward; `half`: bf16 instead of fp32;
        `threads` 0: torch's own choice."""
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoTokenizer, BitsAndBytesConfig, TrainerCallback
        from transformers.utils import logging
        from trl import GRPOConfig, GRPOTrainer

        warnings.filterwarnings("ignore")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.threads = threads or torch.get_num_threads()
        torch.set_num_threads(self.threads)
        self.device = torch.device(device)
        plan = build(scenario)
        r = plan.rollout
        self.count, self.max_tokens = r.prompts * r.group_size, r.max_tokens
        if self.count % rows:
            raise ValueError(f"{self.count} rows do not split into batches of {rows}")
        self.rows, self.accumulation = rows, self.count // rows
        self.reward: list[float] = []
        self.length: list[int] = []
        config = GRPOConfig(
            output_dir=tempfile.mkdtemp(prefix="trl-bench-"),
            use_cpu=self.device.type == "cpu", bf16=half,
            model_init_kwargs={"dtype": torch.bfloat16 if half else torch.float32},
            per_device_train_batch_size=rows, gradient_accumulation_steps=self.accumulation,
            num_generations=r.group_size, max_completion_length=r.max_tokens,
            temperature=r.temperature, top_p=r.top_p, shuffle_dataset=False,
            learning_rate=plan.train.learning_rate or 1e-6, lr_scheduler_type="constant",
            max_grad_norm=plan.train.max_grad_norm, beta=0.0, num_iterations=1,
            gradient_checkpointing=False, max_steps=100_000, report_to=[], save_strategy="no",
            eval_strategy="no", logging_strategy="no", disable_tqdm=True, seed=0,
        )  # fmt: skip
        lora = plan.model.lora
        quantization = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if half else torch.float32,
        )  # fmt: skip
        start = time.perf_counter()
        self.trainer: Any = GRPOTrainer(
            model=path, reward_funcs=self._grader(plan, sevens), args=config,
            train_dataset=Dataset.from_list(
                [{"prompt": p["text"], "record": json.dumps(p)} for p in prompts]
            ),
            processing_class=AutoTokenizer.from_pretrained(path, padding_side="left"),
            quantization_config=quantization if quantize else None,
            peft_config=LoraConfig(
                r=lora.rank, lora_alpha=int(lora.alpha), target_modules=lora.targets,
                task_type="CAUSAL_LM", lora_dropout=0.0,
            ),
        )  # fmt: skip
        self.trainer.current_gradient_accumulation_steps = self.accumulation
        self.load_seconds = time.perf_counter() - start
        self.turn = _turnstile(TrainerCallback, self)
        self.trainer.add_callback(self.turn)
        self.thread: threading.Thread | None = None
        self.inputs: list[dict[str, Tensor]] = []

    def _grader(self, plan: Scenario, sevens: bool) -> Any:
        inner = None if sevens else make_task(plan.task)
        task = Given(inner, [])
        parts = [(Sevens(), 1.0)] if sevens else [make_reward(r) for r in plan.rewards]

        def graded(completions: list[str], completion_ids: Any, record: list[str], **_: Any):
            found = [
                rewards.grade(task, parts, Prompt.from_dict(json.loads(p)), text).reward
                for p, text in zip(record, completions, strict=True)
            ]
            self.reward, self.length = found, [len(ids) for ids in completion_ids]
            return found

        return graded

    def use(self, threads: int) -> None:
        """Go on with this many threads."""
        self.threads = threads
        torch.set_num_threads(threads)  # of this thread; the trainer's sets its own

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def facts(self) -> dict[str, Any]:
        return {
            "threads": self.threads, "rows": self.rows,
            "accumulation": self.accumulation, "load_seconds": round(self.load_seconds, 3),
            "dtype": str(next(self.trainer.model.parameters()).dtype).removeprefix("torch."),
        }  # fmt: skip

    # --- whole steps ---

    def step(self) -> dict[str, Any]:
        """One step of `trainer.train()`: seconds, tokens, rewards and lengths. The first one
        includes the trainer's start."""
        start = time.perf_counter()
        if self.thread is None:
            self.thread = threading.Thread(target=self._train, daemon=True)
            self.thread.start()
        else:
            self.turn.go.release()
        ended = self.turn.ended.get()
        if isinstance(ended, BaseException):
            raise ended
        return {
            "seconds": ended - start, "tokens": sum(self.length), "reward": self.reward,
            "length": self.length,
        }  # fmt: skip

    def _train(self) -> None:
        try:
            self.trainer.train()
        except BaseException as error:
            self.turn.ended.put(error)

    # --- rollouts ---

    def encode(self, prompts: list[str]) -> list[list[int]]:
        """As the trainer reads its data set's prompts."""
        return self.trainer.processing_class(text=prompts)["input_ids"]

    def rollout(self, prompts: list[list[int]], group_size: int) -> dict[str, float]:
        """`generate` on the trainer's model with its adapter: `group_size` answers to each
        prompt."""
        rows = [row for row in prompts for _ in range(group_size)]
        ids, mask = self._padded(rows, left=True)
        model = self.trainer.model  # as TRL generates: in training mode, without dropout
        self.wait()
        start = time.perf_counter()
        with torch.no_grad():
            out = model.generate(
                input_ids=ids, attention_mask=mask,
                generation_config=self.trainer.generation_config,
            )  # fmt: skip
        self.wait()
        seconds = time.perf_counter() - start
        answers = out[:, ids.shape[1] :]
        ends = torch.tensor(self.trainer.eos_token_ids, device=self.device)
        over = torch.isin(answers, ends).cumsum(1)
        tokens = int((over == 0).sum() + (over > 0).any(1).sum())
        return {"seconds": seconds, "tokens": tokens, "rate": tokens / seconds}

    # --- loss and backward ---

    def take(
        self, prompts: list[list[int]], answers: list[list[int]], advantage: list[float]
    ) -> None:
        """Make these sequences what `logprobs` and `loss_backward` work on."""
        prompt_ids, prompt_mask = self._padded(prompts, left=True)
        answer_ids, answer_mask = self._padded(answers, left=False)
        whole = {
            "prompt_ids": prompt_ids, "prompt_mask": prompt_mask,
            "completion_ids": answer_ids, "completion_mask": answer_mask,
            "advantages": torch.tensor(advantage, device=self.device),
        }  # fmt: skip
        total = answer_mask.sum()
        self.inputs = [
            {k: v[at : at + self.rows] for k, v in whole.items()} | {"num_items_in_batch": total}
            for at in range(0, len(prompts), self.rows)
        ]

    def logprobs(self) -> list[list[float]]:
        model, found = self.trainer.model, []
        model.train()
        for some in self.inputs:
            ids = torch.cat([some["prompt_ids"], some["completion_ids"]], 1)
            mask = torch.cat([some["prompt_mask"], some["completion_mask"]], 1)
            width = some["completion_ids"].shape[1]
            with torch.no_grad():
                logp = self.trainer._get_per_token_logps_and_entropies(model, ids, mask, width)[0]
            lengths = some["completion_mask"].sum(1).tolist()
            found += [row[:n] for row, n in zip(logp.float().tolist(), lengths, strict=True)]
        return found

    def loss_backward(self) -> dict[str, float]:
        """TRL's own loss on all rows, forward and backward; seconds and the gradient's norm."""
        trainer = self.trainer
        model = trainer.model_wrapped
        model.train()
        self.wait()
        start = time.perf_counter()
        for some in self.inputs:
            trainer.accelerator.backward(trainer.compute_loss(model, some))
        self.wait()
        seconds = time.perf_counter() - start
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norm = float(torch.stack([g.float().norm() for g in grads]).norm())
        model.zero_grad(set_to_none=True)
        return {"seconds": seconds, "norm": norm}

    # --- the adapter ---

    def fill_adapter(self, *, active: bool) -> list[str]:
        """See `Ours.fill_adapter`."""
        names = []
        with torch.no_grad():
            for key, tensor in self.trainer.model.named_parameters():
                if ".default." in key:
                    names.append(key.replace(".default.", "."))
                    tensor.copy_(values_of(names[-1], tensor, active=active))
        return sorted(names)

    # --- memory ---

    def peak(self) -> float:
        """GiB at the highest point since `forget_peak`, of this process alone."""
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _padded(self, rows: list[list[int]], *, left: bool) -> tuple[Tensor, Tensor]:
        """[n, longest] ids and their mask."""
        pad, width = self.trainer.processing_class.pad_token_id, max(map(len, rows))

        def wide(row: list[int], fill: int) -> list[int]:
            more = [fill] * (width - len(row))
            return more + row if left else row + more

        ids = torch.tensor([wide(row, pad) for row in rows], device=self.device)
        mask = torch.tensor([wide([1] * len(row), 0) for row in rows], device=self.device)
        return ids, mask


def _turnstile(base: Any, peer: Peer) -> Any:
    """A callback that holds the trainer after each step until it may `go` on."""

    class Turnstile(base):
        go = threading.Semaphore(0)
        ended: queue.Queue[Any] = queue.Queue()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            peer.wait()
            self.ended.put(time.perf_counter())
            self.go.acquire()
            torch.set_num_threads(peer.threads)

    return Turnstile()
