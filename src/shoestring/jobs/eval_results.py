"""What the eval job makes of its units' results: the usage, each model's best, all replies in one file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shoestring.budget.flops import decode_flops
from shoestring.budget.price import Amount, Bill, Prices
from shoestring.engine.episode import num_made
from shoestring.evals.ask import Replies
from shoestring.evals.result import EvalResult
from shoestring.evals.worth import by_tokens, worth
from shoestring.lm import LanguageModel
from shoestring.run import Stage, saving


def meter(
    stage: Stage,
    lm: LanguageModel,
    kind: str,
    seconds: float,
    work: list[tuple[int, list[int]]],
    cut: int = 0,
) -> None:
    """Usage of replies: (a prompt's length, its replies' lengths). `cut`: tokens of unended replies."""
    tokens = sum(prompt + sum(replies) for prompt, replies in work)
    flops = sum(decode_flops(lm.config, prompt, replies) for prompt, replies in work)
    stage.use(kind, seconds=seconds, tokens=tokens, flops=flops, wasted={"cut": cut} if cut else None)


def meter_replies(stage: Stage, lm: LanguageModel, replies: Replies) -> None:
    pairs = zip(replies.prompts, replies.completions, strict=True)
    work = [(len(prompt), [num_made(c) for c in several]) for prompt, several in pairs]
    cut = sum(num_made(c) for several in replies.completions for c in several if c.cut)
    meter(stage, lm, "eval", replies.seconds, work, cut)


def with_worth_here(result: EvalResult, prices: Prices) -> EvalResult:
    """With what a right answer takes on this machine: the evaluation's seconds at `prices`, as in a bill."""
    bill = Bill({}, {}, prices)
    costs = by_tokens(result.items, bill.usd(Amount(result.seconds)))
    basis = bill.basis("watts", "usd_per_kwh", "usd_per_hour")
    return replace(result, worth=worth(result.items, costs, unit="USD", basis=basis))


def mark_best(results: list[dict[str, Any]]) -> None:
    """`best` stays true for each (model, suite)'s highest score; the variant named first wins a tie."""
    top: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        key = (result["model"], result["suite"])
        result["best"] = False
        if key not in top or result["score"] > top[key]["score"]:
            top[key] = result
    for result in top.values():
        result["best"] = True


def join_items(folder: Path, results: list[dict[str, Any]]) -> str:
    """All replies in one file, with their model, suite and variant, for pairing and the report."""
    tables = []
    for result in results:
        table = pq.read_table(folder / result["rows"])
        for name in ("variant", "suite", "model"):
            table = table.add_column(0, name, pa.array([result[name]] * table.num_rows, pa.string()))
        tables.append(table)
    whole = pa.concat_tables(tables, promote_options="default")  # a column may be all null, or new
    with saving(folder):
        pq.write_table(whole, folder / "items.parquet")
    return "evals/items.parquet"
