"""Warnings with cause, evidence and suggestions, and an explanation of the loss.

`model` caches the verdicts of a step, `view` draws them.
Not here: the rules and suggestions (`analysis.health`), the terms of the loss
(`analysis.loss_report`).
"""
