"""LiveCodeBench: problems in Python, judged by their public and private tests in the sandbox.

In its published files private tests are JSON, or base64 of zlib of a pickle. A pickle is a program: nothing
here runs one. What is published is a pickle of one text, and that much is read by walking over its opcodes;
a pickle that holds anything else is refused.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
import pickletools
import zlib
from datetime import date
from typing import Any, Literal

from shoestring.tasks.base import GOLD, SCORING_S, Problem, Verdict
from shoestring.tasks.benchmark import BenchmarkLevel, Row, text_of
from shoestring.tasks.code import judge_code, sandbox
from shoestring.tasks.code_tests import read_tests, tests_text
from shoestring.tasks.file_rows import Refused
from shoestring.text.message import Reply

TEST_S = 6.0  # LiveCodeBench's own clock for one test (github.com/LiveCodeBench/LiveCodeBench, 2024-12)
TOTAL_S = 60.0  # for all tests of a problem, which LiveCodeBench bounds by their number alone
MOST_BYTES = 512 << 20  # of unpacked tests: a small file can unpack into more than any memory
TEXT_OF = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
HARMLESS = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"})
# names that the contests' own judges have at hand, and solutions use without importing them
BEFORE = """\
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from builtins import *
from typing import *
"""
ASKED = "Solve this problem in Python."
FROM_STDIN = (
    "Read the input from stdin and print the answer to stdout. Put the program in one ```python block."
)
FROM_START = "Complete this code and put all of it in one ```python block."


class LiveCodeBenchLevel(BenchmarkLevel):
    """after, before: the contest's date, first day in and last day in. tests: "public" leaves the private
    ones unread, and gives an easier benchmark."""

    after: date | None = None
    before: date | None = None
    difficulty: Literal["", "easy", "medium", "hard"] = ""
    tests: Literal["all", "public"] = "all"


class LiveCodeBench:
    """`question_content`, `starter_code`, `public_test_cases`, `private_test_cases`, `metadata`,
    `contest_date`, `difficulty`."""

    name = "livecodebench"
    Level = LiveCodeBenchLevel

    def question(self, row: Row) -> str:
        return text_of(row, "question_content")

    def read(self, row: Row, level: LiveCodeBenchLevel) -> tuple[str, dict[str, Any]] | None:
        if level.difficulty and row.get("difficulty") != level.difficulty:
            return None
        if (level.after or level.before) and not _within(_day(row), level):
            return None
        cases = _public(row) + (_private(row) if level.tests == "all" else [])
        starter = str(row.get("starter_code") or "").strip("\n")
        entry = _entry(row, starter, cases)
        given = {"inputs": [case["input"] for case in cases], "outputs": [case["output"] for case in cases]}
        try:
            tests = read_tests(given | ({"entry_point": entry} if entry else {}))
            tests = dataclasses.replace(tests, before=BEFORE, test_s=TEST_S, total_s=TOTAL_S)
            answer = tests_text(tests)
        except ValueError as why:
            raise Refused(str(why)) from None
        told = [f"{FROM_START}\n\n```python\n{starter}\n```"] if starter else [FROM_STDIN]
        prompt = "\n\n".join([ASKED, self.question(row), *told])
        mark = hashlib.sha256(answer.encode()).hexdigest()
        gold = f"{len(cases)} tests, sha256 {mark}"  # the tests themselves can be megabytes
        return prompt, {"answer": answer, GOLD: gold, SCORING_S: TOTAL_S + len(cases)}

    def prepare(self) -> None:
        sandbox(TOTAL_S)

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return judge_code(reply, problem.hidden["answer"])

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return self.score(problem, reply)


def _day(row: Row) -> date:
    try:
        return date.fromisoformat(str(row.get("contest_date") or "")[:10])
    except ValueError:
        raise Refused("no contest_date to go by") from None


def _within(day: date, level: LiveCodeBenchLevel) -> bool:
    return (level.after is None or day >= level.after) and (level.before is None or day <= level.before)


def _entry(row: Row, starter: str, cases: list[dict[str, str]]) -> str:
    """The function that is called, empty where programs read stdin."""
    kinds = {case.get("testtype", "stdin") for case in cases}
    if kinds == {"stdin"}:
        return ""
    if kinds != {"functional"}:
        raise Refused(f"tests of the kinds {', '.join(sorted(map(str, kinds)))} together")
    try:
        known = row["metadata"]
        name = (json.loads(known) if isinstance(known, str) else known)["func_name"]
    except (ValueError, TypeError, KeyError):
        raise Refused("no func_name in its metadata") from None
    return f"Solution.{name}" if "class Solution" in starter else str(name)


def _public(row: Row) -> list[dict[str, str]]:
    raw = row.get("public_test_cases")
    return _cases(raw if isinstance(raw, list) else _json(str(raw or "[]"), "public_test_cases"), "public")


def _private(row: Row) -> list[dict[str, str]]:
    raw = row.get("private_test_cases")
    if raw in (None, "", []):
        raise Refused("no private_test_cases (tests=public does without)")
    if isinstance(raw, list):
        return _cases(raw, "private")
    text = str(raw).lstrip()
    return _cases(_json(text if text.startswith("[") else _unpacked(text), "private_test_cases"), "private")


def _unpacked(text: str) -> str:
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except (binascii.Error, ValueError, zlib.error):
        raise Refused("private_test_cases is neither JSON nor base64 of zlib") from None
    if stream.unconsumed_tail:
        raise Refused(f"private_test_cases unpacks into more than {MOST_BYTES >> 20} MiB")
    return _text_of_pickle(data) if data[:1] == b"\x80" else data.decode("utf-8", "replace")


def _text_of_pickle(data: bytes) -> str:
    """The one text that a pickle holds. Nothing of it is run: `genops` only takes opcodes apart."""
    found: list[str] = []
    try:
        for opcode, value, _ in pickletools.genops(data):
            if opcode.name in TEXT_OF and isinstance(value, str):
                found.append(value)
            elif opcode.name not in HARMLESS:
                raise Refused("private_test_cases is a pickle of more than a text, which is never unpickled")
    except ValueError:
        raise Refused("private_test_cases is a broken pickle") from None
    if len(found) != 1:
        raise Refused("private_test_cases is a pickle of more than a text, which is never unpickled")
    return found[0]


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Refused(f"{what} is not JSON") from None


def _cases(raw: Any, which: str) -> list[dict[str, str]]:
    if not isinstance(raw, list) or not all(
        isinstance(case, dict) and isinstance(case.get("input"), str) and isinstance(case.get("output"), str)
        for case in raw
    ):
        raise Refused(f"a {which} test without input and output")
    return raw
