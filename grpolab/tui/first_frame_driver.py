"""Take over the terminal from the first frame's picture, and record the picture of the next start.

`first_frame` shows the picture before anything here is loaded.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.control import Control

from grpolab.tui.first_frame import ALTERNATE, FirstFrame

if TYPE_CHECKING:
    from textual.driver import Driver

    from grpolab.tui.lab.screen import LabScreen

DRAWERS = {"grpolab", "textual", "rich"}
"""Packages whose code the picture depends on."""


def driver(frame: FirstFrame) -> type[Driver]:
    """Textual's driver for a terminal that shows the picture: it draws over it, and at the end
    restores the terminal as it was before the picture."""
    from textual.drivers.linux_driver import LinuxDriver

    class OverPicture(LinuxDriver):
        def start_application_mode(self) -> None:
            super().start_application_mode()
            if frame.shown:
                self.attrs_before = frame.hand_over()

        def write(self, data: str) -> None:
            # entering the alternate screen again would clear it on some terminals, and lose the
            # cursor's place on the main screen
            if not (frame.shown and data == ALTERNATE):
                super().write(data)

    return OverPicture


def record(frame: FirstFrame, lab: LabScreen) -> None:
    """Record the frame on the screen, with its clocks at 0, unless a key was pressed already."""
    if lab.context.touched > 0:
        return
    lab.context.opened = time.monotonic()
    for canvas in lab.canvases:
        if canvas.display:
            canvas.paint()
    console = lab.app.console
    rows = enumerate(lab._compositor.render_strips())
    picture = "".join(Control.move_to(0, y).segment.text + row.render(console) for y, row in rows)
    loaded = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in DRAWERS]
    files = {str(m.__file__) for m in loaded if getattr(m, "__file__", None)}
    style = Path(__file__).with_name(str(lab.app.CSS_PATH))
    frame.keep(picture, (lab.size.width, lab.size.height), sorted({*files, str(style)}))
