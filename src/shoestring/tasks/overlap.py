"""What must not be learnt from: texts that share a run of words with a problem that models are tested on."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from shoestring.errors import BadInput
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.file_rows import Refused, prompt_of, read_rows
from shoestring.tasks.shape import tokens_of
from shoestring.tasks.suite import Suite

# a run that more problems of one suite or file have, but for numbers and single letters, is its wording and
# not its content: "Sort from smallest to largest: 75, 46, ..." says nothing about what was tested
SHARED_BY = 2
SHORTEST = 5  # tokens: a problem that is shorter is looked for as a whole text only, not inside others
FEWER = (256, 128, 64, 32, 16, 8, 4, 2, 1)  # held-out problems, where a level has fewer


class TestedTexts:
    """Runs of `words` words (R1 dropped what shared 10 with an evaluation), and whole problems, however short
    or alike they are."""

    __test__ = False  # for pytest, which takes the name for a test's

    def __init__(self, words: int) -> None:
        self.words, self.texts = words, 0
        self._runs: dict[tuple[str, ...], str] = {}
        self._whole: dict[tuple[str, ...], str] = {}
        self._sizes: set[int] = set()  # lengths of problems that no run of theirs tells of

    def add(self, name: str, texts: Iterable[str]) -> None:
        """The problems of one suite or file."""
        found: dict[tuple[str, ...], int] = {}
        problems: list[list[str]] = []
        shared: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
        for number, text in enumerate(texts, start=1):
            self.texts += 1
            tokens = tokens_of(text.lower())
            self._whole.setdefault(tuple(tokens), f"{name} #{number}")
            problems.append(tokens)
            for run in self._runs_of(tokens):
                found.setdefault(run, number)
                shared[_wording(run)].add(number)
        for run, number in found.items():
            if len(shared[_wording(run)]) <= SHARED_BY:
                self._runs.setdefault(run, f"{name} #{number}")
        untold = (p for p in problems if not any(run in self._runs for run in self._runs_of(p)))
        self._sizes |= {len(tokens) for tokens in untold if len(tokens) >= SHORTEST}

    def found_in(self, text: str) -> str:
        """'shares "..." with gsm8k.jsonl #17', or "" where nothing is shared."""
        tokens = tokens_of(text.lower())
        whole = self._whole.get(tuple(tokens))
        if whole and tokens:
            return f"is {whole}"
        for run in self._runs_of(tokens):
            if run in self._runs:
                return f'shares "{" ".join(run)}" with {self._runs[run]}'
        for inside, problem in self._wholes_in(tokens):
            return f'has "{" ".join(inside)}", which is {problem}'
        return ""

    def all_in(self, text: str) -> dict[str, str]:
        """Every problem of which the text has a run, or which it has as a whole, with what was found."""
        tokens = tokens_of(text.lower())
        found: dict[str, str] = {}
        for run in self._runs_of(tokens):
            if run in self._runs:
                found.setdefault(self._runs[run], " ".join(run))
        for inside, problem in self._wholes_in(tokens):
            found.setdefault(problem, " ".join(inside))
        whole = self._whole.get(tuple(tokens))
        return found if whole is None or not tokens else {whole: "the whole of it", **found}

    def _wholes_in(self, tokens: list[str]) -> Iterable[tuple[tuple[str, ...], str]]:
        """Problems that stand in the text from their first to their last token."""
        for size in sorted(self._sizes):
            for i in range(len(tokens) - size + 1):
                inside = tuple(tokens[i : i + size])
                if inside in self._whole:
                    yield inside, self._whole[inside]

    def _runs_of(self, tokens: list[str]) -> Iterable[tuple[str, ...]]:
        return (tuple(tokens[i : i + self.words]) for i in range(len(tokens) - self.words + 1))


def _wording(run: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        "0" if token.isdecimal() else "x" if len(token) == 1 and token.isalpha() else token for token in run
    )


def held_out_prompts(suite: Suite, n: int, seed: int) -> list[str]:
    """The prompts of n held-out problems, or of as many as there are nearly."""
    for fewer in (n, *(count for count in FEWER if count < n)):
        try:
            return [problem.prompt for problem in draw_problems(suite, "test", fewer, seed)]
        except BadInput:
            continue
    return []


def file_prompts(path: Path) -> list[str]:
    """The questions of a benchmark's .jsonl or .parquet file. Raises BadInput where it holds none."""
    if not path.is_file():
        raise BadInput(f"no such benchmark file: {path}")
    prompts: list[str] = []
    for _, row in read_rows(path):
        try:
            if isinstance(row, dict):
                prompts.append(prompt_of(row))
        except Refused:
            continue
    if not prompts:
        raise BadInput(f"{path} holds no questions to keep out of the data")
    return prompts
