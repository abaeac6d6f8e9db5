"""Verdicts on answers that are values. Our exact reader decides (exact.py, maths_reader.py); math-verify
decides what it can't read, and where both have an opinion and differ the verdict's part "disagreed" is 1."""

import re
from dataclasses import dataclass
from functools import lru_cache

from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.exact import NoValue, TooBig, Unreadable
from shoestring.tasks.maths_found import MAX_STATED, find_maths
from shoestring.tasks.maths_reader import read
from shoestring.tasks.maths_text import TEXT, tokens
from shoestring.tasks.maths_units import is_unit
from shoestring.tasks.maths_value import Group, Interval, Rules, Union, Value, same
from shoestring.tasks.maths_vote import vote_of
from shoestring.tasks.second_opinion import second_opinion
from shoestring.text.message import Reply

ASKS_PERCENT = re.compile(r"\b(?:what|which|how many|in|as an?|the)\s+(?:percent|%)", re.IGNORECASE)
SHOWN = 60  # characters of an answer in a verdict's detail


@dataclass(frozen=True)
class Opinion:
    """equal: None where nobody could read it. disagreed: the two readers differ. vote: what was said, by its
    value where it has one."""

    equal: bool | None
    disagreed: bool = False
    why: str = ""
    vote: str = ""


def gold_fault(gold: str) -> str:
    """Why `gold` can't be a right answer; empty where it can."""
    try:
        _read_for(gold, None)
    except TooBig:
        return "its answer is past the reader's limits"
    except Unreadable:
        return "its answer can't be read as a value"
    return ""


def looks_like_maths(gold: str) -> bool:
    """Whether an answer whose kind nobody named is a value and not a text: it reads as one, is more than a
    lone letter, has a digit, a LaTeX command or only one-letter names, and its only plain words are units."""
    marked = re.search(r"\d|\\[a-zA-Z]|[π√∞∅]", gold) or re.fullmatch(r"\W*\w(?:\W+\w)+\W*", gold)
    if not marked or gold_fault(gold):
        return False
    plain = tokens(TEXT.sub(" ", gold), grouped=True)
    return all(token.kind != "word" or is_unit(token.text) for token in plain)


def judge_maths(reply: Reply, gold: str, prompt: str = "", percent: bool = False) -> Verdict:
    """`percent`: the task takes 50 % for 1/2. Every answer that is stated must be the right one."""
    stated = find_maths(reply.answer, prompt)
    if not stated.texts:
        return Verdict(Outcome.UNPARSED, 0.0, detail="no answer found")
    rules = Rules(percent, bool(ASKS_PERCENT.search(prompt)))
    opinions = [compare(gold, text, rules) for text in stated.texts]
    parts = {"disagreed": 1.0} if any(opinion.disagreed for opinion in opinions) else {}
    detail = "; ".join(filter(None, (opinion.why for opinion in opinions)))
    said = opinions[0].vote
    if all(opinion.equal for opinion in opinions) and len(opinions) < MAX_STATED:
        return Verdict(Outcome.RIGHT, 1.0, parts, detail, said)
    if not stated.marked and all(opinion.equal is None for opinion in opinions):
        return Verdict(Outcome.UNPARSED, 0.0, parts, detail)
    if len(opinions) > 1:
        detail = f"several answers: {', '.join(text[:SHOWN] for text in stated.texts[:5])}"
    return Verdict(Outcome.WRONG, 0.0, parts, detail, said if len(opinions) == 1 else "")


def judge_maths_lenient(reply: Reply, gold: str, prompt: str = "", percent: bool = False) -> Verdict:
    """Right also when the last thing stated, in the answer or in thinking and answer together, is."""
    strict = judge_maths(reply, gold, prompt, percent)
    for text in (reply.answer, f"{reply.reasoning or ''}\n{reply.answer}"):
        last = find_maths(text, prompt).texts[-1:]
        if last and compare(gold, last[0], Rules(percent, bool(ASKS_PERCENT.search(prompt)))).equal:
            return Verdict(Outcome.RIGHT, 1.0)
    return strict


def compare(gold: str, said: str, rules: Rules) -> Opinion:
    if _spelled(gold) == _spelled(said):
        return Opinion(True, vote=_gold_vote(gold))
    vote = _spelled(said)
    try:
        wanted = _read_for(gold, None)
        value = _read_for(said, wanted)
        vote, why = vote_of(value) or vote, ""
        ours = same(wanted, value, rules)
    except NoValue as fault:
        return Opinion(False, why=f"{said[:SHOWN]}: {fault}", vote=vote)
    except Unreadable as fault:
        ours, why = None, str(fault)
    theirs = None if "%" in gold + said or "percent" in said else second_opinion(gold, said)
    equal = theirs if ours is None else ours
    if ours is not None and theirs is not None and ours != theirs:
        verdicts = ("equal", "different") if ours else ("different", "equal")
        told = f"{said[:SHOWN]} and {gold[:SHOWN]}: ours {verdicts[0]}, math-verify {verdicts[1]}"
        return Opinion(equal, True, told, vote)
    shown = f"{said[:SHOWN]}, not {gold[:SHOWN]}" if equal is False else ""
    return Opinion(equal, why=f"{said[:SHOWN]}: {why}" if equal is None else shown, vote=vote)


@lru_cache(maxsize=4096)
def _gold_vote(gold: str) -> str:
    try:
        return vote_of(_read_for(gold, None)) or _spelled(gold)
    except Unreadable:
        return _spelled(gold)


def _read_for(text: str, wanted: Value | None) -> Value:
    """`text` as the kind of value that is wanted: where that is a list or a pair, its commas part values;
    where it is a number they group digits."""
    if isinstance(wanted, Group | Interval | Union):
        return read(text, grouped=False)
    if wanted is None and re.search(r"[({\[]\s*\d{1,3},\d{3}", text):
        return read(text, grouped=False)
    return read(text)


@lru_cache(maxsize=4096)
def _spelled(text: str) -> str:
    return re.sub(r"\s+", "", text).strip("$.")
