"""The OpenAPI document: bodies as their models have them, and the refusals that every path can give."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shoestring.serve.schema import Body, ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest

BODIES: dict[str, type[Body]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}
POSTED = (400, 401, 403, 404, 408, 413, 415, 429, 500, 503)
GOT = (400, 401, 403, 404)
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def describe(app: FastAPI) -> None:
    """Made when it is first asked for."""

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = made


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = ERROR
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = BODIES.get(path)
            if body is not None:
                model = body.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= model.pop("$defs", {})
                schemas[body.__name__] = model
                reference = {"$ref": f"#/components/schemas/{body.__name__}"}
                content = {"application/json": {"schema": reference}}
                operation["requestBody"] = {"required": True, "content": content}
                if body in (ChatRequest, CompletionRequest):
                    operation["responses"]["200"]["content"]["text/event-stream"] = {
                        "schema": {"type": "string"}
                    }
            operation["responses"].pop("422", None)
            for status in POSTED if method == "post" else GOT:
                operation["responses"][str(status)] = _refusal()
            if path == "/health":
                operation["responses"]["503"] = {"description": "Not all models can be asked now."}
            if path == "/metrics":
                operation["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return document


def _refusal() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": "Refused.", "content": {"application/json": {"schema": schema}}}
