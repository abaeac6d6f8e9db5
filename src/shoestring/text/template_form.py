"""How a chat template behaves, found by rendering probes with it: nothing is guessed from its text."""

from collections.abc import Mapping
from functools import cached_property

import jinja2

from shoestring.errors import BadInput
from shoestring.text.escape import Escaper
from shoestring.text.jinja import TEMPLATE_ERRORS, compile_chat_template
from shoestring.text.message import Message, assistant, user
from shoestring.text.stream import CLOSE, OPEN
from shoestring.text.tokenizer import Tokenizer
from shoestring.text.tool_calls import CALLS, Form

PROBE = "quark"  # any word that no template writes by itself


class TemplateForm:
    """The template's source, compiled, and what it does with turns, thinking and tools. `switches` are what
    it is told beside the messages, such as Qwen3's enable_thinking."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        source: str | None,
        escaper: Escaper,
        switches: Mapping[str, bool] | None = None,
    ) -> None:
        self.source, self._switches = source, dict(switches or {})
        self._tokenizer, self._escaper = tokenizer, escaper

    def jinja(self, messages: list[Message], add_generation_prompt: bool) -> str:
        if self.source is None:
            raise BadInput("this model has no chat template, so a conversation can't be rendered for it")
        try:
            return self._compiled.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._tokenizer.special.named(),
                **self._switches,
            )
        except TEMPLATE_ERRORS as error:
            raise BadInput(f"the chat template refuses this conversation: {error}") from None

    @cached_property
    def _compiled(self) -> jinja2.Template:
        try:
            return compile_chat_template(self.source or "")
        except jinja2.TemplateSyntaxError as error:
            raise BadInput(f"the chat template is not valid Jinja: {error}") from None

    @cached_property
    def tool_form(self) -> Form:
        """How this model writes a call."""
        return "deepseek" if CALLS in (self.source or "") else "tags"

    @cached_property
    def closing(self) -> tuple[str, int] | None:
        """The special token after an assistant's text, found on a probe; None where there is none."""
        after = self._probe([user(PROBE), assistant(PROBE)]).rpartition(PROBE)[2]
        first = next((part for part in self._escaper.split(after) if part.special is not None), None)
        return None if first is None or first.special is None else (first.text, first.special)

    @cached_property
    def knows_tools(self) -> bool:
        turns = [user("q"), assistant("a"), Message(role="tool", content=PROBE)]
        return PROBE in self._probe(turns, True)

    @cached_property
    def knows_reasoning(self) -> bool:
        reply = Message(role="assistant", content="a", reasoning_content=PROBE)
        return PROBE in self._probe([user("q"), reply])

    @cached_property
    def prefill(self) -> str:
        """The `<think>` that the generation prompt ends with, and what follows it; "" for most templates."""
        _, opened, rest = self._added.rpartition(OPEN)
        return opened + rest if opened and CLOSE not in rest else ""

    @cached_property
    def closes(self) -> bool:
        """Whether the generation prompt ends its thinking before the reply begins."""
        return CLOSE in self._added and not self.prefill

    @cached_property
    def _added(self) -> str:
        """The generation prompt."""
        return self._probe([user("q")], True).removeprefix(self._probe([user("q")]))

    def _probe(self, messages: list[Message], add_generation_prompt: bool = False) -> str:
        """A trial rendering; "" where the template refuses it or there is none."""
        try:
            return self.jinja(messages, add_generation_prompt)
        except BadInput:
            return ""
