"""What a pretraining run is told."""

import dataclasses
from typing import Any, Literal

from pydantic import Field

from shoestring.errors import BadInput
from shoestring.jobs.corpus_settings import CorpusSettings, check_corpus
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import EXPERTS, config_from_hf, config_to_hf
from shoestring.models.presets import preset_config
from shoestring.settings import Settings
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings


class PretrainOptim(OptimSettings):
    """AdamW as published (beta 0.9, 0.95, decay 0.1, clipping at 1), warm-up, constant, cosine."""

    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=50, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    constant_share: float = Field(default=0.6, ge=0, lt=1)
    weight_decay: float = Field(default=0.1, ge=0)


class PretrainObjectives(Objectives):
    """The published weights; `late_from` of the steps on, the later ones."""

    mtp_weight: float = Field(default=0.3, ge=0)
    mtp_weight_late: float = Field(default=0.1, ge=0)
    balance_weight: float = Field(default=1e-4, ge=0)
    bias_update_speed: float = Field(default=1e-3, ge=0)
    bias_update_speed_late: float = Field(default=0.0, ge=0)
    late_from: float = Field(default=0.7, ge=0, le=1)  # of the steps: MTP's weight
    still_from: float = Field(default=0.97, ge=0, le=1)  # of the steps: the biases' speed

    def at(self, step: int, total: int) -> Objectives:
        """Of 0-based `step`."""
        done = step / total
        return Objectives(
            mtp_weight=self.mtp_weight_late if done >= self.late_from else self.mtp_weight,
            balance_weight=self.balance_weight,
            bias_update_speed=(
                self.bias_update_speed_late if done >= self.still_from else self.bias_update_speed
            ),
        )


class ArchitectureSettings(Settings):
    """A preset's, and what is to differ from it."""

    preset: str = ""  # from nothing: "tiny", "small", ...
    architecture: dict[str, Any] = Field(default_factory=dict)  # fields of the preset that are to differ
    attention: Literal["mla", "gqa", "mha"] = "mla"  # other than the preset's: see plain_attention


class PretrainSettings(ArchitectureSettings):
    tokenizer: str = ""  # a folder with a tokenizer, "stage:tokenizer"; "": the model's own
    corpus: list[CorpusSettings] = Field(min_length=1)
    model: str = ""  # or go on from this one
    yarn_factor: float = Field(default=0.0, ge=0)  # with `model`: stretch its window so many times first
    steps: int = Field(ge=1)
    sequence_length: int = Field(default=512, ge=2)
    rows_per_step: int = Field(default=16, ge=1)
    ramp_rows_from: int = Field(default=0, ge=0)  # 0: no ramp; else rows of the first step ...
    ramp_steps: int = Field(default=0, ge=0)  # ... which grow to rows_per_step over so many
    document_mask: bool = False  # whether a document may not see the one before it in its row
    micro_batch_tokens: int = Field(default=8192, ge=1)
    optim: PretrainOptim = PretrainOptim()
    objectives: PretrainObjectives = PretrainObjectives()
    numerics: Literal["weights", "fp8"] = "weights"  # of the products; "weights": in the weights' dtype
    validation_every: int = Field(default=100, ge=1)
    validation_documents: int = Field(default=64, ge=1)
    samples: int = Field(default=8, ge=0)  # continuations written at each validation
    sample_tokens: int = Field(default=64, ge=1)
    seed: int = 0
    save_every: int = Field(default=100, ge=1)
    dtype: str = "auto"
    device: str = "cpu"


def check(settings: PretrainSettings) -> object:
    """What can be refused before anything runs."""
    if bool(settings.preset) == bool(settings.model):
        raise BadInput("pretrain: give either preset (from nothing) or model (to go on from)")
    if settings.preset and not settings.tokenizer:
        raise BadInput("pretrain: a preset needs a tokenizer: a folder, or stage:NAME of a tokenizer stage")
    if settings.yarn_factor and not settings.model:
        raise BadInput("pretrain: yarn_factor stretches the window of a model; give model")
    if settings.architecture and not settings.preset:
        raise BadInput("pretrain: architecture changes a preset; give preset")
    if settings.attention != "mla" and not settings.preset:
        raise BadInput("pretrain: attention changes a preset; give preset")
    if bool(settings.ramp_rows_from) != bool(settings.ramp_steps):
        raise BadInput("pretrain: a batch ramp is ramp_rows_from and ramp_steps, both or neither")
    if settings.ramp_rows_from > settings.rows_per_step:
        raise BadInput(
            f"pretrain: ramp_rows_from {settings.ramp_rows_from} is more than rows_per_step "
            f"{settings.rows_per_step}"
        )
    check_corpus(settings.corpus)
    return planned_config(settings) if settings.preset else None


def planned_config(settings: ArchitectureSettings, **given: Any) -> ModelConfig:
    """The preset with `given`, then `architecture`, then the attention asked for. Raises BadInput, also on
    what a folder's config.json could not say: such a model would train to its end and never load again."""
    config = preset_config(settings.preset, **(given | settings.architecture))
    if settings.attention != "mla":
        config = plain_attention(config, settings.attention)
    again = config_from_hf(config_to_hf(config))
    meaningless = () if config.n_routed_experts else EXPERTS  # what experts would be like, were there any
    for field in dataclasses.fields(ModelConfig):
        if field.name in meaningless:
            continue
        wanted, read = getattr(config, field.name), getattr(again, field.name)
        if wanted != read:
            raise BadInput(
                f"{field.name} = {wanted!r} can't be kept in a {config.model_type} folder: it reads {read!r}"
            )
    return config


def plain_attention(config: ModelConfig, kind: Literal["gqa", "mha"]) -> ModelConfig:
    """Heads as wide as latent attention's values in its place: a key and value head for each query head, or
    (gqa) for every four, and two at least. TOML has no null, so `architecture` can't say this."""
    heads = config.num_attention_heads
    return dataclasses.replace(
        config,
        num_key_value_heads=heads if kind == "mha" else min(heads, max(2, heads // 4)),
        head_dim=config.value_dim,
        q_lora_rank=None,
        kv_lora_rank=None,
        qk_nope_head_dim=0,
        qk_rope_head_dim=0,
        v_head_dim=0,
    )
