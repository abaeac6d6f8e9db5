"""What an engine doesn't take, each in one line with the numbers and what to do."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from shoestring.engine.request import Completion, SamplingParams
from shoestring.engine.scheduler import Scheduler, Step
from shoestring.engine.sequence import NOT_FINITE
from shoestring.errors import BadInput, ShoestringError
from shoestring.models.config import ModelConfig
from shoestring.ops.paged import SPAN


def refuse_prompt(prompt: Sequence[int], params: SamplingParams, config: ModelConfig) -> None:
    """Raises BadInput where the prompt is empty or fills the window, or a bias is for an id past the last."""
    window, words = config.max_position_embeddings, config.vocab_size
    if not prompt:
        raise BadInput("the prompt is empty; give at least one token")
    if len(prompt) >= window:
        raise BadInput(f"the prompt has {len(prompt)} tokens and the model's window is {window}")
    if unknown := [token for token, _ in params.logit_bias if token >= words]:
        raise BadInput(f"logit_bias: token {unknown[0]}, and the model's ids end at {words - 1}")


def all_finite(completions: list[Completion]) -> list[Completion]:
    """Raises ShoestringError where one of them ended for want of a number. A server goes on with its other
    requests; what trains on its samples or scores them has one owner, and its weights a fault."""
    if any(completion.stopped_by == NOT_FINITE for completion in completions):
        raise ShoestringError(
            "the model's logits are not finite (NaN) after one of the prompts: its weights are damaged or "
            "training diverged"
        )
    return completions


def too_small_a_cache(prompt: int, limit: int, blocks: int, cache_gib: float) -> BadInput:
    return BadInput(
        f"a prompt of {prompt:,} tokens and up to {limit:,} to be made don't fit the cache, which "
        f"has room for {blocks * SPAN:,}; lower max_tokens or raise cache_gib (it is {cache_gib:g})"
    )


def refuse_weights(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raises BadInput on a name or shape that the network hasn't, or lacks."""
    for name, tensor in given.items():
        if name not in own:
            raise BadInput(f"weights for '{name}', a tensor that this model doesn't have")
        if tensor.shape != own[name].shape:
            raise BadInput(
                f"weights for '{name}' are {tuple(tensor.shape)}, should be {tuple(own[name].shape)}"
            )
    if missing := [name for name in own if name not in given]:
        raise BadInput(f"weights lack {len(missing)} tensors, the first is '{missing[0]}'")


def why_full(scheduler: Scheduler, step: Step) -> str:
    """The memory didn't do for this step."""
    joining = [s for piece in step.pieces for s in piece.reading.sequences]
    running, read = len(scheduler.running), sum(piece.end - piece.begin for piece in step.pieces)
    limit = max(s.request.limit for s in [*scheduler.running, *joining])
    return (
        f"out of memory while generating: {running} sequences ran, {len(joining)} were joining with "
        f"{read:,} tokens of prompts, each to make at most {limit:,} tokens; lower max_batch (it is "
        f"{scheduler.max_batch}), cache_gib or max_completion_tokens"
    )
