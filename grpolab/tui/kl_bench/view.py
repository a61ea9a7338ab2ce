"""The KL bench's two boxes: one measurement, and the list of all in this run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grpolab.record.events import KlBenched, KlEstimate
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.text import Line, clip, directed, number, signed, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.kl_bench.screen import KlBenchScreen

READ = {
    "k1": (
        "log π/π_ref. Unbiased in value, but may be negative. In the loss its expected gradient is "
        "0, so it has no effect. In the reward it is exact."
    ),
    "k2": (
        "½ (log π/π_ref)². Biased in value; its gradient in the loss is exact on on-policy "
        "samples. In the reward its gradient is biased."
    ),
    "k3": (
        "e^d − 1 − d, d = log π_ref/π. Unbiased, never negative, less variance than k1: good for "
        "monitoring. In the loss its gradient is that of KL(π_ref‖π), which differs the more the "
        "further the policy is from the reference."
    ),
    "unbiased": (
        "k3 weighted with the ratio, differentiated through both: the value of k3, and in the loss "
        "exactly the gradient of the KL."
    ),
}
"""What to read from each estimator's row."""

NEAR = "The policy equals the reference: every KL and gradient is 0. Train first."


class BenchTable(Box["KlBenchScreen"]):
    title = "KL to reference"

    def info(self) -> tuple[str, str]:
        b = self.overlay.shown
        if b is None:
            return "", ""
        return f"step {b.step} · {b.tokens} tokens", f"exact {b.exact:.4g} nats per token"

    def content(self, width: int, height: int) -> list[Line]:
        p, b = self.context.palette, self.overlay.shown
        told = self.overlay.status()
        out = [Line(row, p.style(told[1])) for row in wrap(told[0], width)] if told else []
        if b is None:
            return [Line(), *out, *([] if told else self._how(width))]
        exact = Line("exact ", p.style("dim")).add(f"{b.exact:.4g}", p.style("text", bold=True))
        exact.add(f" nats per token over {b.tokens} tokens, norm of its gradient ", p.style("dim"))
        out.append(exact.add(number(b.gradient), p.style("text")))
        out += [Line(), *self._heads(width)]
        out += [self._row(e, width) for e in b.estimates]
        if b.exact == 0 or b.gradient == 0:
            out += [Line(), *(Line(row, p.style("warn")) for row in wrap(NEAR, width))]
        return [*out, Line(), *self._readings(b, width)]

    def _how(self, width: int) -> list[Line]:
        """How to get a measurement."""
        p, key = self.context.palette, self.context.keymap.shown("kl_bench")
        overlay: KlBenchScreen = self.overlay
        if overlay.context.commands:
            told = f"No measurement yet: {key} requests one from the engine."
        else:
            told = (
                f"This run has no measurement. In a live run, {key} measures; in a scenario, a cue "
            )
            told += "does, for example"
        out = [Line(row, p.style("text")) for row in wrap(told, width)]
        if not self.context.commands:
            out += [Line("cues:", p.style("accent")),
                    Line("  - {at: 20, do: kl-bench}", p.style("accent"))]  # fmt: skip
        return out

    def _heads(self, width: int) -> list[Line]:
        p = self.context.palette
        faint = p.style("faint")
        gap = _gap(width)
        first = Line().to(45 + 3 * gap)
        first.cell("in the loss", 15, faint, right=True).to(first.width + gap)
        first.cell("in the reward", 15, faint, right=True)
        line = Line().cell("estimator", 10, faint).cell("value", 8, faint, right=True)
        line.cell("bias ± error", 19 + gap, faint, right=True)
        line.cell("std", 8 + gap, faint, right=True)
        for _ in range(2):
            line.to(line.width + gap).cell("cos", 6, faint, right=True)
            line.cell("error", 9, faint, right=True)
        return [first, line]

    def _row(self, e: KlEstimate, width: int) -> Line:
        p, gap = self.context.palette, _gap(width)
        line = Line().cell(visible(e.estimator), 10, p.style("accent", bold=True))
        line.cell(number(e.value), 8, p.style("text"), right=True)
        sure = abs(e.bias) > 2 * e.bias_se if math.isfinite(e.bias) else False
        bias = f"{'' if sure else '≈ '}{directed(e.bias, 2)} ± {number(e.bias_se, 2)}"
        line.cell(bias, 19 + gap, p.style("warn" if sure else "dim"), right=True)
        line.cell(number(e.std), 8 + gap, p.style("text"), right=True)
        for cosine, error in ((e.loss_cosine, e.loss_error), (e.reward_cosine, e.reward_error)):
            line.to(line.width + gap)
            word, colour = verdict(cosine, error)
            line.cell(signed(cosine), 6, p.style("text" if word != "none ∅" else "dim"), right=True)
            line.cell(word or number(error, 2), 9, p.style(colour), right=True)
        return line

    def _readings(self, b: KlBenched, width: int) -> list[Line]:
        p, out = self.context.palette, []
        for e in b.estimates:
            rows = wrap(READ.get(e.estimator, ""), max(8, width - 10))
            for i, row in enumerate(rows):
                name = visible(e.estimator) if i == 0 else ""
                out.append(Line().cell(name, 10, p.style("accent")).add(row, p.style("dim")))
        return out


class BenchHistory(Box["KlBenchScreen"]):
    title = "Measurements of this run"

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        found = s.benches
        if not found:
            return [Line("none yet", p.style("faint"))]
        names = [e.estimator for e in found[0].estimates]
        faint = p.style("faint")
        wide = 11
        head = Line("  ").cell("step", 6, faint, right=True).cell("exact", 11, faint, right=True)
        for i, name in enumerate(names):
            told = visible(name) if i else f"bias: {visible(name)}"
            head.cell(clip(told, wide - 1), wide, faint, right=True)
        out = [head]
        at = min(s.back, len(found) - 1)
        for i in window(len(found), at, max(1, height - 1)):
            b = found[i]
            line = Line("▸ " if i == at else "  ", p.style("accent"))
            line.cell(str(b.step), 6, p.style("text"), right=True)
            line.cell(f"{b.exact:.4g}", 11, p.style("text", bold=True), right=True)
            for e in b.estimates:
                line.cell(directed(e.bias, 2), wide, p.style("dim"), right=True)
            line.to(width).whole(("bench", i), width)
            out.append(line.on(p.style("", "raised")) if i == at else line)
        return out


def verdict(cosine: float, error: float) -> tuple[str, str]:
    """A word for an exact or a missing gradient (else empty), and a color."""
    if error < 0.005:
        return "exact ✓", "good"
    if abs(error - 1) < 0.02 and abs(cosine) < 0.2:
        return "none ∅", "bad"
    return "", "warn" if error > 0.1 else "text"


def _gap(width: int) -> int:
    """Extra space between the columns."""
    return 0 if width < 84 else 3
