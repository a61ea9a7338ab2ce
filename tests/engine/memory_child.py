"""A process of its own in which a lab makes some steps, so that its memory can be measured.

argv: one JSON object {"hidden", "layers", "inner", "heads", "kv_heads", "scenario", "steps",
"device", "threads"}. stdout: what was measured and predicted, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any


def make_model(folder: Path, ask: dict[str, Any]) -> None:
    """Written by another process: what makes a model must not count here."""
    import torch
    import transformers as tf
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {"<pad>": 0, "<eos>": 1} | {chr(c): c - 30 for c in range(32, 127)}
    vocabulary |= {f"<{i}>": i for i in range(len(vocabulary), ask.get("vocabulary", 400))}
    config = tf.LlamaConfig(
        vocab_size=len(vocabulary), eos_token_id=1, pad_token_id=0, bos_token_id=None,
        hidden_size=ask["hidden"], num_hidden_layers=ask["layers"], max_position_embeddings=256,
        num_attention_heads=ask["heads"], num_key_value_heads=ask["kv_heads"],
        intermediate_size=ask["inner"], tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    tf.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>"
    )
    fast.save_pretrained(folder)


class Sampler(threading.Thread):
    """Looks at the resident set every millisecond, as an outsider would."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self.stop = False

    def run(self) -> None:
        from resource import getpagesize

        while not self.stop:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.most = max(self.most, pages * getpagesize())
            time.sleep(0.001)


def main() -> None:
    ask = json.loads(sys.argv[1])
    import torch

    from grpolab.engine.lab import Lab
    from grpolab.estimate import memory as estimate
    from grpolab.record import events as ev
    from grpolab.scenario import spec

    plan = spec.build(ask["scenario"] | {"model": {"path": ask["path"]} | ask.get("model", {})})
    seen: list[ev.Event] = []
    device = torch.device(ask["device"])
    with tempfile.TemporaryDirectory() as folder:
        sampler = Sampler()
        sampler.start()
        lab = Lab(plan, Path(folder), seen.append, device, ask["threads"])
        for _ in range(ask["steps"]):
            lab.step(lab.lanes["main"])
            lab.step_number += 1
        sampler.stop = True
        sampler.join()
    steps = [e for e in seen if isinstance(e, ev.StepDone)]
    room = torch.cuda.get_device_properties(0).total_memory if device.type == "cuda" else None
    told = {
        "most": sampler.most,
        "peak": lab.memory.peak,
        "phases": [s.memory_phases for s in steps],
        "predicted": estimate.predict(plan, device.type, ask["threads"], room).phases,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
