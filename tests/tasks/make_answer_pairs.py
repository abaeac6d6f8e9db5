"""Writes src/shoestring/tasks/data/answer_pairs.jsonl from the hand-labelled tables beside this file:

python tests/tasks/make_answer_pairs.py
"""

import json
from pathlib import Path
from typing import Any

from answer_pairs_replies import ROWS, Row
from answer_pairs_unseen import ROWS as UNSEEN
from answer_pairs_values import GROUPS

PAIRS = Path(__file__).parents[2] / "src/shoestring/tasks/data/answer_pairs.jsonl"
# how a value is said: each takes its turn, so that spelling and saying are mixed
LATEX = (
    "\\boxed{%s}",
    "The answer is $%s$.",
    "Hence\n\\[ \\boxed{%s} \\]",
    "Answer: \\(%s\\)",
    "<answer>%s</answer>",
    "So we get\n\n$$%s$$",
    "**Final answer:** $%s$",
    "Therefore the result is $\\boxed{%s}$.",
)
PLAIN = (
    "The answer is %s.",
    "\\boxed{%s}",
    "Answer: %s",
    "%s",
    "<answer>%s</answer>",
    "**Final answer:** %s",
)


def said(spelling: str, turn: int) -> str:
    if any(mark in spelling for mark in "\\{}^_"):
        spelling = spelling if "$" not in spelling.replace("\\$", "") else spelling.strip("$")
        return LATEX[turn % len(LATEX)] % spelling
    ways = PLAIN if not spelling.endswith(".") else PLAIN[1:]  # no "64.."
    return ways[turn % len(ways)] % spelling


def group_rows() -> list[Row]:
    rows: list[Row] = []
    for kind, gold, prompt, shape, rights, wrongs in GROUPS:
        for right, spellings in ((True, rights), (False, wrongs)):
            name = f"{shape}: {'same value' if right else 'another value'}"
            for spelling in spellings:
                rows.append((kind, gold, prompt, said(spelling, len(rows)), right, name))
    return rows


def pairs() -> list[dict[str, Any]]:
    found = []
    for number, (kind, gold, prompt, reply, right, shape, *more) in enumerate(
        [*group_rows(), *ROWS, *UNSEEN], start=1
    ):
        row = {"id": f"pair-{number:04d}", "kind": kind, "gold": gold, "prompt": prompt, "reply": reply}
        row |= {"right": right, "shape": shape} | (more[0] if more else {})
        found.append(row)
    return found


def text() -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs())


if __name__ == "__main__":
    PAIRS.write_text(text(), encoding="utf-8")
