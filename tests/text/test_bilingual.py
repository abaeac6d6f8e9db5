"""The bilingual rows: paired, in one language each, ours, and read by all that may read them."""

import re
from collections import Counter

import pytest

from shoestring.errors import BadInput
from shoestring.jobs.corpus_settings import CorpusSettings
from shoestring.jobs.pretrain_data import open_sources
from shoestring.text.bilingual import FILE, PARTS, BilingualDocuments, open_part, part
from shoestring.text.conversations import read_rows
from shoestring.text.train_tokenizer import train_tokenizer

HAN = re.compile("[\u4e00-\u9fff]")
ROWS = list(read_rows(FILE))


def test_pairs_and_languages():
    count = Counter(row["language"] for row in ROWS)
    assert count == {"en": 239, "zh": 239, "both": 92}
    by_id: dict[str, list[str]] = {}
    for row in ROWS:
        by_id.setdefault(row["id"], []).append(row["language"])
        said = "".join(message["content"] for message in row["messages"])
        if row["language"] == "en":
            assert said.isascii(), said
        elif row["language"] == "zh":
            assert len(HAN.findall(said)) > len(re.findall("[A-Za-z]+", said)), said
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
        assert row["licence"] == "CC0-1.0"
    assert set(map(tuple, by_id.values())) == {("en", "zh"), ("both", "both")}
    questions = [row["messages"][0]["content"] for row in ROWS]
    assert len(set(questions)) == len(questions)


def test_parts():
    assert {name: len(part(name)) for name in PARTS} == {
        "bilingual": 478,
        "bilingual:en": 239,
        "bilingual:zh": 239,
        "bilingual:translation": 92,
    }
    with pytest.raises(BadInput, match="no part 'bilingual:fr'"):
        part("bilingual:fr")
    rows = open_part("bilingual:zh", seed=3)
    epoch = [rows.next()[0][0]["content"] for _ in range(239)]
    assert len(set(epoch)) == 239
    again = open_part("bilingual:zh", seed=3)
    again.load_state_dict({"index": 200})
    assert again.next()[0][0]["content"] == epoch[200]


def test_as_a_corpus():
    (source,) = open_sources([CorpusSettings(kind="bilingual")], seed=1)
    held = source.validation(1000)
    assert 10 < len(held) < 60
    epoch = [source.next() for _ in range(len(ROWS) - len(held))]
    told = {d.messages[0]["content"] for d in epoch if d.messages}
    assert len(told) == len(epoch)
    assert not told & {d.messages[0]["content"] for d in held if d.messages}
    skipped = BilingualDocuments(seed=1)
    skipped.skip(100)
    assert skipped.next() == epoch[100]


def test_the_tokenizer_trainer_learns_chinese():
    texts = [message["content"] for row in ROWS for message in row["messages"]]
    tokenizer = train_tokenizer(texts, 900)
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("星期一")) < len("星期一".encode())
