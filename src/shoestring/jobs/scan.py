"""Look through a file of conversations before a model learns it: what is in it that should not be learnt."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.provenance.scan import Finding, ScanResult, ScanSettings, scan
from shoestring.provenance.scan_text import KINDS
from shoestring.run import write_atomic
from shoestring.settings import Settings, nearest
from shoestring.text.bilingual import is_part, part
from shoestring.text.conversations import read_rows, rows_of
from shoestring.text.declared import carry_origin
from shoestring.text.message import Message

FINDINGS, COUNTS, DIFF = "findings.jsonl", "scan.json", "rewritten.diff"
SHOWN = 110  # characters of a finding in a sample
DIFF_LINES = 24  # of the diff that the terminal shows; all of it is in the report's folder


class ScanJobSettings(Settings):
    """output: a .jsonl file for the rows that may be learnt. report: a folder for findings, counts, diff."""

    data: str
    output: Path | None = None
    report: Path | None = None
    samples: int = Field(default=3, ge=0)  # findings of each kind that are shown
    scan: ScanSettings = ScanSettings()


def main(settings: ScanJobSettings, console: Console) -> dict[str, Any]:
    _check_places(settings)
    raw, conversations = read(settings.data)
    ids = row_ids(raw, settings.data)
    result = scan(zip(ids, conversations, strict=True), settings.scan)
    print_result(result, settings.samples, console)
    if settings.output is not None:
        kept = [_row(raw[row.index], row.messages) for row in result.kept]
        write_atomic(settings.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
        carry_origin(Path(settings.data), settings.output)
        console.print(f"{len(kept)} rows in {settings.output}", markup=False)
    if settings.report is not None:
        write_report(result, settings.report)
        console.print(f"findings, counts and diff in {settings.report}", markup=False)
    return {"data": settings.data, **result.to_json()}


def actions_of(asked: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By kind, from the kinds named for each action. Raises BadInput."""
    actions: dict[str, str] = {}
    for action, kinds in asked.items():
        for kind in kinds:
            if kind not in KINDS:
                raise BadInput(f"--{action} {kind}: no such kind{nearest(kind, list(KINDS))}")
            if kind in actions:
                raise BadInput(f"--{action} {kind}: it is to be --{actions[kind]} already")
            actions[kind] = action
    return actions


def _check_places(settings: ScanJobSettings) -> None:
    """Before the work, not after it."""
    output = settings.output
    if output is not None and output.suffix != ".jsonl":
        raise BadInput(f"--output {output}: rows are written as .jsonl")
    if output is not None and not output.parent.is_dir():
        raise BadInput(f"--output {output}: no such folder {output.parent}")


def read(data: str) -> tuple[list[dict[str, Any]], list[list[Message]]]:
    """The rows as they stand, and as conversations. Raises BadInput."""
    if is_part(data):
        rows = part(data)
        return [{"source": o.source, "licence": o.licence} for _, o in rows], [m for m, _ in rows]
    path = Path(data)
    raw = list(read_rows(path))
    if not raw:
        raise BadInput(f"{data} holds no rows")
    return raw, [messages for messages, _ in rows_of(raw, path, trained=False)]


def row_ids(raw: Sequence[dict[str, Any]], data: str) -> list[str]:
    """A row's own id where no other has it, else the file's name and the row's number."""
    counts = Counter(str(row.get("id") or "") for row in raw)
    name = Path(data).name
    return [
        own if (own := str(row.get("id") or "")) and counts[own] == 1 else f"{name}#{number}"
        for number, row in enumerate(raw, start=1)
    ]


def _row(raw: dict[str, Any], messages: list[Message]) -> dict[str, Any]:
    """With its conversation as `messages`, whatever shape it came in; all else as it was."""
    old = ("messages", "conversations", "prompt", "question", "completion", "answer", "solution")
    return {"messages": messages} | {k: v for k, v in raw.items() if k not in old}


def write_report(result: ScanResult, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(f) | {"text": shown(f)}, ensure_ascii=False) for f in result.findings]
    write_atomic(folder / FINDINGS, "".join(line + "\n" for line in lines))
    write_atomic(folder / COUNTS, json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n")
    write_atomic(folder / DIFF, result.diff)


def shown(finding: Finding) -> str:
    """Personal data isn't said again by its report: the beginning is enough to find it by its place."""
    return finding.text[:3] + "..." if finding.kind == "personal" else finding.text


def print_result(result: ScanResult, samples: int, console: Console) -> None:
    console.print(result.line(), markup=False)
    for kind, counts in result.counts().items():
        if not counts["findings"]:
            continue
        done = ", ".join(f"{action} {counts[action]}" for action in ("drop", "rewrite", "keep"))
        console.print(
            f"  {kind:<9} {counts['findings']} findings, {counts['rows']} rows: {done}", markup=False
        )
        for finding in [f for f in result.findings if f.kind == kind][:samples]:
            text = " ".join(shown(finding).split())
            cut = text[:SHOWN] + ("..." if len(text) > SHOWN else "")
            console.print(f"    {finding.row} {finding.where} ({finding.rule}): {cut}", markup=False)
    lines = result.diff.splitlines()
    for line in lines[:DIFF_LINES]:
        console.print(line, markup=False)
    if len(lines) > DIFF_LINES:
        console.print(f"... and {len(lines) - DIFF_LINES} more lines of diff (--report DIR)", markup=False)
