"""A request's body to what the engine is asked and how the reply is to be read. Pure: no server, no
engine."""

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoestring.engine.guides import State
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.serve.errors import ApiError, refused
from shoestring.serve.guides import Steered, steer
from shoestring.serve.limits import Bounds, Limits, chat_limits, thinking_wanted, total_tokens
from shoestring.serve.schema import MAX_STOPS, ChatRequest, CompletionRequest, ReasoningField, Sampling
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings
from shoestring.serve.structure import structure_of, tool_structure
from shoestring.serve.tools import ToolUse, tool_use
from shoestring.serve.written import read_prompts

MAX_STOP_CHARS = 256


@dataclass(frozen=True)
class Plan:
    """prompts: for each the ids that the engine gets. The rest says how replies are read and shown."""

    prompts: list[list[int]]
    params: SamplingParams
    limits: Limits
    steered: Steered
    state: State = "answer"
    stops: tuple[str, ...] = ()
    use: ToolUse = field(default_factory=ToolUse)
    chat: bool = True
    stream: bool = False
    usage_chunk: bool = False
    fields: ReasoningField | None = None  # None: the thinking isn't sent
    logprobs: int | None = None  # alternatives of each token to show; None: no logprobs
    echo: bool = False
    made_shown: bool = True  # False: max_tokens 0, nothing but the prompt
    user: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def applied(self) -> dict[str, Any]:
        """What held for the reply, defaults among it."""
        p = self.params
        return {
            **self.limits.to_json(),
            "temperature": p.temperature,
            "top_p": p.top_p,
            "top_k": p.top_k,
            "min_p": p.min_p,
            "seed": p.seed,
            "logprobs_of": p.logprob_meaning,
        }


def plan_chat(request: ChatRequest, served: Served, settings: ServeSettings, most: int | None = None) -> Plan:
    """most: tokens that this key's replies may have. Raises ApiError 400, which names the field."""
    use, thinking = tool_use(request), thinking_wanted(request)
    structure = structure_of(request.response_format)
    if structure is not None and use.functions:
        raise refused("'response_format' beside 'tools' isn't supported", "response_format")
    if structure is None:
        lm = served.lm
        structure = tool_structure(use, lm.template.tool_form, lm.tokenizer.special_ids)
    if request.top_logprobs is not None and not request.logprobs:
        raise refused("'top_logprobs' needs 'logprobs': true", "top_logprobs")
    prompt = served.prompter.chat(request, use, thinking)
    room = _room(prompt.ids, served.window, "messages")
    reading = served.readings[prompt.state]
    bounds = Bounds(settings.max_tokens, most, settings.answer_reserve)
    limits = chat_limits(request, bounds, room, len(reading.closing), thinking)
    stops = _stops(request)
    guarded = settings.loop_guard if request.loop_guard is None else request.loop_guard
    steered = steer(reading, served, limits, stops, structure, guarded)
    params = _params(request, served, settings, limits.total, steered, request.top_logprobs or 0)
    shown = request.include_reasoning is not False
    return Plan(
        [prompt.ids],
        params,
        limits,
        steered,
        prompt.state,
        stops,
        use,
        stream=bool(request.stream),
        usage_chunk=_usage_chunk(request),
        fields=(request.reasoning_field or settings.reasoning_field) if shown else None,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        user=request.user or "",
        headers={"X-Reasoning-History": f"kept {prompt.kept}, dropped {prompt.dropped}"},
    )


def plan_completion(
    request: CompletionRequest, served: Served, settings: ServeSettings, most: int | None = None
) -> Plan:
    """Raises ApiError 400, which names the field."""
    prompts = read_prompts(request, served.lm.tokenizer, served.lm.config.vocab_size)
    if len(prompts) > settings.max_prompts:
        raise refused(f"{len(prompts)} prompts in one request, at most {settings.max_prompts}", "prompt")
    n = request.n or 1
    if request.best_of not in (None, n):
        raise refused("'best_of' other than n isn't supported", "best_of", "unsupported_parameter")
    room = min(_room(ids, served.window, "prompt") for ids in prompts)
    made_shown = request.max_tokens != 0
    if not made_shown and not request.echo:
        raise refused("'max_tokens' 0 without 'echo' asks for nothing", "max_tokens")
    asked = request.max_tokens if made_shown else 1
    total, window = total_tokens(asked, Bounds(settings.max_tokens, most), room)
    stops, structure = _stops(request), structure_of(request.response_format)
    limits = Limits(total, window=window)
    steered = steer(served.readings["answer"], served, limits, stops, structure, bool(request.loop_guard))
    params = _params(request, served, settings, total, steered, request.logprobs or 0)
    if request.echo and request.logprobs is not None:
        params = dataclasses.replace(params, prompt_logprobs=request.logprobs)
    return Plan(
        prompts,
        params,
        limits,
        steered,
        stops=stops,
        chat=False,
        stream=bool(request.stream),
        usage_chunk=_usage_chunk(request),
        logprobs=request.logprobs,
        echo=bool(request.echo),
        made_shown=made_shown,
        user=request.user or "",
    )


def _room(ids: Sequence[int], window: int, param: str) -> int:
    """Tokens that the window leaves for a reply."""
    if len(ids) >= window:
        raise refused(
            f"the prompt has {len(ids)} tokens and the model's window is {window}; nothing was cut, send "
            "less",
            param,
            "context_length_exceeded",
        )
    return window - len(ids)


def _stops(request: Sampling) -> tuple[str, ...]:
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if len(stops) > MAX_STOPS:
        raise refused(f"{len(stops)} stop strings, at most {MAX_STOPS}", "stop")
    if any(not 0 < len(stop) <= MAX_STOP_CHARS for stop in stops):
        raise refused(f"a stop string has 1 to {MAX_STOP_CHARS} characters", "stop")
    return stops


def _usage_chunk(request: Sampling) -> bool:
    if request.stream_options is not None and not request.stream:
        raise refused("'stream_options' needs 'stream': true", "stream_options")
    return request.stream_options is not None and bool(request.stream_options.include_usage)


def _params(
    request: Sampling,
    served: Served,
    settings: ServeSettings,
    total: int,
    steered: Steered,
    alternatives: int,
) -> SamplingParams:
    n = request.n or 1
    if n > settings.max_n:
        raise refused(f"n {n} is above this server's {settings.max_n}", "n")
    vocab = served.lm.config.vocab_size
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    stop_ids = None
    if request.stop_token_ids:
        _in_vocabulary(request.stop_token_ids, vocab, "stop_token_ids")
        stop_ids = tuple(dict.fromkeys([*served.lm.template.stop_ids, *request.stop_token_ids]))
    try:
        return SamplingParams(
            max_tokens=total,
            temperature=_or(request.temperature, settings.temperature),
            top_p=_or(request.top_p, settings.top_p),
            top_k=max(0, request.top_k or 0),
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
            guide=steered.guide,
        )
    except BadInput as error:
        raise ApiError(400, str(error)) from None


def _biases(request: Sampling, vocab: int) -> tuple[tuple[int, float], ...]:
    if not request.logit_bias:
        return ()
    if not all(token.isascii() and token.isdigit() for token in request.logit_bias):
        raise refused("'logit_bias' has token ids as keys", "logit_bias")
    biases = tuple((int(token), bias) for token, bias in request.logit_bias.items())
    _in_vocabulary([token for token, _ in biases], vocab, "logit_bias")
    return biases


def _in_vocabulary(ids: Sequence[int], vocab: int, param: str) -> None:
    if (worst := max(ids)) >= vocab:
        raise refused(f"'{param}': token {worst}, and the vocabulary has {vocab}", param)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
