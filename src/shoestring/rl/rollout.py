"""Sampling groups: prompts go to a generator, replies to a judge, and come back as rollouts by problem."""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

from torch import Tensor

from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, SamplingParams
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.judge import Judge
from shoestring.text.message import Message, Reply
from shoestring.text.template import Template


@dataclass(frozen=True)
class Sequence:
    """Tokens that were made in one go after `prompt`: aligned ids and the sampler's logprobs."""

    prompt: list[int]
    ids: list[int]
    logprobs: list[float]
    version: int
    row_id: str
    routing: Tensor | None = None  # (prompt and ids but the last, layers, K) int16, if it was recorded
    finish_reason: str = ""  # why it ended; empty where nobody said


@dataclass(frozen=True)
class Rollout:
    """One sample of a problem. reward is None when the sample is left out of the loss (a scorer that timed
    out or raised; a cut reply where the recipe says so). parts are what it is made of, by name:
    "task" is the true verdict's value, "control" what is paid in its place; see docs/rewards.md."""

    problem: Problem
    sequence: Sequence
    reply: Reply
    verdict: Verdict
    reward: float | None
    parts: Mapping[str, float] = field(default_factory=dict)  # what the reward was made of, by name
    gamed: bool = False  # right, but by its looks not worked out


@dataclass(frozen=True)
class Group:
    """All samples of one problem."""

    problem: Problem
    suite: str
    rollouts: list[Rollout]

    @property
    def rewards(self) -> list[float]:
        return [r.reward for r in self.rollouts if r.reward is not None]

    @property
    def live(self) -> bool:
        """Whether the rewards differ: a group of equal rewards has no gradient. On max - min, not on the
        mean, so that equal fractions count as equal."""
        rewards = self.rewards
        return bool(rewards) and max(rewards) - min(rewards) > 1e-6

    @property
    def solved(self) -> float:
        """Share of samples that are right, of those whose scorer didn't fail; 0 where it always did."""
        judged = [r.verdict.outcome is Outcome.RIGHT for r in self.rollouts if not left_out(r.verdict)]
        return sum(judged) / max(1, len(judged))

    @property
    def num_tokens(self) -> int:
        return sum(len(r.sequence.ids) for r in self.rollouts)


@dataclass(frozen=True)
class Asked:
    """A problem as it is put to the model. `name` keys its random numbers: equal names, equal samples."""

    problem: Problem
    suite: str
    prompt: list[int]
    name: str


def ask(template: Template, problem: Problem, suite: str, system: str | None, name: str) -> Asked:
    messages: list[Message] = [{"role": "user", "content": problem.prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return Asked(problem, suite, template.render(messages, add_generation_prompt=True).ids, name)


def sample(generator: Generator, asked: Many[Asked], params: SamplingParams) -> list[list[Completion]]:
    done = dict(as_sampled(generator, asked, params))
    return [done[place] for place in range(len(asked))]


def as_sampled(
    generator: Generator, asked: Many[Asked], params: SamplingParams
) -> Iterator[tuple[int, list[Completion]]]:
    """(place in `asked`, its samples), as they are finished. Whatever ends it early leaves the generator
    empty."""
    places: dict[int, int] = {}
    try:
        for place, item in enumerate(asked):
            places[generator.submit(item.prompt, params, item.name)] = place
        if places:
            for request, completions in generator.completed():
                yield places.pop(request), completions
    finally:
        for unfinished in places:
            generator.abort(unfinished)


def judge_groups(
    judge: Judge, template: Template, asked: Many[Asked], completions: Many[Many[Completion]]
) -> list[tuple[Asked, list[tuple[Completion, Reply, Verdict]]]]:
    """Each problem with its judged replies. Verdicts are matched by id, never by position."""
    rows: list[tuple[str, Problem, Reply]] = []
    parsed: dict[str, Reply] = {}
    for item, samples in zip(asked, completions, strict=True):
        for i, completion in enumerate(samples):
            row = f"{item.name}/{i}"
            parsed[row] = template.parse(completion.ids, completion.cut)
            rows.append((row, item.problem, parsed[row]))
    verdicts = judge.score(rows)
    result = []
    for item, samples in zip(asked, completions, strict=True):
        names = [f"{item.name}/{i}" for i in range(len(samples))]
        judged = [(c, parsed[r], verdicts[r]) for c, r in zip(samples, names, strict=True)]
        result.append((item, judged))
    return result


def left_out(verdict: Verdict) -> bool:
    """Faults of the scorer are no evidence about the answer."""
    return verdict.outcome in (Outcome.TIMEOUT, Outcome.ERROR)
