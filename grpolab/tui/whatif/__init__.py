"""What if: the same rollout under changed settings.

`model` has the plan, the commands that apply it and the process that scores it, `view` the boxes.
Not here: scoring (`grpolab.lens.whatif`).
"""
