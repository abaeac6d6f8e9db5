"""Which source a document comes from depends on (seed, i) alone."""

import json
from collections import Counter

import pytest

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.message import Message
from shoestring.text.mixture import Document, Mixture


class Numbers:
    """Document i is "name i"; it has three held-out ones."""

    def __init__(self, name: str) -> None:
        self.name, self.index = name, 0
        self.origins: tuple[Origin, ...] = (Origin(f"file:{name}", "CC0-1.0"),)

    def next(self) -> Document:
        self.index += 1
        return Document(f"{self.name} {self.index - 1}", str(self.index), self.name)

    def skip(self, count: int) -> None:
        self.index += count

    def validation(self, limit: int) -> list[Document]:
        return [Document(f"{self.name} held out {i}", "", self.name) for i in range(min(limit, 3))]

    def state_dict(self) -> dict[str, int]:
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.index = state["index"]


def mixture(seed: int = 0, weights=(6, 3, 1)) -> Mixture:
    return Mixture([Numbers("a"), Numbers("b"), Numbers("c")], weights, seed)


def texts(source, count: int) -> list[str]:
    return [source.next().text or "" for _ in range(count)]


def test_shares_and_order():
    mixed = mixture()
    drawn = texts(mixed, 4000)
    counts = Counter(text[0] for text in drawn)
    assert mixed.drawn == [counts["a"], counts["b"], counts["c"]]
    # 4 standard deviations of a count are at most 4 * sqrt(4000 * 0.24) = 124
    assert [abs(n - share) < 125 for n, share in zip(mixed.drawn, (2400, 1200, 400), strict=True)] == [
        True
    ] * 3
    for name in "abc":  # every source gives its own in order, none left out
        own = [text for text in drawn if text[0] == name]
        assert own == [f"{name} {i}" for i in range(len(own))]


def test_the_seed_decides():
    assert texts(mixture(0), 100) == texts(mixture(0, (0.6, 0.3, 0.1)), 100)
    assert texts(mixture(0), 100) != texts(mixture(1), 100)


def test_a_resumed_mixture_goes_on_as_if_nothing_happened():
    whole = texts(mixture(), 300)
    first = mixture()
    assert texts(first, 123) == whole[:123]
    again = mixture()
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert texts(again, 177) == whole[123:]
    assert sum(again.drawn) == 300


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_number_of_readers_changes_nothing(world):
    whole = texts(mixture(), 60)
    for rank in range(world):
        reader = mixture()
        reader.skip(rank)
        got = []
        for _ in range(60 // world):
            got += texts(reader, 1)
            reader.skip(world - 1)
        assert got == whole[rank::world]


def test_held_out_documents_of_every_source():
    assert [d.text for d in mixture().validation(4)] == [
        "a held out 0",
        "a held out 1",
        "b held out 0",
        "c held out 0",
    ]


def test_origins_are_told_once():
    mixed = Mixture([Numbers("a"), Numbers("b"), Numbers("a")], [1, 1, 1], 0)
    assert [origin.source for origin in mixed.origins] == ["file:a", "file:b"]


@pytest.mark.parametrize("weights", [(1, 0, 1), (1, -1, 1), (1, float("nan"), 1), (1, float("inf"), 1)])
def test_weights_that_are_none(weights):
    with pytest.raises(BadInput, match="weights must be above 0"):
        mixture(0, weights)


def test_numbers_that_do_not_fit():
    with pytest.raises(BadInput, match="one weight per source: 2 for 3"):
        mixture(0, (1, 1))
    with pytest.raises(BadInput, match="one weight per source: 0 for 0"):
        Mixture([], [], 0)
    with pytest.raises(BadInput, match="saved state is of 2 sources, not 3"):
        mixture().load_state_dict({"index": 0, "drawn": [0, 0], "sources": [{}, {}]})


def test_a_document_is_one_thing_or_the_other():
    turns = [Message(role="user", content="q")]
    assert Document(None, "i", "s", turns).messages == turns
    with pytest.raises(AssertionError, match="either text or messages"):
        Document("x", "i", "s", turns)
    with pytest.raises(AssertionError, match="either text or messages"):
        Document(None, "i", "s")
