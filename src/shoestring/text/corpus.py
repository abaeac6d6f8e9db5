"""Documents for pretraining, without end, in an order that the seed and the position alone decide.

An epoch of a corpus holds each of its training documents once. Its blocks are shuffled and laid into windows
of a bounded size, and the documents of a window are shuffled again, so that a corpus larger than memory is
read in big stretches and a small one is shuffled as a whole. A hash of the text puts a document in training
or holds it out for validation, whatever the file, the seed or the run; repeats of a text go together."""

import hashlib
import itertools
import random
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from platform import python_version
from typing import Any

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.corpus_files import Block, find_blocks, standard_library_blocks
from shoestring.text.corpus_origins import corpus_origins
from shoestring.text.mixture import Document

WINDOW_CHARACTERS = 16_000_000  # of text that are kept in memory and shuffled together
VALIDATION_SHARE = 0.01


@dataclass(frozen=True)
class _Part:
    """A block as it was found when the corpus was opened."""

    block: Block
    texts: int  # documents of every kind in it
    first: int  # of its name's documents, the number of this block's first
    rows: "array[int]"  # those to train on; quoted for Python 3.11
    characters: int


class Corpus:
    """The training documents of `blocks`, from one source. All are looked at here, once: `counts` says how
    many are trained on, held out, empty and unreadable, and the fingerprint tells whether they are the
    same ones when a run goes on. Raises BadInput where nothing is left to train on."""

    def __init__(
        self,
        blocks: Iterable[Block],
        origin: Origin,
        seed: int,
        validation_share: float = VALIDATION_SHARE,
        window_characters: int = WINDOW_CHARACTERS,
    ) -> None:
        if not 0 <= validation_share < 1:
            raise BadInput(f"validation_share {validation_share} is not in [0, 1)")
        self.origins: tuple[Origin, ...] = (origin,)
        self.seed, self.index = seed, 0
        self._window_characters = window_characters
        self._parts: list[_Part] = []
        self._held_out: list[tuple[bytes, int, int]] = []  # by hash: any first few are a fair sample
        self.counts: Counter[str] = Counter(documents=0, held_out=0, empty=0, unreadable=0)
        self.fingerprint = self._survey(blocks, validation_share)
        if not self.counts["documents"]:
            found = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts.items())
            raise BadInput(
                f"{origin.source} holds no text to train on ({found}): "
                "is the text in another column or folder?"
            )
        self._epoch = self._window = -1
        self._windows: list[list[int]] = []
        self._firsts: list[int] = []  # of each window, the place of its first document in the epoch
        self._order: list[tuple[int, int]] = []  # the open window's documents: part, row
        self._texts: dict[int, list[str | None]] = {}  # the open window's parts

    def __len__(self) -> int:
        """Training documents in an epoch."""
        return self.counts["documents"]

    def next(self) -> Document:
        epoch, place = divmod(self.index, len(self))
        if epoch != self._epoch:
            self._begin(epoch)
        window = bisect_right(self._firsts, place) - 1
        if window != self._window:
            self._open(window)
        part, row = self._order[place - self._firsts[window]]
        self.index += 1
        return self._document(part, row, self._texts[part])

    def skip(self, count: int) -> None:
        self.index += count

    def validation(self, limit: int) -> list[Document]:
        chosen = sorted(self._held_out)[:limit]
        texts = {part: self._read(part) for part in sorted({part for _, part, _ in chosen})}
        return [self._document(part, row, texts[part]) for _, part, row in chosen]

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["fingerprint"] != self.fingerprint:
            raise BadInput(
                f"{self.origins[0].source} has changed since the state was saved: put the same texts back, "
                "or start the stage again"
            )
        self.index = int(state["index"])

    def _survey(self, blocks: Iterable[Block], validation_share: float) -> str:
        seen: Counter[str] = Counter()
        digest = hashlib.sha256()
        for number, block in enumerate(blocks):
            texts, rows = block.read(), array("I")
            for row, text in enumerate(texts):
                if text is None or not text.strip():
                    self.counts["unreadable" if text is None else "empty"] += 1
                    continue
                mark = hashlib.sha256(" ".join(text.split()).encode()).digest()
                digest.update(mark)
                if int.from_bytes(mark[:8], "big") < validation_share * 2**64:
                    self._held_out.append((mark, number, row))
                else:
                    rows.append(row)
            characters = sum(len(text or "") for text in texts)
            self._parts.append(_Part(block, len(texts), seen[block.name], rows, characters))
            seen[block.name] += len(texts)
            self.counts["documents"] += len(rows)
        self.counts["held_out"] = len(self._held_out)
        return digest.hexdigest()[:16]

    def _begin(self, epoch: int) -> None:
        order = [number for number, part in enumerate(self._parts) if part.rows]
        random.Random(f"corpus:{self.seed}:{epoch}").shuffle(order)
        windows: list[list[int]] = [[]]
        filled = 0
        for number in order:
            if filled >= self._window_characters:
                windows.append([])
                filled = 0
            windows[-1].append(number)
            filled += self._parts[number].characters
        sizes = [sum(len(self._parts[number].rows) for number in window) for window in windows]
        self._windows, self._firsts = windows, [0, *itertools.accumulate(sizes)][:-1]
        self._epoch, self._window = epoch, -1

    def _open(self, window: int) -> None:
        parts = self._windows[window]
        self._texts = {part: self._texts.get(part) or self._read(part) for part in parts}
        self._order = [(part, row) for part in parts for row in self._parts[part].rows]
        random.Random(f"corpus:{self.seed}:{self._epoch}:{window}").shuffle(self._order)
        self._window = window

    def _read(self, part: int) -> list[str | None]:
        known = self._parts[part]
        texts = known.block.read()
        if len(texts) != known.texts:
            raise BadInput(f"{known.block.name} was changed while it was being read: start the stage again")
        return texts

    def _document(self, part: int, row: int, texts: list[str | None]) -> Document:
        known = self._parts[part]
        return Document(texts[row], f"{known.block.name}#{known.first + row + 1}", self.origins[0].source)


def open_corpus(
    path: Path,
    seed: int,
    column: str = "text",
    separator: str | None = None,
    licence: str = "",
    validation_share: float = VALIDATION_SHARE,
) -> Corpus:
    """The texts of a file or folder. `column` is where .jsonl and .parquet rows have theirs; `separator` is
    the line between the documents of a plain text file, without which each file is one. Files of a folder
    that aren't read are in `counts` as other_files. Raises BadInput, also where nothing says where they came
    from (`corpus_origins`)."""
    blocks, others = find_blocks(path, column, separator)
    origins = corpus_origins(path, licence)
    nothing = Origin(f"file:{path.name}", "")  # of which Corpus says what was found instead
    corpus = Corpus(blocks, origins[0] if origins else nothing, seed, validation_share)
    corpus.origins = origins
    corpus.counts["other_files"] = others
    return corpus


def standard_library(seed: int, validation_share: float = VALIDATION_SHARE) -> Corpus:
    """The sources and docstrings of the running interpreter's own library: a few million tokens that every
    machine has. They differ from one Python version to the next."""
    origin = Origin(f"stdlib:python-{python_version()}", "PSF-2.0")
    return Corpus(standard_library_blocks(), origin, seed, validation_share)
