"""Why rewards are zero: a sample of them, each put in one class, so that a run that learns nothing says
what its replies lack."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shoestring.rl.rollout import Group, Rollout, left_out
from shoestring.tasks.base import Outcome
from shoestring.tasks.judge import Judge

SAMPLED = 20
SHOWN_CHARS = 160


class Why(StrEnum):
    CUT = "cut at the limit"
    UNCLOSED = "thinking never closed"
    EMPTY = "ended with nothing said"
    UNREAD = "no answer that could be read"
    KINDLY = "right only when read kindly"
    OTHER = "an answer, and not the right one"
    FAILED = "the scorer failed"
    UNPAID = "right, and paid nothing"


ADVICE = {
    Why.CUT: "raise max_completion_tokens or ask for less",
    Why.UNCLOSED: "teach the form first: a cold start (sft)",
    Why.EMPTY: "teach the form first: a cold start (sft)",
    Why.UNREAD: "teach the answer's form first (sft), or ask for it in `system`",
    Why.KINDLY: "say in `system` how an answer is to be stated, or teach it (sft)",
    Why.OTHER: "choose an easier level, or a cold start with worked solutions (sft)",
    Why.FAILED: "look at the scorer: what it raised stands in the rollouts' column `detail`",
    Why.UNPAID: "look at the reward's parts and their gates",
}


@dataclass(frozen=True)
class Explanation:
    """counts: the sampled zero rewards by class, the most frequent first. examples: the first completion
    met of each class, shortened."""

    zero: int
    total: int
    counts: dict[Why, int]
    examples: dict[Why, str]

    @property
    def main(self) -> Why | None:
        return next(iter(self.counts), None)

    def lines(self) -> list[str]:
        """For the user: one line of shares, one with an example and advice for the largest class."""
        if self.main is None:
            return [f"none of {self.total} rewards is zero"]
        sampled = sum(self.counts.values())
        shares = ", ".join(f"{why} {count}" for why, count in self.counts.items())
        return [
            f"{self.zero} of {self.total} rewards are zero; of {sampled} looked at: {shares}",
            f"  e.g. {self.examples[self.main]!r}: {ADVICE[self.main]}",
        ]


def explain(groups: Sequence[Group], judge: Judge) -> Explanation:
    """Of the zero rewards, SAMPLED chosen by the hash of their row. What was not read is judged once more as
    a kind reader would, so that a strict verifier and a model without an answer are told apart."""
    rollouts = [r for g in groups for r in g.rollouts]
    zero = [r for r in rollouts if not r.reward]  # None too: what is left out earns nothing either
    zero.sort(key=lambda r: hashlib.sha256(r.sequence.row_id.encode()).hexdigest())
    sampled = zero[:SAMPLED]
    unsure = [r for r in sampled if _plain(r) in (Why.UNREAD, Why.OTHER)]
    kindly = judge.score([(r.sequence.row_id, r.problem, r.reply) for r in unsure], lenient=True)
    found: Counter[Why] = Counter()
    examples: dict[Why, str] = {}
    for rollout in sampled:
        why = _plain(rollout)
        row = rollout.sequence.row_id
        if row in kindly and kindly[row].outcome is Outcome.RIGHT:
            why = Why.KINDLY
        found[why] += 1
        examples.setdefault(why, _shown(rollout))
    return Explanation(len(zero), len(rollouts), dict(found.most_common()), examples)


def _plain(rollout: Rollout) -> Why:
    reply, verdict = rollout.reply, rollout.verdict
    if reply.cut:
        return Why.CUT
    if left_out(verdict):
        return Why.FAILED
    if verdict.outcome is Outcome.RIGHT:
        return Why.UNPAID
    if not reply.answer.strip():
        return Why.UNCLOSED if reply.reasoning else Why.EMPTY
    return Why.UNREAD if verdict.outcome is Outcome.UNPARSED else Why.OTHER


def _shown(rollout: Rollout) -> str:
    text = rollout.reply.answer.strip() or (rollout.reply.reasoning or "").strip()
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS // 2]} ... {text[-SHOWN_CHARS // 2 :]}"
