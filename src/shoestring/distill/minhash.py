"""Near-duplicates among many texts: MinHash over runs of words finds the pairs worth comparing (Broder 1997),
and their exact Jaccard index decides, so that no text is dropped by chance."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shoestring.tasks.shape import SHORT, tokens_of

BANDS, ROWS = 32, 4  # a pair of index 0.8 shares no band once in 2e7; one of 0.5 is compared 7 times in 8
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class _Text:
    name: str
    group: str
    shingles: frozenset[int]
    numbers: Counter[str]


class NearDuplicates:
    """Texts one by one, each compared with all that were kept before.

    words: how many make a run. A text of fewer than SHORT tokens repeats others by chance ("The answer is 7")
    and is always kept. Texts with different numbers in them are different
    problems however alike their words, as "Ann has 3 apples" and "Ann has 5 apples" are.
    """

    def __init__(self, threshold: float, words: int, seed: int = 0) -> None:
        self.threshold, self.words = threshold, words
        rng = np.random.default_rng(seed)
        # h -> (a h + b) mod 2^64, its upper half: the multiply-shift family, a odd
        self._a = rng.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._b = rng.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(BANDS)]
        self._kept: list[_Text] = []

    def add(self, name: str, text: str, group: str) -> str | None:
        """The name of an earlier text of another group (a problem) that this one repeats; None keeps it."""
        tokens = tokens_of(text.lower())
        if len(tokens) < SHORT:
            return None
        new = _Text(name, group, self._shingles(tokens), Counter(NUMBER.findall(text)))
        keys = self._keys(new.shingles)
        for place in self._candidates(keys):
            other = self._kept[place]
            if other.group == group or other.numbers != new.numbers:
                continue
            if jaccard(new.shingles, other.shingles) >= self.threshold:
                return other.name
        for band, key in zip(self._bands, keys, strict=True):
            band.setdefault(key, []).append(len(self._kept))
        self._kept.append(new)
        return None

    def _candidates(self, keys: list[bytes]) -> Iterable[int]:
        found = (band.get(key, ()) for band, key in zip(self._bands, keys, strict=True))
        return sorted({place for places in found for place in places})

    def _shingles(self, tokens: list[str]) -> frozenset[int]:
        runs = [tokens[i : i + self.words] for i in range(max(1, len(tokens) - self.words + 1))]
        return frozenset(_hash(" ".join(run)) for run in runs)

    def _keys(self, shingles: frozenset[int]) -> list[bytes]:
        """Of each band: its minima as bytes."""
        h = np.fromiter(shingles, np.uint64, len(shingles))
        lows = np.full(BANDS * ROWS, np.iinfo(np.uint64).max, np.uint64)
        for start in range(0, len(h), 4096):  # a long text's table of hashes needn't be whole
            mixed = (h[start : start + 4096, None] * self._a + self._b) >> np.uint64(32)
            np.minimum(lows, mixed.min(axis=0), out=lows)
        return [band.tobytes() for band in lows.reshape(BANDS, ROWS)]


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
