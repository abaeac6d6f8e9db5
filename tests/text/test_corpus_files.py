"""Where documents are found, and that what can't be one is seen."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput
from shoestring.text import corpus_files
from shoestring.text.corpus_files import Docstrings, find_blocks, standard_library_blocks


def read(path, column="text", separator=None):
    """Every text by name, blocks joined."""
    found: dict[str, list] = {}
    for block in find_blocks(path, column, separator)[0]:
        found.setdefault(block.name, []).extend(block.read())
    return found


def test_a_plain_file_is_one_document(tmp_path):
    (tmp_path / "a.txt").write_bytes("Äpfel\r\n\n---\nend".encode())
    assert read(tmp_path / "a.txt") == {"a.txt": ["Äpfel\r\n\n---\nend"]}


def test_a_separator_line_ends_a_document(tmp_path):
    (tmp_path / "a.txt").write_text("one\n1\n---\ntwo\n --- \n\n---\nfour\n---\n")
    assert read(tmp_path / "a.txt", separator="---") == {"a.txt": ["one\n1", "two", "", "four"]}
    (tmp_path / "a.txt").write_text("one --- two\n")
    assert read(tmp_path / "a.txt", separator="---") == {"a.txt": ["one --- two\n"]}
    with pytest.raises(BadInput, match="give the text of the line"):
        find_blocks(tmp_path / "a.txt", "text", " ")


def test_rows_of_json_lines(tmp_path):
    rows = [
        '{"text": "a\u2028b"}',
        "",
        '{"text": "c", "x": 1}',
        '{"text": null}',
        '{"text": 3}',
        '{"x": "y"}',
    ]
    rows += ["[1]", "{", '{"text": "\\ud800"}', '{"text": ""}']
    (tmp_path / "a.jsonl").write_bytes("\n".join(rows).encode() + b'\n{"text": "\xff"}\n')
    assert read(tmp_path / "a.jsonl") == {"a.jsonl": ["a\u2028b", "c", *[None] * 6, "", None]}
    assert read(tmp_path / "a.jsonl", column="x") == {"a.jsonl": [*[None] * 4, "y", *[None] * 5]}


def test_rows_of_parquet(tmp_path):
    table = pa.table({"text": [f"t{i}" for i in range(5)] + [None], "n": range(6), "raw": ["r"] * 6})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert len(find_blocks(tmp_path / "a.parquet", "text", None)[0]) == 3
    assert read(tmp_path / "a.parquet") == {"a.parquet": ["t0", "t1", "t2", "t3", "t4", None]}
    assert read(tmp_path / "a.parquet", column="raw") == {"a.parquet": ["r"] * 6}
    assert read(tmp_path / "a.parquet", column="n") == {"a.parquet": [None] * 6}
    with pytest.raises(BadInput, match=r"a\.parquet has no column 'body'; it has text, n, raw"):
        read(tmp_path / "a.parquet", column="body")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadInput, match=r"b\.parquet is not a Parquet file"):
        read(tmp_path / "b.parquet")


def test_a_folder_in_the_order_of_its_names(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("sub/b.md", "c.txt", "a.py", "picture.png", ".hidden.txt", ".git/config.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "b.jsonl").write_text('{"text": "row"}\n')
    assert list(read(tmp_path).items()) == [
        ("a.py", ["a.py"]),
        ("b.jsonl", ["row"]),
        ("c.txt", ["c.txt"]),
        ("sub/b.md", ["sub/b.md"]),
    ]
    assert find_blocks(tmp_path, "text", None)[1] == 3
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    assert read(tmp_path)["c.txt"] == [None]


@pytest.mark.parametrize("kind", ["jsonl", "txt"])
def test_a_large_file_is_read_in_stretches_that_cut_no_document(tmp_path, kind, monkeypatch):
    texts = [f"document {i}\n" + "more words " * (i % 7) for i in range(200)]
    lines = [json.dumps({"text": t}) + "\n" if kind == "jsonl" else f"{t}\n<|end|>\n" for t in texts]
    path = tmp_path / f"a.{kind}"
    path.write_text("".join(lines))
    separator = None if kind == "jsonl" else "<|end|>"
    assert len(find_blocks(path, "text", separator)[0]) == 1
    monkeypatch.setattr(corpus_files, "BLOCK_BYTES", 500)
    assert len(find_blocks(path, "text", separator)[0]) > 10
    assert read(path, separator=separator) == {path.name: texts}


def test_nothing_there(tmp_path):
    with pytest.raises(BadInput, match="no such file or folder of texts"):
        find_blocks(tmp_path / "missing", "text", None)
    assert find_blocks(tmp_path, "text", None) == ([], 0)
    (tmp_path / "a.jsonl").write_text("")
    assert find_blocks(tmp_path, "text", None)[0] == []


def test_the_standard_library_without_its_tests():
    names = [block.name for block in standard_library_blocks()]
    assert names == [block.name for block in standard_library_blocks()]
    assert {"json/decoder.py", "textwrap.py", "builtins.__doc__", "itertools.__doc__"} <= set(names)
    assert len(set(names)) == len(names)
    parts = {part for name in names for part in name.split("/")}
    assert not {"test", "tests", "idlelib", "site-packages", "sys.__doc__"} & parts
    assert not [name for name in names if "_sysconfigdata" in name]


def test_what_a_module_in_c_says_of_itself():
    (text,) = Docstrings("itertools").read()
    assert text is not None
    assert text.startswith("itertools\nFunctional tools for creating and using iterators.")
    assert "\n\nitertools.accumulate\n" in text
    assert "\n\nlist.append\n" in (Docstrings("builtins").read()[0] or "")
    assert "\nbuiltins.OSError\n" in (Docstrings("builtins").read()[0] or "")
    assert "\nbuiltins.IOError\n" not in (Docstrings("builtins").read()[0] or "")  # an alias
