"""The end of a run on the terminal: the table, where the report lies, and what to type next."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from shoestring.report.blocks import Block, Heading, Table, Text
from shoestring.report.results import headline
from shoestring.report.run_report import RunReport
from shoestring.report.stages import stage_table
from shoestring.run.progress import duration

USUAL = ("preflight", "zero rewards", "time")  # that every run has; the report has them
FILE_WIDTH = 160  # columns where there is no terminal to ask


def print_report(report: RunReport, console: Console) -> None:
    # `print(width=...)` can only narrow: a file would get tables folded at 80 columns
    paper = console if console.is_terminal else Console(file=console.file, width=FILE_WIDTH)
    if report.stages is not None:
        _line(console, "\nstage by stage")
        paper.print(_rich(stage_table(report, report.stages)))
    for suite, shown in _tables(headline(report)):
        _line(console, f"\n{suite}")
        paper.print(shown)
    _line(console, "")
    for found in report.learned:
        _line(console, f"{found.of}: {found.verdict}")
    for finding in report.findings:
        if finding.name not in USUAL:
            _line(console, f"{finding.unit.title}, step {finding.step}, {finding.name}: {finding.text}")
    for sentence in report.lacking:
        _line(console, f"note: {sentence}")
    total, bill = report.bill.total, report.bill
    spent = f"{duration(total.seconds)}, {bill.kwh(total):.3f} kWh, {bill.usd(total):.3f} USD"
    _line(console, f"spent: {spent} at the prices in the report")
    _line(console, f"report: {report.folder / 'report.md'}  {report.folder / 'report.html'}")
    _line(console, f"talk to it: {report.chat_command}")


def print_blocks(blocks: Iterable[Block], console: Console) -> None:
    """Headings, texts and tables of a report; what a terminal can't show is left out."""
    paper = console if console.is_terminal else Console(file=console.file, width=FILE_WIDTH)
    for block in blocks:
        if isinstance(block, Table):
            paper.print(_rich(block))
        elif isinstance(block, Heading | Text):
            _line(console, f"\n{block.text}" if isinstance(block, Heading) else block.text)


def _rich(table: Table) -> RichTable:
    shown = RichTable(box=None, pad_edge=False)
    for place, title in enumerate(table.header):
        shown.add_column(escape(title), justify="left" if place in table.words else "right")
    for number, cells in enumerate(table.rows):
        shown.add_row(*map(escape, cells), style="bold" if number in table.strong else None)
    return shown


def _tables(table: Table) -> list[tuple[str, RichTable]]:
    """One for each suite, whose name stands in its first row: with the suites' names beside it, a table is
    wider than most terminals."""
    tables: list[tuple[str, RichTable]] = []
    for number, (suite, *cells) in enumerate(table.rows):
        if suite:
            shown = RichTable(box=None, pad_edge=False)
            for place, title in enumerate(table.header[1:], start=1):
                shown.add_column(escape(title), justify="left" if place in table.words else "right")
            tables.append((suite, shown))
        tables[-1][1].add_row(*map(escape, cells), style="bold" if number in table.strong else None)
    return tables


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
