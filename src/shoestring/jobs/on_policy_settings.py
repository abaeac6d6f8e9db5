"""The settings of distillation on the student's own samples."""

from typing import Literal

from pydantic import Field, model_validator

from shoestring.remote.endpoint import ScoringEndpoint
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.preflight import PreflightSettings
from shoestring.rl.settings import GRPOSettings
from shoestring.settings import Settings, build
from shoestring.train.lora import LoRASettings
from shoestring.train.optim import OptimSettings


class OnPolicySettings(Settings):
    """Settings of the same name are grpo's, and mean what they mean there."""

    model: str
    teacher: str | ScoringEndpoint  # a MODEL, or an endpoint that says how likely given text is
    suites: list[str] = Field(min_length=1)  # whose problems the student answers
    steps: int = Field(ge=1)
    permission: str = ""  # in writing, where the teacher's terms bar this or aren't known: text or file
    signal: Literal["token", "distribution"] = "token"  # of the sampled token, or the whole reverse KL
    teacher_weight: float = Field(default=1.0, gt=0)
    task_weight: float = Field(default=0.0, ge=0)  # of the verdict's advantage beside the teacher's; 0: none
    prompts_per_step: int = Field(default=16, ge=1)
    samples_per_prompt: int = Field(default=4, ge=2)
    max_completion_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    system: str | None = None
    loss: PolicyLossSettings = PolicyLossSettings()
    minibatches: int = Field(default=1, ge=1)
    optim: OptimSettings = OptimSettings()
    lora: LoRASettings | None = None
    micro_batch_tokens: int = Field(default=4096, ge=1)
    max_batch: int = Field(default=256, ge=1)
    seed: int = 0
    preflight: PreflightSettings = PreflightSettings(max_truncated=1.0)  # a cut sample teaches too
    save_every: int = Field(default=10, ge=1)
    rollouts_every: int = Field(default=1, ge=1)
    dtype: str = "auto"
    device: str = "cpu"

    @model_validator(mode="after")
    def _one_to_be_held_to(self) -> "OnPolicySettings":
        if self.loss.kl_coefficient:
            raise ValueError("loss.kl_coefficient: the teacher is what the student is held to; leave it out")
        return self

    @model_validator(mode="after")
    def _what_an_endpoint_tells(self) -> "OnPolicySettings":
        if not isinstance(self.teacher, ScoringEndpoint):
            if self.teacher.startswith("http"):
                raise ValueError(
                    "teacher: write an endpoint as a table: { url = ..., model = ..., tokenizer = ... }"
                )
            return self
        if self.signal == "distribution":
            raise ValueError(
                'signal: an endpoint tells of the sampled token alone: "token", or a teacher that is a MODEL'
            )
        if self.temperature != 1:
            raise ValueError("temperature: an endpoint's logprobs are at 1, so the samples must be too")
        return self

    def policy(self) -> GRPOSettings:
        """What the parts of RL that are used here are told."""
        own = {"teacher", "permission", "signal", "teacher_weight", "task_weight", "preflight"}
        values = self.model_dump(exclude=own, exclude_unset=True)
        given = {"prompts_per_step", "samples_per_prompt", "max_completion_tokens", "micro_batch_tokens"}
        values |= {name: getattr(self, name) for name in given}
        return build(GRPOSettings, values | {"preflight": self.preflight}, "distill")
