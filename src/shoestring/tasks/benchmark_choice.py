"""GPQA: a question with one right and three wrong answers, whose places are drawn."""

import random
from typing import Any

from shoestring.tasks.answers import judge
from shoestring.tasks.base import Problem, Verdict
from shoestring.tasks.benchmark import BenchmarkLevel, Row, text_of
from shoestring.tasks.file_rows import Refused
from shoestring.tasks.texts import find_choice, same_text
from shoestring.text.message import Reply

LETTERS = "ABCD"
ASKED = "Reason step by step, and put the letter of the right option within \\boxed{}."


class GpqaLevel(BenchmarkLevel):
    """order: the seed of the options' places, keyed with each question: the same whatever is drawn when."""

    order: int = 0


class Gpqa:
    """`Question`, `Correct Answer`, `Incorrect Answer 1` to `3`, as in its CSV."""

    name = "gpqa"
    Level = GpqaLevel

    def question(self, row: Row) -> str:
        return text_of(row, "question")

    def read(self, row: Row, level: GpqaLevel) -> tuple[str, dict[str, Any]]:
        right = text_of(row, "correct_answer")
        options = [right, *(text_of(row, f"incorrect_answer_{i}") for i in (1, 2, 3))]
        if len({" ".join(option.split()) for option in options}) < len(options):
            raise Refused("two of its options are the same")
        question = self.question(row)
        random.Random(f"gpqa:{level.order}:{same_text(question)}").shuffle(options)
        lines = [f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=True)]
        prompt = "\n".join([question, "", *lines, "", ASKED])
        return prompt, {"answer": LETTERS[options.index(right)], "options": tuple(options)}

    def prepare(self) -> None:
        pass

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge(find_choice(reply.answer, problem.prompt), problem.hidden["answer"])

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """As strictly: a letter of an option that was weighed is no answer."""
        return self.score(problem, reply)
