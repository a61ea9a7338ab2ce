"""The loop of `cpu.tree.Tree.grow`: rows with the same next token share a node."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

from grpolab.engine.backbone.cpu.loops.numbers import inlined, loop


@loop
def grow(
    tokens, node, prompt, slot, fed, new_prompt, new_slot, spare, keys, values, held, first, parent,
    counts,
):  # fmt: skip
    """`node` becomes the new nodes; `spare` is a stack of free slots with room for more. `counts`:
    0 and the number of free slots, then the numbers of new nodes and of free slots. To work in:
    `first` [n], the first child of each node; `parent` [live]."""
    n, left = 0, counts[1]
    for k in range(len(prompt)):
        first[k] = -1
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
    counts[0], counts[1] = n, left


@inlined
def _copy(store, source, to, held):
    for layer in range(store.shape[0]):
        for head in range(store.shape[2]):
            old, new = store[layer, source, head], store[layer, to, head]
            for t in range(held):  # no slices: their errors' texts take seconds to compile
                for d in range(store.shape[4]):
                    new[t, d] = old[t, d]
