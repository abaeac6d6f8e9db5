"""Whoever is audited: something that replies to conversations. Weights in this process, a server, a
script."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shoestring.engine.generator import Generator
from shoestring.engine.request import SamplingParams
from shoestring.evals.ask import ask_all
from shoestring.lm import LanguageModel
from shoestring.origin import Lineage
from shoestring.text.message import Message
from shoestring.text.stream import CLOSE, OPEN
from shoestring.text.template import Template

Shown = Callable[[int, int, int], None]  # replies had, of how many, tokens made so far
_EMPTY_THOUGHT = re.compile(rf"\s*{OPEN}\s*{CLOSE}")


@dataclass(frozen=True)
class Ask:
    """A conversation that ends with the user, or `raw` text to be continued without a template. thinking
    None: as the model does by itself. `key` names it for its random numbers."""

    key: str
    messages: tuple[Message, ...] = ()
    raw: str = ""
    thinking: bool | None = None


@dataclass(frozen=True)
class Said:
    """reasoning None: it did not think; "": it opened a thinking and wrote nothing in it. `shown`: what a
    server had streamed before it put `answer` in its place. `model`: the reply's model field; "" from
    weights. `before`: its answers in the turns before this one."""

    answer: str
    reasoning: str | None = None
    cut: bool = False
    tokens: int = 0
    thinking_tokens: int = 0
    shown: str = ""
    model: str = ""
    before: tuple[str, ...] = ()


class Respondent(Protocol):
    """`lineage` None: nothing is known of where it comes from. `switches`: whether its thinking can be
    switched; `completes`: whether it continues raw text. Where it can't, it is asked as it is and the audit
    says so."""

    @property
    def name(self) -> str: ...
    @property
    def lineage(self) -> Lineage | None: ...
    @property
    def switches(self) -> bool: ...
    @property
    def completes(self) -> bool: ...

    def ask(self, asks: Sequence[Ask], shown: Shown) -> list[Said]:
        """One reply to each, in their order."""
        ...


class LocalRespondent:
    """Weights behind the engine. `work`: of each reply its prompt's length and its own."""

    completes = True

    def __init__(
        self, lm: LanguageModel, generator: Generator, max_tokens: int, temperature: float, seed: int
    ) -> None:
        self.lm, self.generator = lm, generator
        stages = lm.lineage.stages
        self.name, self.lineage = stages[-1].name if stages else lm.name, lm.lineage
        self._params = SamplingParams(max_tokens, temperature, seed=seed)
        self._templates = {
            None: lm.template,
            True: lm.template.switched(True),
            False: lm.template.switched(False),
        }
        self.work: list[tuple[int, list[int]]] = []

    @property
    def switches(self) -> bool:
        asked = [Message(role="user", content="?")]
        on, off = (
            self._templates[way].render(asked, add_generation_prompt=True).ids for way in (True, False)
        )
        return on != off

    def ask(self, asks: Sequence[Ask], shown: Shown) -> list[Said]:
        prompts = [self._ids(ask) for ask in asks]
        replies = ask_all(self.generator, prompts, self._params, [ask.key for ask in asks], shown)
        said = []
        for ask, prompt, (completion,) in zip(asks, prompts, replies, strict=True):
            self.work.append((len(prompt), [len(completion.ids)]))
            said.append(self._said(ask, completion.ids, completion.cut))
        return said

    def _ids(self, ask: Ask) -> list[int]:
        if ask.raw:
            return self.lm.tokenizer.encode(ask.raw)
        template = self._templates[ask.thinking]
        return template.render(list(ask.messages), add_generation_prompt=True).ids

    def _said(self, ask: Ask, ids: list[int], cut: bool) -> Said:
        template = self._templates[ask.thinking]
        if ask.raw:
            return Said(template.text(ids), None, cut, len(ids))
        reply = template.parse(ids, cut)
        reasoning = "" if reply.reasoning is None and thought_is_empty(template, ids) else reply.reasoning
        thinking = len(self.lm.tokenizer.encode(reasoning)) if reasoning else 0
        return Said(reply.answer, reasoning, cut, len(ids), min(thinking, len(ids)))


def thought_is_empty(template: Template, ids: Sequence[int]) -> bool:
    """Whether the reply opened a thinking, itself or through its prompt, and closed it at once."""
    text = template.text(ids)
    whole = OPEN + text if template.opens_thinking else text
    return _EMPTY_THOUGHT.match(whole) is not None
