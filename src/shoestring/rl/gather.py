"""One step's groups: problems taken, sampled, judged, and those kept that have something to teach."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel
from shoestring.rl.preference import PreferenceModel
from shoestring.rl.preference_parts import preference_parts
from shoestring.rl.reward import Judged, make_groups
from shoestring.rl.rollout import Asked, Group, as_sampled, judge_groups
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.shuffle import shuffled_verdicts
from shoestring.rl.streams import Streams
from shoestring.tasks.judge import Judge
from shoestring.tasks.tools import Toolbox

PATIENCE = 3


@dataclass(frozen=True)
class Sampler:
    """What makes rollouts: problems, a generator, a judge."""

    settings: GRPOSettings
    lm: LanguageModel  # the generator's, for its template
    generator: Generator
    judge: Judge
    streams: Streams
    preference: PreferenceModel | None = None  # where the settings have one
    tools: Toolbox | None = None  # likewise


@dataclass(frozen=True)
class Gathered:
    """One step's groups, and what making them took."""

    live: list[Group]
    dead: list[Group]
    generate_s: float
    judge_s: float

    @property
    def groups(self) -> list[Group]:
        return [*self.live, *self.dead]

    @property
    def seconds(self) -> float:
        return self.generate_s + self.judge_s

    @property
    def times(self) -> dict[str, float]:
        return {"time/generate": self.generate_s, "time/judge": self.judge_s}


def gather(sampler: Sampler, step: int) -> Gathered:
    """Groups whose rewards differ. Others are dropped and counted, and fresh ones asked for in their
    place; where none is live, in PATIENCE more rounds: one unlucky draw must not end a run."""
    settings = sampler.settings
    live: list[Group] = []
    dead: list[Group] = []
    generate_s = judge_s = 0.0
    rounds = settings.refill_rounds + 1
    for number in range(rounds + PATIENCE):
        missing = settings.prompts_per_step - len(live)
        if missing == 0 or (live and number >= rounds):
            break
        asked = sampler.streams.take(missing, sampler.lm, settings.system, step, sampler.tools)
        made = roll_out(sampler, asked, step)
        for group in made.groups:
            (live if group.live else dead).append(group)
            sampler.streams.saw(group)
        generate_s += made.generate_s
        judge_s += made.judge_s
    return Gathered(live, dead, generate_s, judge_s)


@dataclass(frozen=True)
class RolledOut:
    """judge_s: what judging took after the last token was made; the rest of it ran beside generation."""

    groups: list[Group]
    generate_s: float
    judge_s: float


def roll_out(sampler: Sampler, asked: Sequence[Asked], step: int) -> RolledOut:
    """The asked problems' groups, in their order. A problem's samples are judged while others are still
    being made."""
    settings, template = sampler.settings, sampler.lm.template
    began = time.perf_counter()
    with ThreadPoolExecutor(1, thread_name_prefix="scoring") as scoring:
        scored: dict[int, Future[Judged]] = {}
        params, lm = sampling_params(settings), sampler.lm
        for place, completions in as_sampled(sampler.generator, asked, params, lm, sampler.tools):
            work = (sampler.judge, template, [asked[place]], [completions])
            scored[place] = scoring.submit(judge_groups, *work)
        sampled = time.perf_counter()
        judged = [scored[place].result()[0] for place in range(len(asked))]
    reward = settings.rule()
    shuffled = None
    if reward.kind == "shuffled":
        shuffled = shuffled_verdicts(sampler.judge, judged, settings.seed)
    extra = preference_parts(sampler.preference, settings.preference, judged, step)
    groups = make_groups(judged, reward, template, shuffled, extra)
    return RolledOut(groups, sampled - began, time.perf_counter() - sampled)


def sampling_params(settings: GRPOSettings) -> SamplingParams:
    return SamplingParams(
        max_tokens=settings.max_completion_tokens,
        temperature=settings.temperature,
        n=settings.samples_per_prompt,
        seed=settings.seed,
        record_routing=settings.routing_replay,
    )
