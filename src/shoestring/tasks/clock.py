"""Times of day: so many minutes later or earlier, and the minutes between two of them. The clock has 24 hours
and no question passes midnight."""

import random
import re
from typing import Literal

from pydantic import Field, model_validator

from shoestring.origin import Origin
from shoestring.tasks.answers import Found, find_integer, judge, judge_integer, judge_integer_lenient, narrow
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:clock", "CC0-1.0")
DAY = 24 * 60
# a time among numbers is written as this much more than its minutes, so that the rules for numbers read it
TIME_BASE = 100_000

Question = Literal["after", "before", "between"]
QUESTIONS: tuple[Question, ...] = ("after", "before", "between")
WORDINGS: dict[Question, Wordings] = {
    "after": {
        "en": (
            "What time is it {minutes} minutes after {start}?",
            "It is {start}. What time is it in {minutes} minutes?",
        ),
        "zh": ("{start} 过 {minutes} 分钟是几点几分？", "现在是 {start}，再过 {minutes} 分钟是几点？"),
    },
    "before": {
        "en": (
            "What time is it {minutes} minutes before {end}?",
            "It is {end}. What time was it {minutes} minutes ago?",
        ),
        "zh": ("{end} 之前 {minutes} 分钟是几点几分？", "现在是 {end}，{minutes} 分钟以前是几点？"),
    },
    "between": {
        "en": (
            "How many minutes are there from {start} to {end}?",
            "A train leaves at {start} and arrives at {end}. How many minutes does it take?",
        ),
        "zh": ("从 {start} 到 {end} 一共有多少分钟？", "火车 {start} 出发，{end} 到达，路上用了多少分钟？"),
    },
}
TIME = re.compile(
    r"(?<!\d)(?<!\d[:.])(\d{1,2})\s*(?::|[点时])\s*([0-5]\d|\d(?=\s*分))\s*分?(?![\d:])(?:\s*([ap])\.?m\b\.?)?",
    re.IGNORECASE,
)  # fmt: skip
FULL_HOUR = re.compile(r"(?<!\d)(?<!\d[:.])(\d{1,2})\s*[点时]\s*(?:整|钟)?(?!\s*\d)")


class ClockLevel(Spoken):
    """min_minutes..max_minutes, and times of day, in multiples of `step`. question "any" draws from all
    three."""

    question: Question | Literal["any"] = "any"
    min_minutes: int = Field(5, ge=1, le=720)
    max_minutes: int = Field(59, ge=1, le=720)
    step: int = Field(1, ge=1, le=30)

    @model_validator(mode="after")
    def _ranges(self) -> "ClockLevel":
        if not self.lengths:
            raise ValueError(
                f"no multiple of step {self.step} lies between min_minutes {self.min_minutes} and "
                f"max_minutes {self.max_minutes}"
            )
        return self

    @property
    def lengths(self) -> range:
        return range(-(-self.min_minutes // self.step) * self.step, self.max_minutes + 1, self.step)

    @property
    def questions(self) -> tuple[Question, ...]:
        return QUESTIONS if self.question == "any" else (self.question,)


class Clock:
    """key "after:14:50+35", "before:15:25-35", "between:14:50>15:25"."""

    name = "clock"
    Level = ClockLevel

    def draw(self, level: ClockLevel, rng: random.Random) -> Problem:
        question, minutes = rng.choice(level.questions), rng.choice(level.lengths)
        start = rng.randrange(0, DAY - minutes, level.step)
        end = start + minutes
        language = choose(level, rng)
        times = {"start": shown(start), "end": shown(end), "minutes": minutes}
        prompt = worded(WORDINGS[question], language, rng, **times)
        key, answer = {
            "after": (f"{shown(start)}+{minutes}", shown(end)),
            "before": (f"{shown(end)}-{minutes}", shown(start)),
            "between": (f"{shown(start)}>{shown(end)}", str(minutes)),
        }[question]
        hidden = {"answer": answer, "question": question, "start": start, "end": end, **marked(language)}
        return Problem("clock", level_text(level), f"{question}:{key}", prompt, hidden, ORIGIN)

    def count(self, level: ClockLevel) -> int:
        return len(level.questions) * sum(len(range(0, DAY - m, level.step)) for m in level.lengths)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        gold = problem.hidden["answer"]
        if problem.hidden["question"] == "between":
            return judge_integer(reply, int(gold), problem.prompt)
        return judge(find_time(reply.answer, problem.prompt), gold)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """For times: right also when the wanted one is the last time of the answer, or of all that was
        said."""
        gold = problem.hidden["answer"]
        if problem.hidden["question"] == "between":
            return judge_integer_lenient(reply, int(gold), problem.prompt)
        for text in (reply.answer, f"{reply.reasoning or ''}\n{reply.answer}"):
            times = re.findall(rf"\b{TIME_BASE // 1000}\d{{3}}\b", _coded(text, problem.prompt))
            if times and shown(int(times[-1]) - TIME_BASE) == gold:
                return Verdict(Outcome.RIGHT, 1.0)
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """Hours, then minutes, then what they carry: 14:50 and 35 are "50+35=85", "85-60=25", "14+1=15"."""
        return told(problem, _solution(problem))


def shown(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def find_time(text: str, prompt: str = "") -> Found:
    """The one time that `text` states by the rules for numbers (answers.py): 14:05, 2:05 pm, 14点5分."""
    found = find_integer(_coded(text, prompt))
    return Found(tuple(shown(int(value) - TIME_BASE) for value in found.values))


def _coded(text: str, prompt: str) -> str:
    """`text` without the question, its times as numbers and no other number."""
    text = narrow(text.replace(prompt, "\n"))
    if not text.isascii():
        text = FULL_HOUR.sub(r"\1:00 ", text)

    def code(match: re.Match[str]) -> str:
        hour, minute, half = int(match[1]), int(match[2]), (match[3] or "").lower()
        if half and 1 <= hour <= 12:
            hour = hour % 12 + (12 if half == "p" else 0)
        return f" {'T' * (hour < 24)}{TIME_BASE + 60 * hour + minute} "

    coded = TIME.sub(code, text)
    return re.sub(r"T?\d+(?:[:.]\d+)*", lambda m: m[0][1:] if m[0].startswith("T") else "", coded)


def _solution(problem: Problem, hour: int = 60, carry: bool = True, off: int = 0) -> Reply:
    """hour: how many minutes one is taken to have; without `carry` the hour that minutes make or need is
    forgotten; `off` is added to the last number found."""
    hidden = problem.hidden
    start, end = divmod(hidden["start"], 60), divmod(hidden["end"], 60)
    if hidden["question"] == "between":
        hours = end[0] - start[0]
        total = hours * hour + end[1] - start[1] + off
        lines = [f"{end[0]}-{start[0]}={hours}", f"{hours}*{hour}={hours * hour}"]
        lines.append(f"{hours * hour}+{end[1]}-{start[1]}={total}")
        return Reply("\n".join(lines), str(total))
    sign, (hours, minutes) = ("+", start) if hidden["question"] == "after" else ("-", end)
    way = 1 if sign == "+" else -1
    more_hours, more = divmod(hidden["end"] - hidden["start"], 60)
    lines = []
    if more_hours:
        lines.append(f"{hours}{sign}{more_hours}={hours + way * more_hours}")
        hours += way * more_hours
    sum_ = minutes + way * more
    if 0 <= sum_ < 60:
        lines.append(f"{minutes}{sign}{more}={sum_ + off}")
        return Reply("\n".join(lines), _time(hours, sum_ + off))
    if way > 0:
        lines += [f"{minutes}+{more}={sum_}", f"{sum_}-60={sum_ - 60 + off}"]
    else:
        lines.append(f"{minutes}+60-{more}={sum_ + 60 + off}")
    if carry:
        lines.append(f"{hours}{sign}1={hours + way}")
        hours += way
    return Reply("\n".join(lines), _time(hours, sum_ - way * 60 + off))


def _time(hours: int, minutes: int) -> str:
    return f"{hours:02d}:{minutes:02d}"


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """The minutes come out a little off."""
    hidden = problem.hidden
    answer = hidden["end" if hidden["question"] == "after" else "start"] % 60
    if hidden["question"] == "between":
        answer = min(hidden["end"] - hidden["start"], 59)
    offs = [off for off in (-10, -1, 1, 10) if 0 <= answer + off < 60 or hidden["question"] == "between"]
    return _solution(problem, off=rng.choice([off for off in offs if answer + off >= 0]))


def habit(problem: Problem) -> Reply:
    """The hour that the minutes carry or borrow is forgotten; between two times an hour has 100 minutes."""
    return _solution(problem, hour=100, carry=False)
