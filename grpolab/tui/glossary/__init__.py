"""The glossary.

`words` has the terms, `screen` the searchable list.
Not here: the meaning of metrics (`analysis.metric_help`) and of channels (`tui.quantities`).
"""
