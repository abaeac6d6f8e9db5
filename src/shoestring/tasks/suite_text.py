"""A suite's text taken apart: what comes before the level, and the level's settings."""

import re

from shoestring.tasks.benchmark import SUFFIXES
from shoestring.tasks.benchmarks import BENCHMARKS


def split_name(text: str) -> tuple[str, str]:
    """The family or file, and the level's text. A file's path may hold colons of its own."""
    if text.partition(":")[0] in BENCHMARKS:
        ends = "|".join(map(re.escape, SUFFIXES))
        match = re.match(rf"(.*?(?:{ends})(?=:|$)|.*)(?::(.*))?$", text, re.DOTALL)
        assert match is not None, text
        return match[1], match[2] or ""
    match = re.match(r"(gym:[^:]*|.*?\.(?:jsonl|parquet|py)(?=:|$)|[^:]*)(?::(.*))?$", text, re.DOTALL)
    assert match is not None, text
    return match[1], match[2] or ""


def split_commas(text: str) -> list[str]:
    """At commas outside brackets and quotes: 'a=[1,2],b="x,y"' -> ['a=[1,2]', 'b="x,y"']."""
    parts = re.findall(r'(?:\[[^\]]*\]|"[^"]*"|[^,])+', text)
    return [part.strip() for part in parts if part.strip()]
