"""Search through all recorded answers.

`model` has the filter and starts the search, `view` draws filter, results and answer.
Not here: the search over the run file itself (`record.search`).
"""
