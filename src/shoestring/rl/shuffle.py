"""The control of shuffled answers: each reply is judged by the hidden answer of another problem of its suite,
so that what is paid has the answers' looks and nothing of their truth."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from shoestring.errors import BadInput
from shoestring.ops.sample import stream_key
from shoestring.rl.reward import Judged
from shoestring.rl.rollout import Asked
from shoestring.tasks.base import Problem, Verdict
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite

TRIES = 200  # fresh problems looked at for one that differs


def shuffled_verdicts(judge: Judge, judged: Judged, seed: int) -> dict[str, Verdict]:
    """The verdict of every sample, by its row id, under another problem's answer. Nothing here depends on
    what was sampled, so a resumed run shuffles alike."""
    partners = other_problems([asked for asked, _ in judged], seed)
    rows = []
    for (asked, samples), other in zip(judged, partners, strict=True):
        swapped = dataclasses.replace(asked.problem, hidden=other.hidden)
        rows += [(f"{asked.name}/{i}", swapped, reply) for i, (_, reply, _) in enumerate(samples)]
    return judge.score(rows)


def other_problems(asked: Sequence[Asked], seed: int) -> list[Problem]:
    """For each problem another one of its suite: those of the step rotated by a keyed distance, a fresh one
    where the step has no second. Raises BadInput where the suite has none at all."""
    suites: dict[str, list[Asked]] = defaultdict(list)
    for item in asked:
        suites[item.suite].append(item)
    found: dict[str, Problem] = {}
    for suite, items in suites.items():
        first = stream_key(seed, f"shuffle/{items[0].name}", 0) % max(1, len(items) - 1) + 1
        for place, item in enumerate(items):
            rotated = [items[(place + first + step) % len(items)].problem for step in range(len(items))]
            differing = (p for p in rotated if p.key != item.problem.key)
            found[item.name] = next(differing, None) or _fresh(suite, item, seed)
    return [found[item.name] for item in asked]


def _fresh(suite: str, item: Asked, seed: int) -> Problem:
    first = stream_key(seed, f"fresh/{item.name}", 0) % 1_000_000_007
    stream = ProblemStream(parse_suite(suite), seed)
    for index in range(first, first + TRIES):
        problem = stream.item(index)
        if problem.key != item.problem.key:
            return problem
    raise BadInput(
        f"reward 'shuffled': suite '{suite}' has no second problem whose answer could be swapped in"
    )
