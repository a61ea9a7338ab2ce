"""The lens: one rollout under every algorithm.

`model` reads or computes a lens, `view` draws the table and the tokens.
Not here: computing the gradients (`grpolab.lens`), changed settings (`tui.whatif`).
"""
