"""What comes in before a body is understood: who asks, from where, how much, how fast."""

import asyncio
import ipaddress
from collections.abc import Collection

from starlette.requests import ClientDisconnect, Request

from shoestring.serve.errors import ApiError
from shoestring.serve.settings import ServeSettings

DISCARD = 4  # times the limit, that are read and dropped so that the client reads why


def is_loopback(host: str) -> bool:
    """A name that only begins like an address (127.evil.example) leads wherever its owner wants."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def check_host(request: Request, allowed: Collection[str]) -> None:
    """Without keys only those may ask who name this machine: a page from elsewhere whose name was made to
    lead here (DNS rebinding) can't. Raises ApiError 403."""
    host = request.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if not is_loopback(name) and name not in allowed:
        raise ApiError(
            403,
            f"asked as '{name}', and without keys this server answers to localhost alone; set a key or name "
            "the host in allowed_hosts",
            code="host_not_allowed",
        )


async def read_json(request: Request, settings: ServeSettings) -> bytes:
    """A request's body. Raises ApiError 413, 415, 408 or, where the client is gone, 400."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        # a form from another site can post text/plain without asking first, JSON it can't
        raise ApiError(415, "send the body as JSON, with the header Content-Type: application/json")
    limit = settings.max_body_bytes
    too_much = ApiError(413, f"the body is larger than {limit:,} bytes", code="body_too_large")
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > DISCARD * limit:
                    raise too_much
                if size <= limit:
                    parts.append(part)
    except TimeoutError:
        raise ApiError(408, f"the body took more than {settings.body_seconds:.0f} s") from None
    except ClientDisconnect:  # no fault of the server's: nobody reads this but the log
        raise ApiError(400, "the client left before its body was whole", code="client_gone") from None
    if size > limit:
        raise too_much
    return b"".join(parts)
