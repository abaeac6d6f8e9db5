"""Which of the problems that models are tested on stand in what they were trained on."""

from collections.abc import Iterator

from shoestring.report.blocks import Block, Table, Text
from shoestring.report.run_report import RunReport

NAMED = 10  # problems that are listed; the eval's JSON has all
CHARS = 120


def overlap_blocks(report: RunReport) -> Iterator[Block]:
    """Each model's score with the problems that were met and without them."""
    looked = [(score, score.overlap) for score in report.scores if score.best and score.overlap is not None]
    if not looked:
        return
    yield Text("Problems that were met in training texts:")
    rows = tuple(
        (
            score.suite,
            score.name,
            f"{overlap.texts:,}",
            f"{len(overlap.met)} of {score.n}",
            str(overlap.with_all),
            "all were met" if overlap.without is None else str(overlap.without),
        )
        for score, overlap in looked
    )
    header = ("suite", "model", "texts", "met", "accuracy with them", "without them")
    yield Table(header, rows, words=(0, 1))
    words = sorted({overlap.words for _, overlap in looked})
    yield Text(
        f"Met: a text has a run of {' or '.join(map(str, words))} words of the problem that is not the "
        "suite's wording, or all of a shorter one. That finds quotations, not paraphrases or translations."
    )
    met = {problem: where for _, overlap in looked for problem, where in overlap.met.items()}
    for problem, where in list(met.items())[:NAMED]:
        yield Text(f"{problem}: {where[:CHARS]}")
    if len(met) > NAMED:
        yield Text(f"and {len(met) - NAMED} more.")
