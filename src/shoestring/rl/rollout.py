"""Sampling groups: prompts go to a generator, replies to a judge, and come back as rollouts by problem."""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

from torch import Tensor

from shoestring.engine.episode import Episode, play, reply_of, system_turn
from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, SamplingParams
from shoestring.lm import LanguageModel
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.tasks.judge import Judge
from shoestring.tasks.tools import CallMade, Toolbox
from shoestring.text.message import Message, Reply
from shoestring.text.template import Template


@dataclass(frozen=True)
class Sequence:
    """What came after `prompt`: aligned ids and the sampler's logprobs. Made in one go, or in several turns
    with the results of `calls` between them: `trained` then says which ids the model made, and logprobs are 0
    for the others."""

    prompt: list[int]
    ids: list[int]
    logprobs: list[float]
    version: int
    row_id: str
    routing: Tensor | None = None  # (prompt and ids but the last, layers, K) int16, if it was recorded
    finish_reason: str = ""  # why it ended; empty where nobody said
    trained: list[bool] | None = None  # None: the model made all of them
    calls: tuple[CallMade, ...] | None = None  # None: it had no tools

    @property
    def mask(self) -> list[bool]:
        return [True] * len(self.ids) if self.trained is None else self.trained

    @property
    def num_made(self) -> int:
        """Tokens that the model made: the length |o| of every loss and every metric."""
        return len(self.ids) if self.trained is None else sum(self.trained)


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
        """That the model made."""
        return sum(r.sequence.num_made for r in self.rollouts)


@dataclass(frozen=True)
class Asked:
    """A problem as it is put to the model. `name` keys its random numbers: equal names, equal samples."""

    problem: Problem
    suite: str
    prompt: list[int]
    name: str


def ask(
    template: Template,
    problem: Problem,
    suite: str,
    system: str | None,
    name: str,
    tools: Toolbox | None = None,
) -> Asked:
    messages = [*system_turn(system, tools), Message(role="user", content=problem.prompt)]
    return Asked(problem, suite, template.render(messages, add_generation_prompt=True).ids, name)


def sample(
    generator: Generator,
    asked: Many[Asked],
    params: SamplingParams,
    lm: LanguageModel | None = None,
    tools: Toolbox | None = None,
) -> list[Many[Completion]]:
    done = dict(as_sampled(generator, asked, params, lm, tools))
    return [done[place] for place in range(len(asked))]


def as_sampled(
    generator: Generator,
    asked: Many[Asked],
    params: SamplingParams,
    lm: LanguageModel | None = None,
    tools: Toolbox | None = None,
) -> Iterator[tuple[int, Many[Completion]]]:
    """(place in `asked`, its samples), as they are finished. `tools` need the `lm`: its template writes their
    results. Whatever ends it early leaves the generator empty."""
    if tools is not None:
        assert lm is not None
        prompts, names = [a.prompt for a in asked], [a.name for a in asked]
        yield from play(generator, lm, tools, prompts, params, names)
        return
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
            parsed[row] = reply_of(template, completion)
            rows.append((row, item.problem, parsed[row]))
    verdicts = judge.score(rows)
    result = []
    for item, samples in zip(asked, completions, strict=True):
        names = [f"{item.name}/{i}" for i in range(len(samples))]
        judged = [(c, parsed[r], verdicts[r]) for c, r in zip(samples, names, strict=True)]
        result.append((item, judged))
    return result


def sequence_of(prompt: list[int], completion: Completion, row_id: str) -> Sequence:
    several = isinstance(completion, Episode)
    return Sequence(
        prompt,
        completion.ids,
        completion.logprobs,
        completion.weights_version,
        row_id,
        completion.routing,
        completion.finish_reason.value,
        completion.trained if several else None,
        completion.calls if several else None,
    )


def left_out(verdict: Verdict) -> bool:
    """Faults of the scorer are no evidence about the answer."""
    return verdict.outcome in (Outcome.TIMEOUT, Outcome.ERROR)
