"""The sampling fields of a body to what the engine is asked."""

import secrets
from collections.abc import Sequence

from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.serve.errors import ApiError, refused
from shoestring.serve.schema import MAX_STOPS, Sampling
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings

MAX_STOP_CHARS = 256
ID_DIGITS = 18  # of a token's id: what is longer is none, and Python reads no number of thousands


def stops_of(request: Sampling) -> tuple[str, ...]:
    """Raises ApiError 400."""
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if len(stops) > MAX_STOPS:
        raise refused(f"{len(stops)} stop strings, at most {MAX_STOPS}", "stop")
    if any(not 0 < len(stop) <= MAX_STOP_CHARS for stop in stops):
        raise refused(f"a stop string has 1 to {MAX_STOP_CHARS} characters", "stop")
    return stops


def params_of(
    request: Sampling,
    served: Served,
    settings: ServeSettings,
    total: int,
    alternatives: int,
) -> SamplingParams:
    """total: tokens that may be made. alternatives: to be told of each. Raises ApiError 400, which names the
    field."""
    n = request.n or 1
    if n > settings.max_n:
        raise refused(f"n {n} is above this server's {settings.max_n}", "n")
    vocab, own = served.lm.config.vocab_size, served.lm.generation
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    stop_ids = None
    if request.stop_token_ids:
        _in_vocabulary(request.stop_token_ids, vocab, "stop_token_ids")
        stop_ids = tuple(dict.fromkeys([*served.lm.template.stop_ids, *request.stop_token_ids]))
    try:
        return SamplingParams(
            max_tokens=total,
            temperature=_or(request.temperature, _or(settings.temperature, own.temperature)),
            top_p=_or(request.top_p, _or(settings.top_p, own.top_p)),
            top_k=own.top_k if request.top_k is None else max(0, request.top_k),
            min_p=request.min_p or 0.0,
            n=n,
            seed=seed,
            stop_token_ids=stop_ids,
            ignore_eos=bool(request.ignore_eos),
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            repetition_penalty=_or(request.repetition_penalty, 1.0),
            logit_bias=_biases(request, vocab),
            top_logprobs=alternatives,
        )
    except BadInput as error:
        raise ApiError(400, str(error)) from None


def _biases(request: Sampling, vocab: int) -> tuple[tuple[int, float], ...]:
    if not request.logit_bias:
        return ()
    if not all(t.isascii() and t.isdigit() and len(t) <= ID_DIGITS for t in request.logit_bias):
        raise refused("'logit_bias' has token ids as keys", "logit_bias")
    biases = tuple((int(token), bias) for token, bias in request.logit_bias.items())
    _in_vocabulary([token for token, _ in biases], vocab, "logit_bias")
    return biases


def _in_vocabulary(ids: Sequence[int], vocab: int, param: str) -> None:
    if (worst := max(ids)) >= vocab:
        raise refused(f"'{param}': token {worst}, and the vocabulary has {vocab}", param)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
