"""What a grpo stage can be told."""

from typing import Literal

from pydantic import Field

from shoestring.rl.loss import PolicyLossSettings
from shoestring.rl.reward import Reward
from shoestring.rl.reward_settings import RewardKind, ShapeSettings
from shoestring.settings import Settings
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings


class GRPOSettings(Settings):
    model: str
    suites: list[str] = Field(min_length=1)  # drawn where groups are mixed
    steps: int = Field(ge=1)
    prompts_per_step: int = Field(16, ge=1)
    samples_per_prompt: int = Field(16, ge=2)
    max_completion_tokens: int = Field(64, ge=1)
    temperature: float = Field(1.0, gt=0)
    system: str | None = None  # None: the template's own
    truncated: Literal["wrong", "left_out"] = "wrong"  # what a cut answer counts as
    reward: RewardKind = "task"  # "random", "format" and "shuffled" are controls
    shape: ShapeSettings = ShapeSettings()  # what is paid besides the verdict
    red_team: bool = True  # refuse a reward that pays for replies made without solving
    red_team_margin: float = Field(0.05, ge=0, lt=1)  # of the full mark, above an honest wrong reply's
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

    def rule(self) -> Reward:
        """How this run pays a sample."""
        return Reward(self.reward, self.truncated, self.seed, self.shape, self.max_completion_tokens)
