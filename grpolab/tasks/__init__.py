"""Prompts and their graders, in plain Python: no torch, and model text is never run as code.

A new task is one file and one line in `TASKS`. `expression` and `steps` are helpers: arithmetic
expressions, and the steps of a written computation.
"""

from grpolab.tasks.base import Grade, Prompt, Span, Step, Task, TaskOptions, is_held_out
from grpolab.tasks.countdown import Countdown
from grpolab.tasks.program import Program
from grpolab.tasks.slots import Slots
from grpolab.tasks.sums import Sums

TASKS: dict[str, type[Task]] = {
    "sums": Sums,
    "countdown": Countdown,
    "slots": Slots,
    "program": Program,
}

__all__ = ["TASKS", "Grade", "Prompt", "Span", "Step", "Task", "TaskOptions", "is_held_out"]
