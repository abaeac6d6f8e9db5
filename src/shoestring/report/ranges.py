"""A value with its interval beside what was claimed of it, as a small drawing: in SVG, and in characters."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from shoestring.report.curves import ticks

WIDTH, HEIGHT, LEFT, RIGHT, MIDDLE = 640, 64, 12, 12, 20
CHARACTERS = 48


@dataclass(frozen=True)
class Range:
    """bound_low or bound_high may be infinite; show says how a value is written; low is None without an
    interval."""

    title: str
    value: float
    low: float | None
    high: float | None
    bound_low: float
    bound_high: float
    show: Callable[[float], str]

    @property
    def ends(self) -> tuple[float, float]:
        """Of the axis: all that is drawn, and room beside it."""
        shown = [self.value, self.low, self.high, self.bound_low, self.bound_high]
        known = [value for value in shown if value is not None and math.isfinite(value)]
        low, high = min(known), max(known)
        room = 0.15 * (high - low) or 0.15 * abs(low) or 1.0
        return low - room, high + room

    @property
    def text(self) -> str:
        """'-1.2 [-3.4, 1.0]', or that there is no interval."""
        if self.low is None or self.high is None:
            return f"{self.show(self.value)} [no interval]"
        if self.low == self.high == self.value:
            return f"{self.show(self.value)} [exact]"
        return f"{self.show(self.value)} [{self.show(self.low)}, {self.show(self.high)}]"


def range_svg(drawn: Range) -> str:
    """Self-contained but for the classes axis, grid, claimed, reach and dot, which the page colours."""
    marks = ticks(*drawn.ends)
    first, last = marks[0], marks[-1]

    def x(value: float) -> float:
        return LEFT + (min(max(value, first), last) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{drawn.title}: {drawn.text}")}">'
    ]
    left, right = x(drawn.bound_low), x(drawn.bound_high)
    parts.append(f'<rect class="claimed" x="{left:.1f}" y="4" width="{right - left:.1f}" height="32"/>')
    for mark in marks:
        parts.append(f'<line class="grid" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="4" y2="40"/>')
        parts.append(
            f'<text class="axis" x="{x(mark):.1f}" y="54" text-anchor="{_anchor(mark, first, last)}">'
            f"{escape(drawn.show(mark))}</text>"
        )
    if drawn.low is not None and drawn.high is not None:
        parts.append(
            f'<line class="reach" x1="{x(drawn.low):.1f}" x2="{x(drawn.high):.1f}" '
            f'y1="{MIDDLE}" y2="{MIDDLE}"/>'
        )
    parts.append(f'<circle class="dot" cx="{x(drawn.value):.1f}" cy="{MIDDLE}" r="4"/>')
    return "".join([*parts, "</svg>"])


def _anchor(mark: float, first: float, last: float) -> str:
    return "start" if mark == first else "end" if mark == last else "middle"


def range_line(drawn: Range) -> str:
    """'..:::├──●─┤:::' where ':' is what was claimed."""
    first, last = drawn.ends

    def place(value: float) -> int:
        share = (min(max(value, first), last) - first) / (last - first)
        return round(share * (CHARACTERS - 1))

    left, right = place(drawn.bound_low), place(drawn.bound_high)
    line = [":" if left <= i <= right else "·" for i in range(CHARACTERS)]
    if drawn.low is not None and drawn.high is not None:
        start, end = place(drawn.low), place(drawn.high)
        line[start : end + 1] = ["├", *["─"] * (end - start - 1), "┤"][: end - start + 1]
    line[place(drawn.value)] = "●"
    return "".join(line)
