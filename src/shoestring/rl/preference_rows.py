"""Which judged rows are learnt from, and in what order."""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from shoestring.tasks.base import TEST_SHARE
from shoestring.tasks.chat import CHAT
from shoestring.tasks.texts import same_text
from shoestring.text.preferences import Judged

T = TypeVar("T")


def held_out(row: Judged) -> bool:
    """Whether the prompt belongs to the test tenth, by the hash that decides it for a problem of the `chat`
    family: a prompt is held out for both or for neither."""
    asked = (
        row.messages[-1]["content"]
        if len(row.messages) == 1
        else "\n".join(f"{message['role']}: {message['content']}" for message in row.messages)
    )
    mark = hashlib.sha256(f"{CHAT}\n{same_text(asked)}".encode()).hexdigest()
    return int(mark[:8], 16) % TEST_SHARE == 0


def split_rows(rows: Sequence[T], judged: Callable[[T], Judged]) -> tuple[list[T], list[T]]:
    """For training, and held out."""
    marks = [held_out(judged(row)) for row in rows]
    train = [row for row, mark in zip(rows, marks, strict=True) if not mark]
    return train, [row for row, mark in zip(rows, marks, strict=True) if mark]


class PreferenceStream:
    """Endless places of `count` rows, in an order shuffled anew each epoch; its whole state is the next
    index."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.index = count, seed, 0
        self._epoch, self._order = -1, list[int]()

    def take(self, n: int) -> list[int]:
        first, self.index = self.index, self.index + n
        return [self._item(index) for index in range(first, first + n)]

    def _item(self, index: int) -> int:
        epoch, place = divmod(index, self.count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(self.count))
            random.Random(f"preference:{self.seed}:{epoch}").shuffle(self._order)
        return self._order[place]

    def state_dict(self) -> dict[str, int]:
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.index = state["index"]
