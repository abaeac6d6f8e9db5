"""Everyday questions and answers in English and in Chinese, written for this package: small talk, requests,
advice, opposites, colours, days, animals, counting. One id names the same question in both languages."""

import hashlib
import random
from pathlib import Path

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.conversations import Conversations, Row, read_rows, rows_of
from shoestring.text.mixture import Document

FILE = Path(__file__).parent / "data" / "bilingual.jsonl"
# what `data` of an sft stage may say, and the rows' `language`; translations hold words of both
PARTS: dict[str, tuple[str, ...]] = {
    "bilingual": ("en", "zh"),
    "bilingual:en": ("en",),
    "bilingual:zh": ("zh",),
    "bilingual:translation": ("both",),
}
HELD_OUT = 20  # one pair in so many, of the corpus


def part(name: str) -> list[Row]:
    """The rows of one of PARTS, in the file's order. Raises BadInput."""
    if name not in PARTS:
        raise BadInput(f"no part '{name}' of the bilingual rows: {', '.join(PARTS)}")
    return rows_of([row for row in read_rows(FILE) if row["language"] in PARTS[name]], FILE)


class BilingualDocuments:
    """All rows as conversations to pretrain on, shuffled anew each epoch; a pair in twenty is held out."""

    def __init__(self, seed: int) -> None:
        found = list(read_rows(FILE))
        held = [int(hashlib.sha256(row["id"].encode()).hexdigest()[:8], 16) % HELD_OUT == 0 for row in found]
        rows = list(zip(found, rows_of(found, FILE), held, strict=True))
        self._train = Conversations([row for _, row, out in rows if not out], "bilingual", seed)
        self._held_out = [(raw["id"], row) for raw, row, out in rows if out]
        random.Random("bilingual").shuffle(self._held_out)  # any first few are of several kinds
        self.origins: tuple[Origin, ...] = self._train.origins

    def next(self) -> Document:
        messages, row_id = self._train.next()
        return Document(None, row_id, "bilingual", messages)

    def skip(self, count: int) -> None:
        self._train.index += count

    def validation(self, limit: int) -> list[Document]:
        return [
            Document(None, f"bilingual#{id_}", "bilingual", messages)
            for id_, (messages, _) in self._held_out[:limit]
        ]

    def state_dict(self) -> dict[str, int]:
        return self._train.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._train.load_state_dict(state)


def open_part(name: str, seed: int) -> Conversations:
    return Conversations(part(name), name, seed)


def is_part(data: str) -> bool:
    """Whether `data` of an sft stage means these rows and not a file."""
    return data.partition(":")[0] == "bilingual"
