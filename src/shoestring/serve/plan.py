"""A request's body to what the engine is asked and how the reply is to be read. Pure: no server, no
engine."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shoestring.engine.guides import State
from shoestring.engine.request import SamplingParams
from shoestring.serve.errors import refused
from shoestring.serve.guides import Steered, steer
from shoestring.serve.limits import Bounds, Limits, chat_limits, thinking_wanted, total_tokens
from shoestring.serve.sampling import params_of, stops_of
from shoestring.serve.schema import ChatRequest, CompletionRequest, ReasoningField, Sampling
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings
from shoestring.serve.structure import Structure, structure_of, tool_structure
from shoestring.serve.tools import ToolUse, tool_use
from shoestring.serve.written import read_prompts

MAX_ECHOED = 500_000  # logprobs of prompts in one reply, alternatives among them: about 15 MB


@dataclass(frozen=True)
class Plan:
    """prompts: for each the ids that the engine gets, and what steers its replies. The rest says how they are
    read and shown."""

    prompts: list[list[int]]
    params: SamplingParams
    limits: Limits
    steered: Sequence[Steered]
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

    def asked(self, prompt: int) -> SamplingParams:
        """What the engine is asked for this one."""
        return dataclasses.replace(self.params, guide=self.steered[prompt].guide)

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
    _check_structure(request, structure)
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
    stops = stops_of(request)
    guarded = settings.loop_guard if request.loop_guard is None else request.loop_guard
    steered = steer(reading, served, limits, stops, structure, guarded)
    params = params_of(request, served, settings, limits.total, request.top_logprobs or 0)
    shown = request.include_reasoning is not False
    return Plan(
        [prompt.ids],
        params,
        limits,
        [steered],
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
    stops, structure = stops_of(request), structure_of(request.response_format)
    _check_structure(request, structure)
    limits = Limits(total, window=window)
    reading, guarded = served.readings["answer"], bool(request.loop_guard)
    steered = [steer(reading, served, limits, stops, structure, guarded) for _ in prompts]
    params = params_of(request, served, settings, total, request.logprobs or 0)
    if request.echo and request.logprobs is not None:
        _check_echoed(prompts, n, request.logprobs)
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


def _check_structure(request: Sampling, structure: Structure | None) -> None:
    """Raises ApiError 400 for what would keep a form from holding for the whole answer."""
    if structure is None:
        return
    if request.ignore_eos:
        raise refused("'ignore_eos' writes past the end of a 'response_format'; send one", "ignore_eos")
    last = request.messages[-1] if isinstance(request, ChatRequest) else None
    if last is not None and last.prefix and last.content:
        raise refused(
            "a prefix with content beside 'response_format' isn't supported: the form begins with the reply",
            "response_format",
        )


def _check_echoed(prompts: Sequence[Sequence[int]], n: int, alternatives: int) -> None:
    """Raises ApiError 400 where the reply would be too large to be made beside others."""
    tokens = n * sum(map(len, prompts))
    if tokens * (1 + alternatives) > MAX_ECHOED:
        raise refused(
            f"'echo' of {tokens:,} tokens with 'logprobs' {alternatives} is {tokens * (1 + alternatives):,} "
            f"numbers, at most {MAX_ECHOED:,} in one reply; send fewer prompts or lower 'logprobs'",
            "logprobs",
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


def _usage_chunk(request: Sampling) -> bool:
    if request.stream_options is not None and not request.stream:
        raise refused("'stream_options' needs 'stream': true", "stream_options")
    return request.stream_options is not None and bool(request.stream_options.include_usage)
