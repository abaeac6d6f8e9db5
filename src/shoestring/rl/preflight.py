"""Before step 1: a handful of problems asked as training will ask them, and what that says about the run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from shoestring.engine.generator import Generator
from shoestring.engine.request import Completion, SamplingParams
from shoestring.rl.rollout import Group
from shoestring.settings import Settings
from shoestring.tasks.base import Outcome

ENOUGH = 0.95  # of the replies should fit under the cap
LONGER = 3  # times the cap that cut replies are given to end in
FOLLOWED = 64  # cut replies that are followed


class PreflightSettings(Settings):
    """prompts 0: no preflight, and no right answers read back. A run whose replies are cut more often than
    `max_truncated` is refused."""

    prompts: int = Field(default=16, ge=0)
    max_truncated: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class Preflight:
    """rates are of samples, pass_at_g of problems. cap: how many tokens hold ENOUGH of the replies; None
    where that is beyond (1 + LONGER) times today's."""

    prompts: int
    samples: int
    max_tokens: int
    truncated: float
    unparsed: float
    live: float  # share of groups that would teach
    pass_at_1: float
    pass_at_g: float
    rewards: dict[str, int]
    cap: int | None
    seconds: float
    tokens: int

    def lines(self) -> list[str]:
        histogram = ", ".join(f"{reward}: {count}" for reward, count in self.rewards.items())
        cap = f"more than {(1 + LONGER) * self.max_tokens}" if self.cap is None else str(self.cap)
        said = [
            f"preflight, {self.prompts} problems x {self.samples}: {self.truncated:.0%} truncated at "
            f"{self.max_tokens} tokens (a cap of {cap} would hold {ENOUGH:.0%}), {self.unparsed:.0%} without "
            f"an answer that could be read, pass@1 {self.pass_at_1:.0%}, pass@{self.samples} "
            f"{self.pass_at_g:.0%}, {self.live:.0%} of the groups mixed; rewards {histogram}",
        ]
        if self.pass_at_g == 0:
            said.append(
                f"  not one of {self.prompts * self.samples} samples is right: a cold start first (an sft "
                "stage on worked solutions, or an easier level), for RL can only strengthen what happens"
            )
        return said

    def refusal(self, settings: PreflightSettings) -> str | None:
        if self.truncated <= settings.max_truncated:
            return None
        cap = "a much higher one" if self.cap is None else f"about {self.cap}"
        return (
            f"{self.truncated:.0%} of the replies are truncated at {self.max_tokens} tokens, so nearly all "
            f"that is learnt would be about length: set max_completion_tokens to {cap}, teach shorter "
            "answers first (sft), or set preflight.max_truncated = 1 to go on all the same"
        )


def measure(groups: Sequence[Group], max_tokens: int, lengths: Sequence[float], seconds: float) -> Preflight:
    """lengths: of all replies to their end, cut ones' followed (infinite where they didn't end)."""
    rollouts = [r for g in groups for r in g.rollouts]
    right = [[r.verdict.outcome is Outcome.RIGHT for r in g.rollouts] for g in groups]
    count = len(rollouts)
    paid = Counter("left out" if r.reward is None else f"{r.reward:.3g}" for r in rollouts)
    fits = sorted(lengths)[max(0, -(-int(1000 * ENOUGH) * len(lengths) // 1000) - 1)]
    return Preflight(
        prompts=len(groups),
        samples=len(groups[0].rollouts),
        max_tokens=max_tokens,
        truncated=sum(r.reply.cut for r in rollouts) / count,
        unparsed=sum(r.verdict.outcome is Outcome.UNPARSED for r in rollouts) / count,
        live=sum(g.live for g in groups) / len(groups),
        pass_at_1=sum(map(sum, right)) / count,
        pass_at_g=sum(map(any, right)) / len(groups),
        rewards=dict(sorted(paid.items())),
        cap=None if fits == float("inf") else int(fits),
        seconds=seconds,
        tokens=sum(r.sequence.num_made for r in rollouts),
    )


def follow(generator: Generator, groups: Sequence[Group], params: SamplingParams, window: int) -> list[float]:
    """Every reply's length to its end. Of the cut ones up to FOLLOWED go on from where they were cut, for
    LONGER times the cap; the rest are given the lengths of those, in turn."""
    rollouts = [r for g in groups for r in g.rollouts]
    lengths: list[float] = [len(r.sequence.ids) for r in rollouts if not r.reply.cut]
    cut = [r for r in rollouts if r.reply.cut]
    room = params.max_tokens * LONGER
    begun = [[*r.sequence.prompt, *r.sequence.ids] for r in cut[:: max(1, len(cut) // FOLLOWED)][:FOLLOWED]]
    begun = [ids for ids in begun if len(ids) < window]
    longer = replace(params, n=1, max_tokens=room, record_routing=False)
    names = [f"preflight/{i}" for i in range(len(begun))]
    rests = [samples[0] for samples in generator.generate(begun, longer, names)] if begun else []
    followed = [_whole(rest, params.max_tokens) for rest in rests]
    return lengths + [followed[i % len(followed)] if followed else float("inf") for i in range(len(cut))]


def _whole(rest: Completion, before: int) -> float:
    return float("inf") if rest.cut else before + len(rest.ids)
