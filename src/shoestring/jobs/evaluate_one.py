"""One model on one suite from the command line: a model in this process, or one behind an endpoint."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from shoestring.budget.price import Amount, Bill, Prices
from shoestring.errors import BadInput
from shoestring.evals.evaluate import evaluate
from shoestring.evals.result import Asking, EvalResult
from shoestring.evals.server import Server
from shoestring.evals.worth import by_tokens, worth
from shoestring.jobs.evaluate_server import endpoint_of, evaluate_server
from shoestring.lm import LanguageModel
from shoestring.run import Stage, held, saving
from shoestring.settings import build
from shoestring.tasks.suite import Suite


def evaluate_here(
    lm: LanguageModel,
    suite: Suite,
    n: int,
    k: int,
    seed: int,
    asking: Asking,
    confidence: bool,
    prices: Mapping[str, Any],
) -> EvalResult:
    """What a right answer takes is told in money too: the machine's, from measured seconds at `prices`."""
    stated = build(Prices, prices, "--price")
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder), "eval", Console(stderr=True)) as stage:
        result = evaluate(
            lm,
            suite,
            n=n,
            k=k,
            seed=seed,
            temperature=asking.temperature,
            max_tokens=asking.max_tokens,
            few_shot=asking.few_shot,
            lenient=asking.lenient,
            system=asking.system,
            stage=stage,
            few_shot_style=asking.few_shot_style,
            tools=asking.tools,
            max_tool_calls=asking.max_tool_calls,
            confidence=confidence,
        )
    return with_worth_here(result, stated)


def with_worth_here(result: EvalResult, prices: Prices) -> EvalResult:
    """From the evaluation's seconds, as the bill does: electricity, and the machine's hours where they
    cost."""
    bill = Bill({}, {}, prices)
    money = bill.usd(Amount(result.seconds))
    basis = bill.basis("watts", "usd_per_kwh", "usd_per_hour")
    costs = by_tokens(result.items, money)
    return replace(result, worth=worth(result.items, costs, unit="USD", basis=basis))


def evaluate_there(
    model: str,
    settings: Mapping[str, Any],
    suite: Suite,
    n: int,
    k: int,
    seed: int,
    asking: Asking,
    confidence: bool,
    output_dir: Path | None,
    resume: bool,
) -> EvalResult:
    """`settings`: of the `Endpoint`. Replies are kept in the folder as they come, runs/eval-MODEL-SUITE
    unless another is named; with `resume` only those that it lacks are asked for."""
    endpoint = endpoint_of(model, settings, "--server")
    folder = output_dir or Path("runs") / slug(f"eval-{endpoint.model}-{suite}")
    replies = folder / "replies"
    if not resume and replies.is_dir() and any(replies.glob("*/*.jsonl")):
        raise BadInput(
            f"{folder} holds an earlier eval's replies: add --resume, or choose another --output-dir"
        )
    server = Server(endpoint, replies)
    with saving(folder), held(folder / ".lock", wait=False) as mine:
        if not mine:
            raise BadInput(f"{folder}: another process is at work in it; choose another --output-dir")
        with Stage(folder, "eval", Console(stderr=True), resume) as stage:
            result = evaluate_server(server, suite, n, k, seed, asking, None, stage, confidence)
            with saving(folder):
                result.save_items(folder / "items.parquet")
            stage.finish(result.to_json())
    return result


def slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=]+", "-", text).strip("-")[:120]
