"""Problems whose answer is one JSON value that fits a JSON Schema and equals the row's gold, if any."""

import json
import re
from typing import TYPE_CHECKING, Any

from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.code import same_value
from shoestring.text.message import Reply

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

FENCE = re.compile(r"^ {0,3}```[ \t]*(\w*)[ \t]*\n(.*?)^ {0,3}```[ \t]*$", re.DOTALL | re.MULTILINE)
ANSWER_CHARS = 100_000


def schema_text(row: dict[str, Any]) -> str:
    """The row's schema and gold as JSON, checked. Raises ValueError with what is wrong with them."""
    schema = _json(row["schema"], "its schema is not JSON")
    if not isinstance(schema, dict):
        raise ValueError("its schema is not an object")
    _check(schema)
    known = [row[name] for name in ("gold", "answer", "solution") if row.get(name) is not None]
    held: dict[str, Any] = {"schema": schema}
    if known:
        held["gold"] = _json(known[0], "its answer is not JSON")
        if next(_validator(schema).iter_errors(held["gold"]), None):
            raise ValueError("its answer doesn't fit its schema")
    return json.dumps(held, sort_keys=True)


def judge_json(reply: Reply, text: str) -> Verdict:
    """Right: the answer's one JSON value fits the schema in `text` (by `schema_text`) and equals its gold."""
    held = json.loads(text)
    found = find_json(reply.answer)
    if isinstance(found, str):
        return Verdict(Outcome.UNPARSED, 0.0, detail=found)
    (value,) = found
    error = next(iter(sorted(_validator(held["schema"]).iter_errors(value), key=lambda e: e.json_path)), None)
    if error is not None:
        return Verdict(Outcome.WRONG, 0.0, {"valid": 0.0}, f"{error.json_path}: {error.message[:200]}")
    if "gold" in held and not same_value(value, held["gold"]):
        return Verdict(Outcome.WRONG, 0.0, {"valid": 1.0}, "it fits the schema and is not the right value")
    return Verdict(Outcome.RIGHT, 1.0, {"valid": 1.0})


def find_json(text: str) -> tuple[Any] | str:
    """The one JSON value, bare or in one fenced block, as a tuple of it; else why there is none."""
    if len(text) > ANSWER_CHARS:
        return "longer than any answer"
    blocks = [body for language, body in FENCE.findall(text) if language.lower() in ("", "json")]
    if len(blocks) > 1:
        return f"{len(blocks)} fenced blocks"
    try:
        return (
            json.loads(blocks[0] if blocks else text, object_pairs_hook=_object, parse_constant=_constant),
        )
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"[:200]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key given twice means two things; readers disagree which."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _json(value: Any, otherwise: str) -> Any:
    """A value as it is, or the one that its text holds."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise ValueError(otherwise) from None


def _check(schema: Any) -> None:
    import jsonschema
    import referencing.exceptions
    from jsonschema.validators import validator_for
    from referencing.jsonschema import DRAFT202012

    try:
        validator_for(schema, jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"its schema is not a JSON Schema: {error.message[:80]}") from None
    names = _references(schema)
    if not all(name.startswith("#") for name in names):
        raise ValueError("its schema refers to another document")
    # a pointer into nothing would show only when an answer leads there
    root = referencing.Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = referencing.Registry().with_resource("", root).resolver()
    try:
        for name in names:
            resolver.lookup(name)
    except referencing.exceptions.Unresolvable:
        raise ValueError("its schema refers to a part that it doesn't have") from None


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for part in schema for name in _references(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema[key] for key in ("$ref", "$dynamicRef") if isinstance(schema.get(key), str)]
    return own + [name for part in schema.values() for name in _references(part)]


def _validator(schema: Any) -> "Validator":
    """Never one that fetches: without a registry of its own the library would ask the network."""
    import jsonschema
    import referencing
    from jsonschema.validators import validator_for

    kind = validator_for(schema, jsonschema.Draft202012Validator)
    return kind(schema, registry=referencing.Registry(), format_checker=kind.FORMAT_CHECKER)
