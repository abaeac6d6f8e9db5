"""All that reached a model, through any number of stages and teachers, and the terms that came along."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shoestring.origin import Lineage, Origin, Stage
from shoestring.provenance.terms import STRICTNESS, Rule, Term, strictest, table, term_of

Teachers = Mapping[str, tuple[Stage, ...]]  # a Lineage's: stages by teacher key
TAKEN = ("base", "unknown")  # jobs of a stage whose weights came from elsewhere


@dataclass(frozen=True)
class Reach:
    """One thing that reached a model: weights it was made from, rows a model wrote, or other data. path: the
    stages and teachers that it came through, the model's own stage first. term: None for data that no model
    wrote."""

    path: tuple[str, ...]
    kind: Literal["base", "teacher", "data"]
    licence: str
    term: Term | None
    origin: Origin | None = None


def reaches(lineage: Lineage) -> list[Reach]:
    return list(_walk(lineage.stages, lineage.teachers, (), frozenset()))


def term_of_model(lineage: Lineage, name: str, permission: str = "") -> Term:
    """What holds for training others on this model's outputs: the strictest of all that reached it, "own"
    where nothing of another maker did."""
    return _for_teacher(name, [r.term for r in reaches(lineage) if r.term], permission)


def term_of_origin(origin: Origin, teachers: Teachers) -> Term:
    """The term of rows that a model wrote: by the teacher's own lineage where it is known, else by its name,
    licence and address and by what the rows were stamped with when they were made: the strictest holds, and
    a stamp is believed alone where the table has no rule. A permission lifts what is barred or unknown."""
    return _term_of_origin(origin, teachers, frozenset())


def claimed(origin: Origin, given: Collection[str]) -> Origin:
    """The origin as far as rows of a file are believed it. Anybody can write "permitted" into a row: where
    the permission isn't among those `given` with the file, it says only that one was needed."""
    if not origin.permission or origin.permission in given:
        return origin
    return dataclasses.replace(origin, terms="unknown")


def _walk(
    stages: Sequence[Stage], teachers: Teachers, path: tuple[str, ...], seen: frozenset[str]
) -> Iterator[Reach]:
    for stage in stages:
        here = (*path, stage.name)
        if stage.job in TAKEN:
            yield Reach(here, "base", str(stage.detail.get("licence", "unknown")), _term_of_base(stage))
        for origin in stage.origins:
            if not origin.teacher:
                yield Reach(here, "data", origin.licence, None, origin)
                continue
            term = _term_of_origin(origin, teachers, seen)
            yield Reach(here, "teacher", origin.licence, term, origin)
            key = origin.teacher_key
            if key in teachers and key not in seen:
                nested = _walk(teachers[key], teachers, (*here, origin.teacher), seen | {key})
                lifted = term.permission if term.ruling == "permitted" else ""
                yield from (_lifted(reach, lifted) for reach in nested)


def _term_of_origin(origin: Origin, teachers: Teachers, seen: frozenset[str]) -> Term:
    name, key = origin.teacher or "", origin.teacher_key
    if key in teachers and key not in seen:
        nested = _walk(teachers[key], teachers, (), seen | {key})
        return _for_teacher(name, [reach.term for reach in nested if reach.term], origin.permission)
    term = term_of(name, origin.teacher_licence, origin.teacher_endpoint, origin.permission)
    stamped = _stamped(origin)
    if stamped is None:
        return term
    silent = term.ruling == "unknown" and term.rule is None
    return stamped if silent else max(term, stamped, key=lambda t: STRICTNESS.index(t.ruling))


def _stamped(origin: Origin) -> Term | None:
    name, terms = origin.teacher or "", origin.terms
    if terms in ("own", "unknown", "barred"):
        return Term(name, terms)
    if not terms.startswith("allowed"):
        return None
    return Term(name, "duty" if ":" in terms else "allowed", _rule_of(terms))


def _rule_of(terms: str) -> Rule | None:
    """The rule whose duty a stamped row names: only the words were kept."""
    return next((rule for rule in table() if rule.duty and f"duty ({rule.duty.name})" in terms), None)


def _term_of_base(stage: Stage) -> Term:
    licence = str(stage.detail.get("licence", ""))
    name = str(stage.detail.get("copy_of") or stage.detail.get("name") or stage.name)
    return term_of(name, licence, permission=str(stage.detail.get("permission", "")))


def _for_teacher(name: str, terms: Sequence[Term], permission: str) -> Term:
    worst = strictest(terms)
    if worst is None:
        return Term(name, "own")
    if not worst.usable and permission:
        return Term(name, "permitted", worst.rule, permission)
    return dataclasses.replace(worst, teacher=f"{name} (through {worst.teacher})")


def _lifted(reach: Reach, permission: str) -> Reach:
    if not permission or reach.term is None or reach.term.usable:
        return reach
    return dataclasses.replace(reach, term=Term(reach.term.teacher, "permitted", reach.term.rule, permission))
