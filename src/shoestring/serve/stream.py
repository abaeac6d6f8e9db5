"""Server-sent events: one line of JSON each, comments between, and the end."""

import json
from typing import Any

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


def event(text: str) -> bytes:
    """One line: json.dumps writes line breaks as escapes, all but U+2028 and U+2029, at which SSE doesn't
    split."""
    assert "\n" not in text and "\r" not in text
    return f"data: {text}\n\n".encode()


def comment(text: str) -> bytes:
    """For people and proxies; clients skip it."""
    return f": {' '.join(text.split())}\n\n".encode()


def error(body: dict[str, Any]) -> bytes:
    return event(json.dumps(body, ensure_ascii=False))
