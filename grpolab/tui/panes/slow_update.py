"""What a step made of the very tokens it learned from: their probabilities before and after."""

from __future__ import annotations

from grpolab.tui.numbers import number
from grpolab.tui.palette import Palette
from grpolab.tui.story import Beat, Story
from grpolab.tui.text import Line, clip
from grpolab.tui.token_rows import shown


def update(p: Palette, story: Story, beat: Beat, width: int, height: int) -> list[Line]:
    """One row a token, those that changed most; the bar moves from before to after. ×3: three
    answers begin alike up to this token, so it is the same choice in all of them."""
    wide = width - 48
    head = Line().cell("answer", 7, p.style("faint")).cell("token", 18, p.style("faint"))
    head.cell("pushed", 7, p.style("faint")).cell("before", 8, p.style("faint"), right=True)
    after = "after" if story.measured else "so far"
    head.cell(after if beat.share else "", 8, p.style("faint"), right=True)
    out = [head]
    for (row, t), old, new, same in story.changes[: max(0, height - 1)]:
        now = old + beat.share * (new - old)
        push = story.push[row][t] if t < len(story.push[row]) else 0.0
        mark, hue = ("▲", "plus") if push > 0 else ("▼", "minus") if push < 0 else ("·", "faint")
        if not push and story.held((row, t)):
            mark, hue = "✂ held", "warn"
        line = Line().cell(f"{row - story.rows[0] + 1:>2}", 3, p.style("accent"))
        line.cell(f"×{same}" if same > 1 else "", 4, p.style("faint"))
        line.cell(f"#{t + 1}", 5, p.style("faint"))
        piece = clip(shown(story.pieces[row][t]), 13)
        line.cell(piece, 13, p.style("text", bold=(row, t) in story.focus))
        line.cell(f"{mark}", 7, p.style(hue)).cell(_share(old), 8, p.style("dim"), right=True)
        moved = beat.share > 0
        grew = "plus" if new > old else "minus" if new < old else "dim"
        line.cell(_share(now) if moved else "", 8, p.style(grew, bold=True), right=True)
        if wide >= 8:
            line.add(" ").join(_bar(p, old, now, wide - 1, grew))
        out.append(line)
    return out


def _share(x: float) -> str:
    """A probability: in percent, small ones as they are."""
    return f"{100 * x:.1f}%" if x >= 0.001 else number(x, 2)


def _bar(p: Palette, old: float, now: float, width: int, hue: str) -> Line:
    """A probability from 0 to 1; what was gained or lost stands out by glyph and colour."""
    a, b = round(min(old, 1.0) * width), round(min(now, 1.0) * width)
    line = Line("█" * min(a, b), p.style("dim"))
    line.add(("▓" if b > a else "░") * abs(b - a), p.style(hue))
    return line.add("·" * (width - max(a, b)), p.style("line"))
