"""A grammar that the answer must follow: a JSON schema, a regular expression or a Lark grammar, by the
library llguidance (extra `serve`)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from shoestring.engine.guides.reading import Reading
from shoestring.errors import BadInput
from shoestring.text.stream import OPEN
from shoestring.text.tokenizer import Tokenizer

Kind = Literal["json", "regex", "lark"]
LEAD_IN = 2  # tokens of newlines that may stand between the thinking's end and the answer


class Grammars:
    """One model's: its vocabulary in llguidance's form, which takes about a second to make."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Sequence[int], words: int) -> None:
        """stop_ids: what ends a turn; words: rows of the model's head. Raises BadInput without llguidance."""
        try:
            import llguidance  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise BadInput("grammars and JSON schemas need llguidance: pip install llguidance") from None
        if not stop_ids:
            raise BadInput("a grammar needs a token that ends the answer, and this model has none")
        self._library, self.tokenizer, self.words = llguidance, tokenizer, words
        self.stop_ids = tuple(stop_ids)
        self.vocabulary = llguidance.LLTokenizer(tokenizer.json, n_vocab=words, eos_token=stop_ids[0])
        self._texts = {i: tokenizer.decode([i]) for i in tokenizer.vocabulary.values()}
        self.lead_in = self._mask(i for i, text in self._texts.items() if text and not text.strip("\n"))
        self._opening: dict[str, Tensor] = {}

    def compile(self, kind: Kind, grammar: str | Mapping[str, Any]) -> str:
        """`grammar` in llguidance's own form. Raises BadInput with what is wrong with it."""
        matcher = self._library.LLMatcher
        try:
            if kind == "json":
                whole = grammar if isinstance(grammar, str) else json.dumps(grammar)
                compiled = matcher.grammar_from_json_schema(whole)
            elif kind == "regex":
                compiled = matcher.grammar_from_regex(grammar)
            else:
                compiled = matcher.grammar_from_lark(grammar)
            wrong = matcher.validate_grammar(compiled, self.vocabulary)
        except ValueError as error:
            wrong, compiled = str(error), ""
        if wrong:
            raise BadInput(f"the {kind} grammar is not valid: {wrong.strip().splitlines()[0]}")
        return compiled

    def opening(self, so_far: str) -> Tensor:
        """(V,): the tokens that go on with <think> after so much of it; none where it isn't one."""
        begun = so_far.lstrip()
        if begun not in self._opening:
            rest = OPEN[len(begun) :] if OPEN.startswith(begun) else ""
            texts = self._texts.items() if rest else ()
            self._opening[begun] = self._mask(i for i, t in texts if t and _goes_on(t, rest))
        return self._opening[begun]

    def _mask(self, ids: Iterable[int]) -> Tensor:
        mask = torch.zeros(self.words, dtype=torch.bool)
        mask[list(ids)] = True
        return mask

    def matcher(self, compiled: str) -> Any:
        return self._library.LLMatcher(self.vocabulary, compiled)


def _goes_on(text: str, rest: str) -> bool:
    return rest.startswith(text) or text.startswith(rest)


class GrammarGuide:
    """The answer follows the grammar from its first character on, and the turn ends where the grammar does.
    Thinking is free; a model that may think or not is held to the grammar where it begins to answer."""

    def __init__(
        self, grammars: Grammars, reading: Reading, kind: Kind, grammar: str | Mapping[str, Any]
    ) -> None:
        self.grammars, self.reading = grammars, reading
        self.compiled = grammars.compile(kind, grammar)

    def start(self, sample: int) -> "_Grammar":
        return _Grammar(self)


class _Grammar:
    def __init__(self, guide: GrammarGuide) -> None:
        self._own, self._reader = guide.grammars, guide.reading.start()
        self._matcher = self._own.matcher(guide.compiled)
        self._begun = False  # something of the answer was made
        self._newlines = 0  # that may still come between the thinking's end and the answer
        self._undecided: list[int] = []  # tokens that may yet begin an answer or open the thinking
        self._lost = False  # ... and that the grammar can't begin with
        self._mask: Tensor | None = None

    def allowed(self) -> Tensor | None:
        if self._mask is None and self._reader.state != "thinking":
            self._mask = self._next()
        return self._mask

    def forced(self) -> int | None:
        """The end of the turn, where nothing else can come."""
        over = self._begun and self._matcher.is_stopped() and not self._matcher.is_error()
        return self._own.stop_ids[0] if over else None

    def take(self, token: int) -> None:
        self._mask, before = None, self._reader.state
        said = self._reader.take(token)
        after = self._reader.state
        if after == "thinking":
            if before == "undecided":
                self._matcher.reset()
                self._lost = False
        elif before == "thinking":
            self._newlines = LEAD_IN
            if said:  # the tag's last token says the answer's first characters too
                self._matcher.consume_tokens(self._own.vocabulary.tokenize_str(said))
                self._begun = True
        elif after == "undecided":
            self._undecided.append(token)
            self._lost = self._lost or not self._matcher.validate_tokens([token])
            if not self._lost:
                self._matcher.consume_token(token)
        elif self._newlines and not self._begun and self._own.lead_in[token]:
            self._newlines -= 1
        else:
            self._matcher.consume_token(token)
            self._begun = True

    def stop(self) -> str:
        return ""

    def _next(self) -> Tensor:
        own = self._own
        mask = torch.zeros(own.words, dtype=torch.bool)
        if not self._lost and not self._matcher.is_error():
            bias = bytearray(self._matcher.compute_logit_bias())  # a byte a word: 0 forbids
            mask[: len(bias)] = torch.frombuffer(bias, dtype=torch.uint8)[: own.words] != 0
            mask[list(own.stop_ids)] = self._matcher.is_accepting()
        if self._reader.state == "undecided":
            mask |= own.opening(own.tokenizer.decode(self._undecided))
        elif self._newlines and not self._begun:
            mask |= own.lead_in
        return mask
