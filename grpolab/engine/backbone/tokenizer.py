"""Text to token ids and back: the tokenizer of the loaded model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol


class Text(Protocol):
    """Encoding of prompts and decoding of answers."""

    eos: frozenset[int]  # any of these ends an answer
    pad: int

    def encode(self, prompt: str) -> list[int]: ...

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Texts of answers, without end and padding tokens but with every other special token."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token on its own."""
        ...


class FileText:
    """A `tokenizer.json` read by the tokenizers library, without transformers (which takes seconds
    to import)."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        generation = folder / "generation_config.json"
        more = json.loads(generation.read_text()) if generation.exists() else {}
        eos = more.get("eos_token_id", config.get("eos_token_id"))
        self.eos = frozenset(eos if isinstance(eos, list) else [eos] if eos is not None else [])
        pad = more.get("pad_token_id", config.get("pad_token_id"))
        self.pad = pad if pad is not None else min(self.eos, default=0)
        self._silent = self.eos | {self.pad}
        self._pieces: dict[int, str] = {}

    def encode(self, prompt: str) -> list[int]:
        return self._tokenizer.encode(prompt, add_special_tokens=True).ids

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        shown = [[i for i in row if i not in self._silent] for row in rows]
        return self._tokenizer.decode_batch(shown, skip_special_tokens=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        known = self._pieces
        for i in ids:
            if i not in known:
                known[i] = self._tokenizer.decode([i], skip_special_tokens=False)
        return [known[i] for i in ids]
