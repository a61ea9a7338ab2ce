"""The endless corpus: prompts that are not held out, each with one student's completion.

Rows come in batches for one training step, sorted into buckets by length. Workers fill their own
queues from their own random streams and are read in turn, so that the stream depends only on the
seed and the number of workers. No torch here: workers start fast.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue

import numpy as np

from grpolab.pretrain.solutions import solve
from grpolab.pretrain.students import meet
from grpolab.tasks import Prompt, Task
from grpolab.tasks.countdown import Countdown, CountdownOptions
from grpolab.tasks.slots import Slots, SlotsOptions
from grpolab.tasks.sums import Sums, SumsOptions

WIDTHS = (48, 72, 104, 176)
"""Row lengths of the buckets, in tokens."""

Row = tuple[bytes, int]
"""Token ids (prompt, completion, eos) and the place of the completion's first token."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of similar length. Everything from `starts` on is learnt, up to and with the eos."""

    ids: np.ndarray  # [rows, width] uint8, right-padded with 0
    starts: np.ndarray  # [rows] uint8
    targets: int  # tokens that are learnt


def _table() -> bytes:
    # the tags travel as the control characters 2 to 5, which are also their ids
    table = bytearray([0] * 256)
    for id in range(2, 6):
        table[id] = id
    for id, character in enumerate("\n\t\r" + "".join(map(chr, range(0x20, 0x7F))), start=6):
        table[ord(character)] = id
    return bytes(table)


_TABLE = _table()
_EOS = b"\x01"


def encode(text: str) -> bytes:
    """The tokenizer's ids as bytes, for ASCII text without pad and eos; faster than it by far."""
    for id, tag in enumerate(("<think>", "</think>", "<answer>", "</answer>"), start=2):
        text = text.replace(tag, chr(id))
    return text.encode("ascii").translate(_TABLE)


def task_mix() -> list[tuple[float, Task]]:
    """What is learnt and in which shares: mostly the default tasks, and some of their options."""
    mix: list[tuple[float, Task]] = [
        (0.38, Sums()),
        (0.03, Sums(SumsOptions(operations=(1, 2)))),
        (0.32, Countdown()),
        (0.02, Countdown(CountdownOptions(mix=(0.0, 0.4, 0.6)))),
        (0.15, Slots()),
    ]
    mix += [(0.10 / 6, Slots(SlotsOptions(k=k))) for k in (2, 3, 5, 6, 7, 8)]
    return mix


def rows(seed: str) -> Iterator[Row]:
    """An endless stream of rows that fit the widest bucket."""
    for prompt, completion in solved(seed):
        question = encode(prompt.text)
        ids = question + encode(completion) + _EOS
        if len(ids) <= WIDTHS[-1]:
            yield ids, len(question)


def solved(seed: str) -> Iterator[tuple[Prompt, str]]:
    """An endless stream of prompts and what a random student wrote under each."""
    rng = random.Random(seed)
    shares, tasks = zip(*task_mix(), strict=True)
    while True:
        task = rng.choices(tasks, shares)[0]
        prompt = task.draw(rng, held_out=False)
        yield prompt, solve(rng, meet(rng), prompt)


def plan(rows_per_step: int, seed: int) -> tuple[int, ...]:
    """How many rows of each bucket make a step, in the shares in which the stream has them."""
    counts = [0] * len(WIDTHS)
    stream = rows(f"plan {seed}")
    sample = 4096
    for _ in range(sample):
        counts[_bucket_of(next(stream))] += 1
    return tuple(max(1, round(rows_per_step * count / sample)) for count in counts)


def batches(counts: tuple[int, ...], seed: str) -> Iterator[list[Bucket]]:
    """An endless stream of steps: one bucket per width, `counts` rows each."""
    waiting: list[list[Row]] = [[] for _ in WIDTHS]
    stream = rows(seed)
    while True:
        while any(len(some) < count for some, count in zip(waiting, counts, strict=True)):
            row = next(stream)
            some = waiting[index := _bucket_of(row)]
            # a bucket that runs ahead of the others is kept short, or it would grow for ever
            if len(some) < 2 * counts[index]:
                some.append(row)
        yield [
            _pack(some[:count], width)
            for some, count, width in zip(waiting, counts, WIDTHS, strict=True)
        ]
        for some, count in zip(waiting, counts, strict=True):
            del some[:count]


@contextmanager
def streamed(counts: tuple[int, ...], seed: int, workers: int) -> Iterator[Iterator[list[Bucket]]]:
    """`batches` made by `workers` processes that end with the context; in this one if 0."""
    if workers == 0:
        yield batches(counts, f"{seed} 0")
        return
    context = multiprocessing.get_context("spawn")
    queues: list[Queue[list[Bucket]]] = [context.Queue(maxsize=6) for _ in range(workers)]
    processes = [
        context.Process(target=_fill, args=(queue, counts, f"{seed} {worker}"), daemon=True)
        for worker, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()

    def in_turn() -> Iterator[list[Bucket]]:
        while True:
            for queue in queues:
                yield queue.get(timeout=300)

    try:
        yield in_turn()
    finally:
        for process in processes:
            process.kill()


def _fill(queue: Queue[list[Bucket]], counts: tuple[int, ...], seed: str) -> None:
    for step in batches(counts, seed):
        queue.put(step)


def _bucket_of(row: Row) -> int:
    return next(index for index, width in enumerate(WIDTHS) if len(row[0]) <= width)


def _pack(some: list[Row], width: int) -> Bucket:
    ids = np.frombuffer(b"".join(row.ljust(width, b"\0") for row, _ in some), dtype=np.uint8)
    starts = np.array([start for _, start in some], dtype=np.uint8)
    return Bucket(ids.reshape(len(some), width), starts, sum(len(row) - at for row, at in some))
