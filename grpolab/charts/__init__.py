"""Line charts of recorded numbers: `model` says what a chart shows and lays out its axes and
labels, `terminal` draws it in cells with plotext, `svg` as a picture for a report.

Not here: which numbers there are and how they are smoothed (`grpolab.analysis.curves`), the screens
that show charts, and the curves screen's own drawing (`tui/widgets/plot.py`). Importing this
package imports no plotext: `terminal` does so when it draws its first chart.
"""
