"""All answers to one prompt side by side, and one answer to read.

`model` has the selection, the sort order and the text of an answer as rows, `view` the boxes,
`screen` the two screens.
Not here: grading (`rewards`) and the rollouts pane (`tui.lab.rollouts`).
"""
