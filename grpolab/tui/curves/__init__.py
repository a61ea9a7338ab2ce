"""Curves of every metric, over runs and lanes."""
