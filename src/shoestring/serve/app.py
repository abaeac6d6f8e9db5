"""The API: which path does what. Bodies are `schema.py`, what becomes of them `plan.py`, replies
`reply.py`."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from shoestring.serve.errors import ApiError, fault
from shoestring.serve.house import House
from shoestring.serve.intake import check_host, read_json
from shoestring.serve.keys import Caller
from shoestring.serve.openapi import describe
from shoestring.serve.pages import Pages
from shoestring.serve.plan import plan_chat, plan_completion
from shoestring.serve.refusals import read_body
from shoestring.serve.runs import runs_router
from shoestring.serve.schema import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from shoestring.serve.served import version
from shoestring.serve.tokens import detokenized, tokenized, tokenizer_info

ALIASES = ("/v1", "", "/beta")  # DeepSeek's clients leave /v1 out, or write /beta
INLINE_BYTES = 20_000  # a larger body is rendered and encoded beside the event loop
T = TypeVar("T")


def make_app(house: House) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        house.start()
        yield
        await house.stop()

    app = FastAPI(title="Shoestring", version=version(), lifespan=lifespan, docs_url=None, redoc_url=None)
    _errors(app, house)
    _completions(app, house)
    _facts(app, house)
    _pages(app, house)
    describe(app)
    return app


def caller_of(house: House) -> Callable[[Request], Caller]:
    """What every path but the open ones depends on. Raises ApiError 401 or 403."""

    def caller(request: Request) -> Caller:
        if not house.door.locked:
            check_host(request, house.settings.allowed_hosts)
        return house.door.caller(request.headers.get("authorization"))

    return caller


def _completions(app: FastAPI, house: House) -> None:
    known = caller_of(house)

    async def chat_completions(request: Request) -> Response:
        caller = known(request)
        raw = await read_json(request, house.settings)

        def plan() -> Response:
            body = read_body(ChatRequest, raw)
            served = house.model(body.model)
            return house.reply(plan_chat(body, served, house.settings, caller.max_tokens), served, caller)

        return await _beside(raw, plan)

    async def completions(request: Request) -> Response:
        caller = known(request)
        raw = await read_json(request, house.settings)

        def plan() -> Response:
            body = read_body(CompletionRequest, raw)
            served = house.model(body.model)
            return house.reply(
                plan_completion(body, served, house.settings, caller.max_tokens), served, caller
            )

        return await _beside(raw, plan)

    for prefix in ALIASES:
        for path, function in (("/chat/completions", chat_completions), ("/completions", completions)):
            app.add_api_route(
                prefix + path,
                function,
                methods=["POST"],
                include_in_schema=prefix == "/v1",
                response_model=None,
            )


async def _beside(raw: bytes, work: Callable[[], T]) -> T:
    """Large bodies don't hold up what others are sent, nor do schemas that take long to compile."""
    if len(raw) < INLINE_BYTES and b"response_format" not in raw and b"tool" not in raw:
        return work()
    return await asyncio.to_thread(work)


def _facts(app: FastAPI, house: House) -> None:
    known = caller_of(house)

    async def models(request: Request) -> dict[str, Any]:
        known(request)
        return {"object": "list", "data": [served.card() for served in house.models.values()]}

    async def model(request: Request, name: str) -> dict[str, Any]:
        known(request)
        return house.model(name).card()

    async def tokenize(request: Request) -> dict[str, Any]:
        known(request)
        raw = await read_json(request, house.settings)
        body = read_body(TokenizeRequest, raw)
        served = house.model(body.model)
        return await _beside(raw, lambda: tokenized(body, served))

    async def detokenize(request: Request) -> dict[str, Any]:
        known(request)
        body = read_body(DetokenizeRequest, await read_json(request, house.settings))
        return detokenized(body, house.model(body.model))

    async def info(request: Request) -> dict[str, Any]:
        known(request)
        return tokenizer_info(house.model(None))

    async def health() -> JSONResponse:
        return _health(house)

    async def versions() -> dict[str, Any]:
        return {"version": version(), "filters": []}

    async def metrics(request: Request) -> Response:
        known(request)
        for name, served in house.models.items():
            house.metrics.look(name, house.lines[name], served.engine)
        return Response(house.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    for prefix in ALIASES[:2]:
        shown = prefix == "/v1"
        app.add_api_route(f"{prefix}/models", models, methods=["GET"], include_in_schema=shown)
        app.add_api_route(f"{prefix}/models/{{name}}", model, methods=["GET"], include_in_schema=shown)
    for path, post in (("/tokenize", tokenize), ("/detokenize", detokenize)):
        app.add_api_route(path, post, methods=["POST"])
    gets = {"/health": health, "/version": versions, "/metrics": metrics, "/tokenizer_info": info}
    for path, get in gets.items():
        app.add_api_route(path, get, methods=["GET"], response_model=None)


def _health(house: House) -> JSONResponse:
    """Open to all: whether replies can be had, and of which models."""
    found: dict[str, Any] = {}
    for name, served in house.models.items():
        line, state = house.lines[name], served.engine.health
        found[name] = {"up": state.up, "running": line.running, "waiting": len(line.waiting)}
        found[name] |= {"restarts": state.restarts} | ({"why": state.why} if state.why else {})
    up = all(model["up"] for model in found.values()) and not house.draining
    status = "ok" if up else "draining" if house.draining else "down"
    return JSONResponse({"status": status, "models": found}, 200 if up else 503)


def _pages(app: FastAPI, house: House) -> None:
    """The chat page and the Runs page: files that are open to all, and what they show."""
    app.include_router(runs_router(house.settings.runs), dependencies=[Depends(caller_of(house))])
    app.mount("/", Pages(), name="pages")


def _errors(app: FastAPI, house: House) -> None:
    """Every refusal has OpenAI's body, a path that isn't there too."""

    async def api_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        house.refused(request.url.path, error)
        return JSONResponse(error.body(), error.status, error.headers())

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        text = f"{request.method} {request.url.path}: {error.detail}"
        refusal = ApiError(error.status_code, text)
        house.refused(request.url.path, refusal)
        return JSONResponse(refusal.body(), error.status_code, error.headers)

    async def query_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        param = ".".join(map(str, first["loc"][1:]))
        refusal = ApiError(400, f"{request.url.path}: {param}: {first['msg']}", param)
        house.refused(request.url.path, refusal)
        return JSONResponse(refusal.body(), 400)

    async def bug(request: Request, error: Exception) -> JSONResponse:
        traceback.print_exception(error)
        house.refused(request.url.path, fault(error))
        return JSONResponse(fault(error).body(), 500)

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]]
    handlers = {ApiError: api_error, HTTPException: http_error, Exception: bug}
    handlers[RequestValidationError] = query_error
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
