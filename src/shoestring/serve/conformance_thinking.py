"""Checks of what is a reasoning server's own: thinking apart from the answer, and its budgets."""

from shoestring.serve.conformance_basics import expect
from shoestring.serve.probe import Json, Probe, Skipped, thought_of

SUM = "What is 17 + 25? Think first."
LONG = 600


def _needs_thinking(probe: Probe) -> None:
    if not probe.reasons:
        raise Skipped("this model showed no thinking of its own")


def tags_stay_out_of_the_answer(probe: Probe) -> None:
    """No <think> or </think> in content."""
    content = probe.said(SUM, max_tokens=LONG)["content"] or ""
    expect("<think>" not in content and "</think>" not in content, content[:80])


def thinking_comes_first(probe: Probe) -> None:
    """In a stream all thinking comes before all of the answer."""
    _needs_thinking(probe)
    kinds = ["r" if thought_of(d) else "c" for d in probe.stream(SUM, max_tokens=LONG).deltas() if _says(d)]
    expect("cr" not in "".join(kinds), "thinking after the answer began")


def one_kind_in_a_chunk(probe: Probe) -> None:
    """No delta has thinking and answer at once."""
    both = [d for d in probe.stream(SUM, max_tokens=LONG).deltas() if thought_of(d) and d.get("content")]
    expect(not both, str(both[:1]))


def reasoning_tokens_are_counted(probe: Probe) -> None:
    """usage tells the thinking's tokens, no more than all."""
    _needs_thinking(probe)
    usage = probe.good(probe.chat(SUM, max_tokens=LONG))["usage"]
    count = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    expect(isinstance(count, int) and 0 < count <= usage["completion_tokens"], str(usage))


def reasoning_tokens_are_counted_in_streams(probe: Probe) -> None:
    """... in a stream's usage too."""
    _needs_thinking(probe)
    usage = probe.stream(SUM, max_tokens=LONG, stream_options={"include_usage": True}).chunks[-1]["usage"]
    expect((usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0) > 0, str(usage))


def cached_tokens_are_told(probe: Probe) -> None:
    """usage.prompt_tokens_details.cached_tokens is there, no more than the prompt."""
    usage = probe.good(probe.chat(SUM))["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is None:
        raise Skipped("not told")
    expect(0 <= cached <= usage["prompt_tokens"], str(usage))


def cut_in_thinking_is_no_answer(probe: Probe) -> None:
    """A reply that is cut inside its thinking has no answer and is called length."""
    _needs_thinking(probe)
    choice = probe.choice(SUM, max_tokens=3)
    content = choice["message"].get("content") or ""
    expect(choice["finish_reason"] == "length", f"finish_reason {choice['finish_reason']}")
    expect(len(content) <= 20 and "think" not in content, f"content {content!r}")


def thinking_can_be_switched_off(probe: Probe) -> None:
    """thinking: {type: disabled} gives an answer without thinking."""
    got = probe.chat(SUM, max_tokens=LONG, thinking={"type": "disabled"})
    expect(not thought_of(probe.taken(got, "thinking")["choices"][0]["message"]).strip(), "it thinks")


def template_switch_turns_thinking_off(probe: Probe) -> None:
    """chat_template_kwargs: {enable_thinking: false} does the same."""
    got = probe.chat(SUM, max_tokens=LONG, chat_template_kwargs={"enable_thinking": False})
    body = probe.taken(got, "chat_template_kwargs")
    expect(not thought_of(body["choices"][0]["message"]).strip(), "it thinks")


def thinking_budget_holds(probe: Probe) -> None:
    """A budget of 16 tokens of thinking isn't passed by more than a closing tag."""
    got = probe.chat(SUM, max_tokens=LONG, thinking={"type": "enabled", "budget_tokens": 16})
    usage = probe.taken(got, "thinking.budget_tokens")["usage"]
    count = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if count is None:
        raise Skipped("reasoning_tokens aren't told")
    expect(count <= 16 + 12, f"{count} tokens of thinking")


def effort_is_taken(probe: Probe) -> None:
    """reasoning_effort is taken, or refused by name."""
    probe.taken(probe.chat(SUM, reasoning_effort="low"), "reasoning_effort")


def _history(name: str) -> list[Json]:
    return [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4", name: "two and two"},
        {"role": "user", "content": "And 3+3?"},
    ]


def reasoning_content_may_come_back(probe: Probe) -> None:
    """A history with reasoning_content is no fault."""
    probe.good(probe.chat(messages=_history("reasoning_content")))


def reasoning_may_come_back(probe: Probe) -> None:
    """... nor one with reasoning."""
    probe.good(probe.chat(messages=_history("reasoning")))


def reply_may_come_back_as_it_is(probe: Probe) -> None:
    """A reply's message, all of its fields, can be sent back in the next turn."""
    message = probe.said(SUM, max_tokens=LONG)
    asked = [{"role": "user", "content": SUM}, message, {"role": "user", "content": "Sure?"}]
    probe.good(probe.chat(messages=asked))


def stop_strings_leave_thinking_alone(probe: Probe) -> None:
    """A stop string that occurs in the thinking doesn't end it."""
    _needs_thinking(probe)
    thought = thought_of(probe.said(SUM, max_tokens=LONG))
    word = next((w for w in thought.split() if len(w) > 1), "")
    again = thought_of(probe.said(SUM, max_tokens=LONG, stop=[word]))
    expect(again == thought, f"{len(again)} of {len(thought)} characters of thinking with stop {word!r}")


def _says(delta: Json) -> bool:
    return bool(thought_of(delta) or delta.get("content"))


CHECKS = (
    tags_stay_out_of_the_answer,
    thinking_comes_first,
    one_kind_in_a_chunk,
    reasoning_tokens_are_counted,
    reasoning_tokens_are_counted_in_streams,
    cached_tokens_are_told,
    cut_in_thinking_is_no_answer,
    thinking_can_be_switched_off,
    template_switch_turns_thinking_off,
    thinking_budget_holds,
    effort_is_taken,
    reasoning_content_may_come_back,
    reasoning_may_come_back,
    reply_may_come_back_as_it_is,
    stop_strings_leave_thinking_alone,
)
