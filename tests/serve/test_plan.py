"""From a body to what the engine is asked: limits, thinking, prompts; and every refusal by name."""

import dataclasses
import json
from typing import Any

import pytest

from chat_shapes import QWEN3, R1
from guided import say
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel
from shoestring.models.generation import GenerationDefaults
from shoestring.serve.engine_thread import EngineThread
from shoestring.serve.errors import ApiError
from shoestring.serve.plan import Plan, plan_chat, plan_completion
from shoestring.serve.refusals import UNSUPPORTED, read_body
from shoestring.serve.schema import ChatRequest, CompletionRequest, TokenizeRequest
from shoestring.serve.served import Served
from shoestring.serve.settings import ServeSettings
from shoestring.serve.tokens import tokenized
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
PREFIX = {"role": "assistant", "content": "{", "prefix": True}


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
    assert plan.steered[0].budget is not None


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
    assert plan.steered[0].budget is None


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
    assert (applied["temperature"], applied["top_p"], applied["top_k"]) == (0.6, 0.95, 0)
    assert applied["seed"] == chat(seed=applied["seed"]).params.seed
    assert chat(temperature=0, top_p=0.5, top_k=-1, seed=-3).params.seed == -3


def test_the_request_is_above_the_operator_and_the_operator_above_the_models_folder() -> None:
    own = dataclasses.replace(tiny_lm(), generation=GenerationDefaults(0.2, 0.9, 40))
    at = Served("tiny", own, TINY.engine)

    def params(settings: ServeSettings, **fields: Any) -> SamplingParams:
        body = json.dumps({"messages": Q, **fields}).encode()
        return plan_chat(read_body(ChatRequest, body), at, settings).params

    asked = params(SETTINGS)
    assert (asked.temperature, asked.top_p, asked.top_k) == (0.2, 0.9, 40)
    operator = SETTINGS.model_copy(update={"temperature": 0.3})
    assert (params(operator).temperature, params(operator).top_p) == (0.3, 0.9)
    asked = params(operator, temperature=1, top_k=0)
    assert (asked.temperature, asked.top_k) == (1, 0)


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
        ({"messages": [*Q, PREFIX | {"name": "Al"}]}, "messages.1.name"),
        ({"messages": [*Q, PREFIX | {"tool_call_id": "x"}]}, "messages.1.tool_call_id"),
        ({"messages": [*Q, PREFIX], "response_format": {"type": "json_object"}}, "response_format"),
        ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "ignore_eos"),
        ({"thinking": {"type": "disabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"reasoning_effort": "none", "thinking_token_budget": 5}, "thinking_token_budget"),
        ({"reasoning_effort": "low", "thinking_token_budget": 5}, "reasoning_effort"),
        ({"logit_bias": {"1" * 4301: 1}}, "logit_bias"),
        ({"max_answer_tokens": 0}, "max_answer_tokens"),
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


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("temperature", (0, 1e-39, 5e-324, 2), (-0.1, 2.1, 1e400)),
        ("top_p", (1e-9, 1), (0, 1.1)),
        ("top_k", (-1, 0, 1, 2**31 - 1), (-2, 2**31, 2**64)),
        ("min_p", (0, 1), (-0.1, 1.1)),
        ("presence_penalty", (-2, 2), (-2.1, 2.1)),
        ("frequency_penalty", (-2, 2), (-2.1, 2.1)),
        ("repetition_penalty", (0.01, 2), (0, 1e-40, 2.1)),
        ("n", (1, 16), (0, 17)),
        ("seed", (-(2**63), 2**63 - 1), (2**63,)),
        ("max_tokens", (1, 2**40), (0,)),
        ("max_answer_tokens", (1, 2**40), (0,)),
        ("answer_reserve", (0, 2**40), (-1,)),
        ("thinking_token_budget", (0, 2**40), (-1,)),
    ],
)
def test_each_number_has_its_ends(name: str, good: tuple[float, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        chat(**{name: value})
    for value in bad:
        assert refused(**{name: value}).param == name


def test_an_end_of_the_numbers_breaks_no_engine() -> None:
    """Each of these was drawn from what is no number once."""
    engine = Engine(TINY.lm)
    for fields in (
        {"temperature": 1e-39},
        {"temperature": 1e-38, "top_p": 1},
        {"temperature": 1e-5, "top_p": 0.999},
        {"top_k": 2**31 - 1, "min_p": 1},
        {"repetition_penalty": 0.01, "frequency_penalty": -2},
        {"logit_bias": {"7": 100}, "repetition_penalty": 2},
    ):
        plan = chat(max_tokens=3, ignore_eos=True, **fields)
        assert len(engine.generate(plan.prompts, plan.asked(0))[0][0].ids) == 3


def test_a_prefix_that_only_thinks_may_have_a_form() -> None:
    thinks = {"role": "assistant", "reasoning": "so", "prefix": True}
    plan = chat(messages=[*Q, thinks], response_format={"type": "json_object"})
    assert plan.state == "thinking"


def test_a_turn_that_only_thought_is_one_by_either_name() -> None:
    for name in ("reasoning", "reasoning_content"):
        plan = chat(messages=[*Q, {"role": "assistant", name: "because"}, *Q])
        assert plan.headers["X-Reasoning-History"] == "kept 0, dropped 1"


def test_an_answers_limit_bounds_what_is_kept_for_it() -> None:
    plan = chat(max_tokens=400, max_answer_tokens=20)
    assert (plan.limits.reserve, plan.limits.answer) == (20, 20)
    assert plan.applied()["max_answer_tokens"] == 20


@pytest.mark.parametrize("arguments", ['{"x": "\\ud83d"}', '{"x": NaN}', '{"x": 1e999}', "[1]", "{"])
def test_earlier_arguments_have_to_be_json(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": arguments}}
    error = refused(messages=[*Q, {"role": "assistant", "tool_calls": [call]}])
    assert error.param == "messages.1.tool_calls.0.function.arguments"


def test_an_echo_too_large_to_be_written_beside_others_is_refused() -> None:
    prompts = [[1] * 2000] * 12
    completion(prompt=prompts, echo=True, logprobs=19)
    with pytest.raises(ApiError, match="at most 500,000") as caught:
        completion(prompt=prompts, echo=True, logprobs=20)
    assert caught.value.param == "logprobs"


@pytest.mark.parametrize(("name", "value"), [("tools", []), ("add_generation_prompt", False)])
def test_what_only_messages_have_is_refused_with_a_prompt(name: str, value: Any) -> None:
    body = json.dumps({"prompt": "a", name: value}).encode()
    with pytest.raises(ApiError) as caught:
        tokenized(read_body(TokenizeRequest, body), TINY)
    assert caught.value.param == name


@pytest.mark.parametrize("text", ["<think>\nso", "<think>\nso\n</think>\n", "<think>\n</think> "])
@pytest.mark.parametrize("fields", [{}, {"thinking": {"type": "enabled"}}, {"thinking_token_budget": 9}])
def test_a_reply_that_thinks_goes_on_to_an_answer(text: str, fields: dict[str, Any]) -> None:
    """Though the model ends its turn inside its thinking, or right after it."""
    plan, tokenizer, ends = chat(max_tokens=80, **fields), TINY.lm.tokenizer, TINY.lm.template.stop_ids
    assert plan.asked(0).guide is not None
    said = say(plan.asked(0).guide, tokenizer, [*tokenizer.encode(text), ends[0]], 80, ends)
    assert said.text.partition("</think>")[2].removesuffix("<|im_end|>").strip()


def test_a_reply_that_doesnt_think_ends_as_it_wants() -> None:
    plan, tokenizer, ends = chat(max_tokens=80), TINY.lm.tokenizer, TINY.lm.template.stop_ids
    assert plan.asked(0).guide is not None
    assert say(plan.asked(0).guide, tokenizer, [ends[0]], 80, ends).ids == [ends[0]]
