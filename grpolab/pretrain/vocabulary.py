"""The policy's vocabulary: ASCII characters, tags, and the words of the tasks.

Ids: 0 `<pad>`, 1 `<eos>`, 2 to 5 the tags, then newline, tab, carriage return, then space to `~`,
then the tags of a tool, and the words of `tasks.words` in both languages.
"""

from __future__ import annotations

from grpolab.tasks.words import FIND, USING, WORDS

PAD, EOS = "<pad>", "<eos>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
CHARACTERS = "\n\t\r" + "".join(map(chr, range(0x20, 0x7F)))
TOOL_TAGS = ("<call>", "</call>", "<result>", "</result>")
OFFER = "<calculator>"
"""Starts a prompt under which the policy may call a calculator."""

SPECIAL_WORDS = (*TOOL_TAGS, OFFER, FIND, USING, *WORDS)
"""What stands after the characters."""

TOKENS = (PAD, EOS, *TAGS, *CHARACTERS, *SPECIAL_WORDS)
"""Every token, at the place of its id."""

PAD_ID, EOS_ID, TAG_IDS = 0, 1, (2, 3, 4, 5)
