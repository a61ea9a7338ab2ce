"""The corpus is repeatable, keeps out of the held-out prompts, and speaks the tokenizer's ids."""

from __future__ import annotations

from itertools import islice

import numpy as np

from grpolab.pretrain import corpus
from grpolab.pretrain.tokenizer import build_tokenizer
from grpolab.pretrain.vocabulary import EOS_ID, OFFER, PAD_ID
from grpolab.tasks import TASKS, is_held_out


def test_nothing_held_out_is_in_the_corpus() -> None:
    prompts = [prompt for prompt, _ in islice(corpus.solved("0"), 2000)]
    assert not any(is_held_out(prompt.key) for prompt in prompts)
    assert {prompt.task for prompt in prompts} == set(TASKS)


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


def test_no_completion_outgrows_a_rollout() -> None:
    longest = max(len(ids) - start for ids, start in islice(corpus.rows("9"), 3000))
    assert longest <= corpus.LONGEST == 96


def test_some_prompts_ask_in_chinese_and_some_offer_a_calculator() -> None:
    solved = list(islice(corpus.solved("4"), 3000))
    offered = [completion for prompt, completion in solved if prompt.text.startswith(OFFER)]
    assert 0.03 < len(offered) / 3000 < 0.09
    called = sum("<call>" in completion for completion in offered) / len(offered)
    assert 0.1 < called < 0.5
    assert not any("<call>" in text for prompt, text in solved if OFFER not in prompt.text)
    chinese = sum(prompt.text.removeprefix(OFFER).startswith("求") for prompt, _ in solved)
    assert 0.45 < chinese / 3000 < 0.55
