"""IFEval: requests with instructions whose following code can check (arXiv 2311.07911).

Right is a reply that follows all of its instructions, strictly. Loosely, an instruction is also followed
where the reply without its first line, its last or its asterisks would follow it: `lenient` scores so. Both
are kept beside every verdict, and how many of the instructions were followed."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from shoestring.settings import nearest
from shoestring.tasks.base import GOLD, Outcome, Problem, Verdict
from shoestring.tasks.benchmark import BenchmarkLevel, Row, text_of
from shoestring.tasks.file_rows import Refused
from shoestring.tasks.ifeval_checks import KINDS, RELATIONS, Args
from shoestring.text.message import Reply


class IFEval:
    """`prompt`, `instruction_id_list`, and `kwargs`: one object of arguments for each instruction."""

    name = "ifeval"
    Level = BenchmarkLevel

    def question(self, row: Row) -> str:
        return text_of(row, "prompt")

    def read(self, row: Row, level: BenchmarkLevel) -> tuple[str, dict[str, Any]]:
        names, given = row.get("instruction_id_list"), row.get("kwargs")
        if not isinstance(names, list) or not names:
            raise Refused("no instruction_id_list")
        if not isinstance(given, list) or len(given) != len(names):
            raise Refused("its kwargs are not one object for each instruction")
        read = [(name, _arguments(name, args)) for name, args in zip(names, given, strict=True)]
        return self.question(row), {"instructions": tuple(read), GOLD: json.dumps(read, ensure_ascii=False)}

    def prepare(self) -> None:
        pass

    def score(self, problem: Problem, reply: Reply) -> Verdict:
        return self._verdict(problem, reply, loose=False)

    def score_lenient(self, problem: Problem, reply: Reply) -> Verdict:
        return self._verdict(problem, reply, loose=True)

    def _verdict(self, problem: Problem, reply: Reply, loose: bool) -> Verdict:
        wanted = problem.hidden["instructions"]
        strictly = [follows([reply.answer], name, args) for name, args in wanted]
        loosely = [follows(revised(reply.answer), name, args) for name, args in wanted]
        parts = {
            "strict": float(all(strictly)),
            "loose": float(all(loosely)),
            "instructions": float(len(wanted)),
            "followed": float(sum(strictly)),
            "followed_loosely": float(sum(loosely)),
        }
        if not reply.answer.strip():
            return Verdict(Outcome.UNPARSED, 0.0, parts, "nothing was said")
        counted = loosely if loose else strictly
        if all(counted):
            return Verdict(Outcome.RIGHT, 1.0, parts)
        missed = [name for (name, _), kept in zip(wanted, counted, strict=True) if not kept]
        return Verdict(Outcome.WRONG, 0.0, parts, f"not followed: {', '.join(missed)}")


def follows(texts: Sequence[str], name: str, args: Args) -> bool:
    """Whether any of the texts does. An empty one follows nothing."""
    return any(text.strip() and KINDS[name].check(text, args) for text in texts)


def revised(text: str) -> list[str]:
    """The eight readings of the loose accuracy: with and without the first line, the last, the asterisks."""
    lines = text.split("\n")
    kept = [
        text if not first and not last else "\n".join(lines[first : len(lines) - last]).strip()
        for first, last in itertools.product((0, 1), (0, 1))
    ]
    return [*kept, *(part.replace("*", "") for part in kept)]


def _arguments(name: Any, given: Any) -> dict[str, Any]:
    """Those that the kind takes; files in Parquet have every other kind's too, as null. Raises Refused."""
    kind = KINDS.get(name)
    if kind is None:
        raise Refused(f"unknown instruction '{name}'{nearest(str(name), [*KINDS])}")
    values = {key: value for key, value in given.items() if value is not None} if _is_mapping(given) else {}
    found = {key: _typed(name, key, values.get(key), wanted) for key, wanted in kind.takes.items()}
    for key, value in found.items():
        if key.endswith("relation") and value not in RELATIONS:
            raise Refused(f"{name}: {key} is neither '{RELATIONS[0]}' nor '{RELATIONS[1]}'")
    return found


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _typed(name: str, key: str, value: Any, wanted: type) -> Any:
    if value is None:
        raise Refused(f"{name} needs {key}")
    if wanted is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # a column with nulls is read as floats
    if (
        wanted is list
        and isinstance(value, list | tuple)
        and value
        and all(isinstance(v, str) for v in value)
    ):
        return tuple(value)
    if wanted is list or not isinstance(value, wanted) or isinstance(value, bool) or value == "":
        raise Refused(f"{name}: {key} is no {'list of texts' if wanted is list else wanted.__name__}")
    return value
