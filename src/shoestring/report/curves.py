"""Which curves are drawn, and a small line plot as SVG."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from shoestring.report.run_report import Curve

# metric -> what its plot is called, in the order of the report
DRAWN = {
    "val_bpb": "bits per byte, held out",
    "reward": "mean reward",
    "solve_rate": "share of samples solved",
    "completions/mean_length": "completion length, tokens",
    "entropy": "entropy, nats a token",
    "mismatch_kl": "mismatch KL of sampler and trainer",
    "grad_norm": "gradient norm",
    "frac_reward_zero_std": "share of groups dropped as all equal",
    "completions/clipped_ratio": "share of replies cut",
    "loss": "loss",
    "mtp_loss": "loss of the MTP modules",
    "max_vio": "max_vio: the busiest expert's load above the mean load",
    "mtp_acceptance": "share of drafts kept, on its own text",
}
WIDTH, HEIGHT = 320, 170
BARS = "▁▂▃▄▅▆▇█"
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 22


@dataclass(frozen=True)
class Plot:
    """One metric of one stage, a line for each arm and seed."""

    title: str
    lines: tuple[Curve, ...]


def plots(curves: Iterable[Curve]) -> dict[str, list[Plot]]:
    """Stage -> its plots, in the order of `DRAWN`."""
    curves = list(curves)
    result: dict[str, list[Plot]] = {}
    for stage in dict.fromkeys(curve.stage for curve in curves):
        for metric, title in DRAWN.items():
            lines = tuple(c for c in curves if (c.stage, c.metric) == (stage, metric) and _known(c))
            if lines:
                result.setdefault(stage, []).append(Plot(title, lines))
    return result


def _known(curve: Curve) -> bool:
    return any(value is not None for value in curve.values)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, steps of 1, 2 or 5 times a power of ten."""
    if high - low < 1e-300:  # a quarter of it may be 0 already
        pad = abs(low) * 0.1 if abs(low) > 1e-290 else 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def svg(plot: Plot) -> str:
    """Self-contained but for the classes axis, grid, line-0 ... line-5, which the page colours."""
    steps = [step for line in plot.lines for step in line.steps]
    values = [value for line in plot.lines for value in line.values if value is not None]
    marks = ticks(min(values), max(values))
    low, high = marks[0], marks[-1]
    first, last = min(steps), max(max(steps), min(steps) + 1)

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.title)}">']
    for mark in marks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        )
        parts.append(
            f'<text class="axis" x="{LEFT - 5}" y="{y(mark) + 3.5:.1f}" text-anchor="end">{mark:.3g}</text>'
        )
    for step, anchor in ((first, "start"), (max(steps), "end")):
        place = f'x="{x(step):.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}"'
        parts.append(f'<text class="axis" {place}>step {step}</text>')
    for number, line in reversed(list(enumerate(plot.lines))):  # the recipe as written lies on top
        parts += _line(line, number, [(x(s), None if v is None else y(v)) for s, v in _points(line)])
    return "".join([*parts, "</svg>"])


def _points(line: Curve) -> Iterable[tuple[int, float | None]]:
    return zip(line.steps, line.values, strict=True)


def _line(line: Curve, number: int, points: Sequence[tuple[float, float | None]]) -> list[str]:
    """Pieces broken where a value is missing; a piece of one point is a dot."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for across, up in points:
        if up is None:
            pieces.append([])
        else:
            pieces[-1].append((across, up))
    style = f'class="line line-{number % 6}"'
    drawn = []
    for piece in pieces:
        if len(piece) == 1:
            drawn.append(f'<circle {style} cx="{piece[0][0]:.1f}" cy="{piece[0][1]:.1f}" r="2"/>')
        elif piece:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in piece)
            drawn.append(f'<polyline {style} points="{path}"/>')
    title = f"<title>{escape(line.line)}</title>" if line.line else ""
    return [f"<g>{title}{''.join(drawn)}</g>"]


def spark(line: Curve, width: int = 40) -> str:
    """The curve in block characters, at most `width` of them; '·' where nothing is known."""
    values = list(line.values)
    size = math.ceil(len(values) / width)
    means: list[float | None] = []
    for start in range(0, len(values), size):
        known = [value for value in values[start : start + size] if value is not None]
        means.append(sum(known) / len(known) if known else None)
    known = [mean for mean in means if mean is not None]
    low, spread = min(known), max(known) - min(known)
    return "".join("·" if m is None else BARS[round(7 * (m - low) / spread) if spread else 0] for m in means)
