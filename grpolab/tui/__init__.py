"""The terminal lab: reads a run's events, folds them, draws what changed, and sends commands to the
engine.
"""
