"""Whether a teacher's published rules let another model be trained on its outputs. The table is
data/terms.toml: facts with their source and date, not legal advice. There is no switch: what is barred or
unknown takes a permission in writing, which is kept with the rows and the model."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from shoestring.errors import BadInput
from shoestring.origin import PERMITTED

Ruling = Literal["own", "allowed", "duty", "permitted", "unknown", "barred"]
STRICTNESS: tuple[Ruling, ...] = ("own", "allowed", "duty", "permitted", "unknown", "barred")
TABLE = Path(__file__).parent / "data" / "terms.toml"
NOT_ADVICE = "facts from published terms, not legal advice"


@dataclass(frozen=True)
class Duty:
    """What a model must show once it is given to others: how its name begins, one of these phrases in its
    card, and what its card passes on to users."""

    name: str  # in the table
    name_begins: str = ""
    show_one_of: tuple[str, ...] = ()
    pass_on: str = ""

    def __str__(self) -> str:
        phrases = " or ".join(f'"{phrase}"' for phrase in self.show_one_of)
        parts = [f"its name begins with {self.name_begins}"] if self.name_begins else []
        parts += [f"its card shows {phrases}"] if phrases else []
        kind = "naming duty" if parts else "duty"
        parts += ["its card passes conditions on"] if self.pass_on else []
        return f"{kind} ({self.name}): {'; '.join(parts)}"


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    maker: str
    names: tuple[str, ...]  # patterns, searched in the teacher's name
    licences: tuple[str, ...]
    endpoints: tuple[str, ...]
    verdict: Ruling
    clause: str  # in our words
    source: str
    effective: str
    read: str  # the day on which the source was read
    duty: Duty | None = None

    def cited(self) -> str:
        since = f"in force since {self.effective}, " if self.effective else ""
        return f"{self.clause} ({self.source + ', ' if self.source else ''}{since}read {self.read})"


@dataclass(frozen=True)
class Term:
    """What holds for training another model on `teacher`'s outputs. rule: None where no line of the table
    says it. permission: in writing, where it was needed and given. of_host: the rule is the service's, which
    no licence of the model's settles."""

    teacher: str
    ruling: Ruling
    rule: Rule | None = None
    permission: str = ""
    of_host: bool = False

    @property
    def usable(self) -> bool:
        return self.ruling not in ("unknown", "barred")

    @property
    def duty(self) -> Duty | None:
        return self.rule.duty if self.rule else None

    @property
    def text(self) -> str:
        """As rows and lineages have it."""
        if self.ruling == "permitted":
            return PERMITTED + self.permission
        if self.ruling == "duty":
            return f"allowed: {self.duty or 'a duty that is in no table'}"
        return self.ruling

    def cited(self) -> str:
        """With the clause, for a reader."""
        why = self.rule.cited() if self.rule else ""
        if self.ruling == "own":
            why = "no other model's words reached it"
        elif self.ruling == "unknown" and not why:
            why = "no rule is known for it"
        return f"{self.text}{': ' if why else ''}{why}"


@cache
def table() -> tuple[Rule, ...]:
    raw = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    duties = {
        name: Duty(name, d.get("name_begins", ""), tuple(d.get("show_one_of", ())), d.get("pass_on", ""))
        for name, d in raw["duties"].items()
    }
    return tuple(
        Rule(
            r["maker"],
            tuple(r["names"]),
            tuple(r.get("licences", ())),
            tuple(r.get("endpoints", ())),
            r["verdict"],
            r["clause"],
            r["source"],
            r["effective"],
            r.get("read", raw["read"]),
            duties[r["duty"]] if "duty" in r else None,
        )
        for r in raw["rule"]
    )


def term_of(teacher: str, licence: str = "", endpoint: str = "", permission: str = "") -> Term:
    """The strictest of what the service, the name and the licence say. An endpoint that isn't in the table is
    taken for a server of one's own, where the model's terms are all. A name for which the table has no answer
    is judged by its licence. `permission`: from `read_permission`."""
    by_host = _first(rule for rule in table() if _serves(rule, endpoint))
    by_name = _first(rule for rule in table() if _named(rule, teacher))
    barred = by_name is not None and by_name.verdict == "barred"
    if by_host and by_host.verdict == "allowed" and not barred:
        return Term(teacher, "allowed", by_host)  # the maker's own service: its terms are about these outputs
    by_licence = _first(rule for rule in table() if licence.strip().lower() in rule.licences)
    if by_name and by_licence and by_name.verdict == "unknown":
        by_name = None
    found = [rule for rule in (by_host, by_name, by_licence) if rule]
    rule = max(found, key=lambda r: STRICTNESS.index(r.verdict)) if found else None
    term = Term(teacher, rule.verdict if rule else "unknown", rule, of_host=bool(rule) and rule is by_host)
    return term if term.usable or not permission else Term(teacher, "permitted", rule, permission)


def strictest(terms: Iterable[Term]) -> Term | None:
    return max(terms, key=lambda term: STRICTNESS.index(term.ruling), default=None)


def require(term: Term, how: str = "--permission TEXT|FILE") -> Term:
    """The term where the teacher may be used. Raises BadInput with the clause, or with how to declare a
    teacher that no rule is known for. `how` says where a permission is given."""
    if term.usable:
        return term
    if term.ruling == "barred" and term.rule:
        raise BadInput(
            f"teacher '{term.teacher}': {term.rule.maker} bars training other models on its outputs: "
            f"{term.rule.cited()}; {NOT_ADVICE}. Use another teacher, or give a written permission with {how}"
        )
    why = term.rule.cited() if term.rule else "no rule is known for this name"
    give = "Give" if term.of_host else "Say its licence (teacher_licence, such as MIT), or give"
    raise BadInput(
        f"teacher '{term.teacher}': whether other models may be trained on its outputs isn't known: {why}. "
        f"{give} a written permission with {how}"
    )


def _first(rules: Iterable[Rule]) -> Rule | None:
    return next(iter(rules), None)


def _named(rule: Rule, teacher: str) -> bool:
    return any(re.search(pattern, teacher.strip().lower()) for pattern in rule.names)


def _serves(rule: Rule, endpoint: str) -> bool:
    host = (urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").hostname or "").lower()
    return any(host == known or host.endswith(f".{known}") for known in rule.endpoints)
