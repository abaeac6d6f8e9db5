"""How long the rows and replies of a run that hasn't run will be, from its own problems and their worked
solutions; what nobody knows before is a range."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from shoestring.budget.ranges import Range, total
from shoestring.errors import BadInput
from shoestring.jobs.sft import SFTSettings
from shoestring.jobs.sft_rows import SourceSettings, open_source
from shoestring.tasks.accept import Filters
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite
from shoestring.text.conversations import Conversations

SAMPLE = 24  # problems that are looked at, of each suite
# What byte-level tokenizers with single digits make of such texts, with no tokenizer at hand: on worked
# solutions of twelve suites within 4 % of SmolLM2's own count.
PIECES = re.compile(r"[0-9]| (?=[0-9])|[\u3000-\u9fff\uff00-\uffef]|[^\W\d_]{1,7}|[^\w\s]|\n")
WIDE_PIECE = 1.8  # tokens of a Chinese character
BEFORE, AROUND = (
    31,
    10,
)  # tokens of a template up to the reply, and of thinking's marks and the turn's end in it
WILD = Range(0.12, 0.36, 0.9)  # share of the cap that an untaught model's replies take: measured 0.1 to 0.8
KEPT = Range(0.15, 0.45, 0.9)  # of the rows that rejection sampling may keep; measured 0.42
TURN = 9  # tokens of a template around a further turn
TAUGHT = Range(0.85, 1.05, 1.3)  # times a worked solution's length that a taught model's replies take


@dataclass(frozen=True)
class Lengths:
    """Mean tokens. worked: None where the suites have no worked solutions. different: how many rows there are
    before they come again, None: no end of them."""

    prompt: float
    worked: float | None
    different: Range | None = None

    def reply(self, taught: bool, cap: int) -> Range:
        if taught and self.worked is not None:
            return (TAUGHT * self.worked).map(lambda tokens: min(tokens, cap))
        return WILD * cap

    @property
    def row(self) -> float:
        return self.prompt + (self.worked or self.prompt)


def count_tokens(text: str) -> float:
    """About how many tokens a text has."""
    return sum(WIDE_PIECE if ord(piece[0]) > 0x2FFF else 1.0 for piece in PIECES.findall(text))


@dataclass(frozen=True)
class Asked:
    """Conversations that are put to a model turn by turn: their prompts, the tokens of all of them but for
    what the model said before, and how often a reply of its own is read again."""

    prompts: int
    tokens: float
    again: int

    def read(self, reply: Range) -> Range:
        return reply * self.again + Range.exact(self.tokens)


def asked_of(conversations: Iterable[Sequence[str]]) -> Asked:
    """Each is a user's turns. Every turn's prompt has all turns before it."""
    prompts, tokens, again = 0, 0.0, 0
    for turns in conversations:
        so_far = BEFORE - TURN
        for place, turn in enumerate(turns):
            so_far += TURN + count_tokens(turn)
            prompts, tokens, again = prompts + 1, tokens + so_far, again + place
    return Asked(prompts, tokens, again)


def kept_rows(prompts: int, samples: int, keep: Filters) -> Range:
    """Of rejection sampling."""
    return KEPT * (prompts * min(samples, keep.keep_per_problem))


def lengths_of(suites: Sequence[str], system: str | None = None) -> Lengths:
    """Over all suites alike."""
    each = [_lengths(suite) for suite in suites]
    worked = [w for _, w in each if w is not None]
    prompt = fmean(p for p, _ in each) + BEFORE + count_tokens(system or "")
    return Lengths(prompt, fmean(worked) if worked else None)


@cache
def _lengths(text: str) -> tuple[float, float | None]:
    """A suite's mean prompt and worked solution."""
    suite = parse_suite(text)
    prompts: list[float] = []
    worked: list[float] = []
    for problem in draw_problems(suite, "train", SAMPLE, 0):
        prompts.append(count_tokens(problem.prompt))
        try:
            reply = suite.family.worked(problem, random.Random(problem.id))
        except BadInput:  # this family has none
            continue
        worked.append(count_tokens((reply.reasoning or "") + reply.answer) + AROUND)
    return fmean(prompts), fmean(worked) if worked else None


def rows_of(settings: SFTSettings, made: Mapping[str, Lengths]) -> Lengths:
    """Of an sft stage's rows, all sources by their weights. made: rows of earlier stages, by reference."""
    each = _shares(settings, made)
    prompt = sum(share * found.prompt for share, found in each)
    return Lengths(prompt, sum(share * (found.worked or found.prompt) for share, found in each))


def different_rows(settings: SFTSettings, made: Mapping[str, Lengths]) -> Range:
    """Of all rows that the stage takes: those of a file, or of an earlier stage, come again."""
    taken = settings.steps * settings.rows_per_step
    return total(
        Range.exact(share * taken)
        if found.different is None
        else found.different.map(lambda rows, most=share * taken: min(rows, most))
        for share, found in _shares(settings, made)
    )


def _shares(settings: SFTSettings, made: Mapping[str, Lengths]) -> list[tuple[float, Lengths]]:
    """Each source's share of the rows, and their lengths."""
    sources = settings.sources or [SourceSettings(suites=settings.suites, data=settings.data)]
    whole = sum(source.weight for source in sources)
    return [(s.weight / whole, _source_lengths(s, settings.system, made)) for s in sources]


def _source_lengths(source: SourceSettings, system: str | None, made: Mapping[str, Lengths]) -> Lengths:
    if source.suites:
        return lengths_of(source.suites, system)
    if source.data in made:
        return made[source.data]
    rows = open_source([], source.data, 0, system)
    prompt, worked = list[float](), list[float]()
    for _ in range(SAMPLE):
        messages, _ = rows.next()
        prompt.append(sum(count_tokens(m["content"]) for m in messages[:-1]))
        worked.append(count_tokens(messages[-1]["content"]) + AROUND)
    different = Range.exact(len(rows.rows)) if isinstance(rows, Conversations) else None
    return Lengths(fmean(prompt) + BEFORE, fmean(worked), different)
