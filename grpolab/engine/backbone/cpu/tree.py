"""Which rows of a rollout still agree: rows with one prompt and the same tokens so far share a
node of the tree of prefixes, and are computed once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grpolab.engine.backbone.cpu.loop import Loop

_grow = Loop("tree.grow")


class Tree:
    """The live rows, and the newest node of each. N rows; nodes 0…n−1, each with a slot where its
    keys and values are kept."""

    def __init__(self, prompts: NDArray[np.int64]) -> None:
        """`prompts` [N]: which prompt each row answers, K of them from 0. Node k is prompt k's
        end; it has no slot's contents yet."""
        count = len(prompts)
        self.row = np.arange(count)  # [live]
        self.node = prompts.copy()  # [live]
        self.prompt = np.arange(int(prompts.max()) + 1)  # [n]
        self.slot = self.prompt.copy()  # [n]
        self._spare = np.arange(count)[::-1][: count - len(self.slot)].copy()  # slots, a stack

    def __len__(self) -> int:
        return len(self.prompt)

    def keep(self, staying: NDArray[np.bool_]) -> None:
        """Continue with these of the live rows [live] only. Nodes stay until they grow."""
        self.row, self.node = self.row[staying], self.node[staying]

    def grow(
        self, tokens: NDArray[np.int64], keys: NDArray[np.float32], values: NDArray[np.float32],
        cached: int,
    ) -> NDArray[np.int64]:  # fmt: skip
        """Append a token to each live row [live]; returns the tokens of the new nodes [n].

        A node's first child takes its slot over; others get a copy of the slot's first `cached`
        tokens of keys and values [layers, slots, kv, T, D].
        """
        live = len(self.row)
        fed, prompt, slot = (np.empty(live, np.int64) for _ in range(3))
        spare = np.empty(len(self._spare) + len(self.slot), np.int64)
        spare[: len(self._spare)] = self._spare
        first, parent = np.empty(len(self.prompt), np.int64), np.empty(live, np.int64)
        counts = np.array([0, len(self._spare)])
        _grow(
            tokens, self.node, self.prompt, self.slot, fed, prompt, slot, spare, keys, values,
            cached, first, parent, counts,
        )  # fmt: skip
        n, left = counts.tolist()
        self.prompt, self.slot, self._spare = prompt[:n], slot[:n], spare[:left]
        return fed[:n]
