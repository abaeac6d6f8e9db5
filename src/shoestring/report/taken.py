"""What stands behind a score: what a right answer took, how sure the model said it was, and whose server."""

from collections.abc import Iterator, Sequence

from shoestring.evals.statistics import Interval
from shoestring.evals.worth import PerRight, Worth
from shoestring.report.blocks import Block, Table, Text, percent
from shoestring.report.scores import Score


def taken_blocks(shown: Sequence[Score]) -> Iterator[Block]:
    """In the order in which they are given."""
    yield from _worth(shown)
    yield from _confidence(shown)
    yield from _servers(shown)


def _worth(shown: Sequence[Score]) -> Iterator[Block]:
    """Tokens and money of all replies, over the number that are right."""
    known = [(score, score.worth) for score in shown if score.worth is not None]
    if not known:
        return
    yield Text("What a right answer takes, replies that aren't right counted in:")
    rows = tuple(
        (score.suite, score.name, _per_right(worth.tokens), _per_right(worth.prompt_tokens), _money(worth))
        for score, worth in known
    )
    yield Table(("suite", "model", "tokens made", "tokens read", "money"), rows, words=(0, 1))
    bases = sorted({worth.basis for _, worth in known if worth.basis})
    if bases:
        yield Text(f"Money: {'; '.join(bases)}.")


def _confidence(shown: Sequence[Score]) -> Iterator[Block]:
    known = [(score, score.calibration) for score in shown if score.calibration is not None]
    if not known:
        return
    yield Text("How sure they say they are, and how often they are right:")
    rows = tuple(
        (
            score.suite,
            score.name,
            f"{found.stated} of {found.asked}",
            percent(found.confidence),
            percent(found.right),
            _told(found.ece, found.ece_ci95),
            _told(found.brier, found.brier_ci95),
            "all are alike" if found.auroc is None else _told(found.auroc, found.auroc_ci95),
        )
        for score, found in known
    )
    header = ("suite", "model", "stated", "mean confidence", "right", "ECE", "Brier", "AUROC")
    yield Table(header, rows, words=(0, 1))


def _servers(shown: Sequence[Score]) -> Iterator[Block]:
    """Once for each server: what is true of all its scores isn't said again."""
    said: dict[str, None] = {}
    for score in shown:
        for line in score.server:
            said.setdefault(f"{score.name}: {line}")
    for line in said:
        yield Text(line)


def _per_right(found: PerRight) -> str:
    return "none is right" if found.value is None else str(found)


def _money(worth: Worth) -> str:
    if worth.money_per_right is None:
        return ""
    each = worth.money_per_right
    unit = f" {worth.unit}" if worth.unit else ""
    return f"{worth.money:.3g}{unit} in all" if each.value is None else f"{each}{unit}"


def _told(value: float, ci: Interval | None) -> str:
    return f"{value:.3f}" if ci is None else f"{value:.3f} [{ci.low:.3f}, {ci.high:.3f}]"
