"""What the recorded numbers mean: curves over steps, health rules with causes and suggestions,
what made the loss, and a sentence for each metric. Pure functions over `record`'s state.

Not here: drawing (`tui`, `charts`), statistics over several runs (`headless.compare`).
"""
