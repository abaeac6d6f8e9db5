"""In which language a problem of ours is asked and solved. The problem itself, its key and so its side of the
split are the same in both."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import model_validator

from shoestring.settings import Settings
from shoestring.tasks.base import Problem
from shoestring.text.message import Reply

Language = Literal["en", "zh"]
Wordings = Mapping[Language, Sequence[str]]

NUMERALS = "一二三四五六七八九十"
CALCULATE = "计算："
SINGLE = {"letters": "逐个看："}  # a solution of one line that calculates nothing
TRIES = {"countdown": "试一试："}  # lines that are tries and not steps
VERDICTS = {" no": " 不对", " yes": " 对了"}  # at the end of a countdown line
CLOSINGS = ("答案是{}。", "答：{}。", "答案：{}")


class Spoken(Settings):
    """A family's level. "both": each problem in either language, as often in the one as in the other. Of two
    fields min_x and max_x the one may not be above the other."""

    language: Literal["en", "zh", "both"] = "en"

    @model_validator(mode="after")
    def _min_to_max(self) -> Self:
        for low in type(self).model_fields:
            high = low.replace("min_", "max_", 1)
            if high != low and getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low)} is above {high} {getattr(self, high)}")
        return self


def choose(level: Spoken, rng: random.Random) -> Language:
    return rng.choice(("en", "zh")) if level.language == "both" else level.language


def marked(language: Language) -> dict[str, Any]:
    """What `hidden` says of the language: nothing of English, so that earlier problems stay as they were."""
    return {} if language == "en" else {"language": language}


def language_of(problem: Problem) -> Language:
    return problem.hidden.get("language", "en")


def worded(wordings: Wordings, language: Language, rng: random.Random, **values: Any) -> str:
    """One of the wordings with the values in place. A single one takes no number from `rng`."""
    texts = wordings[language]
    return (texts[0] if len(texts) == 1 else rng.choice(texts)).format(**values)


def listed(values: Sequence[Any], language: Language, last: str = "and") -> str:
    """ "3, 5 and 8"; "3、5和8"."""
    *head, tail = map(str, values)
    if language == "zh":
        return f"{'、'.join(head)}{'还是' if last == 'or' else '和'}{tail}"
    return f"{', '.join(head)} {last} {tail}"


def told(problem: Problem, reply: Reply) -> Reply:
    """A bare solution (lines of arithmetic, the answer alone) as the problem's language puts it: English as
    it is, Chinese with each step named and the answer in a sentence."""
    if language_of(problem) == "en":
        return reply
    lines = (reply.reasoning or "").split("\n")
    for ours, theirs in VERDICTS.items():
        lines = [f"{line.removesuffix(ours)}{theirs}" if line.endswith(ours) else line for line in lines]
    closing = CLOSINGS[int(problem.id, 16) % len(CLOSINGS)]
    openers = [_opener(problem, i, len(lines)) for i in range(len(lines))]
    thinking = "\n".join(f"{opener}{line}" for opener, line in zip(openers, lines, strict=True))
    return Reply(thinking, closing.format(reply.answer))


def bare(problem: Problem, reply: Reply) -> Reply:
    """What `told` was given."""
    if language_of(problem) == "en":
        return reply
    lines = [line.partition("：")[2] for line in (reply.reasoning or "").split("\n")]
    for ours, theirs in VERDICTS.items():
        lines = [f"{line.removesuffix(theirs)}{ours}" if line.endswith(theirs) else line for line in lines]
    before, after = CLOSINGS[int(problem.id, 16) % len(CLOSINGS)].split("{}")
    answer = re.sub(f"^{before}|{after}$" if after else f"^{before}", "", reply.answer)
    return Reply("\n".join(lines), answer)


def _opener(problem: Problem, index: int, of: int) -> str:
    if problem.family in TRIES:
        return TRIES[problem.family]
    if of == 1:
        return SINGLE.get(problem.family, CALCULATE)
    return f"第{NUMERALS[index] if index < len(NUMERALS) else index + 1}步："
