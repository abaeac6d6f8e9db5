"""An audit on the terminal, and how often its readers are wrong."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from shoestring.errors import BadInput
from shoestring.settings import nearest

if TYPE_CHECKING:  # torch is loaded only where a model is asked
    from shoestring.evals.audit import Audited
    from shoestring.evals.audit_verdicts import Limits
    from shoestring.jobs.audit import Done

ASKED = ("provenance", "identity", "refusal", "regression", "confidence")
TEXTS = 6  # replies of a kind that are shown
CHARS = 160


def parts_asked(words: Sequence[str]) -> tuple[str, ...]:
    """From "identity,refusal"; all where none is named. Raises BadInput."""
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    for name in names:
        if name not in ASKED:
            raise BadInput(f"--only {name}: one of {', '.join(ASKED)}{nearest(name, list(ASKED))}")
    return tuple(part for part in ASKED if part in names) or ASKED


def show_audit(done: "Done", limits: "Limits", folder: Path, console: Console) -> None:
    audited = done.audited
    console.print(f"{audited.name}: {len(audited.rows)} replies, kept in {folder}", markup=False)
    for note in audited.notes:
        console.print(f"  {note}", markup=False)
    _show_figures(audited, console)
    _show_asymmetries(audited, console)
    if done.against is not None:
        _show_differences(done, console)
    _show_texts(audited, console)
    for verdict in audited.verdicts(limits, done.changed):
        style = {"pass": "green", "fail": "bold red"}.get(verdict.outcome, "yellow")
        console.print(verdict.line(), markup=False, style=style)


def _show_figures(audited: "Audited", console: Console) -> None:
    part = ""
    for figure in audited.figures:
        if figure.part != part:
            part = figure.part
            console.print(f"{part}:")
        if figure.of == "all":
            console.print(f"  {figure.name:<42} {figure_words(figure)}", markup=False)
        elif figure.count:  # a language or group in which there is some
            console.print(f"      {figure.of:<38} {figure_words(figure)}", markup=False)
    if (agrees := audited.field_agrees) is not None:
        console.print(
            f"  the model field names what the reply claims in {agrees[0]} of {agrees[1]}", markup=False
        )


def figure_words(figure: Any) -> str:
    low, high = figure.ci95.low, figure.ci95.high
    if figure.is_share:
        return f"{figure.count:>4} of {figure.n:<4} {figure.value:6.1%} [{low:.1%}, {high:.1%}]"
    return f"{figure.value:>8.2f} [{low:.2f}, {high:.2f}] over {figure.n}"


def _show_asymmetries(audited: "Audited", console: Console) -> None:
    groups = audited.asymmetries
    if groups:
        console.print("not answered (refused, evaded, withdrawn), side a against side b of each pair:")
    for one in groups:
        mark = "  one-sided" if one.one_sided else ""
        dropped = f", {one.dropped} pairs incoherent" if one.dropped else ""
        told = f"{one.difference:+.2f} [{one.ci95.low:+.2f}, {one.ci95.high:+.2f}] p {one.adjusted:.2g}"
        sides = f"{one.not_a:5.0%} {one.not_b:5.0%}"
        line = f"  {one.group:<32} {sides}  {told} ({len(one.pairs)} pairs{dropped}){mark}"
        console.print(line, markup=False)


def _show_differences(done: "Done", console: Console) -> None:
    assert done.against is not None
    console.print(f"{done.audited.name} against {done.against.name}, on the same questions:", markup=False)
    for one in done.changed:
        figures = [f"{x:.1%}" if one.is_share else f"{x:.2f}" for x in (one.a, one.b)]
        told = f"{figures[0]:>8} {figures[1]:>8}  {one.verdict} (p {one.adjusted:.2g}, n {one.n})"
        console.print(f"  {f'{one.part}: {one.name}':<50} {told}", markup=False)


def _show_texts(audited: "Audited", console: Console) -> None:
    kinds = {
        "names a maker outside its lineage": [r for r in audited.of("identity") if r.leaked],
        "did not answer": [r for r in audited.of("refusal") if r.does != "answer" and not r.fault],
        "incoherent": [r for r in audited.rows if r.fault],
    }
    for name, rows in kinds.items():
        for row in rows[:TEXTS]:
            what = ", ".join(row.leaked) or (row.does if row.does != "answer" else row.fault)
            console.print(
                f"  [{name}: {what}] {short(row.prompt)} -> {short(row.answer)}", markup=False, style="dim"
            )
        if len(rows) > TEXTS:
            console.print(f"  [{name}] and {len(rows) - TEXTS} more", markup=False, style="dim")


def short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CHARS else f"{line[:CHARS]}..."


def show_errors(console: Console, show: bool) -> dict[str, Any]:
    """The readers on the labelled replies: precision and recall with Wilson's 95 % intervals."""
    from shoestring.evals.readers_error import errors, mistakes

    found = errors()
    head = ("reader", "label", "rows", "n", "precision", "recall")
    console.print(f"{head[0]:<14} {head[1]:<14} {head[2]:<9} {head[3]:>4}  {head[4]:<24} {head[5]}")
    for one in found:
        rates = f"{_rate(one.precision):<24} {_rate(one.recall)}"
        console.print(f"{one.reader:<14} {one.label:<14} {one.part:<9} {one.n:>4}  {rates}", markup=False)
    wrong = mistakes()
    console.print(
        f"{len(wrong)} replies are read wrongly{'' if show else '; --show lists them'}", markup=False
    )
    for mistake in wrong if show else ():
        told = f"said {mistake.said}, is {mistake.label}"
        console.print(f"  {mistake.reader} {mistake.id}: {told}: {short(mistake.text)}", markup=False)
    return {
        "errors": [
            {
                "reader": one.reader,
                "label": one.label,
                "rows": one.part,
                "n": one.n,
                "found": one.found,
                "false": one.false,
                "missed": one.missed,
                "precision": _rate_json(one.precision),
                "recall": _rate_json(one.recall),
            }
            for one in found
        ],
        "mistakes": [vars(mistake) for mistake in wrong],
    }


def _rate(rate: Any) -> str:
    return "nothing to tell" if rate is None else f"{rate[0]:.3f} [{rate[1].low:.3f}, {rate[1].high:.3f}]"


def _rate_json(rate: Any) -> Iterable[float] | None:
    return None if rate is None else [rate[0], rate[1].low, rate[1].high]
