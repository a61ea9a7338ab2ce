"""When memory runs out: smaller pieces first, then whatever the backbone can give up, then a plain
word. Nothing that was computed is lost, and the sums stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class MemoryExhausted(RuntimeError):
    """Not even one row fits; the message says what to change."""


class OomGuard:
    """Remembers for one lane how many rows fit at once, and tells what it did."""

    def __init__(
        self, give_up: Callable[[], str | None], tell: Callable[[str], None],
        forget: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """`forget` lets go of what was only kept to save time, and says whether there was any."""
        self.give_up, self.tell, self.forget = give_up, tell, forget
        self.most: int | None = None  # rows, once memory has run out

    def pieces(self, rows: Tensor, size: int) -> list[Tensor]:
        """Row indices in pieces of at most `size`, or of what has been found to fit."""
        return list(rows.split(min(size, self.most or size)))

    def run(self, work: Callable[[Tensor], Result], rows: Tensor) -> list[Result]:
        """`work` of the rows, in one piece or, if that does not fit, in several. Results in the
        order of the rows. Raises MemoryExhausted."""
        try:
            return [work(rows)]
        except torch.OutOfMemoryError:
            pass  # outside the handler its traceback keeps no tensor alive
        forgotten = self.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if forgotten:
            return self.run(work, rows)
        if len(rows) > 1:
            half = len(rows) // 2
            if self.most is None or half < self.most:
                self.most = half
                self.tell(f"out of memory: {half} rows at once from now on")
            return [*self.run(work, rows[:half]), *self.run(work, rows[half:])]
        given_up = self.give_up()
        if given_up is None:
            raise MemoryExhausted(
                "out of memory with one row at a time: lower rollout.max_tokens or model.lora.rank,"
                " or set model.quantize: nf4 with model.copy_weights: never"
            )
        self.tell(f"out of memory: {given_up}")
        return self.run(work, rows)
