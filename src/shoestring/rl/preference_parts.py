"""A step's samples through the reward model: the part "preference" of their rewards, and its metrics."""

from collections.abc import Mapping, Sequence
from statistics import correlation, mean

from shoestring.engine.request import Completion
from shoestring.rl.preference import PreferenceModel
from shoestring.rl.redteam import Asker
from shoestring.rl.reward import Extra
from shoestring.rl.rollout import Asked, Group, Rollout
from shoestring.rl.settings import PART, PreferenceSettings
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.text.message import Message, Reply

Judged = Sequence[tuple[Asked, list[tuple[Completion, Reply, Verdict]]]]


def preference_parts(
    model: PreferenceModel | None, settings: PreferenceSettings | None, judged: Judged, step: int
) -> dict[str, dict[str, float]]:
    """{"preference": {row_id: score}} of the samples that the settings ask it for at this step: of prompts
    without a right answer, or of all. The question is the problem's; a system prompt is no part of it."""
    if model is None or settings is None or step < settings.from_step:
        return {}
    rows: list[tuple[str, Sequence[Message], Reply]] = []
    for asked, samples in judged:
        question = [Message(role="user", content=asked.problem.prompt)]
        for i, (_, reply, verdict) in enumerate(samples):
            if settings.on == "all" or verdict.outcome is Outcome.OPEN:
                rows.append((f"{asked.name}/{i}", question, reply))
    return {PART: model.score(rows)}


def preference_asker(model: PreferenceModel | None, settings: PreferenceSettings | None) -> Asker | None:
    """What the red team asks where checkable answers are paid by the reward model too."""
    if model is None or settings is None or settings.on != "all":
        return None

    def ask(rows: Sequence[tuple[str, Problem, Reply]]) -> Extra:
        return {PART: model.score([(n, [Message(role="user", content=p.prompt)], r) for n, p, r in rows])}

    return ask


def preference_metrics(groups: Sequence[Group], too_long: int) -> dict[str, float]:
    """preference/mean of all that were scored; of checkable ones preference/corr_correct, with being right,
    and of all preference/corr_length, with the completion's tokens. A correlation of what doesn't vary is
    left out. Empty where nothing was scored."""
    rollouts = [r for g in groups for r in g.rollouts if PART in r.parts]
    if not rollouts:
        return {}
    checkable = [r for r in rollouts if r.verdict.outcome is not Outcome.OPEN]
    right = [float(r.verdict.outcome is Outcome.RIGHT) for r in checkable]
    lengths = [float(r.sequence.num_made) for r in rollouts]
    found: Mapping[str, float | None] = {
        "preference/mean": mean(_scores(rollouts)),
        "preference/corr_correct": _correlation(_scores(checkable), right),
        "preference/corr_length": _correlation(_scores(rollouts), lengths),
        "preference/too_long": float(too_long),
    }
    return {name: value for name, value in found.items() if value is not None}


def _scores(rollouts: Sequence[Rollout]) -> list[float]:
    return [r.parts[PART] for r in rollouts]


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    if len(set(xs)) < 2 or len(set(ys)) < 2:
        return None
    return correlation(xs, ys)
