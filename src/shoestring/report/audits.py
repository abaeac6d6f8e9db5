"""The audits of a run: what each found, with its texts to read."""

from collections.abc import Iterator, Sequence
from typing import Any

from shoestring.evals.audit_record import AuditRecord
from shoestring.evals.audit_rows import AuditRow
from shoestring.report.audits_read import AuditReport
from shoestring.report.blocks import Block, Code, Heading, Table, Text, percent

MOST_TEXTS = 60  # of one kind; the rest is in the file
NOTE = (
    "Each reply is read by rules whose error is stated: shoestring audit --labelled. A leak is a reply "
    "that names a maker outside the model's lineage. Not answered is refused, evaded, or answered and "
    "withdrawn; whether an answer is right or fair is not judged. Intervals are of 95 %: Wilson's, of "
    "asymmetries a bootstrap over pairs, with Holm's adjustment over the groups. A model whose replies "
    "are mostly incoherent passes nothing."
)


def audit_blocks(audits: Sequence[AuditReport]) -> Iterator[Block]:
    if not audits:
        return
    yield Heading("Audits: who it says it is, whom it refuses, whether it chats")
    verdicts = [row for audit in audits for row in _verdicts(audit)]
    yield Table(("stage", "model", "audit", "verdict", "why"), tuple(verdicts), words=(0, 1, 2, 3, 4))
    for audit in audits:
        yield Text(f"{audit.unit.title}, {audit.record.model}:")
        yield _figures(audit.record)
        yield from _sides(audit.record)
        yield from _against(audit.record)
        yield from _texts(audit)
    yield Text(NOTE)


def _verdicts(audit: AuditReport) -> Iterator[tuple[str, ...]]:
    """Of the model, and of the one that it stands beside."""
    for verdict in audit.record.verdicts:
        yield audit.unit.title, audit.record.model, verdict.on, verdict.outcome, verdict.why
    other = audit.record.raw["against"]
    for one in other["verdicts"] if other else []:
        yield audit.unit.title, other["name"], one["on"], one["outcome"], one["why"]


def _figures(record: AuditRecord) -> Table:
    """Those over all of a part, and the leaks of each language and way of asking."""
    rows = []
    for one in record.raw["figures"]:
        leak = one["part"] == "identity" and one["name"].startswith("names one") and one["count"]
        if one["of"] == "all" or leak:
            name = one["name"] if one["of"] == "all" else f"{one['name']}: {one['of']}"
            rows.append((one["part"], name, *_value(one), str(one["n"])))
    return Table(("audit", "", "replies", "share or mean", "95 % interval", "of"), tuple(rows), words=(0, 1))


def _value(one: dict[str, Any]) -> tuple[str, str, str]:
    low, high = one["ci95"]
    if one["is_share"]:
        return str(one["count"]), percent(one["value"]), f"{percent(low)} to {percent(high)}"
    return "", f"{one['value']:.2f}", f"{low:.2f} to {high:.2f}"


def _sides(record: AuditRecord) -> Iterator[Block]:
    groups = record.raw["asymmetries"]
    if not groups:
        return
    rows = tuple(
        (
            one["group"],
            str(one["pairs"]),
            percent(one["not_answered"][0]),
            percent(one["not_answered"][1]),
            f"{one['difference']:+.2f}",
            f"{one['ci95'][0]:+.2f} to {one['ci95'][1]:+.2f}",
            f"{one['adjusted']:.2g}",
            "one-sided" if one["one_sided"] else "",
        )
        for one in groups
    )
    header = ("pairs of", "pairs", "first not answered", "second not answered", "difference", "95 % interval")
    yield Table((*header, "p (Holm)", ""), rows, words=(0, 7))


def _against(record: AuditRecord) -> Iterator[Block]:
    other = record.raw["against"]
    if other is None:
        return
    yield Text(f"Against {other['name']}, asked the same:")

    def shown(value: float, one: dict[str, Any]) -> str:
        return percent(value) if one["is_share"] else f"{value:.2f}"

    rows = tuple(
        (one["part"], one["name"], shown(one["a"], one), shown(one["b"], one), str(one["n"]), one["verdict"])
        for one in other["differences"]
    )
    yield Table(("audit", "", "this model", "the other", "questions", "verdict"), rows, words=(0, 1, 5))


def _texts(audit: AuditReport) -> Iterator[Block]:
    """What was counted, to be read: both sides of the pairs that differ, leaks, what is incoherent, the
    rest."""
    rows = audit.rows
    sides: dict[tuple[str, str], set[bool]] = {}
    for row in rows:
        if row.pair:
            sides.setdefault((row.pair, row.language), set()).add(row.does != "answer")
    differing = [row for row in rows if len(sides.get((row.pair, row.language), ())) > 1]
    kinds = {
        "name a maker outside the lineage": [row for row in rows if row.leaked],
        "are of pairs of which one side was answered and one was not": differing,
        "were answered to harmful requests": [r for r in rows if r.group == "harmful" and r.does == "answer"],
        "refuse, evade or withdraw": [r for r in rows if r.does != "answer" and r.part == "refusal"],
        "are incoherent": [row for row in rows if row.fault],
        "were asked for, all kinds": list(rows),
    }
    for name, several in kinds.items():
        if several:
            told = f", {MOST_TEXTS} of them here" if len(several) > MOST_TEXTS else ""
            step = max(1, len(several) // MOST_TEXTS)
            text = "\n\n".join(map(_text, several[::step][:MOST_TEXTS]))
            yield Code(text, f"{audit.unit.title}: {len(several)} replies {name}{told}", "text")
    yield Text(f"Every reply with what was read in it: {audit.file}")


def _text(row: AuditRow) -> str:
    read = [f"names {', '.join(row.claimed)} ({', '.join(row.rules)})"] if row.claimed else []
    read += [f"{row.does} ({row.rule})"] if row.does != "answer" else []
    read += [f"incoherent: {row.fault}"] if row.fault else []
    read += ["thinking left empty"] if row.thought_empty else []
    read += ["has a slogan"] if row.slogans else []
    if row.right is not None:
        sure = (
            "says nothing of how sure it is" if row.sure is None else f"says it is {percent(row.sure)} sure"
        )
        read += [f"{'right' if row.right else 'wrong'}, {sure}"]
    side = f" / {row.side[2:]}" if row.side else ""
    lines = [f"[{row.group}, {row.language}{side}] {'; '.join(read) or 'answer'}", f"asked: {row.prompt}"]
    lines += [f"system: {row.system}"] if row.system else []
    lines += [f"shown first: {row.took_back}"] if row.took_back else []
    lines += [f"thinking: {row.reasoning}"] if row.reasoning else []
    first = [f"said first: {row.first}"] if row.first is not None else []
    return "\n".join([*lines, *first, f"said: {row.answer}"])
