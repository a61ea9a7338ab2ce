"""Curves of every recorded metric, lanes in one chart, with a cursor.

`model` holds the choices and makes charts of them, `view` draws charts and lists.
Not here: metrics by axis and smoothing (`analysis.curves`), drawing a chart (`tui.widgets.plot`).
"""
