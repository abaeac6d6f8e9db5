"""What a correct answer costs, of any two models or endpoints that were asked the same problems: from the
results that `shoestring eval --json` wrote."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.table import Table

from shoestring.budget.price import Amount, Prices, make_bill
from shoestring.budget.ranges import Range
from shoestring.errors import BadInput
from shoestring.settings import Settings

SAME = ("suite", "n", "k", "seed")
OWN = "own"


class AnswersSettings(Settings):
    """out: USD of a million tokens that were written, one for each result, or "own": its seconds on one's own
    machine at `watts` and `usd_per_kwh`. A price for prompts is not asked for: only results of servers say
    how long they were."""

    results: list[Path] = Field(min_length=2)
    out: list[str] = Field(min_length=1)
    watts: float = Field(default=65.0, ge=0)
    usd_per_kwh: float = Field(default=0.30, ge=0)


@dataclass(frozen=True)
class Answers:
    """usd: of all replies. per_correct: of one right reply, at the ends of the score's interval; None where
    nothing was right."""

    name: str
    score: float
    usd: float
    tokens: float
    seconds: float
    per_correct: Range | None


def main(settings: AnswersSettings, console: Console) -> dict[str, Any]:
    if len(settings.out) != len(settings.results):
        raise BadInput(f"--out: one price for each result: {len(settings.results)} of them, e.g. own,2.19")
    rows = [_read(path) for path in settings.results]
    for key in SAME:
        if len({json.dumps(row[key]) for row in rows}) > 1:
            told = ", ".join(
                f"{path.name} {row[key]}" for path, row in zip(settings.results, rows, strict=True)
            )
            raise BadInput(f"the results are not of the same problems: {key} differs ({told})")
    notes = [*_asked_otherwise(settings.results, rows), *_unpriced(settings, rows)]
    found = [_cost(*each, settings) for each in zip(settings.results, rows, settings.out, strict=True)]
    _print(found, rows[0]["suite"], console)
    for note in notes:
        console.print(note, markup=False)
    return {
        "suite": rows[0]["suite"],
        "notes": notes,
        "answers": [
            {
                "name": a.name,
                "score": a.score,
                "usd": a.usd,
                "tokens": a.tokens,
                "seconds": a.seconds,
                "usd_per_correct": None if a.per_correct is None else a.per_correct.to_json(),
            }
            for a in found
        ],
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        wanted = (*SAME, "correct", "score", "ci95", "tokens", "seconds")
        missing = [key for key in wanted if key not in row]
    except (OSError, ValueError, TypeError):
        raise BadInput(
            f"{path} is not a result: write one with shoestring eval MODEL --json {path}"
        ) from None
    if missing:
        raise BadInput(f"{path} is not a result of an evaluation: it has no '{missing[0]}'")
    return row


def _asked_otherwise(paths: list[Path], rows: list[dict[str, Any]]) -> list[str]:
    """A longer leash or more examples cost more and may bring more: whoever compares has to know of them."""
    asked = [row.get("settings") for row in rows]
    silent = [
        path.name for path, settings in zip(paths, asked, strict=True) if not isinstance(settings, dict)
    ]
    if silent:
        return [f"not known to be asked alike: {', '.join(silent)} doesn't say how the model was asked"]
    known: list[dict[str, Any]] = [settings for settings in asked if isinstance(settings, dict)]
    notes = []
    for key in dict.fromkeys(key for settings in known for key in settings):
        values = [json.dumps(settings.get(key)) for settings in known]
        if len(set(values)) > 1:
            told = ", ".join(f"{path.name} {value}" for path, value in zip(paths, values, strict=True))
            notes.append(f"asked differently: {key} ({told})")
    return notes


def _unpriced(settings: AnswersSettings, rows: list[dict[str, Any]]) -> list[str]:
    """Prompts of whoever is paid by the token; one's own seconds have them in."""
    told = []
    for path, row, price in zip(settings.results, rows, settings.out, strict=True):
        if price != OWN:
            tokens = (row.get("server") or {}).get("prompt_tokens")
            told.append(f"{path.name} {'of unknown length' if tokens is None else f'{tokens:,} tokens'}")
    return [f"prompts are not in the price: {', '.join(told)}"] if told else []


def _cost(path: Path, row: dict[str, Any], price: str, settings: AnswersSettings) -> Answers:
    replies = row["n"] * row["k"]
    tokens = replies * row["tokens"]
    if price == OWN:
        bill = make_bill([], Prices(watts=settings.watts, usd_per_kwh=settings.usd_per_kwh))
        usd = bill.usd(Amount(seconds=row["seconds"]))
    else:
        usd = tokens * _number(price) / 1e6
    low, high = row["ci95"]
    per_correct = None
    if row["score"] > 0:
        per_correct = Range(
            usd / replies / high, usd / replies / row["score"], usd / replies / max(low, 1e-9)
        )
    return Answers(path.stem, row["score"], usd, tokens, row["seconds"], per_correct)


def _number(price: str) -> float:
    try:
        value = float(price)
    except ValueError:
        raise BadInput(f"--out {price}: USD of a million tokens, or own") from None
    if not 0 <= value < float("inf"):
        raise BadInput(f"--out {price}: a price must not be below 0")
    return value


def _print(found: list[Answers], suite: str, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column(suite)
    for title in ("right", "tokens", "USD", "USD of 1000 right answers", "least to most"):
        table.add_column(title, justify="right")
    for a in found:
        cells = ("nothing was right", "")
        if a.per_correct is not None:
            p = a.per_correct * 1000
            cells = (f"{p.mid:.4f}", f"{p.low:.4f} to {p.high:.4f}")
        table.add_row(a.name, f"{a.score:.1%}", f"{a.tokens:,.0f}", f"{a.usd:.5f}", *cells)
    console.print(table)
