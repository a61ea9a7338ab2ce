"""The endless corpus: prompts that are not held out, each with one student's completion.

Rows come in batches for one training step, sorted into buckets by length. Workers fill their own
queues from their own random streams and are read in turn, so that the stream depends only on the
seed and the number of workers. No torch here: workers start fast.
"""

from __future__ import annotations

import multiprocessing
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.queues import Queue

import numpy as np

from grpolab.pretrain.solutions import solve
from grpolab.pretrain.students import meet
from grpolab.pretrain.vocabulary import EOS_ID, OFFER, SPECIAL_WORDS, TAG_IDS, TAGS, TOKENS
from grpolab.tasks import Prompt, Task
from grpolab.tasks.countdown import Countdown, CountdownOptions
from grpolab.tasks.program import Program, ProgramOptions
from grpolab.tasks.slots import Slots, SlotsOptions
from grpolab.tasks.sums import Sums, SumsOptions

WIDTHS = (48, 72, 104, 176)
"""Row lengths of the buckets, in tokens."""

Row = tuple[bytes, int]
"""Token ids (prompt, completion, eos) and the place of the completion's first token."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of similar length. Everything from `starts` on is learned, up to and with the eos."""

    ids: np.ndarray  # [rows, width] uint8, right-padded with 0
    starts: np.ndarray  # [rows] uint8
    targets: int  # tokens that are learned


# tags and words travel as one character each, below space and from 128 on
_STAND_INS = {tag: chr(id) for id, tag in zip(TAG_IDS, TAGS, strict=True)} | {
    word: chr(128 + place) for place, word in enumerate(SPECIAL_WORDS)
}
_STOOD_FOR = re.compile("|".join(map(re.escape, _STAND_INS)))
_EOS = bytes([EOS_ID])


def _table() -> bytes:
    table = bytearray(256)
    for id, token in enumerate(TOKENS[2:], start=2):
        table[ord(_STAND_INS.get(token, token))] = id
    return bytes(table)


_TABLE = _table()


def encode(text: str) -> bytes:
    """The tokenizer's ids as bytes, for text of its vocabulary without pad and eos; faster than it
    by far.
    """
    text = _STOOD_FOR.sub(lambda found: _STAND_INS[found[0]], text)
    return text.encode("latin-1").translate(_TABLE)


OFFERED = 0.06
"""Share of prompts that offer a calculator."""

CHINESE = 0.5
"""Share of prompts that ask in Chinese."""

LONGEST = 96
"""Longest completion in tokens, with its eos; longer ones are left out."""


def task_mix() -> list[tuple[float, Task]]:
    """What is learned and in which shares: mostly the default tasks, and some of their options."""
    mix: list[tuple[float, Task]] = [
        (0.32, Sums(SumsOptions(chinese=CHINESE))),
        (0.03, Sums(SumsOptions(operations=(1, 2), chinese=CHINESE))),
        (0.26, Countdown(CountdownOptions(chinese=CHINESE))),
        (0.02, Countdown(CountdownOptions(mix=(0.0, 0.4, 0.6), chinese=CHINESE))),
        (0.12, Slots(SlotsOptions(chinese=CHINESE))),
        (0.17, Program(ProgramOptions(chinese=CHINESE))),
    ]
    mix += [(0.08 / 6, Slots(SlotsOptions(k=k, chinese=CHINESE))) for k in (2, 3, 5, 6, 7, 8)]
    return mix


def rows(seed: str) -> Iterator[Row]:
    """An endless stream of rows that fit the widest bucket."""
    for prompt, completion in solved(seed):
        question, answer = encode(prompt.text), encode(completion) + _EOS
        if len(answer) <= LONGEST and len(question) + len(answer) <= WIDTHS[-1]:
            yield question + answer, len(question)


def solved(seed: str) -> Iterator[tuple[Prompt, str]]:
    """An endless stream of prompts and what a random student wrote under each."""
    rng = random.Random(seed)
    shares, tasks = zip(*task_mix(), strict=True)
    while True:
        task = rng.choices(tasks, shares)[0]
        prompt = task.draw(rng, held_out=False)
        offered = rng.random() < OFFERED
        completion = solve(rng, meet(rng, prompt.task, prompt.difficulty, tool=offered), prompt)
        yield replace(prompt, text=OFFER + prompt.text) if offered else prompt, completion


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
