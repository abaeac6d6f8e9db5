"""Text to ids and back, on the `tokenizers` library. Special tokens are never read out of text here: the
template alone puts them in."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

TOKENIZER, TOKENIZER_CONFIG, SPECIAL_MAP = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
CHAT_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class SpecialTokens:
    """The named ones, as strings; a model may lack any of them."""

    bos: str | None = None
    eos: str | None = None
    unk: str | None = None
    pad: str | None = None

    def named(self) -> dict[str, str]:
        """{"bos_token": ...}: what a chat template sees and transformers stores."""
        pairs = {"bos_token": self.bos, "eos_token": self.eos, "unk_token": self.unk, "pad_token": self.pad}
        return {name: token for name, token in pairs.items() if token is not None}


class Tokenizer:
    def __init__(
        self, backend: tokenizers.Tokenizer, special: SpecialTokens, max_length: int | None = None
    ) -> None:
        """`special.pad` must be a token of the vocabulary; `choose_pad` finds one. max_length is only
        recorded."""
        backend.no_truncation()
        backend.no_padding()
        self._json = backend.to_str()
        backend.encode_special_tokens = True
        self._backend, self.special, self.max_length = backend, special, max_length
        added = backend.get_added_tokens_decoder()
        self.special_ids: dict[str, int] = {t.content: i for i, t in added.items() if t.special}
        self._added = frozenset(added)
        self._spelled: dict[int, str | None] = {}
        self.own_words: tuple[str, ...] = tuple(t.content for t in added.values() if not t.special)
        pad = backend.token_to_id(special.pad) if special.pad is not None else None
        assert pad is not None, f"pad token {special.pad!r} is not in the vocabulary"
        self.pad_id: int = pad

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.vocabulary.values()) + 1

    def encode(self, text: str) -> list[int]:
        """No special token is added or recognised: "<|im_end|>" in `text` is plain letters."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_after(self, text: str, special: bool) -> list[int]:
        """Ids of text that isn't at the beginning: after a special token, or cut from what stands before it.
        Differs from `encode` only for tokenizers that put a space before a text's first word."""
        if special and not self._prefixes_only_the_first:
            return self.encode(text)
        return self._continuing.encode(text, add_special_tokens=False).ids

    @cached_property
    def opening_ids(self) -> list[int]:
        """What the tokenizer's own rules put before a text, such as <s>; most put nothing."""
        return self._backend.encode("", add_special_tokens=True).ids[:1]

    def decode(self, ids: Iterable[int]) -> str:
        """Special tokens are shown as they are spelled."""
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def spells(self, token: int) -> str | None:
        """What one id reads as whatever stands beside it; None where that depends on its neighbours: part of
        a character, or a tokenizer that writes a text's first word apart."""
        if token not in self._spelled:
            text = self.decode([token]) if self._byte_level else "\ufffd"
            self._spelled[token] = None if "\ufffd" in text else text
        return self._spelled[token]

    def num_bytes(self, ids: Iterable[int]) -> int:
        """UTF-8 bytes of the text that ids spell. Added tokens (roles, <think>, end of text) are no text."""
        return len(self.decode(i for i in ids if i not in self._added).encode())

    @property
    def json(self) -> str:
        """What `save` writes as tokenizer.json."""
        return self._json

    def token_id(self, token: str) -> int | None:
        return self._backend.token_to_id(token)

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that decides which ids a text has."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Ids by token, added ones among them, as the tokenizer's own alphabet spells them."""
        return self._backend.get_vocab(with_added_tokens=True)

    def first_difference(self, other: "Tokenizer") -> str | None:
        """The first id for which the two have different tokens, in words: vocabularies of one size may still
        be two."""
        mine, theirs = ({i: token for token, i in t.vocabulary.items()} for t in (self, other))
        for i in sorted(mine.keys() | theirs.keys()):
            if mine.get(i) != theirs.get(i):
                return f"id {i} is {mine.get(i)!r} in one and {theirs.get(i)!r} in the other"
        one, two = json.loads(self._json), json.loads(other._json)
        for part in ("normalizer", "pre_tokenizer", "model"):
            if one.get(part) != two.get(part):
                return f"their tokens are the same, but not how a text is cut into them ({part})"
        return None

    def save(self, folder: Path, chat_template: str | None = None) -> None:
        """The files that transformers.AutoTokenizer reads as they are, the chat template among them."""
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is
            "clean_up_tokenization_spaces": False,
            **self.special.named(),
        }
        if self.max_length is not None:
            config["model_max_length"] = self.max_length
        if chat_template is not None:
            config["chat_template"] = chat_template
            (folder / CHAT_TEMPLATE).write_text(chat_template, encoding="utf-8", newline="")
        (folder / TOKENIZER).write_text(self._json, encoding="utf-8")
        for name, value in ((TOKENIZER_CONFIG, config), (SPECIAL_MAP, self.special.named())):
            text = json.dumps(value, indent=2, ensure_ascii=False)
            (folder / name).write_text(text + "\n", encoding="utf-8")

    def with_pad(self, token: str) -> "Tokenizer":
        """The same but for the padding token, which must be one of the vocabulary."""
        backend = tokenizers.Tokenizer.from_str(self._json)
        return Tokenizer(backend, dataclasses.replace(self.special, pad=token), self.max_length)

    @cached_property
    def _byte_level(self) -> bool:
        """Whether a text is its tokens' bytes one after the other."""
        return (json.loads(self._json).get("decoder") or {}).get("type") == "ByteLevel"

    @cached_property
    def _prefixes_only_the_first(self) -> bool:
        return '"prepend_scheme":"first"' in self._json.replace(" ", "")

    @cached_property
    def _continuing(self) -> tokenizers.Tokenizer:
        """The same tokenizer without the space before the first word, where it puts one."""
        raw = json.loads(self._json)
        changed = (
            _without_prefix_space(raw.get("normalizer")),
            _without_prefix_space(raw.get("pre_tokenizer")),
        )
        if changed == (raw.get("normalizer"), raw.get("pre_tokenizer")):
            return self._backend
        raw["normalizer"], raw["pre_tokenizer"] = changed
        backend = tokenizers.Tokenizer.from_str(json.dumps(raw))
        backend.encode_special_tokens = True
        return backend


class TextStream:
    """Decodes ids as they come. A character whose bytes are not all there yet is held back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []  # the ids that may still change how the next one reads
        self._told = 0  # characters of the window's text already given
        self._held = False

    def push(self, token: int) -> str:
        known = None if self._held else self._tokenizer.spells(token)
        if known is not None:
            self._window, self._told = [token], len(known)
            return known
        self._window.append(token)
        text = self._tokenizer.decode(self._window)
        # an incomplete character decodes to one U+FFFD at the end; so may a real one, which then waits a turn
        held = self._held = text.endswith("\ufffd")
        new = text[self._told : len(text) - held]
        self._told = max(self._told, len(text) - held)
        if not held:
            self._window = self._window[-1:]
            self._told = len(self._tokenizer.decode(self._window))
        return new

    def flush(self) -> str:
        """What is held back, as it stands; the stream is then empty."""
        text = self._tokenizer.decode(self._window)[self._told :]
        self._window, self._told, self._held = [], 0, False
        return text


def _without_prefix_space(part: Any) -> Any:
    """A normalizer's or pre-tokenizer's JSON with every rule that prepends a space switched off."""
    if isinstance(part, list):
        return [_without_prefix_space(p) for p in part if p.get("type") != "Prepend"]
    if not isinstance(part, Mapping):
        return part
    if part.get("type") == "Prepend":
        return None
    changed = {k: _without_prefix_space(v) if isinstance(v, list) else v for k, v in part.items()}
    if changed.get("type") == "Metaspace":
        changed["prepend_scheme"] = "never"
    if changed.get("type") == "ByteLevel":
        changed["add_prefix_space"] = False
    return changed
