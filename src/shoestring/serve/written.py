"""The prompts of /v1/completions: texts or ids, special tokens, and the gap to fill between two texts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.serve.errors import ApiError, refused
from shoestring.serve.schema import CompletionRequest
from shoestring.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Gap:
    """Special tokens for filling in: what stands before the prompt, before the suffix, and after it."""

    prefix: str
    suffix: str
    middle: str


# by the public tokenizers: StarCoder and SmolLM's, Qwen's, DeepSeek's
GAPS = (
    Gap("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    Gap("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    Gap("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)


def read_prompts(request: CompletionRequest, tokenizer: Tokenizer, vocab: int) -> list[list[int]]:
    """Raises ApiError 400."""
    given = request.prompt
    texts: list[str] = [given] if isinstance(given, str) else [p for p in given if isinstance(p, str)]
    begin = tokenizer.opening_ids if request.add_special_tokens is not False else []
    if not texts:
        ids = [p for p in given if isinstance(p, int)]
        prompts = [ids] if ids else [list(p) for p in given if isinstance(p, list)]
        _check_ids(prompts, vocab)
    else:
        special = request.parse_special is not False
        prompts = [begin + encode(tokenizer, text, special) for text in texts]
    if request.suffix is not None:
        if not texts or request.echo:
            raise refused("'suffix' needs a prompt of text, and no 'echo'", "suffix")
        prompts = [[*begin, *filled(tokenizer, text, request.suffix)] for text in texts]
    if not prompts or not all(prompts):
        raise refused("'prompt' is empty; give at least one token", "prompt")
    return prompts


def encode(tokenizer: Tokenizer, text: str, special: bool) -> list[int]:
    """special: read special tokens out of the text; else their spelling is plain letters."""
    if not special or not tokenizer.special_ids:
        return tokenizer.encode(text)
    longest_first = sorted(tokenizer.special_ids, key=len, reverse=True)
    ids: list[int] = []
    for i, part in enumerate(re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)):
        if i % 2:
            ids.append(tokenizer.special_ids[part])
        elif part:
            ids += tokenizer.encode(part) if not ids else tokenizer.encode_after(part, special=True)
    return ids


def filled(tokenizer: Tokenizer, before: str, after: str) -> list[int]:
    """What a model trained to fill in reads: the text before the gap, the one after it, then the gap."""
    for gap in GAPS:
        ids = [tokenizer.token_id(word) for word in (gap.prefix, gap.suffix, gap.middle)]
        if None not in ids:
            prefix, suffix, middle = (i for i in ids if i is not None)
            return [prefix, *tokenizer.encode(before), suffix, *tokenizer.encode(after), middle]
    raise ApiError(
        400,
        "'suffix' isn't supported by this model: its tokenizer has no tokens for filling in",
        "suffix",
        "unsupported_parameter",
    )


def _check_ids(prompts: Sequence[Sequence[int]], vocab: int) -> None:
    for ids in prompts:
        if ids and max(ids) >= vocab:
            raise refused(f"'prompt': token {max(ids)}, and the vocabulary has {vocab}", "prompt")
