"""Serve models over HTTP: the API and the chat page, until a signal ends it."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn

from shoestring.engine.engine import Engine
from shoestring.errors import BadInput
from shoestring.jobs.describe import headline
from shoestring.lm import load
from shoestring.report.model_facts import model_facts
from shoestring.serve.app import make_app
from shoestring.serve.engine_thread import EngineThread
from shoestring.serve.house import House, tell
from shoestring.serve.intake import is_loopback
from shoestring.serve.keys import Door, KeySettings, hashed, read_keys
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings

BACKLOG = 1024  # connections that aren't taken yet
SEND_BUFFER = 1 << 17  # bytes of a connection
SWITCH_SECONDS = 0.0005  # for which a thread may keep the interpreter
AFTER_DRAIN_S = 5.0  # for connections to take what they are sent


def main(settings: ServeSettings, key: str = "") -> None:
    """key: one more that is let in, from the environment. Returns when the server has ended."""
    keys = _keys(settings, key)
    if not keys and not is_loopback(settings.host):
        raise BadInput(
            f"host {settings.host} is open to other machines and there is no key: set SHOESTRING_API_KEY or "
            "--keys FILE (shoestring serve --new-key NAME makes one), or keep to 127.0.0.1"
        )
    named = _named(settings.models)
    listening = listen(settings.host, settings.port)
    try:
        models = [_apart(_load, name, model, settings) for name, model in named.items()]
        _run(_serve(models, Door(keys), settings, listening))
    finally:
        listening.close()


def _keys(settings: ServeSettings, key: str) -> list[KeySettings]:
    keys = read_keys(settings.keys) if settings.keys is not None else []
    if key:
        keys.append(KeySettings(name="environment", sha256=hashed(key)))
    names = [k.name for k in keys]
    if len(set(names)) < len(names):
        raise BadInput(f"{settings.keys}: two keys have one name")
    return keys


def listen(host: str, port: int) -> socket.socket:
    """Before the model is loaded: a port that is taken is known at once. A connection's buffer in the kernel
    is small, so that what a slow reader doesn't take isn't piled up there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listening.bind((host, port))
        listening.listen(BACKLOG)  # who comes while the model is loaded waits
    except OSError as error:
        listening.close()
        raise BadInput(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None
    return listening


async def _serve(models: list[Served], door: Door, settings: ServeSettings, listening: socket.socket) -> None:
    house = House(models, door, settings)
    server = Server(house, settings)
    host, port = listening.getsockname()[:2]
    for model in models:
        print(headline(model.lm), file=sys.stderr)
    keys = "" if door.locked else "; no key is asked for"
    print(f"http://{host}:{port}/v1 serves {', '.join(house.models)}{keys}", file=sys.stderr, flush=True)
    await server.run(listening)


def _run(server: Coroutine[None, None, None]) -> None:
    """On uvloop where it is installed: a token of a stream costs two thirds. While replies are written the
    engine's thread waits after each of its products for the interpreter, 5 ms unless it may ask sooner."""
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        import uvloop
    except ImportError:  # none for Windows
        asyncio.run(server)
    else:
        uvloop.run(server)


def _named(models: Sequence[str]) -> dict[str, str]:
    """NAME=MODEL, or a model under its own name: that of its folder or file. Raises BadInput where two have
    one name."""
    named: dict[str, str] = {}
    for given in models:
        name, equals, model = given.partition("=")
        if not equals:
            name, model = Path(given).resolve().name.removesuffix(".gguf"), given
        if not name or name in named:
            raise BadInput(f"two models are called '{name}': write NAME={model}")
        named[name] = model
    return named


def _apart(make: Callable[..., Served], *given: Any) -> Served:
    """In a thread that ends with it. A thread that has once computed with all cores keeps its helpers (of
    OpenMP), and while there are more of them than cores those of every thread sleep between two products
    instead of waiting awake: 70,000 times in 6,400 tokens, for 1.4 times the engine's time. So nobody but the
    engine's thread may have any."""
    with ThreadPoolExecutor(1, "load") as thread:
        return thread.submit(make, *given).result()


def _load(name: str, model: str, settings: ServeSettings) -> Served:
    lm = load(model, dtype=settings.dtype, device=settings.device, quantize=settings.quantize)

    def make() -> Engine:
        return Engine(
            lm,
            max_batch=settings.max_running,
            chunk_tokens=settings.chunk_tokens,
            prefix_cache=settings.prefix_cache,
            cache_gib=settings.cache_gib,
            draft_tokens=settings.draft_tokens,
        )

    facts = model_facts(Path(model)) if Path(model).is_dir() else None
    return Served(name, lm, EngineThread(make, settings.pace_seconds), facts)


class Server(uvicorn.Server):
    """uvicorn, but for how it ends: at a first signal nothing new is taken and what runs may finish for
    `drain_seconds`, then it ends with what it has. A second signal ends it at once."""

    def __init__(self, house: House, settings: ServeSettings) -> None:
        # it closes connections itself only after the house has ended what runs
        super().__init__(
            uvicorn.Config(
                make_app(house),
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(settings.drain_seconds + AFTER_DRAIN_S),
            )
        )
        self._house, self._drain_seconds = house, settings.drain_seconds
        self._ending: list[asyncio.Task[Any]] = []

    async def run(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        await self.serve(sockets=[listening])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Ours are set already; uvicorn's would raise the signal once more at the end."""
        yield

    def _signalled(self) -> None:
        if self._ending:
            self.force_exit = True
            return
        tell("ending: nothing new is taken; once more to end at once")
        self._house.drain()
        self._ending.append(asyncio.ensure_future(self._drain()))

    async def _drain(self) -> None:
        """Refusals stay possible while what runs finishes: the socket closes after that."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._drain_seconds
        while self._house.busy and loop.time() < until and not self.force_exit:
            await asyncio.sleep(0.05)
        self._house.end_all()
        self.should_exit = True
