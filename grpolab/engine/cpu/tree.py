"""Which rows of a rollout still agree: rows with one prompt and the same tokens so far share a
node of the tree of prefixes, and are computed once."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grpolab.engine.cpu.numbers import compiled


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
        """Go on with these of the live rows [live] only. Nodes stay until they grow."""
        self.row, self.node = self.row[staying], self.node[staying]

    def grow(
        self, tokens: NDArray[np.int64], keys: NDArray[np.float32], values: NDArray[np.float32],
        held: int,
    ) -> NDArray[np.int64]:  # fmt: skip
        """Let each live row go on by its token [live]; the tokens of the new nodes [n].

        A node's first child takes its slot over, others get a copy of what it holds: the first
        `held` tokens of keys and values [layers, slots, kv, T, D].
        """
        live = len(self.row)
        fed, prompt, slot = (np.empty(live, np.int64) for _ in range(3))
        spare = np.empty(len(self._spare) + len(self.slot), np.int64)
        spare[: len(self._spare)] = self._spare
        n, left = _grow(
            tokens, self.node, self.prompt, self.slot, fed, prompt, slot, spare, len(self._spare),
            keys, values, held,
        )  # fmt: skip
        self.prompt, self.slot, self._spare = prompt[:n], slot[:n], spare[:left]
        return fed[:n]


@compiled
def _grow(
    tokens, node, prompt, slot, fed, new_prompt, new_slot, spare, left, keys, values, held
):  # fmt: skip
    """`node` becomes the new nodes; `spare` is a stack of `left` free slots with room for more.
    Returns the numbers of new nodes and of free slots."""
    first = np.full(len(prompt), -1)  # child of each node
    parent = np.empty(len(tokens), np.int64)
    n = 0
    for r in range(len(tokens)):
        above, token = node[r], tokens[r]
        child = first[above]
        while child >= 0 and child < n and not (parent[child] == above and fed[child] == token):
            child += 1
        if child < 0 or child == n:
            child = n
            parent[n], fed[n], new_prompt[n] = above, token, prompt[above]
            if first[above] < 0:
                first[above] = n
            n += 1
        node[r] = child
    for k in range(len(prompt)):
        if first[k] < 0:
            spare[left] = slot[k]
            left += 1
    for child in range(n):
        above = parent[child]
        new_slot[child] = slot[above]
        if first[above] != child:
            left -= 1
            new_slot[child] = spare[left]
            _copy(keys, slot[above], new_slot[child], held)
            _copy(values, slot[above], new_slot[child], held)
    return n, left


@compiled
def _copy(store, source, to, held):
    for layer in range(store.shape[0]):
        for head in range(store.shape[2]):
            old, new = store[layer, source, head], store[layer, to, head]
            for t in range(held):  # no slices: their errors' texts take seconds to compile
                for d in range(store.shape[4]):
                    new[t, d] = old[t, d]
