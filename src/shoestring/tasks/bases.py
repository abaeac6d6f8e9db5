"""Numbers of another base in decimal and back: multiply and add from the left, divide and read upwards."""

import random
from typing import Literal

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import judge_integer, judge_integer_lenient
from shoestring.tasks.base import Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, marked, told, worded
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:bases", "CC0-1.0")

Direction = Literal["from", "to"]
DIRECTIONS: tuple[Direction, ...] = ("from", "to")
WORDINGS: dict[Direction, Wordings] = {
    "from": {
        "en": (
            "What is the base {base} number {digits} in decimal?",
            "Write {digits}, a number in base {base}, in base ten.",
        ),
        "zh": ("{base}进制数 {digits} 化成十进制是多少？", "把{base}进制的 {digits} 写成十进制数。"),
    },
    "to": {
        "en": ("What is {number} in base {base}?", "Write the number {number} in base {base}."),
        "zh": ("十进制数 {number} 化成{base}进制是多少？", "把 {number} 写成{base}进制数。"),
    },
}


class BasesLevel(Spoken):
    """Numbers with min_digits..max_digits digits in a base of min_base..max_base. question: "from" the base
    to ten, "to" it, or any."""

    question: Direction | Literal["any"] = "any"
    min_base: int = Field(2, ge=2, le=9)
    max_base: int = Field(5, ge=2, le=9)
    min_digits: int = Field(3, ge=2, le=12)
    max_digits: int = Field(5, ge=2, le=12)

    @property
    def directions(self) -> tuple[Direction, ...]:
        return DIRECTIONS if self.question == "any" else (self.question,)


class Bases:
    """key "from2:10110", "to2:22"."""

    name = "bases"
    Level = BasesLevel

    def draw(self, level: BasesLevel, rng: random.Random) -> Problem:
        direction, base = rng.choice(level.directions), rng.randint(level.min_base, level.max_base)
        length = rng.randint(level.min_digits, level.max_digits)  # or nearly all would be the longest
        number = rng.randrange(base ** (length - 1), base**length)
        language = choose(level, rng)
        digits = digits_of(number, base)
        prompt = worded(WORDINGS[direction], language, rng, base=base, digits=digits, number=number)
        key, answer = (digits, number) if direction == "from" else (str(number), int(digits))
        hidden = {"answer": answer, "direction": direction, "base": base, "digits": digits, "number": number}
        return Problem(
            "bases", level_text(level), f"{direction}{base}:{key}", prompt, hidden | marked(language), ORIGIN
        )

    def count(self, level: BasesLevel) -> int:
        bases = range(level.min_base, level.max_base + 1)
        numbers = sum(base**level.max_digits - base ** (level.min_digits - 1) for base in bases)
        return len(level.directions) * numbers

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, problem.hidden["answer"], problem.prompt)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, problem.hidden["answer"], problem.prompt)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """10110: "1*2+0=2", "2*2+1=5", "5*2+1=11", "11*2+0=22". 22: "22-2*11=0", "11-2*5=1", "5-2*2=1",
        "2-2*1=0", "1-2*0=1", read upwards."""
        hidden = problem.hidden
        if hidden["direction"] == "from":
            return told(problem, _from_base(hidden["digits"], hidden["base"]))
        return told(problem, _to_base(hidden["number"], hidden["base"], upwards=True))


def digits_of(number: int, base: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = f"{digit}{digits}"
    return digits


def _from_base(digits: str, base: int) -> Reply:
    value, lines = int(digits[0]), []
    for digit in digits[1:]:
        lines.append(f"{value}*{base}+{digit}={value * base + int(digit)}")
        value = value * base + int(digit)
    return Reply("\n".join(lines), str(value))


def _to_base(number: int, base: int, upwards: bool) -> Reply:
    lines, digits = [], ""
    while number:
        lines.append(f"{number}-{base}*{number // base}={number % base}")
        digits += str(number % base)
        number //= base
    return Reply("\n".join(lines), digits[::-1] if upwards else digits.lstrip("0"))


def slip(problem: Problem, reply: Reply, rng: random.Random) -> Reply:
    """One digit is taken for another."""
    hidden = problem.hidden
    digits, base = hidden["digits"], hidden["base"]
    at = rng.randrange(1, len(digits))
    other = rng.choice([str(digit) for digit in range(base) if str(digit) != digits[at]])
    wrong = f"{digits[:at]}{other}{digits[at + 1 :]}"
    return _from_base(wrong, base) if hidden["direction"] == "from" else Reply(reply.reasoning, wrong)


def habit(problem: Problem) -> Reply:
    """Digits are read from the wrong end."""
    hidden = problem.hidden
    if hidden["direction"] == "from":
        return _from_base(hidden["digits"][::-1], hidden["base"])
    return _to_base(hidden["number"], hidden["base"], upwards=False)
