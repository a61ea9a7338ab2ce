"""The policy's tokenizer: one token per ASCII character, per tag and per word of the tasks.

Whatever is not in the vocabulary (other scripts, control characters) becomes `?`.
"""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerFast

from grpolab.pretrain.vocabulary import EOS, PAD, SPECIAL_WORDS, TAGS, TOKENS


def build_tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers wants it; `max_length` is the model's number of positions."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({word: id for id, word in enumerate(TOKENS)}, unk_token="?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    # only pad and eos vanish when special tokens are skipped: tags and words belong to the text
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in (PAD, EOS)])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in (*TAGS, *SPECIAL_WORDS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=max_length,
    )


def save_tokenizer(folder: Path, max_length: int) -> PreTrainedTokenizerFast:
    """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
    tokenizer = build_tokenizer(max_length)
    tokenizer.save_pretrained(folder)
    return tokenizer
