"""Which policy loss is meant: a name for each published form, and single numbers changed beside it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from shoestring.rl.advantage import Scale
from shoestring.settings import Settings

LossName = Literal["default", "grpo", "dr-grpo", "dapo", "gspo", "cispo"]
Correction = Literal["none", "token_tis", "sequence_tis", "token_mask", "sequence_mask"]

# What each name stands for; docs/losses.md says when to choose which. Where a paper leaves a number open, so
# is said here.
NAMED: dict[str, dict[str, str | float]] = {
    # DAPO without its overlong penalty and without the division by the deviation
    "default": {},
    # DeepSeekMath, arXiv 2402.03300, section 4.1; it doesn't state epsilon, 0.2 is PPO's
    "grpo": {"average": "sequence_mean", "scale": "group_std", "clip_high": 0.2, "kl_coefficient": 0.04},
    # arXiv 2503.20783: neither length nor deviation divides; PPO's epsilon
    "dr-grpo": {"average": "constant", "clip_high": 0.2},
    # arXiv 2503.14476; its overlong penalty and its mask of cut answers are the reward's
    "dapo": {"scale": "group_std"},
    # arXiv 2507.18071: one ratio a sequence, so close to 1 that the clip is of another size
    "gspo": {
        "average": "sequence_mean",
        "scale": "group_std",
        "ratio": "sequence",
        "clip_low": 3e-4,
        "clip_high": 4e-4,
    },
    # MiniMax-M1, arXiv 2506.13585: no lower bound. It doesn't state the upper: 5 is ScaleRL's (2510.13786)
    "cispo": {"scale": "group_std", "clip_low": 1.0, "clip_high": 4.0},
}


class PolicyLossSettings(Settings):
    """The values below are those of "default"; another name brings its own (NAMED), and what stands beside
    a name goes before them."""

    name: LossName = "default"
    average: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    scale: Scale = "none"
    ratio: Literal["token", "sequence"] = "token"
    clip_low: float = Field(default=0.2, gt=0)  # 1 or more: no lower bound
    clip_high: float = Field(default=0.28, gt=0)
    kl_coefficient: float = Field(default=0.0, ge=0)  # beta of the KL to the reference
    correction: Correction = "none"  # of sampler against trainer (rl/correction.py)
    correction_cap: float = Field(default=2.0, gt=1)

    @model_validator(mode="before")
    @classmethod
    def _with_the_names_own(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**NAMED.get(str(values.get("name", "default")), {}), **values}


def formula(settings: PolicyLossSettings) -> str:
    """The loss as it will be computed, on one line, with its numbers. S samples o of the step, R rewards of a
    group, p the model, q the sampler, sg what no gradient goes through."""
    mean = {
        "token_mean": "1/sum|o| sum_o sum_t",
        "sequence_mean": "1/S sum_o 1/|o| sum_t",
        "constant": "1/(S L) sum_o sum_t",
    }[settings.average]
    low = "0" if settings.clip_low >= 1 else f"{1 - settings.clip_low:g}"
    clipped = f"clip(r, {low}, {1 + settings.clip_high:g})"
    term = f"sg({clipped}) A log p(t)" if settings.name == "cispo" else f"min(r A, {clipped} A)"
    if settings.correction != "none":
        term = f"c {term}"
    if settings.kl_coefficient:
        term = f"{term} - {settings.kl_coefficient:g} k3(t)"
    ratio = "p(t)/p_old(t)" if settings.ratio == "token" else "(p(o)/p_old(o))^(1/|o|)"
    advantage = "R - mean R" if settings.scale == "none" else "(R - mean R) / std R"
    parts = [f"{settings.name}: -{mean} [{term}]", f"r = {ratio}", f"A = {advantage}"]
    if settings.correction != "none":
        parts.append(f"c = {_correction(settings)}")
    return ", ".join(parts)


def _correction(settings: PolicyLossSettings) -> str:
    level, kind = settings.correction.split("_")
    ratio = f"p_old({'t' if level == 'token' else 'o'})/q({'t' if level == 'token' else 'o'})"
    cap = settings.correction_cap
    return f"min({ratio}, {cap:g})" if kind == "tis" else f"{ratio} within {1 / cap:g} .. {cap:g}, else 0"
