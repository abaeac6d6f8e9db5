"""What a grpo stage can be told."""

from typing import Literal

from pydantic import Field

from shoestring.rl.loss import PolicyLossSettings
from shoestring.rl.reward import RewardKind
from shoestring.settings import Settings
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings


class PreferenceSettings(Settings):
    """A reward model's part of the reward: weight * its standardised score, which lies in -3 .. 3."""

    model: str  # the folder of a reward stage, or "stage:NAME"
    weight: float = Field(1.0, gt=0)
    on: Literal["open", "all"] = "open"  # only prompts without a right answer, or all
    from_step: int = Field(1, ge=1)  # R1: the last 400 of 1700 steps, for it can be hacked
    dtype: str = "auto"


class GRPOSettings(Settings):
    model: str
    suites: list[str] = Field(min_length=1)  # drawn where groups are mixed
    late_suites: list[str] = Field(default_factory=list)  # drawn too from step `late_from` on
    late_from: int = Field(1, ge=1)
    steps: int = Field(ge=1)
    prompts_per_step: int = Field(16, ge=1)
    samples_per_prompt: int = Field(16, ge=2)
    max_completion_tokens: int = Field(64, ge=1)
    temperature: float = Field(1.0, gt=0)
    system: str | None = None  # None: the template's own
    truncated: Literal["wrong", "left_out"] = "wrong"  # what a cut answer counts as
    reward: RewardKind = "task"  # "random" and "format" are controls
    preference: PreferenceSettings | None = None
    refill_rounds: int = Field(1, ge=0)  # times that dropped groups are replaced by fresh ones in a step
    loss: PolicyLossSettings = PolicyLossSettings()
    optim: OptimSettings = OptimSettings()
    objectives: Objectives = Objectives()
    routing_replay: bool = False  # train with the experts that the sampler took (mixtures of experts)
    micro_batch_tokens: int = Field(4096, ge=1)
    max_batch: int = Field(256, ge=1)
    seed: int = 0
    save_every: int = Field(10, ge=1)
    rollouts_every: int = Field(5, ge=1)
    dtype: str = "auto"
    device: str = "cpu"
