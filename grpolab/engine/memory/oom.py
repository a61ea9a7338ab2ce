"""What to do when memory runs out: work on fewer rows at a time, then free what only saves time,
then stop with a message. Nothing computed so far is lost, and sums over rows stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class MemoryExhausted(RuntimeError):
    """Not even one row fits; the message says which settings to lower."""


class OomGuard:
    """Runs a lane's work in pieces that fit into memory."""

    def __init__(
        self, give_up: Callable[[], str | None], tell: Callable[[str], None],
        forget: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """`forget` frees what was only kept to save time and returns whether there was any.
        `give_up` frees something of the backbone and returns what, in words; None where nothing is
        left. `tell` is called with what was done, in words."""
        self.give_up, self.tell, self.forget = give_up, tell, forget
        self.row_limit: int | None = None  # rows that fit at once; None until memory runs out

    def pieces(self, rows: Tensor, size: int) -> list[Tensor]:
        """Row indices in pieces of at most `size` and no more than were found to fit."""
        return list(rows.split(min(size, self.row_limit or size)))

    def run(self, work: Callable[[Tensor], Result], rows: Tensor) -> list[Result]:
        """Do `work` on the rows, in one piece or, where that does not fit, in several. Results in
        the order of the rows. Raises MemoryExhausted."""
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
            if self.row_limit is None or half < self.row_limit:
                self.row_limit = half
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
