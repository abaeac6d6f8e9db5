"""/metrics: vLLM's stems under our prefix, so that its boards work after a rename. docs/api.md lists them."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shoestring.engine.usage import EngineUsage
from shoestring.serve.choice import Choice
from shoestring.serve.engine_thread import EngineThread
from shoestring.serve.line import Line

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000)
PREFIX = "shoestring:"
MODEL = "model_name"


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._before: dict[str, EngineUsage] = {}  # when it was last looked at
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts that were read.")
        self.generation_tokens = counter("generation_tokens", "Tokens that were made.")
        self.reasoning_tokens = counter("reasoning_tokens", "Of these, tokens of thinking.")
        self.success = counter("request_success", "Requests that were answered.", "finished_reason")
        self.errors = counter("request_errors", "Requests that were refused or failed.", "status")
        self.aborted = counter("request_aborted", "Requests whose client went away.")
        self.guards = counter("guard_fired", "Replies that a guard ended or steered.", "guard")
        self.running = gauge("num_requests_running", "Requests in the engine.")
        self.waiting = gauge("num_requests_waiting", "Requests in the line before it.")
        self.samples = gauge("num_samples_running", "Samples in the engine.")
        self.cache_usage = gauge("kv_cache_usage_perc", "Share of the cache's blocks in use, 0 to 1.")
        self.prefix_queries = counter("prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self.prefix_hits = counter("prefix_cache_hits", "Prompt tokens found there.")
        self.preemptions = counter("num_preemptions", "Sequences that had to make room.")
        self.restarts = gauge("engine_restarts", "Times that the engine was made anew after a fault.")
        self.first_token = histogram("time_to_first_token_seconds", "From arrival to the first token.")
        self.between_tokens = histogram(
            "inter_token_latency_seconds", "Between tokens of one sample, its mean.", TOKEN_SECONDS
        )
        self.whole = histogram("e2e_request_latency_seconds", "From arrival to the end.")
        self.queued = histogram("request_queue_time_seconds", "In the line.")
        self.prefill = histogram("request_prefill_time_seconds", "From the engine to the first token.")
        self.decode = histogram("request_decode_time_seconds", "From the first token to the end.")
        self.prompts = histogram("request_prompt_tokens", "Tokens of a request's prompts.", TOKENS)
        self.replies = histogram("request_generation_tokens", "Tokens made for a request.", TOKENS)
        self.longest = histogram("request_max_num_generation_tokens", "Of its longest sample.", TOKENS)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def look(self, model: str, line: Line, engine: EngineThread) -> None:
        """What is true now, before it is read."""
        self.running.labels(model).set(line.requests)
        self.samples.labels(model).set(line.running)
        self.waiting.labels(model).set(len(line.waiting))
        self.restarts.labels(model).set(engine.health.restarts)
        usage, before = engine.usage, self._before.get(model)
        self.cache_usage.labels(model).set(usage.blocks_used / max(1, usage.blocks_total))
        for counter, field in (
            (self.prefix_queries, "prefix_queries"),
            (self.prefix_hits, "prefix_hits"),
            (self.preemptions, "preemptions"),
        ):
            now, then = getattr(usage, field), getattr(before, field) if before is not None else 0
            counter.labels(model).inc(now - then if now >= then else now)  # a new engine counts from 0
        self._before[model] = usage

    def finished(self, model: str, prompt: int, choices: Sequence[Choice], times: "Times") -> None:
        """A request that was answered; prompt is in tokens."""
        for choice in choices:
            self.success.labels(model, choice.reason).inc()
            for guard in choice.guards:
                self.guards.labels(model, guard).inc()
        made = sum(len(c.ids) for c in choices)
        self.prompt_tokens.labels(model).inc(prompt)
        self.generation_tokens.labels(model).inc(made)
        for counted, tokens in ((self.prompts, prompt), (self.replies, made), (self.longest, times.longest)):
            counted.labels(model).observe(tokens)
        self.reasoning_tokens.labels(model).inc(sum(c.reader.parser.reasoning_tokens for c in choices))
        self.whole.labels(model).observe(times.whole)
        self.queued.labels(model).observe(times.queued)
        if times.first is not None:
            self.first_token.labels(model).observe(times.first)
            self.prefill.labels(model).observe(max(0.0, times.first - times.queued))
            self.decode.labels(model).observe(max(0.0, times.whole - times.first))
            if times.longest > 1:
                self.between_tokens.labels(model).observe((times.whole - times.first) / (times.longest - 1))

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, what, [MODEL, *labels], registry=self.registry)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(PREFIX + name, what, [MODEL], registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
        return Histogram(PREFIX + name, what, [MODEL], registry=self.registry, buckets=buckets)


class Times:
    """Of one request, in seconds since it arrived."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._start = clock, clock()
        self.queued = 0.0
        self.first: float | None = None
        self.whole = 0.0
        self.longest = 0  # tokens of its longest sample

    def admitted(self) -> None:
        self.queued = self._clock() - self._start

    def token(self) -> None:
        if self.first is None:
            self.first = self._clock() - self._start

    def end(self) -> None:
        self.whole = self._clock() - self._start
