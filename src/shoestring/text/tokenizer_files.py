"""A tokenizer out of a Hugging Face folder, and a padding token that ends nothing."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers

from shoestring.errors import BadInput
from shoestring.text.tokenizer import (
    CHAT_TEMPLATE,
    SPECIAL_MAP,
    TOKENIZER,
    TOKENIZER_CONFIG,
    SpecialTokens,
    Tokenizer,
)


def load_tokenizer(folder: Path, end_ids: Iterable[int]) -> tuple[Tokenizer, str | None]:
    """The tokenizer and the chat template (None: it has none) of a Hugging Face folder. `end_ids` end a
    turn and are never used as padding. Raises BadInput, one line."""
    path = folder / TOKENIZER
    if not path.exists():
        raise BadInput(
            f"{folder} has no {TOKENIZER}; write one with transformers' AutoTokenizer.save_pretrained"
        )
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise BadInput(f"{path} can't be read: {error}") from None
    config = {**_json_object(folder / SPECIAL_MAP), **_json_object(folder / TOKENIZER_CONFIG)}
    names = {key: _content(config.get(f"{key}_token")) for key in ("bos", "eos", "unk", "pad")}
    chat_template = _chat_template(folder, config)
    special = choose_pad(backend, SpecialTokens(**names), end_ids, chat_template)
    length = config.get("model_max_length")
    return Tokenizer(
        backend, special, length if isinstance(length, int) and length < 10**9 else None
    ), chat_template


def choose_pad(
    backend: tokenizers.Tokenizer, special: SpecialTokens, end_ids: Iterable[int], chat_template: str | None
) -> SpecialTokens:
    """`special` with a padding token of its own. A pad that also ends a turn would be masked out of the
    loss and the model would never learn to stop, so such a pad is replaced by a token kept in reserve."""
    taken = set(end_ids) | {backend.token_to_id(t) for t in (special.eos, special.bos) if t is not None}
    added = backend.get_added_tokens_decoder()
    spare = [t.content for i, t in added.items() if t.special and i not in taken]
    spare = [token for token in spare if token not in (chat_template or "")]
    if special.pad is not None and backend.token_to_id(special.pad) not in {None, *taken}:
        return special
    meant = [t for word in ("pad", "reserved", "empty", "unused") for t in spare if word in t.lower()]
    rest = [t for t in spare if t != special.unk]
    whole = sorted(backend.get_vocab(with_added_tokens=True).items(), key=lambda item: -item[1])
    plain = [token for token, i in whole if i not in taken]
    pad = next(iter([*meant, *rest[::-1], *([special.unk] if special.unk else []), *plain]), None)
    if pad is None:
        raise BadInput("the tokenizer has no token to spare for padding")
    return SpecialTokens(special.bos, special.eos, special.unk, pad)


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / CHAT_TEMPLATE
    if path.exists():
        return path.read_bytes().decode("utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):  # several by name
        source = {t.get("name"): t.get("template") for t in source if isinstance(t, dict)}.get("default")
    return source if isinstance(source, str) else None


def _json_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is not valid JSON: {error}") from None
    return raw if isinstance(raw, dict) else {}


def _content(token: Any) -> str | None:
    """A token as config files write it: a string, or an object with its content."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
