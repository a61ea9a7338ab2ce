"""From tensors to what an event can carry: streamed text, token ids by row, packed per-token
channels."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from torch import Tensor

from grpolab.algorithms.base import Batch, Credit, Report
from grpolab.algorithms.functional import kl_estimate
from grpolab.engine.backbone.sample import Rollout
from grpolab.engine.backbone.tokenizer import Text
from grpolab.record import codec
from grpolab.record import events as ev


def row_ids(rollout: Rollout) -> list[list[int]]:
    """Token ids of every row, without padding."""
    lengths = rollout.lengths.tolist()
    return [row[:n] for row, n in zip(rollout.tokens.tolist(), lengths, strict=True)]


class Stream:
    """A sampling listener that emits new text of every row. Several threads may call it at once."""

    def __init__(self, text: Text, emit: Callable[[ev.Event], None], step: int, lane: str) -> None:
        self.text, self.emit, self.step, self.lane = text, emit, step, lane
        self._shown: dict[int, str] = {}
        self._ended: set[int] = set()
        self._lock = Lock()

    def __call__(self, rows: Tensor, tokens: Tensor, lengths: Tensor, position: int) -> None:
        ids = [t[:n] for t, n in zip(tokens[:, :position].tolist(), lengths.tolist(), strict=True)]
        texts = self.text.decode(ids)
        new: list[tuple[int, str]] = []
        ended: list[int] = []
        for row, known, text in zip(rows.tolist(), ids, texts, strict=True):
            if row in self._ended:
                continue
            if known and known[-1] in self.text.eos:
                self._ended.add(row)
                ended.append(row)
            else:
                text = text.rstrip("\ufffd")  # a character of which some bytes are still to come
            before = self._shown.get(row, "")
            if len(text) > len(before) and text.startswith(before):
                new.append((row, text[len(before) :]))
                self._shown[row] = text
        with self._lock:
            self.emit(
                ev.Sampled(step=self.step, lane=self.lane, position=position, text=new, ended=ended)
            )


def channels(batch: Batch, credit: Credit, report: Report) -> dict[str, str]:
    """Every per-token quantity that this step has, by channel, packed."""
    found: dict[str, Tensor | None] = {
        "advantage": credit.advantage,
        "logprob": batch.old_logp,
        "ratio": report.ratio,
        "entropy": report.entropy,
        "value": batch.value,
        "return": credit.returns,
        "clip": report.side,
        # times the number of tokens: 1 is the weight of Â = 1 in a plain mean over tokens
        "push": None if report.grad_logp is None else -report.grad_logp * batch.mask.sum(),
        "log_ratio": None if report.logp is None else report.logp - batch.old_logp,
        "ref_gap": None if batch.ref_logp is None else batch.old_logp - batch.ref_logp,
        "kl": None if batch.ref_logp is None else kl_estimate(batch.old_logp, batch.ref_logp, "k3"),
    }
    names = (*ev.CHANNELS, *ev.FOR_THE_LENS)
    return {name: packed(x, batch.mask) for name in names if (x := found.get(name)) is not None}


def packed(values: Tensor, mask: Tensor) -> str:
    """One channel [N, T] for an event: the tokens of all rows one after another, in fp16."""
    kept = values[mask.bool()].detach().float().clamp(-65504, 65504).half().cpu()
    return codec.pack(kept.numpy().astype("<f2").tobytes())
