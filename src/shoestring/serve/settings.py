"""What the operator of a server decides."""

from pathlib import Path

from pydantic import Field

from shoestring.lm import Quantize
from shoestring.serve.schema import ReasoningField
from shoestring.settings import Settings


class ServeSettings(Settings):
    """Times are in seconds. `max_tokens` to `loop_guard` are for requests that don't say."""

    models: list[str] = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)  # 0: any that is free
    device: str = "cpu"
    dtype: str = "auto"
    quantize: Quantize | None = None  # weights in few bits (docs/quantization.md)
    runs: Path = Path(".")  # the Runs page shows the run folders below it
    keys: Path | None = None  # a TOML file of hashed keys, see docs/api.md
    allowed_hosts: tuple[str, ...] = ()  # names under which it may be asked without keys, beside localhost

    max_tokens: int = Field(default=2048, ge=1)
    answer_reserve: int = Field(default=256, ge=0)
    temperature: float | None = Field(default=None, ge=0, le=2)  # None: as the model's folder says, else 0.6
    top_p: float | None = Field(default=None, gt=0, le=1)  # and 0.95
    reasoning_field: ReasoningField = "reasoning_content"
    loop_guard: bool = True

    max_running: int = Field(default=64, ge=1)  # samples at once, of each model
    chunk_tokens: int = Field(default=512, ge=1)  # of prompts, read in a step in which others write
    prefix_cache: bool = True  # what a prompt shares with an earlier one isn't read again
    cache_gib: float | None = Field(default=None, gt=0)  # None: half of the memory that is free
    draft_tokens: int | None = Field(default=None, ge=0)  # guessed ahead, see docs/engine.md
    max_waiting: int = Field(default=256, ge=0)  # requests in a model's queue
    max_n: int = Field(default=16, ge=1)
    max_prompts: int = Field(default=128, ge=1)  # in one request
    max_body_bytes: int = Field(default=4_000_000, ge=1)
    body_seconds: float = Field(default=30, gt=0)
    request_seconds: float = Field(default=600, gt=0)  # from the start of a reply's making to its end
    queue_seconds: float = Field(default=600, gt=0)
    stall_seconds: float = Field(default=30, gt=0)  # a reader that takes nothing for so long is dropped
    pace_seconds: float = Field(default=0.001, ge=0)  # between a stream's events, times the samples, of 16
    keep_alive_seconds: float = Field(default=10, gt=0)  # between comments while nothing is sent
    drain_seconds: float = Field(default=30, ge=0)  # after SIGTERM, for what runs

    log_requests: bool = True
    log_prompts: bool = False
