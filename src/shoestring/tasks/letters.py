"""Questions about the letters of a word: how many, which one, backwards, sorted."""

import random
import re
from typing import Literal

from pydantic import Field

from shoestring.origin import Origin
from shoestring.tasks.answers import (
    SEPARATOR,
    STATEMENT,
    Found,
    clean,
    distinct,
    judge,
    judge_integer,
    judge_integer_lenient,
    sentences,
)
from shoestring.tasks.base import Outcome, Problem, Verdict, level_text
from shoestring.tasks.spoken import Spoken, Wordings, choose, marked, told, worded
from shoestring.tasks.words import count_words, draw_word
from shoestring.text.message import Reply

ORIGIN = Origin("procedural:letters", "CC0-1.0")
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
FILLERS = {"the", "letter", "letters", "word"}

Question = Literal["count", "nth", "reverse", "sort"]
QUESTIONS: tuple[Question, ...] = ("count", "nth", "reverse", "sort")
WORDINGS: dict[Question, Wordings] = {
    "count": {
        "en": ('How many times does the letter "{letter}" occur in "{word}"?',),
        "zh": ("单词“{word}”里有几个字母“{letter}”？", "字母“{letter}”在“{word}”中出现了几次？"),
    },
    "nth": {
        "en": ('What is the {ordinal} letter of "{word}"?',),
        "zh": ("单词“{word}”的第{position}个字母是什么？", "“{word}”从左数第{position}个字母是哪个？"),
    },
    "reverse": {
        "en": ('What is "{word}" spelled backwards?',),
        "zh": ("把“{word}”倒过来拼写是什么？", "单词“{word}”从后往前怎么拼？"),
    },
    "sort": {
        "en": ('What are the letters of "{word}" in alphabetical order, written as one word?',),
        "zh": (
            "把“{word}”的字母按字母表顺序排列，连成一个词是什么？",
            "将单词“{word}”的字母从 a 到 z 排好，连在一起写出来。",
        ),
    },
}


class LettersLevel(Spoken):
    """question "any" draws from all four."""

    question: Question | Literal["any"] = "any"
    min_length: int = Field(3, ge=3, le=12)
    max_length: int = Field(6, ge=3, le=12)

    @property
    def questions(self) -> tuple[Question, ...]:
        return QUESTIONS if self.question == "any" else (self.question,)


class Letters:
    """key "count:banana:a", "nth:banana:3", "reverse:banana", "sort:banana"."""

    name = "letters"
    Level = LettersLevel

    def draw(self, level: LettersLevel, rng: random.Random) -> Problem:
        question = rng.choice(level.questions)
        word = draw_word(rng.randint(level.min_length, level.max_length), rng)
        letter = rng.choice(word if rng.random() < 0.75 else ALPHABET)
        position = rng.randint(1, len(word))
        key, answer = {
            "count": (f"count:{word}:{letter}", str(word.count(letter))),
            "nth": (f"nth:{word}:{position}", word[position - 1]),
            "reverse": (f"reverse:{word}", word[::-1]),
            "sort": (f"sort:{word}", "".join(sorted(word))),
        }[question]
        language = choose(level, rng)
        values = {"word": word, "letter": letter, "position": position, "ordinal": ordinal(position)}
        prompt = worded(WORDINGS[question], language, rng, **values)
        hidden = {
            "question": question,
            "word": word,
            "letter": letter,
            "position": position,
            "answer": answer,
            **marked(language),
        }
        return Problem("letters", level_text(level), key, prompt, hidden, ORIGIN)

    def count(self, level: LettersLevel) -> int:
        total = 0
        for length in range(level.min_length, level.max_length + 1):
            ways = {"count": len(ALPHABET), "nth": length, "reverse": 1, "sort": 1}
            total += count_words(length) * sum(ways[question] for question in level.questions)
        return total

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        if problem.hidden["question"] == "count":
            return judge_integer(reply, int(problem.hidden["answer"]), problem.prompt)
        return judge(find_word(reply.answer, problem.prompt), problem.hidden["answer"])

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        """For words: right also when the wanted one is the last word of the answer, or of all that was
        said."""
        gold = problem.hidden["answer"]
        if problem.hidden["question"] == "count":
            return judge_integer_lenient(reply, int(gold), problem.prompt)
        for text in (reply.answer, f"{reply.reasoning or ''}\n{reply.answer}"):
            words = re.findall(r"[a-z]+", clean(text, problem.prompt).lower())
            if words[-1:] == [gold] or find_word(text, problem.prompt).single == gold:
                return Verdict(Outcome.RIGHT, 1.0)
        return self.score(problem, reply)

    def worked(self, problem: Problem, rng: random.Random) -> Reply:
        """Spell first, then do: "b a1 n a2 n a3"; "1b 2a 3n"; "b a n a n a" and the letters in the new
        order."""
        hidden = problem.hidden
        word, answer = hidden["word"], hidden["answer"]
        if hidden["question"] == "count":
            counts = [word[: i + 1].count(hidden["letter"]) for i in range(len(word))]
            marks = [f"{c}{n}" if c == hidden["letter"] else c for c, n in zip(word, counts, strict=True)]
            thinking = " ".join(marks)
        elif hidden["question"] == "nth":
            thinking = " ".join(f"{i}{c}" for i, c in enumerate(word[: hidden["position"]], 1))
        else:
            thinking = f"{' '.join(word)}\n{' '.join(answer)}"
        return told(problem, Reply(thinking, answer))


def find_word(text: str, prompt: str = "") -> Found:
    """The word that `text` states: after "the answer is", else after the last sentence's last separator.
    Letters apart ("a b c", "a-b-c") are one word; of several words in quotes or out of them none is the
    answer."""
    lines = sentences(clean(text, prompt))
    said = [stated_word(tail) for line in lines for tail in STATEMENT.split(line)[1:]]
    if any(found.values for found in said):
        return distinct(value for found in said for value in found.values)
    lines = [line for line in lines if re.search(r"[a-zA-Z]", line)]
    if lines and all(" " not in line for line in lines):  # bare words, one a line: they must agree
        return distinct(value for line in lines for value in stated_word(line).values)
    return stated_word(lines[-1]) if lines else Found()


def stated_word(sentence: str) -> Found:
    """The word after the last separator. A separator with no word after it is itself what is stated: the
    right answer may be "get", "are" or "have"."""
    joins = [match for match in SEPARATOR.finditer(sentence) if match[0].isalpha()]
    if joins and not re.search(r"[a-zA-Z]", sentence[joins[-1].end() :]):
        before = re.split(SEPARATOR, sentence[: joins[-1].start()])[-1]
        words = [word.lower() for word in re.findall(r"[a-zA-Z]+", before)]
        if all(word in FILLERS for word in words):
            return Found((joins[-1][0].lower(),))
        if {"or", "and"} & set(words):  # "get or have": two words
            return distinct([*words, joins[-1][0].lower()])
    for piece in reversed(SEPARATOR.split(sentence)):
        quoted = re.findall(r'"([a-zA-Z][a-zA-Z \-]*)"', piece)
        words = [word.lower() for word in re.findall(r"[a-zA-Z]+", " ".join(quoted) or piece)]
        words = [word for word in words if word not in FILLERS] or words
        if words and all(len(word) == 1 for word in words):
            return Found(("".join(words),))
        if words:
            return distinct(words)
    return Found()


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ... 12th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
    return f"{number}{ending}"
