"""Rows of conversations looked through before a model learns them, with what was found and what was done."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from shoestring.provenance.scan_find import hits
from shoestring.provenance.scan_personal import personal_in
from shoestring.provenance.scan_rewrite import Own, rewritten
from shoestring.provenance.scan_text import KINDS, Hit, Kind
from shoestring.settings import Settings
from shoestring.text.claims.asked import asks_who
from shoestring.text.claims.sentences import plain
from shoestring.text.message import Message

Action = Literal["drop", "rewrite", "keep"]
Where = Literal["answer", "thinking", "user", "system", "tool"]


class ScanSettings(Settings):
    """What is done with a row in which something of a kind is found. Rewriting an identity needs `name` and
    `maker`; without them the sentence is taken out."""

    identity: Action = "drop"
    cutoff: Action = "drop"
    refusal: Action = "keep"
    personal: Action = "rewrite"
    name: str = ""  # the student's own, and who makes it: these may be claimed
    maker: str = ""

    def action(self, kind: Kind) -> Action:
        actions: dict[Kind, Action] = {
            "identity": self.identity,
            "cutoff": self.cutoff,
            "refusal": self.refusal,
            "personal": self.personal,
        }
        return actions[kind]

    @property
    def own(self) -> Own:
        return Own(self.name, self.maker)


@dataclass(frozen=True)
class Finding:
    """text: what stands at [start, end) of that message's part. action: what is asked for its kind; a row
    with another kind to drop goes all the same."""

    row: str
    message: int  # its number in the conversation, from 0
    where: Where
    kind: Kind
    rule: str
    start: int
    end: int
    text: str
    action: Action


@dataclass(frozen=True)
class Kept:
    """A row that may be learnt: its place among those scanned, and its messages as they are now."""

    index: int
    id: str
    messages: list[Message]
    rewritten: bool = False


@dataclass(frozen=True)
class ScanResult:
    """`emptied`: ids of rows dropped since rewriting left an answer or a thinking empty."""

    n: int
    kept: list[Kept] = field(repr=False)
    dropped: list[str] = field(repr=False)
    emptied: list[str] = field(repr=False)
    findings: list[Finding] = field(repr=False)
    diff: str = field(repr=False)

    @property
    def rewritten(self) -> int:
        return sum(row.rewritten for row in self.kept)

    def counts(self) -> dict[str, dict[str, int]]:
        """By kind: findings, rows that have one, and what was done with those rows."""
        table, gone = {}, set(self.dropped)
        for kind in KINDS:
            of_kind = [finding for finding in self.findings if finding.kind == kind]
            rows = {finding.row: finding.action for finding in of_kind}
            done = Counter("drop" if row in gone else action for row, action in rows.items())
            table[kind] = {
                "findings": len(of_kind),
                "rows": len(rows),
                **{action: done[action] for action in ("drop", "rewrite", "keep")},
            }
        return table

    def to_json(self) -> dict[str, Any]:
        rules = Counter(f"{finding.kind}: {finding.rule}" for finding in self.findings)
        return {
            "rows": self.n,
            "kept": len(self.kept),
            "rewritten": self.rewritten,
            "dropped": len(self.dropped),
            "emptied": len(self.emptied),
            "kinds": self.counts(),
            "rules": dict(rules.most_common()),
        }

    def line(self) -> str:
        named = ", ".join(f"{kind} in {c['rows']}" for kind, c in self.counts().items() if c["rows"])
        return (
            f"scan: {self.n} rows, {named or 'nothing found'}; {len(self.kept)} kept ({self.rewritten} "
            f"rewritten), {len(self.dropped)} dropped ({len(self.emptied)} since nothing was left)"
        )


def scan(rows: Iterable[tuple[str, Sequence[Message]]], settings: ScanSettings) -> ScanResult:
    """(id, conversation) by (id, conversation). Ids should be distinct: rows are counted by them."""
    result = ScanResult(0, [], [], [], [], "")
    diff: list[str] = []
    n = 0
    for index, (row_id, messages) in enumerate(rows):
        n += 1
        found = findings_in(row_id, messages, settings)
        result.findings.extend(found)
        if any(finding.action == "drop" for finding in found):
            result.dropped.append(row_id)
            continue
        clean = _mended(messages, found, settings.own)
        if clean is None:
            result.dropped.append(row_id)
            result.emptied.append(row_id)
            continue
        changed = clean != list(messages)
        if changed:
            diff += _difference(row_id, messages, clean)
        result.kept.append(Kept(index, row_id, clean, changed))
    return ScanResult(n, result.kept, result.dropped, result.emptied, result.findings, "".join(diff))


def findings_in(row_id: str, messages: Sequence[Message], settings: ScanSettings) -> list[Finding]:
    found, asked = [], False
    for number, message in enumerate(messages):
        if message["role"] == "user":
            asked = asks_who(message["content"])
        for where, text in _parts(message):
            mine = (
                hits(text, settings.own.names, asked)
                if where in ("answer", "thinking")
                else list(personal_in(plain(text)))
            )
            found += [
                Finding(
                    row_id,
                    number,
                    where,
                    hit.kind,
                    hit.rule,
                    hit.start,
                    hit.end,
                    text[hit.start : hit.end],
                    settings.action(hit.kind),
                )
                for hit in mine
            ]
    return found


def _parts(message: Message) -> Iterable[tuple[Where, str]]:
    role = message["role"]
    if role == "assistant":
        yield "thinking", message.get("reasoning_content", "")
        yield "answer", message["content"]
    else:
        yield cast(Where, role if role in ("user", "system") else "tool"), message["content"]


def _mended(messages: Sequence[Message], found: Sequence[Finding], own: Own) -> list[Message] | None:
    """None where a turn's answer or thinking would be empty: an empty thought is learnt as well."""
    clean = []
    for number, message in enumerate(messages):
        mine = [f for f in found if f.message == number and f.action == "rewrite"]
        new = message.copy()
        for where, text in _parts(message):
            hits_here = [Hit(f.kind, f.start, f.end, f.rule) for f in mine if f.where == where]
            if not hits_here:
                continue
            mended = rewritten(text, hits_here, own)
            if where == "thinking":
                new["reasoning_content"] = mended
            else:
                new["content"] = mended
            if not mended:
                return None
        clean.append(new)
    return clean


def _difference(row_id: str, old: Sequence[Message], new: Sequence[Message]) -> list[str]:
    lines = [
        [f"{where}: {text}" for message in side for where, text in _parts(message) if text]
        for side in (old, new)
    ]
    before, after = ([line + "\n" for text in side for line in text.split("\n")] for side in lines)
    return list(difflib.unified_diff(before, after, f"{row_id} as it was", f"{row_id} rewritten", n=0))
