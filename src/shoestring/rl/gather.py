"""One step's groups: problems taken, sampled, judged, and those kept that have something to teach."""

import time
from dataclasses import dataclass

from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel
from shoestring.rl.preference import PreferenceModel
from shoestring.rl.preference_parts import preference_parts
from shoestring.rl.reward import make_groups
from shoestring.rl.rollout import Group, judge_groups, sample
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
    def times(self) -> dict[str, float]:
        return {"time/generate": self.generate_s, "time/judge": self.judge_s}


def gather(sampler: Sampler, step: int) -> Gathered:
    """The step's groups whose rewards differ. Others are dropped and counted, and fresh ones asked for in
    their place; where none is live, in PATIENCE more rounds: one unlucky draw must not end a run."""
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
        params = SamplingParams(
            max_tokens=settings.max_completion_tokens,
            temperature=settings.temperature,
            n=settings.samples_per_prompt,
            seed=settings.seed,
            record_routing=settings.routing_replay,
        )
        began = time.perf_counter()
        completions = sample(sampler.generator, asked, params, sampler.lm, sampler.tools)
        sampled = time.perf_counter()
        judged = judge_groups(sampler.judge, sampler.lm.template, asked, completions)
        reward = settings.rule()
        shuffled = (
            shuffled_verdicts(sampler.judge, judged, settings.seed) if reward.kind == "shuffled" else None
        )
        extra = preference_parts(sampler.preference, settings.preference, judged, step)
        for group in make_groups(judged, reward, sampler.lm.template, shuffled, extra):
            (live if group.live else dead).append(group)
            sampler.streams.saw(group)
        generate_s += sampled - began
        judge_s += time.perf_counter() - sampled
    return Gathered(live, dead, generate_s, judge_s)
