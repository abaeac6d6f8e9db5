"""Checks of refusals: a 4xx with OpenAI's body that names what is wrong, never a 5xx, never a silent cut."""

from typing import Any

from shoestring.serve.conformance_basics import expect
from shoestring.serve.probe import Got, Probe


def _refused(got: Got, *words: str) -> None:
    expect(400 <= got.status < 500, f"status {got.status}: {got.raw[:80]!r}")
    told = got.error
    expect(all(word in told for word in words), f"it doesn't name {' '.join(words)}: {told}")


def _bad(probe: Probe, name: str, value: Any) -> None:
    _refused(probe.chat(**{name: value}), name)


def broken_json(probe: Probe) -> None:
    """A body that isn't JSON is a 4xx."""
    _refused(probe.post("/chat/completions", None, raw=b'{"messages": ['))


def no_body(probe: Probe) -> None:
    """An empty body is a 4xx."""
    _refused(probe.post("/chat/completions", None, raw=b""))


def body_is_a_list(probe: Probe) -> None:
    """A body that is no object is a 4xx."""
    _refused(probe.post("/chat/completions", [1, 2]))


def deep_json(probe: Probe) -> None:
    """JSON nested 100,000 deep is a 4xx."""
    _refused(probe.post("/chat/completions", None, raw=b"[" * 100_000))


def no_messages(probe: Probe) -> None:
    """messages are needed."""
    _refused(probe.post("/chat/completions", {"model": probe.model}), "messages")


def empty_messages(probe: Probe) -> None:
    """... and not empty."""
    _refused(probe.chat(messages=[]))


def unknown_role(probe: Probe) -> None:
    """A role that isn't known is a 4xx."""
    _refused(probe.chat(messages=[{"role": "wizard", "content": "Hi"}]))


def message_without_content(probe: Probe) -> None:
    """A user's message needs content."""
    _refused(probe.chat(messages=[{"role": "user"}]))


def temperature_is_a_number(probe: Probe) -> None:
    """temperature "hot" is a 4xx that names it."""
    _bad(probe, "temperature", "hot")


def temperature_is_not_negative(probe: Probe) -> None:
    """temperature -1 is a 4xx that names it."""
    _bad(probe, "temperature", -1)


def top_p_is_at_most_one(probe: Probe) -> None:
    """top_p 2 is a 4xx that names it."""
    _bad(probe, "top_p", 2)


def max_tokens_is_positive(probe: Probe) -> None:
    """max_tokens -5 is a 4xx that names it."""
    _bad(probe, "max_tokens", -5)


def n_is_positive(probe: Probe) -> None:
    """n 0 is a 4xx."""
    _refused(probe.chat(n=0))


def unknown_model(probe: Probe) -> None:
    """A model that isn't there is a 4xx that names it."""
    _refused(probe.chat(model="no-such-model"), "no-such-model")


def unknown_field(probe: Probe) -> None:
    """A field that isn't known is refused by name, not ignored."""
    _bad(probe, "quantum_mode", True)


def unknown_path(probe: Probe) -> None:
    """A path that isn't there is a 404 with an error's body."""
    got = probe.get("/no/such/path")
    expect(got.status == 404 and bool(got.error), f"status {got.status}")


def wrong_method(probe: Probe) -> None:
    """GET where POST is meant is a 4xx."""
    got = probe.get("/chat/completions")
    expect(400 <= got.status < 500, f"status {got.status}")


def too_long_a_prompt(probe: Probe) -> None:
    """A prompt over the context window is a 4xx, never cut in silence."""
    window = next((m.get("max_model_len") for m in probe.models if m["id"] == probe.model), None) or 40_000
    _refused(probe.chat("word " * min(2 * window, 600_000), max_tokens=1))


def surrogates(probe: Probe) -> None:
    """Half of a surrogate pair is a 4xx, or read as something, and never a 5xx."""
    raw = b'{"model": "%s", "max_tokens": 1, "messages": [{"role": "user", "content": "\\ud800"}]}'
    got = probe.post("/chat/completions", None, raw=raw % probe.model.encode())
    expect(got.status < 500, f"status {got.status}")


def still_well(probe: Probe) -> None:
    """After all that a reply can be had."""
    probe.good(probe.chat())


CHECKS = (
    broken_json,
    no_body,
    body_is_a_list,
    deep_json,
    no_messages,
    empty_messages,
    unknown_role,
    message_without_content,
    temperature_is_a_number,
    temperature_is_not_negative,
    top_p_is_at_most_one,
    max_tokens_is_positive,
    n_is_positive,
    unknown_model,
    unknown_field,
    unknown_path,
    wrong_method,
    too_long_a_prompt,
    surrogates,
    still_well,
)
