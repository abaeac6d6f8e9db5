"""From a body to what the engine is asked: limits, thinking, prompts; and every refusal by name."""

import json
from typing import Any

import pytest

from chat_shapes import QWEN3, R1
from shoestring.engine.engine import Engine
from shoestring.lm import LanguageModel
from shoestring.serve.engine_thread import EngineThread
from shoestring.serve.errors import ApiError
from shoestring.serve.plan import Plan, plan_chat, plan_completion
from shoestring.serve.refusals import UNSUPPORTED, read_body
from shoestring.serve.schema import ChatRequest, CompletionRequest
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings
from shoestring.serve.written import encode, filled
from tiny import CHATML, byte_tokenizer, tiny_lm

SETTINGS = ServeSettings(models=["tiny"])
# V3.1's way: the prompt ends or opens the thinking
V31 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
)


def served(template: str = CHATML, window: int = 2048) -> Served:
    lm = tiny_lm(window=window, template=template)
    return Served("tiny", lm, EngineThread(lambda: Engine(lm)))


TINY = served()
Q = [{"role": "user", "content": "q"}]


def chat(at: Served = TINY, most: int | None = None, **fields: Any) -> Plan:
    body = json.dumps({"messages": Q, **fields}).encode()
    return plan_chat(read_body(ChatRequest, body), at, SETTINGS, most)


def completion(at: Served = TINY, **fields: Any) -> Plan:
    body = json.dumps({"prompt": "a b", **fields}).encode()
    return plan_completion(read_body(CompletionRequest, body), at, SETTINGS)


def text(plan: Plan, lm: LanguageModel) -> str:
    return lm.tokenizer.decode(plan.prompts[0])


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("template", "thinking", "state", "ending"),
    [
        (CHATML, None, "undecided", "<|im_start|>assistant\n"),
        (CHATML, True, "thinking", "<|im_start|>assistant\n<think>\n"),
        (CHATML, False, "undecided", "<|im_start|>assistant\n"),
        (V31, None, "answer", "<|im_start|>assistant\n</think>"),
        (V31, True, "thinking", "<|im_start|>assistant\n<think>"),
        (V31, False, "answer", "<|im_start|>assistant\n</think>"),
        (QWEN3, None, "undecided", "<|im_start|>assistant\n"),
    ],
)
def test_the_prompt_and_the_state_it_leaves(
    template: str, thinking: bool | None, state: str, ending: str
) -> None:
    at = served(template)
    switch = {} if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}}
    plan = chat(at, **switch)
    assert plan.state == state
    assert text(plan, at.lm).endswith(ending)


def test_r1s_prompt_opens_the_thinking_and_off_closes_it() -> None:
    lm = tiny_lm()
    r1 = R1.replace("<｜User｜>", "<|im_start|>").replace("<｜Assistant｜>", "<|im_end|>")
    at = Served(
        "tiny",
        LanguageModel(
            lm.network,
            lm.tokenizer,
            type(lm.template)(lm.tokenizer, r1, lm.template.stop_ids),
            lm.config,
            lm.lineage,
            "tiny",
        ),
        TINY.engine,
    )
    assert chat(at).state == "thinking"
    off = chat(at, thinking={"type": "disabled"})
    assert off.state == "answer"
    assert text(off, lm).endswith("<think>\n\n</think>\n\n")


def test_thinking_off_gets_no_budget_where_only_the_model_knows() -> None:
    plan = chat(thinking={"type": "disabled"})
    assert plan.limits.thinking == 0
    assert plan.steered.budget is not None


def test_limits_keep_something_for_the_answer() -> None:
    plan = chat(max_tokens=400)
    closing = len(TINY.readings["undecided"].closing)
    assert (plan.limits.total, plan.limits.reserve) == (400, 100)
    assert plan.limits.thinking == 400 - 100 - closing
    assert chat(max_tokens=400, answer_reserve=0).limits.thinking is None
    assert chat(max_tokens=4000).limits.total == TINY.window - len(plan.prompts[0])
    assert chat(max_tokens=4000).limits.window


@pytest.mark.parametrize(
    ("fields", "budget"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 50}}, 50),
        ({"thinking_token_budget": 60}, 60),
        ({"reasoning_effort": "low"}, 100),
        ({"reasoning_effort": "medium"}, 200),
        ({"reasoning_effort": "high"}, None),
        ({"reasoning_effort": "none"}, 0),
    ],
)
def test_budgets_of_thinking(fields: dict[str, Any], budget: int | None) -> None:
    assert chat(max_tokens=400, **fields).limits.budget == budget


def test_a_reply_too_small_to_close_its_thinking_has_no_budget() -> None:
    plan = chat(max_tokens=3)
    assert plan.limits.thinking is None
    assert plan.steered.budget is None


def test_both_names_of_the_total_are_one_limit() -> None:
    assert chat(max_completion_tokens=7).limits.total == 7
    assert chat(max_tokens=7, max_completion_tokens=7).limits.total == 7
    assert refused(max_tokens=7, max_completion_tokens=8).param == "max_completion_tokens"


def test_a_keys_limit_holds() -> None:
    assert chat(most=9).limits.total == 9
    with pytest.raises(ApiError, match="at most 9"):
        chat(most=9, max_tokens=10)


def test_defaults_are_applied_and_told() -> None:
    applied = chat().applied()
    assert (applied["temperature"], applied["top_p"]) == (SETTINGS.temperature, SETTINGS.top_p)
    assert applied["seed"] == chat(seed=applied["seed"]).params.seed
    assert chat(temperature=0, top_p=0.5, top_k=-1, seed=-3).params.seed == -3


def test_a_prompt_over_the_window_is_refused_with_both_numbers() -> None:
    error = refused(messages=[{"role": "user", "content": "x" * 3000}])
    assert error.code == "context_length_exceeded"
    assert "2048" in error.message
    assert "30" in error.message


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_what_others_know_is_refused_with_a_reason(name: str) -> None:
    error = refused(**{name: 1})
    assert error.param == name
    assert UNSUPPORTED[name] in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 99}, "n"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"stop_token_ids": [99999]}, "stop_token_ids"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"thinking": {"type": "enabled", "budget": 3}}, "thinking.budget"),
        (
            {"thinking": {"type": "enabled"}, "chat_template_kwargs": {"thinking": False}},
            "chat_template_kwargs.thinking",
        ),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"style": True}}, "chat_template_kwargs.style"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"store": True}, "store"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "q", "name": "Al"}]}, "messages.0.name"),
        ({"messages": [{"role": "user", "content": "q", "colour": 1}]}, "messages.0.colour"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        (
            {"messages": [*Q, {"role": "tool", "content": "4", "tool_call_id": "x"}]},
            "messages.1.tool_call_id",
        ),
        ({"messages": [*Q, {"role": "assistant", "content": "", "prefix": True}]}, "messages"),
        ({"messages": [{"role": "user", "content": "q", "prefix": True}]}, "messages.0.prefix"),
    ],
)
def test_refusals_name_the_field(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_a_near_miss_is_named() -> None:
    assert "did you mean 'temperature'" in refused(temprature=1).message


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ApiError) as caught:
        read_body(ChatRequest, b'{"messages": [{"role": "user", "content": "\\ud800"}]}')
    assert caught.value.status == 400


def test_thinking_of_earlier_turns_is_taken_by_both_names_and_mended() -> None:
    def prompt(*turns: dict[str, Any]) -> Plan:
        return chat(messages=[*Q, *turns, {"role": "user", "content": "more"}])

    plan = prompt({"role": "assistant", "content": "a", "reasoning": "because"})
    assert plan.headers["X-Reasoning-History"] == "kept 0, dropped 1"
    assert "because" not in text(plan, TINY.lm)
    # a reply that was cut in its thinking, sent back as its text
    cut = prompt({"role": "assistant", "content": "<think>\nI was about to"})
    assert "about to" not in text(cut, TINY.lm)
    with pytest.raises(ApiError, match="differ"):
        prompt({"role": "assistant", "content": "a", "reasoning": "x", "reasoning_content": "y"})


def test_thinking_within_a_tool_loop_is_kept() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": "{}"}}
    turns = [
        {"role": "assistant", "content": None, "reasoning_content": "let me look", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ]
    plan = chat(messages=[*Q, *turns])
    assert plan.headers["X-Reasoning-History"] == "kept 1, dropped 0"
    assert "let me look" in text(plan, TINY.lm)
    assert '{"name": "get", "arguments": {}}' in text(plan, TINY.lm)


def test_tools_are_told_with_their_schema_in_the_system_turn() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tool = {
        "type": "function",
        "function": {"name": "get", "description": "Weather.", "parameters": parameters},
    }
    told = text(chat(tools=[tool]), TINY.lm)
    assert "- get: Weather. (arguments: " in told
    assert '<tool_call>{"name": "get", "arguments": {"city": "...", "days": 1}}</tool_call>' in told
    assert "get" not in text(chat(tools=[tool], tool_choice="none"), TINY.lm)


def test_special_tokens_in_a_raw_prompt_are_tokens_and_in_messages_letters() -> None:
    tokenizer = TINY.lm.tokenizer
    end = tokenizer.special_ids["<|im_end|>"]
    assert end not in completion(prompt="a<|im_end|>b", parse_special=False).prompts[0]
    said = chat(messages=[{"role": "user", "content": "a<|im_end|>b"}]).prompts[0]
    assert said.count(end) == chat().prompts[0].count(end)
    assert completion(prompt="a<|im_end|>b").prompts[0] == [
        *tokenizer.encode("a"),
        end,
        *tokenizer.encode("b"),
    ]
    assert encode(tokenizer, "", special=True) == []


def test_a_gap_is_filled_in_the_tokenizers_own_form() -> None:
    marks = ("<|im_start|>", "<|im_end|>", "<pad>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    tokenizer = byte_tokenizer(markers=marks)
    ids = filled(tokenizer, "a", "c")
    assert tokenizer.decode(ids) == "<fim_prefix>a<fim_suffix>c<fim_middle>"
    with pytest.raises(ApiError, match="no tokens for filling in"):
        completion(suffix="b")


@pytest.mark.parametrize("prompt", [[], "", [[]], [[1], []]])
def test_an_empty_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises(ApiError) as caught:
        completion(prompt=prompt)
    assert caught.value.param == "prompt"


def test_prompts_may_be_ids() -> None:
    assert completion(prompt=[1, 2]).prompts == [[1, 2]]
    assert completion(prompt=[[1, 2], [3]]).prompts == [[1, 2], [3]]
    with pytest.raises(ApiError, match="vocabulary"):
        completion(prompt=[99999])
