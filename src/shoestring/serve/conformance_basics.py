"""Checks of what every client leans on: models, whole replies, sampling, the older completions, tokens."""

import time

from shoestring.serve.probe import Failed, Json, Probe, Skipped


def expect(fine: bool, what: str) -> None:
    if not fine:
        raise Failed(what)


def models_are_listed(probe: Probe) -> None:
    """/models is a list of objects with an id."""
    body = probe.get("/models").json
    expect(body["object"] == "list" and all(isinstance(m["id"], str) for m in body["data"]), str(body)[:100])


def model_by_name(probe: Probe) -> None:
    """/models/NAME gives the one that the list has."""
    got = probe.get(f"/models/{probe.model}")
    if got.status == 404:
        raise Skipped("no /models/NAME")
    expect(probe.good(got)["id"] == probe.model, f"it is {got.json}")


def health_answers(probe: Probe) -> None:
    """/health says 200 while replies can be had."""
    got = probe.get("/health", root=True)
    if got.status == 404:
        raise Skipped("no /health")
    expect(got.status == 200, f"status {got.status}")


def metrics_are_prometheus(probe: Probe) -> None:
    """/metrics has lines of Prometheus."""
    got = probe.get("/metrics", root=True)
    if got.status in (404, 501):
        raise Skipped("no /metrics")
    expect(b"# TYPE" in got.raw, "no # TYPE line")


def chat_has_openais_shape(probe: Probe) -> None:
    """A reply has id, object, created, model, choices with index, message and finish_reason."""
    body = probe.good(probe.chat())
    expect(body["object"] == "chat.completion", f"object {body['object']}")
    expect(bool(body["id"]) and body["choices"][0]["index"] == 0, "no id or index")
    message = body["choices"][0]["message"]
    expect(message["role"] == "assistant" and "content" in message, f"message {message}")


def created_is_now(probe: Probe) -> None:
    """created is a time in seconds, and of today."""
    created = probe.good(probe.chat())["created"]
    expect(isinstance(created, int) and abs(created - time.time()) < 86400, f"created {created}")


def usage_adds_up(probe: Probe) -> None:
    """usage counts prompt and completion, and total is their sum."""
    usage = probe.good(probe.chat())["usage"]
    total = usage["prompt_tokens"] + usage["completion_tokens"]
    expect(usage["prompt_tokens"] > 0 and usage["total_tokens"] == total, str(usage))


def finish_reason_is_known(probe: Probe) -> None:
    """finish_reason is one of OpenAI's words."""
    reason = probe.choice()["finish_reason"]
    expect(reason in ("stop", "length", "tool_calls", "content_filter"), f"finish_reason {reason}")


def max_tokens_cuts(probe: Probe) -> None:
    """max_tokens bounds the completion, and a cut is called length."""
    body = probe.good(probe.chat("Count from 1 to 1000.", max_tokens=5))
    expect(body["usage"]["completion_tokens"] <= 5, str(body["usage"]))
    expect(body["choices"][0]["finish_reason"] == "length", body["choices"][0]["finish_reason"])


def max_completion_tokens_cuts(probe: Probe) -> None:
    """max_completion_tokens is the same limit by its newer name."""
    got = probe.chat("Count from 1 to 1000.", max_tokens=None, max_completion_tokens=5)
    body = probe.taken(got, "max_completion_tokens")
    expect(body["usage"]["completion_tokens"] <= 5, str(body["usage"]))


def greedy_repeats(probe: Probe) -> None:
    """temperature 0 gives the same reply again."""
    one, two = (probe.said("Name a colour.") for _ in range(2))
    expect(one == two, f"{one} and {two}")


def seed_repeats(probe: Probe) -> None:
    """One seed gives one reply at temperature 1."""
    one, two = (probe.said("Name a colour.", temperature=1, seed=7)["content"] for _ in range(2))
    expect(one == two, f"{one!r} and {two!r}")


def n_gives_n_choices(probe: Probe) -> None:
    """n = 2 gives two choices with their own index."""
    body = probe.taken(probe.chat("Name a colour.", n=2, temperature=1), "n")
    expect(sorted(choice["index"] for choice in body["choices"]) == [0, 1], f"{len(body['choices'])} choices")


def stop_string_is_left_out(probe: Probe) -> None:
    """A stop string ends the answer and isn't part of it."""
    whole = probe.said("Write: one two three four five.", max_tokens=400)["content"] or ""
    words = whole.split()
    if len(words) < 3:
        raise Skipped("the model says too little to stop in")
    choice = probe.choice("Write: one two three four five.", max_tokens=400, stop=[words[1]])
    expect(words[1] not in (choice["message"]["content"] or ""), "the stop string is shown")
    expect(choice["finish_reason"] == "stop", f"finish_reason {choice['finish_reason']}")


def system_message_is_taken(probe: Probe) -> None:
    """A conversation may begin with a system message."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    probe.good(probe.chat(messages=messages))


def content_may_be_parts(probe: Probe) -> None:
    """content may be a list of text parts."""
    probe.good(probe.chat([{"type": "text", "text": "Say"}, {"type": "text", "text": " hello."}]))


def turns_are_taken(probe: Probe) -> None:
    """Earlier turns may come along."""
    messages = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    probe.good(probe.chat(messages=messages))


def any_script_is_read(probe: Probe) -> None:
    """Characters outside the basic plane, other scripts and NUL are no fault."""
    probe.good(probe.chat("漢字 العربية 🙂👩‍👩‍👧 \u0000 e\u0301"))


def chat_logprobs(probe: Probe) -> None:
    """logprobs gives each token's, at most 0, with as many alternatives as asked for."""
    got = probe.chat(logprobs=True, top_logprobs=2, max_tokens=200)
    entries = (probe.taken(got, "logprobs")["choices"][0]["logprobs"] or {}).get("content")
    if not entries:
        raise Failed("no logprobs.content")
    expect(all(e["logprob"] <= 1e-4 and len(e["top_logprobs"]) <= 2 for e in entries), str(entries[0]))
    expect({"token", "logprob", "bytes", "top_logprobs"} <= entries[0].keys(), str(entries[0]))


def logit_bias_forbids(probe: Probe) -> None:
    """-100 keeps a token out."""
    made = _completion(probe, "The capital of France is", max_tokens=1, logprobs=0)
    token = _ids(probe, made["text"])[0]
    other = _completion(probe, "The capital of France is", max_tokens=1, logit_bias={str(token): -100})
    expect(other["text"] != made["text"], f"{made['text']!r} came again")


def completion_goes_on(probe: Probe) -> None:
    """/completions goes on from a text."""
    choice = _completion(probe, "Once upon a time", max_tokens=8)
    expect(isinstance(choice["text"], str) and choice["finish_reason"] in ("stop", "length"), str(choice))


def completion_echo_has_the_prompts_logprobs(probe: Probe) -> None:
    """echo with logprobs gives those of the prompt's tokens, none for the first (lm-eval needs it)."""
    choice = _completion(probe, "Paris is in France", max_tokens=1, echo=True, logprobs=1)
    lists = choice["logprobs"]
    expect(choice["text"].startswith("Paris is in France"), f"text {choice['text']!r}")
    expect(bool(lists) and len(lists["tokens"]) == len(lists["token_logprobs"]), f"logprobs {lists}")
    expect(lists["token_logprobs"][0] is None, f"the first is {lists['token_logprobs'][0]}")
    expect("".join(lists["tokens"]) == choice["text"], "the tokens don't spell the text")


def completion_takes_several_prompts(probe: Probe) -> None:
    """A list of prompts gives a choice for each."""
    got = probe.post("/completions", {"model": probe.model, "prompt": ["one", "two"], "max_tokens": 2})
    body = probe.taken(got, "prompts")
    expect([choice["index"] for choice in body["choices"]] == [0, 1], str(body["choices"]))


def completion_takes_ids(probe: Probe) -> None:
    """A prompt may be token ids."""
    ids = _ids(probe, "Once upon a time")
    got = probe.post("/completions", {"model": probe.model, "prompt": ids, "max_tokens": 2})
    probe.taken(got, "ids")


def tokens_come_back(probe: Probe) -> None:
    """/detokenize of /tokenize is the text."""
    text = "Tokens, déjà vu, 漢字 🙂"
    got = probe.post("/detokenize", {"model": probe.model, "tokens": _ids(probe, text)}, root=True)
    body = probe.taken(got, "/detokenize")
    back = body.get("prompt", body.get("content", ""))
    expect(back.strip() == text, f"{back!r}")


def _completion(probe: Probe, prompt: str, **fields: object) -> Json:
    body = {"model": probe.model, "prompt": prompt, "temperature": 0, **fields}
    return probe.taken(probe.post("/completions", body), "/completions")["choices"][0]


def _ids(probe: Probe, text: str) -> list[int]:
    """By vLLM's field or llama.cpp's."""
    body = {"model": probe.model, "prompt": text, "add_special_tokens": False}
    got = probe.post("/tokenize", body, root=True)
    if got.status == 200 and got.json.get("tokens"):
        return got.json["tokens"]
    got = probe.post("/tokenize", {"content": text}, root=True)
    if got.status != 200 or not got.json.get("tokens"):
        raise Skipped("no /tokenize")
    return got.json["tokens"]


CHECKS = (
    models_are_listed,
    model_by_name,
    health_answers,
    metrics_are_prometheus,
    chat_has_openais_shape,
    created_is_now,
    usage_adds_up,
    finish_reason_is_known,
    max_tokens_cuts,
    max_completion_tokens_cuts,
    greedy_repeats,
    seed_repeats,
    n_gives_n_choices,
    stop_string_is_left_out,
    system_message_is_taken,
    content_may_be_parts,
    turns_are_taken,
    any_script_is_read,
    chat_logprobs,
    logit_bias_forbids,
    completion_goes_on,
    completion_echo_has_the_prompts_logprobs,
    completion_takes_several_prompts,
    completion_takes_ids,
    tokens_come_back,
)
