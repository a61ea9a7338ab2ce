"""`python -m grpolab.pretrain --out DIR --seed 0`: make the embedded policy again."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Parse the command line and run the recipe."""
    parser = argparse.ArgumentParser(prog="python -m grpolab.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the policy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=7_000)
    parser.add_argument("--minutes", type=float, help="stop here even if steps are left")
    parser.add_argument("--rows", type=int, default=2048, help="rows per step")
    parser.add_argument("--workers", type=int, default=14, help="processes that write the corpus")
    parser.add_argument("--eval-prompts", type=int, default=512)
    parser.add_argument("--eval-samples", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--no-compile", action="store_true")
    asked = parser.parse_args()

    # here, and not above: the corpus workers import this module again and need no torch
    from grpolab.pretrain.recipe import Recipe, run

    figures = run(
        Recipe(
            out=asked.out,
            seed=asked.seed,
            steps=asked.steps,
            minutes=asked.minutes,
            rows_per_step=asked.rows,
            workers=asked.workers,
            eval_prompts=asked.eval_prompts,
            eval_samples=asked.eval_samples,
            hidden=asked.hidden,
            layers=asked.layers,
            compiled=not asked.no_compile,
        )
    )
    for name, task in figures["tasks"].items():
        print(name, {key: value for key, value in task.items() if key != "examples"})


if __name__ == "__main__":
    main()
