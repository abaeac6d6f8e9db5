"""What rows of a corpus say of themselves comes before what is declared."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.corpus import open_corpus
from shoestring.text.corpus_origins import corpus_origins

ROWS = [
    {"text": "plain words"},
    {"text": "written", "teacher": "gpt-4", "licence": "CC0-1.0", "source": "its own address"},
    {"text": "written too", "teacher": "gpt-4", "licence": "CC0-1.0", "source": "another"},
]


def write(path):
    if path.suffix == ".parquet":
        pq.write_table(
            pa.Table.from_pylist(ROWS, schema=pa.schema([(n, pa.string()) for n in ROWS[1]])), path
        )
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
def test_rows_say_who_wrote_them(tmp_path, name):
    path = write(tmp_path / name)
    source = f"file:{name}"
    expected = (Origin(source, "MIT"), Origin(source, "CC0-1.0", "gpt-4"))
    assert corpus_origins(path, "MIT") == expected
    assert open_corpus(path, 0, licence="MIT", validation_share=0).origins == expected
    with pytest.raises(BadInput, match=r"nothing says what licence d\.\w+\S* is under|d\.jsonl, line 1 is"):
        corpus_origins(path)


def test_a_folder_of_rows_and_texts(tmp_path):
    write(tmp_path / "d.jsonl")
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "origin.toml").write_text('source = "library"\nlicence = "MIT"\n')
    assert corpus_origins(tmp_path) == (Origin("library", "MIT"), Origin("library", "CC0-1.0", "gpt-4"))


def test_lines_that_are_no_rows_say_nothing(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('\n{"teacher": \n"licence"\n{"text": "x"}\n')
    assert corpus_origins(path, "MIT") == (Origin("file:d.jsonl", "MIT"),)
