"""A model behind an endpoint as a MODEL of an evaluation: `http://host:8000/v1#name` and its settings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from shoestring.errors import BadInput
from shoestring.evals.ask import opening
from shoestring.evals.confidence import Sureness, sureness_there, with_confidence
from shoestring.evals.result import Asking, EvalResult
from shoestring.evals.server import Server, ServerReplies, mark_server, spoken_by_server
from shoestring.evals.worth import worth
from shoestring.remote.asked import Answer
from shoestring.remote.endpoint import Endpoint, parse_endpoint
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import Suite

REPLIES = "replies"  # in the folder of a stage's evals
HTTP = ("http://", "https://")
NAMED_BY_MODEL = ("url", "model")


def is_server(model: str) -> bool:
    return model.startswith(HTTP)


def endpoint_of(model: str, values: Mapping[str, Any], where: str) -> Endpoint:
    """The endpoint that a MODEL names, with the settings stated for it. Raises BadInput."""
    named = parse_endpoint(model)
    for name in NAMED_BY_MODEL:
        if name in values:
            raise BadInput(f"{where}: {name} is already in {model}")
    return build(Endpoint, {"url": named.url, "model": named.model, **values}, where)


def evaluate_server(
    server: Server,
    suite: Suite,
    n: int,
    k: int,
    seed: int,
    asking: Asking,
    judge: Judge | None,
    stage: Stage,
    confidence: bool = False,
    against: Sequence[str] = (),
) -> EvalResult:
    """As `evaluate` for a model in this process."""
    replies = server.ask(suite, n, k, seed, asking, stage)
    result = with_worth(mark_server(replies, asking.lenient, judge, against), replies)
    if not confidence:
        return result
    return with_confidence(result, sureness_of(server, replies, stage))


def with_worth(result: EvalResult, replies: ServerReplies) -> EvalResult:
    """With what a right answer takes, in money too where prices are stated."""
    facts = replies.facts
    if not facts.prices:
        return dataclasses.replace(result, worth=worth(result.items))
    costs = [got.cost if isinstance(got, Answer) else 0.0 for several in replies.said for got in several]
    found = worth(result.items, costs, facts.lost_money, basis=facts.prices)
    return dataclasses.replace(result, worth=found)


def sureness_of(server: Server, replies: ServerReplies, stage: Stage) -> Sureness:
    head = opening(replies.suite, replies.asking, replies.seed)
    spoken = spoken_by_server(replies)
    return sureness_there(server, head, spoken, replies.asking.max_tokens, replies.seed, stage)
