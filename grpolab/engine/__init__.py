"""The process that learns: one lab, its lanes, their rollouts, scores and updates, written out as
events.

Not here: the formulas (`algorithms`), rewards and tasks, anything with a screen. A viewer starts
this package as a child process (`launch`) and never imports it.
"""
