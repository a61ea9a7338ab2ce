"""The tokens of the selected answer, coloured by one per-token channel."""

from __future__ import annotations

import math

from grpolab.state import RolloutView
from grpolab.tui.numbers import MISSING, number
from grpolab.tui.palette import level_mark, sign_mark
from grpolab.tui.panes.base import Pane
from grpolab.tui.text import Line, clip, flow
from grpolab.tui.token_rows import SIGNED, Scale, around, layout, painted, shown

HINTS = {
    "advantage": "how much better than expected: ▲ is pushed up, ▼ down",
    "ratio": "new/old probability: ▲ rose above 1, ▼ fell below",
    "kl": "distance from the start policy (k3)",
    "entropy": "how open the choice was, in nats",
    "value": "the critic's forecast before the token",
    "logprob": "log-probability when sampled",
    "return": "what the critic should have said",
}


class Tokens(Pane):
    index = 2
    title = "Tokens"
    watches = frozenset({"tokens", "graded", "lane", "resumed", "select"})
    explains = (
        "Each token of the selected answer on the colour of one channel; change it with the "
        "channel key.\n"
        "The row under the text says the same without colour: ▲▴ above, ▾▼ below the middle, "
        "· near it; for sizes without a sign ▁▂▃▄▅▆▇█.\n"
        "While a step is being sampled, the last finished one is shown here.\n"
        + "\n".join(f"{name}: {hint}" for name, hint in HINTS.items())
        + "\nChannels that the algorithm does not have (value without a critic) are not offered."
    )

    def info(self) -> tuple[str, str]:
        r = self.desk.view.scored(self.desk.state)
        if r is None:
            return "", ""
        row = self.desk.view.row(r)
        where = (
            f"step {r.step} · prompt {row // r.group_size + 1} · answer {row % r.group_size + 1}"
        )
        offered = self.desk.view.channels(self.desk.state)
        return where, f"{self._channel(r)} {offered.index(self._channel(r)) + 1}/{len(offered)}"

    def _channel(self, r: RolloutView) -> str:
        """The chosen channel, or the first one where this step does not have it."""
        offered = self.desk.view.channels(self.desk.state)
        chosen = self.desk.view.channel
        return chosen if chosen in offered else offered[0]

    def content(self, width: int, height: int) -> list[Line]:
        p, view = self.desk.palette, self.desk.view
        r = view.scored(self.desk.state)
        if r is None or r.tokens is None:
            told = "tokens appear when a step is finished"
            return [Line(), Line("  " + told, p.style("faint"))]
        row = view.row(r)
        pieces = r.tokens.pieces[row] if row < len(r.tokens.pieces) else []
        if not pieces:
            return [Line(), Line("  (empty answer)", p.style("faint"))]
        at = min(view.token, len(pieces) - 1)
        name = self._channel(r)
        found = r.channel(name)
        values = found[row] if found is not None and row < len(found) else []
        scale = Scale(name, values)
        figures = self._figures(r, row, at, pieces[at], len(pieces), width)
        legend = self._legend(name, scale, width)
        rows = layout(tuple(pieces), width)
        room = height - len(figures) - 1
        spare = room - min(2 * len(rows), max(4, room // 2)) - 1
        every = self._every(r, row, at, width)[:spare] if spare >= 3 else []
        room -= len(every)
        out: list[Line] = []
        for cells in around(rows, at, max(1, room // 2)):
            out += painted(p, cells, values, scale, at)
        while len(out) < room:
            out.append(Line())
        return [*out[: max(room, 0)], *every, legend, *figures]

    def _legend(self, name: str, scale: Scale, width: int) -> Line:
        p = self.desk.palette
        line = Line(f"{name} ", p.style("text", bold=True))
        middle = SIGNED.get(name)
        if middle is not None:
            line.add(number(middle - scale.limit, 2) + " ", p.style("dim"))
            for share in (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0):
                hue = "plus" if share > 0 else "minus"
                line.add(f"{sign_mark(share, 1)} ", p.tint(hue, abs(share)))
            line.add(" " + number(middle + scale.limit, 2), p.style("dim"))
        else:
            line.add(number(scale.low, 2) + " ", p.style("dim"))
            for step in range(8):
                line.add(level_mark((step + 1) / 8), p.style("heat"))
            line.add(" " + number(scale.high, 2), p.style("dim"))
        return line.add(
            "  " + clip(HINTS.get(name, ""), max(0, width - line.width - 2)), p.style("faint")
        )

    def _figures(
        self, r: RolloutView, row: int, at: int, piece: str, total: int, width: int
    ) -> list[Line]:
        """The selected token in all channels."""
        p = self.desk.palette
        head = Line(f"token {at + 1}/{total} ", p.style("dim"))
        head.add(f"«{clip(shown(piece), 20)}»", p.style("text", bold=True))
        parts = [head]
        offered = self.desk.view.channels(self.desk.state)
        chosen = self._channel(r)
        for name in dict.fromkeys([*offered, *(n for n in HINTS if n not in offered)]):
            channel = r.channel(name)
            value = channel[row][at] if channel is not None and at < len(channel[row]) else None
            line = Line(
                f"{name} ", p.style("accent" if name == chosen else "dim", bold=name == chosen)
            )
            line.hits.append((0, line.width, ("channel", name)))
            middle = SIGNED.get(name)
            sign = ""
            if (
                value is not None
                and middle is not None
                and math.isfinite(value)
                and value != middle
            ):
                sign = "▲" if value > middle else "▼"
            line.add(sign, p.style("plus" if sign == "▲" else "minus"))
            parts.append(line.add(MISSING if value is None else number(value, 3), p.style("text")))
        return flow(parts, width)

    def _every(self, r: RolloutView, row: int, at: int, width: int) -> list[Line]:
        """All channels along the answer, one cell a token, around the selected one."""
        p = self.desk.palette
        offered = self.desk.view.channels(self.desk.state)
        room = width - 11
        out = [Line("── ", p.style("line")).add("all channels, token by token ", p.style("faint"))]
        out[0].add("─" * max(0, width - out[0].width), p.style("line"))
        now = self._channel(r)
        for name in [now, *(n for n in offered if n != now)]:
            channel = r.channel(name)
            values = channel[row] if channel is not None else []
            scale = Scale(name, values)
            first = max(0, min(len(values) - room, at - room // 2))
            chosen = name == self._channel(r)
            line = Line().cell(name, 10, p.style("accent" if chosen else "dim")).add(" ")
            for i, value in enumerate(values[first : first + room], first):
                hue, _, mark = scale.look(value)
                style = p.style("ground", "text", bold=True) if i == at else p.style(hue)
                line.add(mark, style, hit=("token", i))
            out.append(line.whole(("channel", name), 11))
        return out
