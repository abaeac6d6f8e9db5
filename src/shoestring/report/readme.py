"""A run's table into a README, between two marks, so that no figure in it is typed by hand:
python -m shoestring.report.readme runs/laptop README.md"""

import sys
from collections.abc import Sequence
from pathlib import Path

from shoestring.errors import BadInput, ShoestringError
from shoestring.report.markdown import escape, table_text
from shoestring.report.read import read_run
from shoestring.report.results import headline
from shoestring.report.run_report import RunReport
from shoestring.run import write_atomic
from shoestring.run.progress import duration

BEGIN, END = "<!-- demo-table -->", "<!-- /demo-table -->"
USAGE = "usage: python -m shoestring.report.readme RUN README.md"


def main(arguments: Sequence[str]) -> int:
    try:
        if len(arguments) != 2:
            raise BadInput(USAGE)
        run, readme = map(Path, arguments)
        if not readme.is_file():
            raise BadInput(f"no such file: {readme}")
        write_atomic(readme, filled(readme.read_text(encoding="utf-8"), read_run(run), str(readme)))
    except ShoestringError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def filled(text: str, report: RunReport, where: str) -> str:
    """`text` with what stands between the marks replaced. Raises BadInput where they are missing, or where
    the run has nothing finished to show."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BadInput(f"{where} has no {BEGIN} ... {END} to put the table between")
    if report.state != "finished" or not report.scores:
        raise BadInput(f"{report.folder} is {report.state}: only a finished run with scores is shown")
    return f"{before}{BEGIN}\n{table_block(report)}\n{END}{after}"


def table_block(report: RunReport) -> str:
    """The headline table, what it took on what, and what it does not show."""
    total, bill = report.bill.total, report.bill
    machine = (
        f"{report.environment.get('cpu', 'cpu not known')}, {report.environment.get('cores', '?')} cores"
    )
    spent = f"{duration(total.seconds)}, {bill.kwh(total):.3f} kWh, {bill.usd(total):.3f} USD of electricity"
    parts = [
        table_text(headline(report)),
        escape(f"One run of recipe {report.name} on {machine}: {spent}. Base: {report.base}."),
        *([_limits(report)] if report.lacking else []),
    ]
    return "\n\n".join(parts)


def _limits(report: RunReport) -> str:
    return "\n".join(["What it does not show:", "", *(f"- {escape(line)}" for line in report.lacking)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
