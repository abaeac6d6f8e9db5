"""AIME, MATH-500 and GSM8K: a question, and an answer that is a value."""

import re
from typing import Any

from shoestring.tasks import second_opinion
from shoestring.tasks.answers import boxed, clean, judge, judge_integer, judge_integer_lenient, numbers
from shoestring.tasks.base import Problem, Verdict
from shoestring.tasks.benchmark import BenchmarkLevel, Row, text_of
from shoestring.tasks.file_rows import Refused
from shoestring.tasks.maths import gold_fault, judge_maths, judge_maths_lenient
from shoestring.tasks.texts import find_exact, same_text
from shoestring.text.message import Reply

# the instruction that DeepSeek's R1 card asks for with maths (github.com/deepseek-ai/DeepSeek-R1, 2025-01)
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
QUESTION = ("problem", "question")


class _Integers:
    """A whole number is the answer."""

    Level = BenchmarkLevel

    def question(self, row: Row) -> str:
        return text_of(row, *QUESTION)

    def prepare(self) -> None:
        pass

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer(reply, int(problem.hidden["answer"]), problem.prompt)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_integer_lenient(reply, int(problem.hidden["answer"]), problem.prompt)


class Aime(_Integers):
    """`problem` or `question` with `answer`, or a `solution` that ends in a box: a whole number from 0 to
    999, also written 033."""

    name = "aime"

    def read(self, row: Row, level: BenchmarkLevel) -> tuple[str, dict[str, Any]]:
        answer = text_of(row, "answer") if row.get("answer") not in (None, "") else _last_box(row)
        found = _integer(answer)
        if not 0 <= found <= 999:
            raise Refused(f"its answer {found} is not from 0 to 999")
        return f"{self.question(row)}\n\n{BOXED}", {"answer": found}


class Gsm8k(_Integers):
    """`question`, and an `answer` that ends in "#### 18"."""

    name = "gsm8k"

    def read(self, row: Row, level: BenchmarkLevel) -> tuple[str, dict[str, Any]]:
        _, mark, last = text_of(row, "answer").rpartition("####")
        if not mark:
            raise Refused("its answer has no ####")
        return f"{self.question(row)}\n\n{BOXED}", {"answer": _integer(last)}


class Math500:
    """`problem` with `answer` in LaTeX (or a `solution` whose last box has it), and `subject` and `level`.
    An answer that is no value ("\\text{Evelyn}") is compared as a text."""

    name = "math500"
    Level = BenchmarkLevel

    def question(self, row: Row) -> str:
        return text_of(row, *QUESTION)

    def read(self, row: Row, level: BenchmarkLevel) -> tuple[str, dict[str, Any]]:
        gold = text_of(row, "answer") if row.get("answer") not in (None, "") else _last_box(row)
        gold = (boxed(gold) or [gold])[-1].strip()
        is_value = not gold_fault(gold)
        answer = gold if is_value else same_text(clean(gold))
        if not answer:
            raise Refused("its answer is empty")
        return f"{self.question(row)}\n\n{BOXED}", {"answer": answer, "is_value": is_value}

    def prepare(self) -> None:
        second_opinion.load()

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        gold = problem.hidden["answer"]
        if problem.hidden["is_value"]:
            return judge_maths(reply, gold, problem.prompt)
        return judge(find_exact(reply.answer, problem.prompt), gold)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        if problem.hidden["is_value"]:
            return judge_maths_lenient(reply, problem.hidden["answer"], problem.prompt)
        return self.score(problem, reply)


def _integer(text: str) -> int:
    found = numbers(clean(text.strip().strip("$")))
    if len(found) != 1 or not re.fullmatch(r"\s*[-+]?[\d,]+(?:\.0+)?\s*", clean(text.strip().strip("$"))):
        raise Refused("its answer is not a whole number")
    return int(found[0])


def _last_box(row: Row) -> str:
    if not row.get("solution"):
        raise Refused("no answer and no solution")
    boxes = boxed(text_of(row, "solution"))
    if not boxes:
        raise Refused("no answer, and its solution has no \\boxed{}")
    return boxes[-1]
