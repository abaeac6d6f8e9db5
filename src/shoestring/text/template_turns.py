"""Messages as a chat template gets them: escaped, thinking and calls in its form or ours."""

from functools import cached_property

from shoestring.text.escape import Escaper
from shoestring.text.message import Message, assistant, user
from shoestring.text.stream import CLOSE, OPEN
from shoestring.text.template_form import TemplateForm
from shoestring.text.tokenizer import Tokenizer
from shoestring.text.tool_calls import RESULT, RESULT_END, WRITTEN, tools_prompt, write_calls


class Turns:
    def __init__(self, tokenizer: Tokenizer, escaper: Escaper, form: TemplateForm) -> None:
        self._tokenizer, self._escaper, self._form = tokenizer, escaper, form

    def merged(self, messages: list[Message]) -> list[Message]:
        """Where the template has no turn for tools: the results of one turn's calls as one message."""
        if self._form.knows_tools:
            return messages
        joined: list[Message] = []
        for m in messages:
            if joined and m["role"] == "tool" == joined[-1]["role"]:
                joined[-1] = Message(role="tool", content=f"{joined[-1]['content']}\n{m['content']}")
            else:
                joined.append(m)
        return joined

    def shown(self, message: Message, keep_thinking: bool) -> Message:
        """The message as the template gets it: escaped, thinking in the template's form or ours, or
        dropped."""
        if message["role"] == "tool":
            result = self._escaper.inert(message["content"], self._inert)
            if self._form.knows_tools:
                return Message(role="tool", content=result)
            return user(f"{RESULT}\n{result}\n{RESULT_END}")
        if message["role"] != "assistant":
            content = self._escaper.escape(message["content"])
            if "tools" in message:
                told = tools_prompt(message["tools"], self._form.tool_form)
                content = f"{content}\n\n{told}" if content else told
            return Message(role=message["role"], content=content)
        content = self._escaper.escape_reply(self.said(message))
        reasoning = self._escaper.escape_reply(message.get("reasoning_content") or "")
        if not reasoning or not keep_thinking:
            return assistant(content)
        if self._form.knows_reasoning:
            return Message(role="assistant", content=content, reasoning_content=reasoning)
        return assistant(f"{OPEN}\n{reasoning}\n{CLOSE}\n{content}")

    def said(self, message: Message) -> str:
        """An assistant's content with its calls."""
        calls = message.get("tool_calls")
        return message["content"] + (write_calls(calls, self._form.tool_form) if calls else "")

    @cached_property
    def _inert(self) -> tuple[str, ...]:
        """What a tool's result may spell and must not become."""
        own = (word for word in self._tokenizer.own_words if len(word) > 1 and word[0] in "<[")
        return tuple(dict.fromkeys((OPEN, CLOSE, RESULT, RESULT_END, *WRITTEN, *own)))
