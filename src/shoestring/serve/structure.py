"""The form that an answer has to have: a JSON schema, a grammar, a regular expression, a tool's call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shoestring.serve.errors import refused
from shoestring.serve.schema import ResponseFormat
from shoestring.serve.tools import ToolUse, call_grammar, compact
from shoestring.text.tool_calls import Form

Kind = Literal["json", "lark", "regex"]


@dataclass(frozen=True)
class Structure:
    """param: the field that asks for it, to be named if it can't be used."""

    kind: Kind
    text: str
    param: str


def structure_of(wanted: ResponseFormat | None) -> Structure | None:
    """Raises ApiError 400 for a form without what it needs."""
    if wanted is None:
        return None
    for field in ("json_schema", "grammar", "regex"):
        if getattr(wanted, field) is not None and wanted.type != field:
            raise refused(f"'response_format.{field}' needs type '{field}'", f"response_format.{field}")
    if wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Structure("json", json.dumps(compact({"type": "object"})), "response_format")
    if wanted.type == "json_schema":
        if wanted.json_schema is None or wanted.json_schema.schema_ is None:
            raise refused("'response_format.json_schema.schema' is needed", "response_format.json_schema")
        text = json.dumps(compact(wanted.json_schema.schema_), ensure_ascii=False)
        return Structure("json", text, "response_format.json_schema.schema")
    text = wanted.grammar if wanted.type == "grammar" else wanted.regex
    if not text:
        raise refused(f"'response_format.{wanted.type}' is needed", f"response_format.{wanted.type}")
    return Structure("lark" if wanted.type == "grammar" else "regex", text, f"response_format.{wanted.type}")


def tool_structure(use: ToolUse, form: Form, special_ids: Mapping[str, int]) -> Structure | None:
    """What holds the answer to a call where one has to be made, and free calls where functions are strict."""
    if not use.functions or not (use.forced or use.strict):
        return None
    return Structure("lark", call_grammar(use, form, special_ids), "tools")
