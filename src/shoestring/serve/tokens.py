"""/tokenize and /detokenize, in vLLM's shape."""

from typing import Any

from shoestring.serve.errors import refused
from shoestring.serve.schema import DetokenizeRequest, TokenizeRequest
from shoestring.serve.served import Served
from shoestring.serve.written import encode


def tokenized(request: TokenizeRequest, served: Served) -> dict[str, Any]:
    """Raises ApiError 400."""
    if (request.prompt is None) == (request.messages is None):
        raise refused("send either 'prompt' or 'messages'", "prompt")
    for name in ("tools", "add_generation_prompt"):
        if request.prompt is not None and getattr(request, name) is not None:
            raise refused(f"'{name}' needs 'messages'", name)
    tokenizer = served.lm.tokenizer
    if request.messages is not None:
        ids = served.prompter.conversation_ids(request)
    else:
        begin = tokenizer.opening_ids if request.add_special_tokens is not False else []
        ids = [*begin, *encode(tokenizer, request.prompt or "", request.parse_special is not False)]
    found: dict[str, Any] = {"count": len(ids), "max_model_len": served.window, "tokens": ids}
    if request.return_token_strs:
        found["token_strs"] = [served.spell.text(token) for token in ids]
    return found


def tokenizer_info(served: Served) -> dict[str, Any]:
    """What a client needs of a tokenizer that it hasn't: lm-eval's remote one asks for it."""
    tokenizer, template = served.lm.tokenizer, served.lm.template
    found = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": served.window}
    return {**found, **tokenizer.special.named(), "chat_template": template.source}


def detokenized(request: DetokenizeRequest, served: Served) -> dict[str, Any]:
    """Raises ApiError 400 for an id that isn't in the vocabulary."""
    vocab = served.lm.config.vocab_size
    if request.tokens and max(request.tokens) >= vocab:
        raise refused(f"'tokens': {max(request.tokens)}, and the vocabulary has {vocab}", "tokens")
    return {"prompt": served.lm.tokenizer.decode(request.tokens)}
