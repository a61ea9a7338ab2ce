"""Which rows of a rollout still agree: rows with one prompt and the same tokens so far share a
node of the tree of prefixes, and are computed once."""

from __future__ import annotations

from collections.abc import Sequence


class Nodes:
    """The newest nodes of the tree, each in a slot; slots 0…n−1 are taken."""

    def __init__(self, prompts: Sequence[int]) -> None:
        """`prompts`: which prompt each row answers."""
        first: dict[int, int] = {}
        self.of_row = [first.setdefault(k, len(first)) for k in prompts]  # slot of each row
        self.prompt = list(first)  # of each slot

    def __len__(self) -> int:
        return len(self.prompt)

    def grow(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """Let each row go on by its token; the tokens of the slots [n], and for each slot that is
        new the one that it branches off from.

        A node's first child keeps its slot, the others take new ones.
        """
        found: dict[tuple[int, int], int] = {}
        fed: list[int] = [-1] * len(self.prompt)
        sources: list[int] = []
        for row, (slot, token) in enumerate(zip(self.of_row, tokens, strict=True)):
            child = found.get((slot, token))
            if child is None:
                if fed[slot] < 0:
                    child, fed[slot] = slot, token
                else:
                    child = len(fed)
                    fed.append(token)
                    sources.append(slot)
                    self.prompt.append(self.prompt[slot])
                found[slot, token] = child
            self.of_row[row] = child
        return fed, sources

    def keep(self, rows: Sequence[int]) -> tuple[list[int], list[int]]:
        """Go on with these rows only; slots without a row are filled from the end. The slots that
        moved, as (to, from)."""
        left = [self.of_row[r] for r in rows]
        used = sorted(set(left))
        count = len(used)
        holes = [slot for slot in range(count) if slot not in set(used)]
        moved = used[count - len(holes) :] if holes else []
        new = {slot: slot for slot in used} | dict(zip(moved, holes, strict=True))
        self.of_row = [new[slot] for slot in left]
        prompt = self.prompt[:]
        for to, source in zip(holes, moved, strict=True):
            prompt[to] = self.prompt[source]
        self.prompt = prompt[:count]
        return holes, moved
