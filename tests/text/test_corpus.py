"""Epochs, resuming, what is held out, what is counted."""

import json
from collections import Counter
from dataclasses import dataclass

import pytest

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.corpus import Corpus, open_corpus, standard_library

ORIGIN = Origin("file:numbers", "CC0-1.0")


@dataclass
class Given:
    """A block of texts kept in memory."""

    name: str
    texts: list[str | None]
    reads: int = 0

    def read(self) -> list[str | None]:
        self.reads += 1
        return list(self.texts)


def blocks(count: int = 40, size: int = 25) -> list[Given]:
    return [Given("numbers", [f"number {size * b + i}" for i in range(size)]) for b in range(count)]


def corpus(seed: int = 0, window: int = 2_000, share: float = 0.1, given=None) -> Corpus:
    """Of 1000 texts in blocks of 25; a window of 2000 characters holds eight or nine blocks."""
    return Corpus(blocks() if given is None else given, ORIGIN, seed, share, window)


def texts(source, count: int) -> list[str]:
    return [source.next().text or "" for _ in range(count)]


@pytest.mark.parametrize("window", [1, 2_000, 10**9])
def test_each_epoch_has_every_document_once_in_an_order_of_its_own(window):
    rows = corpus(window=window)
    epochs = [texts(rows, len(rows)) for _ in range(3)]
    assert [len(set(epoch)) for epoch in epochs] == [len(rows)] * 3
    assert len({frozenset(epoch) for epoch in epochs}) == 1
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert texts(corpus(window=window), 50) == epochs[0][:50]
    assert texts(corpus(seed=1, window=window), 50) != epochs[0][:50]


def test_a_small_corpus_is_shuffled_as_a_whole_and_read_once():
    given = blocks()
    rows = corpus(window=10**9, given=given)
    drawn = [int(text.split()[1]) // 25 for text in texts(rows, 3 * len(rows))]
    assert len(set(drawn[:50])) > 20  # of 40 blocks
    assert {block.reads for block in given} == {2}  # once to look, once for all epochs


def test_a_large_one_is_read_window_by_window():
    given = blocks()
    rows = corpus(given=given)
    drawn = [int(text.split()[1]) // 25 for text in texts(rows, len(rows))]
    assert 6 <= len(set(drawn[:100])) <= 10
    assert {block.reads for block in given} == {2}


@pytest.mark.parametrize("at", [0, 1, 137, 900, 1500])
def test_a_resumed_corpus_goes_on_as_if_nothing_happened(at):
    whole = texts(corpus(), 2000)
    first = corpus()
    texts(first, at)
    again = corpus()
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert texts(again, 2000 - at) == whole[at:]
    skipped = corpus()
    skipped.skip(at)
    assert texts(skipped, 10) == whole[at : at + 10]


def test_a_changed_corpus_is_not_gone_on_with():
    state = corpus().state_dict()
    other = blocks()
    other[3].texts[4] = "another"
    with pytest.raises(BadInput, match="file:numbers has changed since the state was saved"):
        corpus(given=other).load_state_dict(state)
    changing = blocks()
    rows = corpus(given=changing)
    for block in changing:
        block.texts.pop()
    with pytest.raises(BadInput, match="numbers was changed while it was being read"):
        rows.next()


# ------------------------------------------------ what is held out


def test_what_is_held_out_is_never_trained_on():
    rows = corpus(share=0.1)
    trained, held_out = set(texts(rows, 2 * len(rows))), {d.text for d in rows.validation(10**6)}
    assert not trained & held_out
    assert len(trained) + len(held_out) == 1000
    assert 60 < len(held_out) < 140  # 100 with a standard deviation of 9.5
    assert rows.counts == {"documents": len(trained), "held_out": len(held_out), "empty": 0, "unreadable": 0}


def test_the_text_alone_decides():
    """Not the seed, the file or the white space; and a larger share holds out the same ones and more."""
    held_out = {d.text for d in corpus(seed=0).validation(1000)}
    assert {d.text for d in corpus(seed=1).validation(1000)} == held_out
    moved = [
        Given(
            "elsewhere",
            [f" {text.replace(' ', '  ')}\n" for b in blocks()[::-1] for text in map(str, b.texts)],
        )
    ]
    assert {" ".join((d.text or "").split()) for d in corpus(given=moved).validation(1000)} == held_out
    assert held_out < {d.text for d in corpus(share=0.3).validation(1000)}


def test_the_first_few_held_out_are_a_sample_of_all():
    rows = corpus(share=0.5)
    few = rows.validation(20)
    assert rows.validation(40)[:20] == few
    assert len({int((d.text or "").split()[1]) // 100 for d in few}) > 5  # of ten hundreds
    assert corpus(share=0).validation(5) == []


# ------------------------------------------------ what is counted


def test_what_is_no_document_is_counted():
    given = [Given("a", ["x", " \n", None]), Given("a", ["", "y"]), Given("b", ["z"])]
    rows = corpus(share=0, given=given)
    assert rows.counts == {"documents": 3, "held_out": 0, "empty": 2, "unreadable": 1}
    found = [rows.next() for _ in range(3)]
    assert sorted((d.id, d.text, d.source) for d in found) == [
        ("a#1", "x", "file:numbers"),
        ("a#5", "y", "file:numbers"),
        ("b#1", "z", "file:numbers"),
    ]


def test_a_corpus_without_documents():
    with pytest.raises(BadInput, match=r"file:numbers holds no text.*0 held out, 1 empty, 1 unreadable"):
        corpus(given=[Given("a", ["", None])])
    with pytest.raises(BadInput, match="holds no text"):
        corpus(given=[])
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(BadInput, match="validation_share"):
            corpus(share=share)


def test_a_folder(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("plain")
    (folder / "b.jsonl").write_text('{"body": "row"}\n{"body": ""}\n{}\n')
    (folder / "c.png").write_bytes(b"\x89")
    rows = open_corpus(folder, seed=0, column="body", licence="MIT", validation_share=0)
    assert rows.counts == Counter(documents=2, empty=1, unreadable=1, other_files=1)
    assert rows.origins == (Origin("file:notes", "MIT"),)
    assert {(d.id, d.text) for d in (rows.next(), rows.next())} == {
        ("a.txt#1", "plain"),
        ("b.jsonl#1", "row"),
    }


def test_the_standard_library():
    rows = standard_library(seed=0)
    assert rows.counts["documents"] > 400
    assert rows.counts["unreadable"] == 0
    assert 0 < rows.counts["held_out"] < 30
    assert rows.origins[0].source.startswith("stdlib:python-3.")
    assert len({rows.next().id for _ in range(200)}) == 200
    assert standard_library(seed=1).fingerprint == rows.fingerprint
