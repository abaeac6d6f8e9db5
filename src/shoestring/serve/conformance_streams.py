"""Checks of streams: their lines, that they say what the whole reply says, and that leaving one is cheap."""

import time

from shoestring.serve.conformance_basics import expect
from shoestring.serve.probe import Failed, Probe, Skipped, thought_of

STORY = "Tell me about the sea in three sentences."


def stream_is_event_stream(probe: Probe) -> None:
    """The type is text/event-stream."""
    kind = probe.stream().kind
    expect(kind.startswith("text/event-stream"), kind)


def stream_ends_with_done(probe: Probe) -> None:
    """The last line is [DONE], once, with nothing after it."""
    found = probe.stream()
    expect(found.done and not found.after_done, "no [DONE], or lines after it")


def stream_begins_with_the_role(probe: Probe) -> None:
    """The first delta has role assistant."""
    expect(probe.stream().deltas()[0].get("role") == "assistant", "no role in the first delta")


def stream_says_what_the_whole_says(probe: Probe) -> None:
    """Laid together, a greedy stream is the reply that isn't streamed."""
    whole, found = probe.said(STORY), probe.stream(STORY)
    expect(found.text() == (whole["content"] or ""), f"{found.text()!r} and {whole['content']!r}")
    expect(found.thought() == thought_of(whole), "the thinking differs")


def stream_has_one_finish_reason(probe: Probe) -> None:
    """Exactly one finish_reason comes for a choice."""
    reasons = probe.stream().reasons()
    expect(len(reasons) == 1, f"finish reasons {reasons}")


def stream_usage_comes_last(probe: Probe) -> None:
    """include_usage adds a last chunk with no choices and the usage of all."""
    last = probe.stream(stream_options={"include_usage": True}).chunks[-1]
    expect(last.get("choices") == [] and last["usage"]["completion_tokens"] > 0, str(last)[:120])


def stream_usage_is_the_wholes(probe: Probe) -> None:
    """Streamed or not, a greedy reply has the same usage."""
    keys = ("prompt_tokens", "completion_tokens")
    whole = probe.good(probe.chat(STORY))["usage"]
    last = probe.stream(STORY, stream_options={"include_usage": True}).chunks[-1]["usage"]
    expect(all(whole[key] == last[key] for key in keys), f"{whole} and {last}")


def stream_has_no_usage_unasked(probe: Probe) -> None:
    """Without include_usage no chunk comes without choices."""
    expect(all(chunk.get("choices") for chunk in probe.stream().chunks), "a chunk without choices")


def stream_has_one_id(probe: Probe) -> None:
    """All chunks have the same id, object and model."""
    found = {(c["id"], c["object"], c["model"]) for c in probe.stream().chunks}
    expect(len(found) == 1 and next(iter(found))[1] == "chat.completion.chunk", str(found))


def stream_tells_choices_apart(probe: Probe) -> None:
    """n = 2 streams both, told apart by index, each with its end."""
    probe.taken(probe.chat("Name a colour.", n=2, temperature=1), "n")
    found = probe.stream("Name a colour.", n=2, temperature=1)
    expect(all(len(found.reasons(index)) == 1 for index in (0, 1)), "not one end for each")


def stream_breaks_no_character(probe: Probe) -> None:
    """No chunk holds half a character."""
    found = probe.stream("Repeat exactly: 🙂🙃 漢字漢字 naïve", max_tokens=64)
    texts = [thought_of(d) + (d.get("content") or "") for d in found.deltas()]
    whole = found.thought() + found.text()
    if all(ord(letter) < 128 for letter in whole):
        raise Skipped("the model wrote none that could break")
    expect("\ufffd" in whole or not any("\ufffd" in text for text in texts), "U+FFFD in a chunk")


def stream_of_a_bad_request_is_no_200(probe: Probe) -> None:
    """What is wrong with a request is said before the stream begins."""
    got = probe.chat(stream=True, temperature="hot")
    expect(400 <= got.status < 500 and bool(got.error), f"status {got.status}")


def completion_streams(probe: Probe) -> None:
    """/completions streams text and ends with [DONE]."""
    try:
        found = probe.stream("Once upon a time", path="/completions")
    except Failed as error:
        raise Skipped(str(error)) from None
    texts = [choice["text"] for chunk in found.chunks for choice in chunk.get("choices", ())]
    expect(found.done and bool("".join(texts)), "no text or no [DONE]")


def leaving_is_cheap(probe: Probe) -> None:
    """Ten clients that hang up in the middle don't slow down the next one."""
    start = time.monotonic()
    probe.chat()
    alone = time.monotonic() - start
    for _ in range(10):
        probe.leave(3, content="Count from 1 to 1000.", max_tokens=400)
    start = time.monotonic()
    probe.good(probe.chat())
    after = time.monotonic() - start
    expect(after < 5 * alone + 5, f"{alone:.1f} s before, {after:.1f} s after")


CHECKS = (
    stream_is_event_stream,
    stream_ends_with_done,
    stream_begins_with_the_role,
    stream_says_what_the_whole_says,
    stream_has_one_finish_reason,
    stream_usage_comes_last,
    stream_usage_is_the_wholes,
    stream_has_no_usage_unasked,
    stream_has_one_id,
    stream_tells_choices_apart,
    stream_breaks_no_character,
    stream_of_a_bad_request_is_no_200,
    completion_streams,
    leaving_is_cheap,
)
