"""The policy's tokenizer: one token per ASCII character, one per tag.

Ids: 0 `<pad>`, 1 `<eos>`, 2 to 5 the tags, then newline, tab, carriage return, then space to `~`.
Whatever is not in there (other scripts, control characters) becomes `?`.
"""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
CHARACTERS = "\n\t\r" + "".join(map(chr, range(0x20, 0x7F)))
PAD_ID, EOS_ID, TAG_IDS = 0, 1, (2, 3, 4, 5)
FIRST_CHARACTER_ID = 6
VOCABULARY = FIRST_CHARACTER_ID + len(CHARACTERS)


def build_tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers wants it; `max_length` is the model's number of positions."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    words = [PAD, EOS, *TAGS, *CHARACTERS]
    tokenizer = Tokenizer(
        models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    # only pad and eos vanish when special tokens are skipped: the tags belong to the text
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in (PAD, EOS)])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in TAGS])
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
