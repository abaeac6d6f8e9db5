"""report.md: the document in GitHub's Markdown; curves are drawn in block characters."""

from collections.abc import Iterable, Sequence

from shoestring.report.blocks import (
    Block,
    Browser,
    Bullets,
    Code,
    Heading,
    Plots,
    Ranges,
    Samples,
    Table,
    Text,
)
from shoestring.report.curves import spark
from shoestring.report.document import document, title
from shoestring.report.ranges import range_line
from shoestring.report.run_report import RunReport, Sample


def render_markdown(report: RunReport) -> str:
    return page(title(report), document(report))


def page(name: str, blocks: Iterable[Block]) -> str:
    return "\n\n".join([f"# {escape(name)}", *map(_block, blocks)]) + "\n"


def escape(text: str) -> str:
    """For running text and table cells: no markup, no broken row."""
    for sign in "\\`*_<>|#[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def fence(text: str, language: str = "text") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    marks = "```"
    while marks in text:
        marks += "`"
    return f"{marks}{language}\n{text}\n{marks}"


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {escape(text)}"
        case Text(text):
            return escape(text)
        case Bullets(items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case Table():
            return table_text(block)
        case Plots(name, plots):
            rows = [
                (f"{plot.title}{f' ({line.line})' if line.line else ''}", *_ends(line.values), spark(line))
                for plot in plots
                for line in plot.lines
            ]
            return f"### {escape(name)}\n\n" + table_text(Table(("", "first", "last", "curve"), tuple(rows)))
        case Ranges(rows):
            return fence("\n".join(f"{range_line(row)}  {row.text}  {row.title}" for row in rows))
        case Samples(name, samples):
            return _folded(name, "\n\n".join(map(_sample, samples)))
        case Browser():
            return "They can be looked through in report.html."
        case Code(text, ""):
            return fence(text)
        case Code(text, name, language):
            return _folded(name, fence(text, language))


def table_text(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    marks = ["---" if i in table.words else "---:" for i in range(len(table.header))]
    rows = [
        line([f"**{escape(cell)}**" if i in table.strong and cell else escape(cell) for cell in row])
        for i, row in enumerate(table.rows)
    ]
    return "\n".join([line([escape(cell) for cell in table.header]), line(marks), *rows])


def _ends(values: Sequence[float | None]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    return f"{known[0]:.3g}", f"{known[-1]:.3g}"


def _folded(name: str, inner: str) -> str:
    return f"<details><summary>{escape(name)}</summary>\n\n{inner}\n\n</details>"


def _sample(sample: Sample) -> str:
    told = f"Step {sample.step}, {sample.outcome}:"
    return "\n\n".join([told, fence(f"{sample.prompt}\n---\n{sample.completion}")])
