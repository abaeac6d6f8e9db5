"""The network that pretraining begins with: a preset with random weights, or a model that goes on."""

import dataclasses
from pathlib import Path

from shoestring.errors import BadInput
from shoestring.jobs.pretrain_settings import ArchitectureSettings, PretrainSettings, planned_config
from shoestring.lm import LanguageModel, load, precision
from shoestring.model_files import load_template
from shoestring.models.config import ModelConfig, RopeScaling
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer


def new_model(settings: PretrainSettings) -> LanguageModel:
    """Random weights, the same for the same seed."""
    dtype = precision(settings.dtype, settings.device)
    tokenizer, template = load_template(Path(settings.tokenizer))
    lm = random_model(settings, tokenizer, template, settings.sequence_length, settings.seed)
    lm.network.to(settings.device, dtype)
    return lm


def random_model(
    settings: ArchitectureSettings, tokenizer: Tokenizer, template: Template, window: int, seed: int
) -> LanguageModel:
    """In float32 on the CPU, with nothing in its lineage. window: the longest sequence it is to read. Raises
    BadInput where the architecture has no room for that or for the tokenizer."""
    given = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": window}
    config = planned_config(settings, **given)
    scaling = config.rope_scaling
    if scaling is not None and window <= scaling.original_max_position_embeddings:
        config = dataclasses.replace(config, rope_scaling=None)  # stretching is the extension stage's
    config = dataclasses.replace(
        config,
        bos_token_id=tokenizer.token_id(tokenizer.special.bos) if tokenizer.special.bos else None,
        eos_token_id=template.stop_ids,
    )
    if config.vocab_size < tokenizer.vocab_size:
        raise BadInput(
            f"architecture.vocab_size {config.vocab_size} is less than the tokenizer's {tokenizer.vocab_size}"
        )
    if window > config.max_position_embeddings:
        raise BadInput(
            f"sequence_length {window} is more than the architecture's "
            f"max_position_embeddings {config.max_position_embeddings}"
        )
    network = Transformer(config)
    network.init_weights(seed)
    return LanguageModel(network, tokenizer, template, config, Lineage(()), settings.preset)


def continued_model(settings: PretrainSettings) -> LanguageModel:
    """A model to go on from, its window stretched by YaRN where that is asked for."""
    lm = load(settings.model, dtype=settings.dtype, device=settings.device)
    if settings.tokenizer:
        other, _ = load_template(Path(settings.tokenizer))
        if difference := lm.tokenizer.first_difference(other):
            raise BadInput(
                f"the tokenizer {settings.tokenizer} is not {settings.model}'s ({difference}): leave it out"
            )
    if settings.yarn_factor:
        lm.network.stretch(stretched(lm.config, settings.yarn_factor))
        lm.config = lm.network.config
    if settings.sequence_length > lm.config.max_position_embeddings:
        give = "a larger" if settings.yarn_factor else "a"
        raise BadInput(
            f"sequence_length {settings.sequence_length} is more than the window of {settings.model}, "
            f"{lm.config.max_position_embeddings}: give {give} yarn_factor"
        )
    return lm


def stretched(config: ModelConfig, factor: float) -> ModelConfig:
    """The config with YaRN over `factor` times the window, as DeepSeek-V3 has it (beta 32 and 1, mscale 1):
    latent attention takes its temperature into the softmax scale, plain attention into cos and sin."""
    if config.rope_scaling is not None:
        raise BadInput("yarn_factor: the model's positions are stretched already")
    window = config.max_position_embeddings
    temperature = {"mscale": 1.0, "mscale_all_dim": 1.0} if config.is_mla else {}
    scaling = RopeScaling("yarn", factor, original_max_position_embeddings=window, **temperature)
    return dataclasses.replace(config, rope_scaling=scaling, max_position_embeddings=round(window * factor))
