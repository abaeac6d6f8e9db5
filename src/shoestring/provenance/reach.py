"""All that reached a model, through any number of stages and teachers, and the terms that came along."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shoestring.origin import Lineage, Origin, Stage
from shoestring.provenance.terms import PERMITTED, Rule, Term, strictest, table, term_of

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
    """The term of rows that a model wrote: by their permission, by the teacher's own lineage where it is
    known, by its name and licence; a name without a rule is believed what its rows were stamped with when
    they were made."""
    return _term_of_origin(origin, teachers, frozenset())


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
    permission = origin.terms.removeprefix(PERMITTED) if origin.terms.startswith(PERMITTED) else ""
    if key in teachers and key not in seen:
        nested = _walk(teachers[key], teachers, (), seen | {key})
        return _for_teacher(name, [reach.term for reach in nested if reach.term], permission)
    term = term_of(name, origin.teacher_licence, permission=permission)
    if term.ruling == "unknown" and term.rule is None:
        return _stamped(origin) or term
    return term


def _stamped(origin: Origin) -> Term | None:
    if origin.terms == "own":
        return Term(origin.teacher or "", "own")
    if not origin.terms.startswith("allowed"):
        return None
    return Term(origin.teacher or "", "duty" if ":" in origin.terms else "allowed", _rule_of(origin.terms))


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
