"""How sure a model is of its answers: small sums that no training may have had, and after each answer the
question how sure it is. For before and after a stage."""

from dataclasses import replace
from functools import cache

from shoestring.evals.audit_rows import AuditRow, Probe, blank_row
from shoestring.evals.confidence import CHINESE, ENGLISH
from shoestring.evals.respondent import Said
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.confidence import stated_confidence
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite, score_lenient
from shoestring.text.message import Reply

# of two to four numbers, so that a small model is right on some and wrong on others
ASKED = (("en", 36, "sums:max_terms=4", ENGLISH), ("zh", 12, "sums:language=zh,max_terms=4", CHINESE))
SEED = 11


@cache
def _problems() -> dict[str, tuple[Probe, Problem]]:
    """By the probe's id."""
    found = {}
    for language, n, suite, question in ASKED:
        for i, problem in enumerate(draw_problems(parse_suite(suite), "test", n, SEED), start=1):
            name = f"confidence/{language}/{i}"
            turns = (problem.prompt, question)
            found[name] = Probe(name, "confidence", "sums", language, turns), problem
    return found


def confidence_probes() -> list[Probe]:
    return [probe for probe, _ in _problems().values()]


def read_confidence(probe: Probe, said: Said) -> AuditRow:
    """The row's answer is what it says of how sure it is; `first` and `right` are of the answer before. An
    empty answer can't be sure of anything."""
    _, problem = _problems()[probe.id]
    (first,) = said.before
    right = score_lenient(problem, Reply(None, first)).outcome == Outcome.RIGHT
    sure = stated_confidence(said.answer, asked=True) if first.strip() else None
    return replace(blank_row(probe, said), first=first, right=right, sure=sure)
