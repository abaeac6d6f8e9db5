"""The end of a run on the terminal: the table, where the report lies, and what to type next."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from shoestring.report.results import headline
from shoestring.report.run_report import RunReport
from shoestring.run.progress import duration


def print_report(report: RunReport, console: Console) -> None:
    table = headline(report)
    if table.rows:
        shown = RichTable(*map(escape, table.header), box=None, pad_edge=False)
        for number, row in enumerate(table.rows):
            shown.add_row(*map(escape, row), style="bold" if number in table.strong else None)
        console.print(shown)
    for sentence in report.lacking:
        _line(console, f"note: {sentence}")
    total, bill = report.bill.total, report.bill
    spent = f"{duration(total.seconds)}, {bill.kwh(total):.3f} kWh, {bill.usd(total):.3f} USD"
    _line(console, f"spent: {spent} at the prices in the report")
    _line(console, f"report: {report.folder / 'report.md'}  {report.folder / 'report.html'}")
    _line(console, f"talk to it: {report.chat_command}")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
