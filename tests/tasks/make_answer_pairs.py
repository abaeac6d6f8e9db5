"""Writes src/shoestring/tasks/data/answer_pairs.jsonl from the two hand-labelled tables beside this file:

python tests/tasks/make_answer_pairs.py
"""

import json
from pathlib import Path
from typing import Any

from answer_pairs_replies import ROWS
from answer_pairs_values import GROUPS

PAIRS = Path(__file__).parents[2] / "src/shoestring/tasks/data/answer_pairs.jsonl"
# how a value is said: each takes its turn, so that spelling and saying are mixed
LATEX = ("\\boxed{%s}", "The answer is $%s$.", "Hence\n\\[ \\boxed{%s} \\]", "Answer: \\(%s\\)", "<answer>%s</answer>",
         "So we get\n\n$$%s$$", "**Final answer:** $%s$", "Therefore the result is $\\boxed{%s}$.")  # fmt: skip
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


def pairs() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for kind, gold, prompt, shape, rights, wrongs in GROUPS:
        for right, spellings in ((True, rights), (False, wrongs)):
            for spelling in spellings:
                reply = said(spelling, len(rows))
                name = f"{shape}: {'same value' if right else 'another value'}"
                rows.append(
                    {
                        "kind": kind,
                        "gold": gold,
                        "prompt": prompt,
                        "reply": reply,
                        "right": right,
                        "shape": name,
                    }
                )
    for kind, gold, prompt, reply, right, shape, *more in ROWS:
        row = {"kind": kind, "gold": gold, "prompt": prompt, "reply": reply, "right": right, "shape": shape}
        rows.append(row | (more[0] if more else {}))
    return [{"id": f"pair-{number:04d}", **row} for number, row in enumerate(rows, start=1)]


def text() -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs())


if __name__ == "__main__":
    PAIRS.write_text(text(), encoding="utf-8")
