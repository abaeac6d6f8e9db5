"""How often our scoring is wrong: on answer pairs that people labelled, beside math-verify alone."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.errors import BadInput
from shoestring.evals.statistics import wilson
from shoestring.origin import Origin
from shoestring.settings import Settings, build
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.file_rows import Kind
from shoestring.tasks.judge import Judge
from shoestring.text.message import Reply

SHIPPED = Path(__file__).parents[1] / "tasks/data/answer_pairs.jsonl"
PEER = "shoestring.tasks.peer:score"
PEER_KINDS = ("integer", "maths", "choice")  # math-verify isn't made for plain texts
UNSEEN = "unseen: "  # shapes labelled after the readers were finished
SHOWN = 90  # characters of a reply in the list of mistakes


class VerifierSettings(Settings):
    pairs: Path = SHIPPED
    show: bool = False  # list every pair that either gets wrong
    workers: int = Field(default=2, ge=1)
    timeout_s: float = Field(default=5.0, gt=0)


class Pair(Settings):
    """One row. reply: what the model says after its thinking. percent: the task takes 50 % for 1/2."""

    id: str
    kind: Kind
    gold: str
    prompt: str = ""
    reply: str
    reasoning: str | None = None
    right: bool
    shape: str
    percent: bool = False

    def problem(self, scorer: str = "") -> Problem:
        hidden = {
            "kind": self.kind,
            "answer": self.gold,
            "percent": self.percent,
            "scorer": scorer,
            "row": {},
        }
        return Problem("file", "", self.id, self.prompt, hidden, Origin("answer pairs", "Apache-2.0"))


@dataclass(frozen=True)
class Measured:
    """One verifier's verdicts by pair id; hangs: pairs that ran past the wall clock at least once."""

    name: str
    verdicts: dict[str, Verdict]
    seconds: float
    hangs: int

    def mistaken(self, pair: Pair) -> bool:
        return (self.verdicts[pair.id].outcome is Outcome.RIGHT) != pair.right

    def table(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """The confusion table, with both rates and their Wilson 95 % intervals; no rate where n is 0."""
        right, wrong = ([pair for pair in pairs if pair.right is label] for label in (True, False))
        missed, granted = (sum(map(self.mistaken, group)) for group in (right, wrong))
        return {
            "n": len(pairs),
            "true_positives": len(right) - missed,
            "false_negatives": missed,
            "true_negatives": len(wrong) - granted,
            "false_positives": granted,
            "false_negative_rate": rate(missed, len(right)),
            "false_positive_rate": rate(granted, len(wrong)),
        }


def rate(count: int, n: int) -> dict[str, float] | None:
    if n == 0:
        return None
    interval = wilson(count, n)
    return {"n": n, "rate": count / n, "low": interval.low, "high": interval.high}


def main(settings: VerifierSettings, console: Console) -> dict[str, Any]:
    pairs = read_pairs(settings.pairs)
    common = [pair for pair in pairs if pair.kind in PEER_KINDS]
    ours = measure("shoestring", pairs, "", settings)
    peer = measure("math-verify alone", common, PEER, settings) if common else None
    result: dict[str, Any] = {"pairs": settings.pairs.name, "verifiers": {}}
    for measured, whole in ((ours, pairs), (peer, common)):
        if measured is None:
            continue
        kinds = {
            kind: [pair for pair in whole if pair.kind == kind] for kind in sorted({p.kind for p in whole})
        }
        tables = {kind: measured.table(rows) for kind, rows in kinds.items()}
        tables["all"] = measured.table(whole)
        tables["unseen"] = measured.table([pair for pair in whole if pair.shape.startswith(UNSEEN)])
        if whole is pairs and len(common) < len(pairs):
            tables["all but texts"] = measured.table(common)
        disagreed = sum(bool(verdict.parts.get("disagreed")) for verdict in measured.verdicts.values())
        result["verifiers"][measured.name] = {
            "kinds": tables,
            "seconds_per_pair": measured.seconds / len(whole),
            "hangs": measured.hangs,
            "disagreed": disagreed,
        }
        _print(console, measured, tables, len(whole), disagreed)
    if settings.show:
        result["mistakes"] = _mistakes(pairs, [m for m in (ours, peer) if m is not None], console)
    return result


def read_pairs(path: Path) -> list[Pair]:
    """Raises BadInput that names the line of the first bad row."""
    if not path.is_file():
        raise BadInput(f"no such file of answer pairs: {path}")
    pairs: list[Pair] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise BadInput(f"{path}, line {number}: not a JSON object")
        pairs.append(build(Pair, row, f"{path}, line {number}"))
    if not pairs:
        raise BadInput(f"{path} holds no answer pairs")
    if len({pair.id for pair in pairs}) < len(pairs):
        raise BadInput(f"{path}: ids must differ")
    return pairs


def measure(name: str, pairs: Sequence[Pair], scorer: str, settings: VerifierSettings) -> Measured:
    """Every pair through the pool of killable processes, whose start isn't counted."""
    asked = [(p.id, p.problem(scorer), Reply(p.reasoning, p.reply)) for p in pairs]
    with Judge(settings.workers, settings.timeout_s) as judge:
        warm = Pair(id="", kind="maths", gold="1/2", reply="0.5", right=True, shape="warm-up").problem(scorer)
        judge.score([(str(i), warm, Reply(None, "0.5")) for i in range(2 * settings.workers)])
        started = time.perf_counter()
        verdicts = judge.score(asked)
        return Measured(name, verdicts, time.perf_counter() - started, judge.retried)


def _print(console: Console, measured: Measured, tables: dict[str, Any], n: int, disagreed: int) -> None:
    speed = f"{1000 * measured.seconds / n:.1f} ms a pair, {measured.hangs} hung"
    note = f", {disagreed} times the two readers differed" if disagreed else ""
    console.print(f"{measured.name}: {n} pairs, {speed}{note}", markup=False)
    for kind, table in tables.items():
        granted, missed = _rate(table["false_positive_rate"]), _rate(table["false_negative_rate"])
        console.print(
            f"  {kind:<14} wrong called right {granted:<34} right called wrong {missed}", markup=False
        )


def _rate(found: dict[str, float] | None) -> str:
    if found is None:
        return "none to ask"
    count = round(found["rate"] * found["n"])
    return f"{count}/{found['n']:.0f} = {found['rate']:.1%} ({found['low']:.1%} to {found['high']:.1%})"


def _mistakes(pairs: Sequence[Pair], both: Sequence[Measured], console: Console) -> list[dict[str, Any]]:
    found = []
    for pair in pairs:
        for measured in both:
            if pair.id in measured.verdicts and measured.mistaken(pair):
                verdict = measured.verdicts[pair.id]
                kind = "right called wrong" if pair.right else "wrong called right"
                line = f"{pair.id} {measured.name}, {kind} ({verdict.outcome.value}), {pair.shape}: "
                console.print(f"{line}{pair.gold!r:.40} | {pair.reply!r:.{SHOWN}}", markup=False)
                row = {"id": pair.id, "verifier": measured.name, "outcome": verdict.outcome.value}
                found.append(row | {"right": pair.right, "shape": pair.shape, "detail": verdict.detail})
    return found
