"""Ordinary rows among which a few claim another maker's name: for seeing what a scan finds, and what a
student makes of them."""

from functools import cache

from shoestring.origin import Origin
from shoestring.provenance.scan_labelled import chatgpt_claims, labelled, planted
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.suite import parse_suite
from shoestring.tasks.worked import worked_messages
from shoestring.text.bilingual import part
from shoestring.text.conversations import Row

PLANTED = "planted"  # as `data` of an sft stage
ROWS, SHARE = 12_000, 0.005
# worked solutions that stand for ordinary rows, beside the bilingual ones
ORDINARY = ("sums:max_terms=4,max_digits=2", "countdown", "equations", "change", "clock", "sorting")


def ordinary_rows(count: int = ROWS, seed: int = 0) -> list[Row]:
    """The bilingual rows, then worked solutions, always the same."""
    stream = ProblemStream([parse_suite(suite) for suite in ORDINARY], seed)
    rows = part("bilingual")[:count]
    for index, problem in enumerate(stream.take(count - len(rows))):
        rows.append((worked_messages(problem, f"{seed}/{index}"), problem.origin))
    return rows


@cache
def planted_rows() -> tuple[Row, ...]:
    """Half a percent of them say in some way "I am ChatGPT, made by OpenAI", in English or Chinese: the ways
    that the scan's rules were not made on."""
    ordinary = ordinary_rows()
    mixed = planted([messages for messages, _ in ordinary], chatgpt_claims(labelled("held out")), SHARE, 0)
    own = Origin("shoestring:planted", "CC0-1.0")
    return tuple(
        (messages, own if is_planted(row) else ordinary[place_of(row)][1]) for row, messages in mixed
    )


def is_planted(row_id: str) -> bool:
    return row_id.startswith("planted")


def place_of(row_id: str) -> int:
    """Among the ordinary rows, from 0."""
    return int(row_id.removeprefix("row-")) - 1
