"""A request's conversation to the ids that the model reads, and the state in which they leave its reply:
inside its thinking, in its answer, or undecided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shoestring.engine.guides import State
from shoestring.errors import BadInput
from shoestring.serve.errors import ApiError, refused
from shoestring.serve.schema import ChatMessage, ChatRequest, Part, TokenizeRequest
from shoestring.serve.tools import ToolUse, cards, told
from shoestring.text.message import Message
from shoestring.text.stream import CLOSE, OPEN
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prompt:
    """kept, dropped: of the thinking that came back with earlier turns."""

    ids: list[int]
    state: State
    kept: int = 0
    dropped: int = 0


class Prompter:
    """One model's. `thinking` None leaves it to the template."""

    def __init__(self, tokenizer: Tokenizer, template: Template) -> None:
        self._tokenizer = tokenizer
        self._templates: dict[bool | None, Template] = {None: template}
        self._templates |= {on: template.switched(on) for on in (True, False)}

    def chat(self, request: ChatRequest, use: ToolUse, thinking: bool | None) -> Prompt:
        """Raises ApiError 400 for a conversation that can't be rendered."""
        messages = list(request.messages)
        goes_on = messages.pop() if messages[-1].prefix else None
        if goes_on is not None and goes_on.role != "assistant":
            raise refused("'prefix' is for an assistant's message", _at(len(messages), "prefix"))
        for field in ("tool_calls", "tool_call_id", "name"):
            if goes_on is not None and getattr(goes_on, field) not in (None, []):
                raise refused(f"a prefix can't have '{field}'", _at(len(messages), field))
        for i, message in enumerate(messages):
            if message.prefix:
                raise refused("'prefix' is for the last message alone", _at(i, "prefix"))
        if not messages:
            raise refused("a prefix needs a message before it", "messages")
        plain = conversation(messages, use)
        template = self._templates[thinking]
        ids = self._rendered(template, plain, True)
        state, added = opening(template, thinking)
        ids = [*ids, *self._after(added)]
        if goes_on is not None:
            ids, state = self._go_on(ids, state, goes_on, template)
        last_user = max((i for i, m in enumerate(plain) if m["role"] == "user"), default=-1)
        thoughts = [i for i, m in enumerate(plain) if m.get("reasoning_content")]
        kept = sum(i > last_user for i in thoughts)
        return Prompt(ids, state, kept, len(thoughts) - kept)

    def conversation_ids(self, request: TokenizeRequest) -> list[int]:
        """As a chat completion would read it."""
        use = ToolUse(tuple(tool.function for tool in request.tools or ()))
        messages = conversation(request.messages or [], use)
        return self._rendered(self._templates[None], messages, request.add_generation_prompt is not False)

    def _rendered(self, template: Template, messages: Sequence[Message], prompt: bool) -> list[int]:
        try:
            return template.render(messages, add_generation_prompt=prompt).ids
        except BadInput as error:
            raise refused(str(error), "messages") from None

    def _after(self, text: str) -> list[int]:
        return self._tokenizer.encode_after(text, special=False) if text else []

    def _go_on(
        self, ids: list[int], state: State, message: ChatMessage, template: Template
    ) -> tuple[list[int], State]:
        """The prompt with the beginning of its reply, as the client gives it (DeepSeek's prefix): inside the
        thinking where it brings thinking and no answer yet."""
        reasoning, answer = thought(message, 0) or "", text_of(message, "messages")
        if not reasoning and not answer:
            raise refused("the prefix is empty: give it content or reasoning_content", "messages")
        closing = (
            f"\n{CLOSE}\n\n" if template.form.knows_reasoning or template.form.prefill else f"\n{CLOSE}\n"
        )
        text = ""
        if reasoning:
            if state == "answer":
                raise refused("the prefix brings thinking and thinking is off", "messages")
            text = reasoning if state == "thinking" else f"{OPEN}\n{reasoning}"
            state = "thinking"
        if answer:
            text += (closing if state == "thinking" else "") + answer
            state = "answer"
        return [*ids, *self._after(text)], state


def opening(template: Template, thinking: bool | None) -> tuple[State, str]:
    """The state that the template's generation prompt leaves, and what has to be written after it so that
    thinking is on or off where the template has no switch for that."""
    form = template.form
    if form.prefill:
        return ("answer", f"\n{CLOSE}\n\n") if thinking is False else ("thinking", "")
    if form.closes:
        if thinking:
            raise refused("this model's template has no thinking to switch on", "thinking")
        return "answer", ""
    if thinking and not form.knows_reasoning:
        return "thinking", f"{OPEN}\n"
    return "undecided", ""


def conversation(messages: Sequence[ChatMessage], use: ToolUse) -> list[Message]:
    """Messages as the template takes them. Raises ApiError 400."""
    names: dict[str, str] = {}  # of the functions that were called, by the call's id
    plain: list[Message] = []
    for i, message in enumerate(messages):
        plain.append(_plain(message, i, names))
    if use.functions:
        told_of = cards(use.functions)
        if plain[0]["role"] == "system":
            plain[0]["tools"] = told_of
        else:
            plain.insert(0, Message(role="system", content="", tools=told_of))
    return plain


def _plain(message: ChatMessage, place: int, names: dict[str, str]) -> Message:
    role = "system" if message.role == "developer" else message.role
    content = text_of(message, _at(place, "content"))
    if role != "assistant":
        for field in ("tool_calls", "reasoning_content", "reasoning"):
            if getattr(message, field) is not None:
                raise refused(f"'{field}' is for an assistant's message", _at(place, field))
    if role != "tool":
        if message.tool_call_id is not None:
            raise refused("'tool_call_id' is for a tool's message", _at(place, "tool_call_id"))
        if message.name is not None:
            raise refused("'name' isn't supported: no template here shows it", _at(place, "name"))
    if role == "tool":
        _check_result(message, place, names)
        return Message(role="tool", content=content)
    if message.content is None and not message.tool_calls and not thought(message, place):
        raise refused(f"'{_at(place, 'content')}' is needed", _at(place, "content"))
    if role != "assistant":
        return Message(role=role, content=content)
    reasoning, content = thought(message, place), content
    if reasoning is None and content.lstrip().startswith(OPEN):  # thinking that came back inside the content
        reasoning, _, content = content.lstrip()[len(OPEN) :].partition(CLOSE)
        reasoning, content = reasoning.strip("\n"), content.lstrip("\n")
    told_as = Message(role="assistant", content=content)
    if reasoning:
        told_as["reasoning_content"] = reasoning
    if message.tool_calls:
        told_as["tool_calls"] = told(message.tool_calls, place)
        names |= {call.id: call.function.name for call in message.tool_calls}
    return told_as


def _check_result(message: ChatMessage, place: int, names: Mapping[str, str]) -> None:
    if message.tool_call_id is None:
        raise refused(f"'{_at(place, 'tool_call_id')}' is needed", _at(place, "tool_call_id"))
    if message.tool_call_id not in names:
        raise refused(
            f"no message before has a tool call '{message.tool_call_id}'", _at(place, "tool_call_id")
        )
    if message.name not in (None, names[message.tool_call_id]):
        raise refused(f"the call '{message.tool_call_id}' is not of '{message.name}'", _at(place, "name"))


def thought(message: ChatMessage, place: int) -> str | None:
    """Its thinking, by either name."""
    one, two = message.reasoning_content, message.reasoning
    if one is not None and two is not None and one != two:
        raise refused("'reasoning' and 'reasoning_content' differ; send one", _at(place, "reasoning"))
    return two if one is None else one


def text_of(message: ChatMessage, param: str) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    return "".join(_text_of_part(part, param) for part in message.content)


def _text_of_part(part: Part, param: str) -> str:
    if part.type != "text" or part.text is None:
        raise ApiError(
            400, f"a part of type '{part.type}' isn't supported: text only", param, "unsupported_content"
        )
    return part.text


def _at(place: int, field: str) -> str:
    return f"messages.{place}.{field}"
