"""Which problems a teacher is asked, and what their rows are held against: near-duplicates, evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.distill.minhash import NearDuplicates
from shoestring.errors import BadInput
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.remote.asked import Ask
from shoestring.tasks.accept import IN_EVALUATION, REPEATS_ANOTHER
from shoestring.tasks.base import Problem
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.overlap import TestedTexts, file_prompts, held_out_prompts
from shoestring.tasks.suite import Suite, parse_suite
from shoestring.text.message import Message


@dataclass(frozen=True)
class Prompt:
    """A problem as it is put to the teacher."""

    problem: Problem
    suite: str
    ask: Ask


def tested(settings: DistillOutputsSettings, n: int) -> TestedTexts:
    """What models are tested on: n held-out problems of each suite that is asked or named, and benchmarks."""
    found = TestedTexts(settings.tested_words)
    for name in dict.fromkeys([*settings.suites, *settings.evaluations]):
        path = Path(name)
        if name not in settings.suites and path.suffix in (".jsonl", ".parquet"):
            found.add(path.name, file_prompts(path))  # all of it: a benchmark has no training problems
        else:
            found.add(name, held_out_prompts(parse_suite(name), n, settings.seed))
    return found


def choose(
    settings: DistillOutputsSettings, against: TestedTexts
) -> tuple[list[Prompt], list[dict[str, Any]]]:
    """The prompts to ask, and those that never are, with the reason: nobody pays for what would be
    dropped."""
    suites = [parse_suite(suite) for suite in settings.suites]
    near = NearDuplicates(settings.max_similarity, settings.similar_words)
    chosen: list[Prompt] = []
    dropped: list[dict[str, Any]] = []
    for problem, suite in _drawn(suites, settings):
        shared = against.found_in(problem.prompt)
        repeated = None if shared else near.add(problem.id, problem.prompt, problem.id)
        if shared or repeated:
            reason = IN_EVALUATION if shared else REPEATS_ANOTHER
            origin = {"source": problem.origin.source, "licence": problem.origin.licence}
            row = {"reason": reason, "messages": [{"role": "user", "content": problem.prompt}]}
            row |= {"id": problem.id, "problem": problem.id, "family": problem.family, "suite": str(suite)}
            dropped.append(row | origin | {"detail": shared or f"the prompt of problem {repeated}"})
            continue
        head: list[Message] = [{"role": "system", "content": settings.system}] if settings.system else []
        messages = (*head, Message(role="user", content=problem.prompt))
        chosen.append(Prompt(problem, str(suite), Ask(messages, tuple(range(settings.samples_per_prompt)))))
    if not chosen:
        raise BadInput("distill: every prompt is in an evaluation, so there is nothing to ask")
    return chosen, dropped


def _drawn(suites: Sequence[Suite], settings: DistillOutputsSettings) -> list[tuple[Problem, Suite]]:
    """`prompts` distinct problems, the suites in turn."""
    counts = [len(range(i, settings.prompts, len(suites))) for i in range(len(suites))]
    each = [draw_problems(s, "train", n, settings.seed) for s, n in zip(suites, counts, strict=True)]
    taken: dict[str, tuple[Problem, Suite]] = {}
    for i in range(settings.prompts):
        suite, place = divmod(i, len(suites))[::-1]
        problem = each[suite][place]
        taken.setdefault(problem.id, (problem, suites[suite]))  # two levels of a family may share problems
    return list(taken.values())
