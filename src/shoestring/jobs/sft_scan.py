"""Conversations looked through before they are learnt: what is dropped or rewritten where the recipe asks for
it, and what there is where it doesn't."""

from shoestring.errors import BadInput
from shoestring.jobs.scan import write_report
from shoestring.jobs.sft_rows import MixedRows, RowSource
from shoestring.provenance.scan import ScanSettings, scan
from shoestring.run import Stage
from shoestring.text.conversations import Conversations
from shoestring.text.own_name import is_own_name

LOOK = ScanSettings(identity="keep", cutoff="keep", refusal="keep", personal="keep")
TOLD = ("identity", "cutoff")  # kinds that are spoken of although nothing was asked for


def scan_rows(rows: RowSource, settings: ScanSettings | None, stage: Stage) -> None:
    """Scan every source that is conversations, in place, but for rows that tell the model its own name;
    before the first row is taken. None: nothing is changed, and what a model would claim of itself after it
    is said. Findings go into the stage's folder."""
    sources = rows.sources if isinstance(rows, MixedRows) else [rows]
    for number, source in enumerate(sources, start=1):
        if isinstance(source, Conversations) and not is_own_name(source.name):
            _scan(source, settings, stage, f"scan-{number}" if len(sources) > 1 else "scan")
    if isinstance(rows, MixedRows):
        rows.gather_origins()


def _scan(rows: Conversations, settings: ScanSettings | None, stage: Stage, folder: str) -> None:
    ids = map(rows.row_id, range(len(rows.rows)))
    result = scan(zip(ids, [messages for messages, _ in rows.rows], strict=True), settings or LOOK)
    if settings is None:
        counts = result.counts()
        if any(counts[kind]["rows"] for kind in TOLD):
            stage.say(
                f"{rows.name}: {result.line()}: a model learns what its rows claim. scan = {{}} drops them"
            )
            write_report(result, stage.folder / folder)
        return
    if not result.kept:
        raise BadInput(f"{rows.name}: the scan leaves no row: see what shoestring scan says of it")
    stage.say(f"{rows.name}: {result.line()}")
    write_report(result, stage.folder / folder)
    rows.keep([(row.index, row.messages) for row in result.kept])
