"""Widgets in boxes that something else has computed."""

from __future__ import annotations

from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

from grpolab.tui.arrange import Box


class Boxes(Layout):
    """Puts each pane into the box that `arrange` gave it."""

    name = "boxes"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        boxes: dict[str, Box] = getattr(parent, "boxes", {})
        placements = []
        for child in children:
            box = boxes.get(child.id or "", Box(0, 0, size.width, size.height))
            placements.append(WidgetPlacement(Region(*box), NULL_OFFSET, NULL_SPACING, child))
        return placements


class Body(Widget):
    """Where the panes are."""

    BLANK = True

    def __init__(self, *children: Widget) -> None:
        super().__init__(*children, id="body")
        self.boxes: dict[str, Box] = {}
        self._default_layout = Boxes()

    def put(self, boxes: dict[str, Box]) -> None:
        """Panes into these boxes. Textual keeps an arrangement for each size of ours and would not
        ask again."""
        self.boxes = boxes
        self._clear_arrangement_cache()
        self.refresh(layout=True)
