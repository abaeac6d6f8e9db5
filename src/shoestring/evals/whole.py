"""A result with all that stands beside its score, whoever made the replies."""

from collections.abc import Sequence
from dataclasses import replace

from shoestring.evals.contamination import find_overlap, with_scores
from shoestring.evals.item import Item
from shoestring.evals.protocol import PROTOCOLS
from shoestring.evals.receipt import Made, make_receipt
from shoestring.evals.result import Asking, EvalResult, summarise
from shoestring.tasks.base import Problem
from shoestring.tasks.suite import Suite, refused_rows


def result_of(
    suite: Suite,
    k: int,
    seed: int,
    asking: Asking,
    problems: Sequence[Problem],
    made: Made,
    items: Sequence[Item],
    seconds: float,
    against: Sequence[str] = (),
) -> EvalResult:
    """Counts and intervals, departures from a protocol, overlap with training texts, the receipt."""
    name, protocol = str(suite), PROTOCOLS.get(asking.protocol)
    found = find_overlap(problems, against) if against else None
    return replace(
        summarise(name, k, seed, asking, items, seconds),
        departures=protocol.departures(asking, k, name) if protocol else (),
        left_out=refused_rows(suite),
        overlap=with_scores(found, items, k) if found else None,
        receipt=make_receipt(name, k, seed, asking.to_json(), made, items),
    )
