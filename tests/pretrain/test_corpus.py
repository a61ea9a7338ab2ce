"""The corpus is repeatable, keeps out of the held-out prompts, and speaks the tokenizer's ids."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np

from grpolab.pretrain import corpus
from grpolab.pretrain.solutions import solve
from grpolab.pretrain.students import meet
from grpolab.pretrain.tokenizer import EOS_ID, PAD_ID, build_tokenizer
from grpolab.tasks import is_held_out
from grpolab.tasks.countdown import Countdown
from grpolab.tasks.slots import Slots
from grpolab.tasks.sums import Sums


def test_nothing_held_out_is_in_the_corpus() -> None:
    prompts = [prompt for prompt, _ in islice(corpus.solved("0"), 2000)]
    assert not any(is_held_out(prompt.key) for prompt in prompts)
    assert {prompt.task for prompt in prompts} == {"sums", "countdown", "slots"}


def test_the_stream_repeats_with_its_seed() -> None:
    assert list(islice(corpus.rows("1"), 50)) == list(islice(corpus.rows("1"), 50))
    assert list(islice(corpus.rows("1"), 50)) != list(islice(corpus.rows("2"), 50))


def test_ids_are_the_tokenizers() -> None:
    tokenizer = build_tokenizer(256)
    for prompt, completion in islice(corpus.solved("3"), 200):
        text = prompt.text + completion
        assert list(corpus.encode(text)) == tokenizer.encode(text)


def test_buckets_hold_whole_rows() -> None:
    counts = corpus.plan(64, 0)
    for bucket, count, width in zip(
        next(corpus.batches(counts, "0")), counts, corpus.WIDTHS, strict=True
    ):
        assert bucket.ids.shape == (count, width) and bucket.ids.dtype == np.uint8
        lengths = (bucket.ids != PAD_ID).sum(1)
        assert (bucket.ids[np.arange(count), lengths - 1] == EOS_ID).all()
        assert bucket.targets == int((lengths - bucket.starts).sum())


def test_workers_give_one_stream_in_turn() -> None:
    with corpus.streamed((4, 4, 2, 1), 5, workers=2) as stream:
        together = [next(stream) for _ in range(4)]
    alone = [corpus.batches((4, 4, 2, 1), f"5 {worker}") for worker in range(2)]
    for index, step in enumerate(together):
        for bucket, same in zip(step, next(alone[index % 2]), strict=True):
            assert (bucket.ids == same.ids).all()


def test_no_completion_outgrows_the_evaluation() -> None:
    longest = max(len(ids) - start for ids, start in islice(corpus.rows("9"), 3000))
    assert longest <= 144  # eight slots, answered twice
    rng = random.Random(0)
    for task in (Sums(), Countdown(), Slots()):
        for _ in range(1000):
            prompt = task.draw(rng, held_out=False)
            assert len(corpus.encode(solve(rng, meet(rng), prompt))) < 100
