"""What several screens are built from: text and wrapping, the color palette, boxes, dialogs,
overlays, charts, token rows, partial repaints. Knows nothing of a particular screen.
"""
