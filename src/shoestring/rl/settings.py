"""What a grpo stage can be told."""

from typing import Literal

from pydantic import Field, model_validator

from shoestring.rl.held_out import HeldOutSettings
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.preflight import PreflightSettings
from shoestring.rl.reward import Reward
from shoestring.rl.reward_settings import PartSettings, RewardKind, ShapeSettings
from shoestring.rl.trips import TripSettings
from shoestring.settings import Settings
from shoestring.tasks.tools import ToolName
from shoestring.train.lora import LoRASettings
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings

PART = "preference"  # the reward model's part of the reward


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
    template: Literal["model", "r1-zero"] = "model"  # r1-zero: the paper's dialogue, which the model keeps
    tools: list[ToolName] = Field(default_factory=list)  # that replies may call; docs/tools.md
    max_tool_calls: int = Field(4, ge=1)  # in one reply
    truncated: Literal["wrong", "left_out"] = "wrong"  # what a cut answer counts as
    reward: RewardKind = "task"  # "random", "format" and "shuffled" are controls
    shape: ShapeSettings = ShapeSettings()  # what is paid besides the verdict
    preference: PreferenceSettings | None = None
    red_team: bool = True  # refuse a reward that pays for replies made without solving
    red_team_margin: float = Field(0.05, ge=0, lt=1)  # of the full mark, above an honest wrong reply's
    preflight: PreflightSettings = PreflightSettings()
    trips: TripSettings = TripSettings()
    held_out: HeldOutSettings = HeldOutSettings()
    refill_rounds: int = Field(1, ge=0)  # times that dropped groups are replaced by fresh ones in a step
    loss: PolicyLossSettings = PolicyLossSettings()
    minibatches: int = Field(1, ge=1)  # optimizer steps that a sampling's groups are shared out to
    reference_refresh_steps: int = Field(0, ge=0)  # steps after which the reference is the model; 0: never
    optim: OptimSettings = OptimSettings()
    objectives: Objectives = Objectives()
    lora: LoRASettings | None = None  # train an adapter; None: the whole model
    routing_replay: bool = False  # train with the experts that the sampler took (mixtures of experts)
    micro_batch_tokens: int = Field(4096, ge=1)
    rehearsal: bool = True  # a thrown-away step with the longest rows first, so that memory runs out at once
    max_batch: int = Field(256, ge=1)
    seed: int = 0
    save_every: int = Field(10, ge=1)
    rollouts_every: int = Field(1, ge=1)  # more keeps fewer steps: the first, the last, every such one
    dtype: str = "auto"
    device: str = "cpu"

    @model_validator(mode="after")
    def _fits_together(self) -> "GRPOSettings":
        if self.minibatches > self.prompts_per_step:
            raise ValueError(
                f"minibatches = {self.minibatches} is more than prompts_per_step = {self.prompts_per_step}: "
                "each mini-batch needs a group of its own"
            )
        if self.reference_refresh_steps and not self.loss.kl_coefficient:
            raise ValueError("reference_refresh_steps without loss.kl_coefficient: there is no reference")
        if self.reference_refresh_steps and self.lora:
            raise ValueError("reference_refresh_steps with lora: its reference is the model without adapters")
        return self

    def rule(self) -> Reward:
        """How this run pays a sample."""
        shape = self.shape
        if self.preference is not None and self.reward == "task":  # controls are blind to it
            own = {PART: PartSettings(weight=self.preference.weight, gate="none")}
            shape = shape.model_copy(update={"named": {**shape.named, **own}})
        return Reward(self.reward, self.truncated, self.seed, shape, self.max_completion_tokens)
