"""Reading a body: what is wrong with it in one line, and why fields that others know aren't served here."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shoestring.serve.errors import ApiError, refused
from shoestring.serve.schema import Body
from shoestring.settings import nearest

B = TypeVar("B", bound=Body)

STRUCTURED = 'use response_format: {"type": "json_schema" | "grammar" | "regex"}'
UNSUPPORTED = {
    "functions": "the old form of tools; use tools",
    "function_call": "the old form of tool_choice; use tool_choice",
    "audio": "this server writes text only",
    "prediction": "no text is predicted here",
    "web_search_options": "this server reaches no network",
    "metadata": "nothing of a request is kept",
    "verbosity": "no model here was trained on it; say it in the prompt",
    "prompt_cache_key": "the cache of prompts finds what is shared by itself",
    "safety_identifier": "nothing is filtered here, and nobody is reported",
    "guided_json": STRUCTURED,
    "guided_regex": STRUCTURED,
    "guided_choice": STRUCTURED,
    "guided_grammar": STRUCTURED,
    "structured_outputs": STRUCTURED,
    "use_beam_search": "replies are sampled",
    "length_penalty": "replies are sampled, without beams",
    "truncate_prompt_tokens": "a prompt is never cut; one that is too long is refused with both numbers",
    "min_tokens": "not supported; ignore_eos makes a reply go on to max_tokens",
    "priority": "requests are served in the order in which they came",
    "prompt_logprobs": "use /v1/completions with echo and logprobs",
    "continue_final_message": 'use "prefix": true in the last message',
    "add_generation_prompt": "it is always added; /tokenize has the switch",
    "documents": "write them into a message",
    "reasoning": "use reasoning_effort, or thinking: {type, budget_tokens}",
}


def read_body(cls: type[B], raw: bytes) -> B:
    """A request's body. Raises ApiError 400, which names the field."""
    try:
        return cls.model_validate_json(raw)
    except ValidationError as error:
        raise _explained(cls, error) from None


def _explained(cls: type[BaseModel], error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = [part for part in first["loc"] if isinstance(part, int) or _is_field(part)]
    kind, param = first["type"], ".".join(str(part) for part in place)
    if kind == "json_invalid":
        return refused(f"the body is not valid JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    if kind == "model_type" and not place:
        return refused("the body has to be a JSON object")
    if kind == "extra_forbidden":
        name = str(first["loc"][-1])
        param = ".".join(str(part) for part in first["loc"])
        why = UNSUPPORTED.get(name) if len(first["loc"]) == 1 else None
        if why is not None:
            return refused(f"'{name}' isn't supported: {why}", param, "unsupported_parameter")
        hint = nearest(name, fields_at(cls, first["loc"][:-1]))
        return refused(f"unknown field '{param}'{hint}", param, "unknown_parameter")
    if kind == "missing":
        return refused(f"'{param}' is needed", param, "missing_required_parameter")
    return refused(f"'{param}': {first['msg']}", param, "invalid_value")


def _is_field(part: str) -> bool:
    """Not pydantic's own names for the branches of a union, such as list[Part]."""
    return part.isidentifier() and part not in ("str", "int", "NamedTool", "none", "bool", "float", "dict")


def fields_at(cls: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The fields that are known where `path` leads from `cls`."""
    at: type[BaseModel] = cls
    for part in path:
        inner = _models_in(at.model_fields[part].annotation) if part in at.model_fields else []
        at = inner[0] if inner else at
    return [field.alias or name for name, field in at.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in getattr(annotation, "__args__", ()) for found in _models_in(arg)]


def schema_of(cls: type[BaseModel]) -> Mapping[str, Any]:
    """For the OpenAPI document: the body as JSON Schema, with its definitions inside."""
    return cls.model_json_schema(ref_template="#/components/schemas/{model}")
