"""How well the scan does: on the labelled sentences, and on claims planted among ordinary rows."""

from typing import Any

from rich.console import Console

from shoestring.jobs.planted import ordinary_rows
from shoestring.provenance.scan import ScanSettings, scan
from shoestring.provenance.scan_labelled import (
    PARTS,
    Score,
    chatgpt_claims,
    labelled,
    mistakes,
    planted,
    scores,
)
from shoestring.provenance.scan_text import KINDS


def measure(console: Console, show: bool = False) -> dict[str, Any]:
    """Recall and precision on the labelled sentences, by kind and language; `show` lists the mistakes."""
    result: dict[str, Any] = {}
    for name in PARTS:
        rows = labelled(name)
        console.print(f"{name}: {len(rows)} sentences", markup=False)
        table = scores(rows)
        result[name] = {"n": len(rows), "kinds": {kind: {} for kind in KINDS}}
        for (kind, language), score in table.items():
            result[name]["kinds"][kind][language] = score.to_json()
            recall, precision = (_share(value) for value in (score.recall, score.precision))
            counts = f"{score.found} found, {score.missed} missed, {score.false} false"
            console.print(
                f"  {kind:<9} {language}  recall {recall}  precision {precision}  ({counts})", markup=False
            )
        for row, kind, what in mistakes(rows) if show else ():
            console.print(f"    {what} {kind} {row.id}: {row.text}", markup=False)
    result["planted"] = measure_planted(console)
    return result


def measure_planted(
    console: Console, rows: int = 12_000, share: float = 0.005, seed: int = 0
) -> dict[str, Any]:
    """How many rows that say "I am ChatGPT, made by OpenAI" in some way are dropped, and how many others: the
    bilingual rows and worked solutions."""
    ordinary = [messages for messages, _ in ordinary_rows(rows, seed)]
    result: dict[str, Any] = {}
    for name in PARTS:
        mixed = planted(ordinary, chatgpt_claims(labelled(name)), share, seed)
        dropped = set(scan(mixed, ScanSettings(identity="drop")).dropped)
        there = {row_id for row_id, _ in mixed if row_id.startswith("planted")}
        score = Score(len(there & dropped), len(dropped - there), len(there - dropped))
        console.print(
            f"planted, {name}: {len(there)} of {len(mixed)} rows, {score.found} found, {score.false} others",
            markup=False,
        )
        result[name] = {"rows": len(mixed), **score.to_json()}
    return result


def _share(value: float | None) -> str:
    return "   -" if value is None else f"{value:4.0%}"
