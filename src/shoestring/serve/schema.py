"""The bodies that the API takes, field by field. A field that isn't here is refused by name, never ignored;
`refusals.py` has the reasons for those that other servers know. Strict: "5" is no number, NaN is none either.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_STOPS, MAX_TOOLS, MAX_BIASES, MAX_ALTERNATIVES = 16, 128, 300, 20
NAME = r"^[a-zA-Z0-9_-]{1,64}$"
BIG = 2**63

Effort = Literal["none", "minimal", "low", "medium", "high", "max"]
ReasoningField = Literal["reasoning_content", "reasoning", "both"]
Int64 = Annotated[int, Field(ge=-BIG, lt=BIG)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Part(BaseModel):
    """A piece of a message's content. Only text can be read; what else it is stands in the refusal."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: str
    text: str | None = None


class CalledFunction(Body):
    name: str = Field(pattern=NAME)
    arguments: str


class Call(Body):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None  # clients that send a stream's own deltas back


class ChatMessage(Body):
    """Thinking comes back as either field. The nulls at the end are what clients repeat of a reply."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    prefix: bool | None = None  # the last one, an assistant's: the reply goes on from it
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None


class Function(Body):
    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    name: str


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body):
    name: str = Field(pattern=NAME)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """`grammar` (Lark) and `regex` are ours; OpenAI's own are the first three."""

    type: Literal["text", "json_object", "json_schema", "grammar", "regex"]
    json_schema: JsonSchema | None = None
    grammar: str | None = None
    regex: str | None = None


class Thinking(Body):
    """budget_tokens: at most so many tokens of thinking."""

    type: Literal["enabled", "disabled", "auto"]
    budget_tokens: int | None = Field(default=None, ge=0)


class TemplateSwitches(Body):
    thinking: bool | None = None
    enable_thinking: bool | None = None


class StreamOptions(Body):
    include_usage: bool | None = None


class Sampling(Body):
    """What both kinds of completion share."""

    model: str | None = None
    n: int | None = Field(default=None, ge=1)
    seed: Int64 | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, max_length=MAX_BIASES
    )
    stop: str | list[str] | None = None
    stop_token_ids: list[TokenId] | None = Field(default=None, max_length=MAX_STOPS)
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    loop_guard: bool | None = None  # end a reply that goes round in circles; None: as the server is set
    user: str | None = Field(default=None, max_length=256)  # stands in the log's line


class ChatRequest(Sampling):
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)  # thinking and answer together
    max_completion_tokens: int | None = Field(default=None, ge=1)  # the same, OpenAI's newer name
    thinking: Thinking | None = None
    thinking_token_budget: int | None = Field(default=None, ge=0)  # vLLM's name of thinking.budget_tokens
    answer_reserve: int | None = Field(default=None, ge=0)  # tokens of the total that thinking may not take
    max_answer_tokens: int | None = Field(default=None, ge=1)  # of the answer alone, calls among it
    reasoning_effort: Effort | None = None
    chat_template_kwargs: TemplateSwitches | None = None
    include_reasoning: bool | None = None
    reasoning_field: ReasoningField | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_ALTERNATIVES)
    tools: list[Tool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Sampling):
    prompt: str | list[str] | list[TokenId] | list[list[TokenId]]
    max_tokens: int | None = Field(default=None, ge=0)
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=MAX_ALTERNATIVES)
    suffix: str | None = None
    best_of: int | None = Field(default=None, ge=1)
    add_special_tokens: bool | None = None  # the tokenizer's own beginning of a text, where it has one
    parse_special: bool | None = None  # False: a special token's spelling in the prompt is plain letters


class TokenizeRequest(Body):
    """Of a text, or of a conversation as a chat completion would render it."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = Field(default=None, min_length=1)
    tools: list[Tool] | None = Field(default=None, max_length=MAX_TOOLS)
    add_generation_prompt: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(Body):
    model: str | None = None
    tokens: list[TokenId]
