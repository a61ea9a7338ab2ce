"""One batch of answers under every algorithm: advantages, losses and gradients of each token in
float64, compared. `ask`, `batch_file` and `show` load no torch; `compute` and `whatif` run in a
process of their own.

Not here: the screens that show it (`tui.lens`, `tui.whatif`), the formulas (`algorithms`).
"""
