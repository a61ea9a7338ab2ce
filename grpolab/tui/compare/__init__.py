"""All lanes side by side: columns that face each other on the same prompt, curves over each other,
and a standing with intervals.

`model` says what stands in which column, `view` has the boxes, `screen` the keys, `seeds` the runs
of further seeds that are computed behind the one on the screen.
Not here: the numbers of the standing (`analysis.standing`), and how a comparison is laid out on
disk (`headless.compare`).
"""
