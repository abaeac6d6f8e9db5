"""Conversations to ids and completions to replies: the sole owner of special tokens.

The ids are those that transformers makes from the same template, with two differences. A special token's
spelling inside a message stays plain text. The assistant's text is encoded apart from the prompt before
it, as when the model writes it, so a prompt's ids always begin the ids of prompt and reply (the two only
differ where a reply begins with white space that would merge with the prompt's last characters).

Thinking. Only thinking after the last user message is kept; older thinking is dropped.
- A template that knows `reasoning_content` (Qwen3's) gets it and writes it as it likes,
  `<think>\\n...\\n</think>\\n\\n` there; such a template may also write an empty block before a reply
  without thinking, and that is trained too.
- For any other template the reply is written `<think>\\n{reasoning}\\n</think>\\n{answer}` as the turn's
  content.
- A template that opens `<think>` in its generation prompt and drops all thinking from replies (R1's) gets the
  last reply written after that prompt and closed with the end-of-turn token.

Tools. What they are, their calls and their results are written in the template's form: DeepSeek's marks where
it knows them, tags elsewhere; a `tool` turn where it knows that role, a user's turn elsewhere. In a result
nothing becomes a token of its own. See docs/tools.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from shoestring.errors import BadInput
from shoestring.text.escape import CUT, Escaper, Part
from shoestring.text.message import Message, Rendered, Reply, assistant, user
from shoestring.text.stream import CLOSE, OPEN, ReplyStream
from shoestring.text.template_form import PROBE, TemplateForm
from shoestring.text.template_turns import Turns
from shoestring.text.tokenizer import Tokenizer
from shoestring.text.tool_calls import Form


@dataclass(frozen=True)
class _Conversation:
    """A rendered conversation, escaped, and where in it each assistant's text starts."""

    text: str
    starts: tuple[int, ...]


class Template:
    def __init__(
        self,
        tokenizer: Tokenizer,
        source: str | None,
        end_ids: Sequence[int] = (),
        switches: Mapping[str, bool] | None = None,
    ) -> None:
        """`source` is the Jinja text; without one, only rendering is an error. `end_ids` are the model's
        own."""
        self._tokenizer, self._end_ids = tokenizer, tuple(end_ids)
        self._escaper = Escaper(tokenizer.special_ids)
        self.form = TemplateForm(tokenizer, source, self._escaper, switches)
        self._turns = Turns(tokenizer, self._escaper, self.form)

    def render(
        self, messages: Sequence[Message], add_generation_prompt: bool = False, row_id: str = ""
    ) -> Rendered:
        """Ids and what of them is trained: each assistant turn's text and its end-of-turn id. Raises
        BadInput."""
        where = f"row {row_id}: " if row_id else ""
        try:
            conversation = self._conversation(_checked(messages), add_generation_prompt)
            ids, trained = self._encode(conversation)
        except BadInput as error:
            raise BadInput(f"{where}{error}") from None
        return Rendered(ids, trained, row_id)

    def parse(self, ids: Sequence[int], cut: bool) -> Reply:
        """What a completion says."""
        return self.parse_text(self.text(ids), cut)

    def parse_text(self, text: str, cut: bool, opened: bool | None = None) -> Reply:
        """What `text` says. Thinking is open when the prompt opened it or the reply begins with <think>; it
        ends at the first </think>, and without one there is no answer. `opened`: whether this turn's prompt
        did; None: as a first turn's does."""
        if bool(self.form.prefill) if opened is None else opened:
            thinking = text
        elif text.lstrip().startswith(OPEN):
            thinking = text.lstrip()[len(OPEN) :]
        else:
            return Reply(None, text, cut)
        reasoning, closed, answer = thinking.partition(CLOSE)
        if self.form.knows_reasoning or self.form.prefill:  # their forms put any number of newlines around
            reasoning, answer = reasoning.strip("\n"), answer.lstrip("\n")
            return Reply(reasoning or None, answer, cut)
        reasoning = reasoning.removeprefix("\n")
        return Reply(reasoning.removesuffix("\n") if closed else reasoning, answer.removeprefix("\n"), cut)

    def text(self, ids: Sequence[int]) -> str:
        """A completion as it was written, up to what ends its turn, tags and all."""
        stops = self.stop_ids
        end = next((i for i, token in enumerate(ids) if token in stops), len(ids))
        return self._tokenizer.decode(ids[:end])

    def after_calls(self, results: Sequence[str]) -> tuple[list[int], bool]:
        """What stands between a turn that the model ended with calls and its next turn: the ids of their
        results and of the next generation prompt, and whether that opens the thinking. To be appended to the
        ids so far, which are not made again."""
        turns = [Message(role="tool", content=result) for result in results]
        shown = [
            user("q"),
            assistant(PROBE),
            *(self._turns.shown(m, False) for m in self._turns.merged(turns)),
        ]
        text = self.form.jinja(shown, True).partition(PROBE)[2]
        if self.form.closing is not None:
            text = text.partition(self.form.closing[0])[2]  # the model has written it
        ids, after_special = [], True
        for part in self._escaper.split(text):
            ids += self._ids_of(part, after_special)
            after_special = part.special is not None
        return ids, CLOSE not in text.rpartition(OPEN)[2] and OPEN in text

    @property
    def source(self) -> str | None:
        return self.form.source

    def switched(self, thinking: bool) -> "Template":
        """The same, its thinking switched on or off where the template has a switch: `thinking` in
        DeepSeek's, `enable_thinking` in Qwen's."""
        switches = {"thinking": thinking, "enable_thinking": thinking}
        return Template(self._tokenizer, self.source, self._end_ids, switches)

    @property
    def tool_form(self) -> Form:
        """How this model writes a call."""
        return self.form.tool_form

    @property
    def opens_thinking(self) -> bool:
        """Whether the prompt ends in an open <think>, so that completions begin inside it."""
        return bool(self.form.prefill)

    def stream(self) -> ReplyStream:
        """What tells the parts of a reply apart as it comes in, as `parse` does when it is whole."""
        prefilled = bool(self.form.prefill)
        return ReplyStream(opened=prefilled, any_newlines=prefilled or self.form.knows_reasoning)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """What ends a turn: the token that the template closes an assistant's turn with, then the model's
        own."""
        closing = self.form.closing
        return tuple(dict.fromkeys([*([] if closing is None else [closing[1]]), *self._end_ids]))

    def _conversation(self, messages: list[Message], add_generation_prompt: bool) -> _Conversation:
        messages = self._turns.merged(messages)
        last_user = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
        shown = [self._turns.shown(m, keep_thinking=i > last_user) for i, m in enumerate(messages)]
        text = self.form.jinja(shown, add_generation_prompt)
        turns = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
        prompts = [self.form.jinja(shown[:i], True) if i else "" for i in turns]
        if turns and turns[-1] == len(messages) - 1 and not add_generation_prompt:
            text = self._with_thinking(text, prompts[-1], messages[-1])
        starts = []
        for prompt in prompts:
            # a turn without its thinking doesn't repeat the <think> that its prompt opened
            for start in (prompt, prompt.removesuffix(self.form.prefill)):
                if text.startswith(start):
                    starts.append(len(start))
                    break
            else:
                raise BadInput(
                    "the chat template rewrites earlier turns, so the assistant's text can't be told apart"
                )
        return _Conversation(text, tuple(starts))

    def _with_thinking(self, text: str, prompt: str, message: Message) -> str:
        """`text`, or the prompt and the last reply in full where the template dropped the reply's
        thinking."""
        reasoning = self._escaper.escape_reply(message.get("reasoning_content") or "")
        if not reasoning or (text.startswith(prompt) and reasoning.strip() in text[len(prompt) :]):
            return text
        if self.form.closing is None:
            raise BadInput(
                "the chat template drops the last reply's thinking and ends no turn; it can't be trained on"
            )
        opened = "" if self.form.prefill else f"{OPEN}\n"
        answer = self._escaper.escape_reply(self._turns.said(message))
        return f"{prompt}{opened}{reasoning}\n{CLOSE}\n{answer}{self.form.closing[0]}"

    def _encode(self, conversation: _Conversation) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        trained: list[bool] = []
        at, ended, after_special = 0, True, True
        starts = set(conversation.starts)
        for part in self._escaper.split(conversation.text, conversation.starts):
            if at in starts:
                starts.remove(at)
                if not ended:
                    break
                ended = False
            at += len(part.text)
            new = self._ids_of(part, after_special, first=not ids)
            ids += new
            trained += [not ended] * len(new)
            after_special = part.special is not None
            ended = ended or part.special in self.stop_ids
        if starts or not ended:
            raise BadInput("the chat template closes an assistant's turn with no end-of-turn token")
        return ids, trained

    def _ids_of(self, part: Part, after_special: bool, first: bool = False) -> list[int]:
        if part.special is not None:
            return [part.special]
        ids: list[int] = []
        for text in filter(None, part.text.split(CUT)):
            plain = self._escaper.unescape(text)
            new = (
                self._tokenizer.encode(plain) if first else self._tokenizer.encode_after(plain, after_special)
            )
            ids, first, after_special = ids + new, False, False
        return ids


def _checked(messages: Sequence[Message]) -> list[Message]:
    """Raises BadInput for a conversation that isn't a list of {role, content}."""
    if not messages:
        raise BadInput("a conversation needs at least one message")
    for i, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                raise BadInput(f"message {i} has no text in '{key}'")
    if messages[0]["role"] == "assistant":
        raise BadInput("a conversation can't begin with the assistant")
    return list(messages)
