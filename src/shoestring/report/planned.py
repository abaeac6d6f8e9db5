"""What was to be found out, fixed before the run, and what came of it."""

from collections.abc import Iterable, Iterator

from shoestring.report.blocks import Block, Bullets, Table, Text
from shoestring.report.run_report import RunReport
from shoestring.report.scores import Comparison, Planned

LEARNED = (
    "A model is said to have learned only where it is better than every control that is named for it, "
    "paired by seed and problem: the same training with a reward that says nothing of what is right, or as "
    "much work spent in another way."
)


def planned_blocks(report: RunReport) -> Iterator[Block]:
    """Where no control is named, the word learned is not used."""
    if report.planned:
        yield Text(
            "Comparisons fixed before the run, all seeds together (bootstrap over seeds and problems, p with "
            "Holm's correction for all rows):"
        )
        yield _planned(report.planned)
        yield from _each(report.planned)
    if report.learned:
        yield Text(LEARNED)
        yield Bullets(tuple(f"{found.of}: {found.verdict}." for found in report.learned))


def _planned(comparisons: Iterable[Planned]) -> Table:
    rows = []
    for c in comparisons:
        each = ", ".join(f"{100 * value:+.1f}" for value in c.seeds.values())
        p = "" if c.adjusted is None else f"{c.adjusted:.4f}"
        n = f"{len(c.suites)} x {c.n}" if c.suites else f"{c.n}"
        figures = (n, points(c), each, p) if c.seeds else ("", "", "", "")
        rows.append((c.suite, c.of, c.against, *figures, c.verdict))
    header = ("suite", "model", "against", "n", "points above it", "each seed", "p", "verdict")
    return Table(header, tuple(rows), words=(0, 1, 2, 7))


def _each(comparisons: Iterable[Planned]) -> Iterator[Text]:
    """What the means are of."""
    for c in comparisons:
        if c.each:
            parts = ", ".join(f"{suite} {100 * value:+.1f}" for suite, value in c.each.items())
            yield Text(f"{c.of} above {c.against}, suite by suite: {parts}.")


def points(comparison: Comparison | Planned) -> str:
    """'+21.5 [+15.2, +27.6]', in points of a hundred."""
    low, high = 100 * comparison.ci95.low, 100 * comparison.ci95.high
    return f"{100 * comparison.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
