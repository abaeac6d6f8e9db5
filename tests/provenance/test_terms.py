import re

import pytest

from shoestring.errors import BadInput
from shoestring.provenance.terms import (
    STRICTNESS,
    Term,
    require,
    strictest,
    table,
    term_of,
)

KNOWN = {
    "barred": """gpt-4o openai/gpt-4.1-mini ChatGPT gpt-3.5-turbo o1-preview o3 openai/o4-mini GPT5
        text-davinci-003 davinci-002 codex-mini-latest o4-mini-high o3-deep-research llama-3-8b llama-3-70b
        claude-3-5-sonnet-20241022 anthropic/claude-opus-4 gemini-2.5-pro google/gemini-pro grok-4
        meta-llama/Llama-2-70b-chat-hf meta-llama/Meta-Llama-3-8B-Instruct llama3 codellama-7b
        tencent/Hunyuan-A13B""",
    "duty": """meta-llama/Llama-3.1-8B-Instruct Meta-Llama-3.1-405B llama3.2 Llama-3.3-70B Llama-4-Scout-17B
        llama3-1-8b llama-3-1-8b llama-3-2-1b-instruct
        deepseek-ai/DeepSeek-R1-Distill-Llama-8B Qwen/Qwen2.5-72B-Instruct Qwen2.5-Math-72B
        google/gemma-2-9b-it deepseek-ai/DeepSeek-V3 deepseek-ai/DeepSeek-V3-Base""",
    "allowed": """deepseek-ai/DeepSeek-R1 DeepSeek-R1-Distill-Qwen-1.5B deepseek-ai/DeepSeek-V3-0324
        DeepSeek-V3.1 openai/gpt-oss-20b Qwen/Qwen2.5-Coder-0.5B-Instruct Qwen3-0.6B Qwen/QwQ-32B
        google/gemma-4-9b HuggingFaceTB/SmolLM2-135M-Instruct smollm2-135m>sft>grpo(sha256""",
    "unknown": """my-model llama-7b Qwen/Qwen2.5-3B-Instruct qwen3-max qwen-plus qwen1.5-7b mistral-large
        TinyLlama-1.1B openai-community/gpt2 deepseek-coder-6.7b""",
}


@pytest.mark.parametrize(
    ("ruling", "name"), [(ruling, name) for ruling, names in KNOWN.items() for name in names.split()]
)
def test_teachers_are_known_by_name(ruling, name):
    assert term_of(name).ruling == ruling


@pytest.mark.parametrize(
    ("name", "licence", "ruling"),
    [
        ("my-model", "MIT", "allowed"),
        ("my-model", "apache-2.0", "allowed"),
        ("my-model", "llama3.1", "duty"),
        ("my-model", "tongyi-qianwen", "barred"),
        ("my-model", "CC-BY-NC-4.0", "unknown"),
        ("mistral-7b", "Apache-2.0", "allowed"),  # the name's rule asks for the licence
        ("TinyLlama-1.1B", "Apache-2.0", "allowed"),
        ("text-davinci-003", "MIT", "barred"),
        ("gpt-4o", "MIT", "barred"),  # the strictest wins, whatever is declared
        ("Llama-3.1-8B", "Apache-2.0", "duty"),
        ("Qwen2.5-0.5B", "qwen-research", "unknown"),
    ],
)
def test_name_and_licence_together(name, licence, ruling):
    assert term_of(name, licence).ruling == ruling


@pytest.mark.parametrize(
    ("endpoint", "name", "ruling"),
    [
        ("https://api.openai.com/v1", "ft:something", "barred"),
        ("https://mine.openai.azure.com/x", "deployment-7", "barred"),
        ("https://api.deepseek.com", "deepseek-reasoner", "allowed"),
        ("https://api.mistral.ai/v1", "mistral-large", "allowed"),
        ("https://openrouter.ai/api/v1", "deepseek-ai/DeepSeek-R1", "unknown"),
        ("https://dashscope.aliyuncs.com/v1", "Qwen2.5-7B", "unknown"),
        ("http://localhost:8000/v1", "Qwen2.5-7B", "allowed"),
        ("https://api.mistral.ai/v1", "gpt-4o", "barred"),
        ("http://localhost:4000/v1", "gpt-4o", "barred"),  # a proxy changes nothing
        ("http://gpu.example.org:8000", "my-model", "unknown"),
        ("https://notapi.openai.com.example.org", "Qwen2.5-7B", "allowed"),
        ("api.x.ai", "whatever", "barred"),
    ],
)
def test_a_services_terms_come_with_its_address(endpoint, name, ruling):
    assert term_of(name, endpoint=endpoint).ruling == ruling


def test_a_barred_teacher_is_refused_with_the_clause_and_its_date():
    with pytest.raises(BadInput) as caught:
        require(term_of("gpt-4o"))
    said = str(caught.value)
    assert "\n" not in said
    for part in (
        "gpt-4o",
        "OpenAI",
        "3.3(e)",
        "openai.com/policies",
        "2026-01-01",
        "read 2026-",
        "legal advice",
    ):
        assert part in said
    assert "--permission TEXT|FILE" in said


def test_an_unknown_one_is_refused_with_how_to_declare_it():
    with pytest.raises(BadInput, match=r"'mine'.*no rule is known.*teacher_licence.*'permission' in x\.toml"):
        require(term_of("mine"), "'permission' in x.toml")
    with pytest.raises(BadInput, match="non-commercial purposes only"):
        require(term_of("Qwen2.5-3B"))
    for host in ("https://openrouter.ai/api/v1", "https://dashscope.aliyuncs.com/v1"):  # no licence settles
        with pytest.raises(BadInput, match=r"not been read.*\. Give a written permission") as refused:
            require(term_of("qwen-max", "mit", host))
        assert "teacher_licence" not in str(refused.value)


def test_a_permission_lifts_both_and_is_in_the_text():
    for name in ("gpt-4o", "mine"):
        term = require(term_of(name, permission="by letter of 2026-11-01"))
        assert (term.ruling, term.text) == ("permitted", "permitted: by letter of 2026-11-01")
    assert (
        term_of("gpt-4o", permission="x" * 20).cited().count("3.3(e)") == 1
    )  # what was lifted is still said
    assert term_of("Qwen3-8B", permission="not needed").text == "allowed"


def test_the_strictest():
    terms = [Term("x", ruling) for ruling in STRICTNESS]
    for i in range(1, len(terms) + 1):
        worst = strictest(reversed(terms[:i]))
        assert worst is not None
        assert worst.ruling == STRICTNESS[i - 1]
    assert strictest([]) is None


def test_the_words_of_a_naming_duty():
    said = term_of("Llama-3.1-8B").text
    assert said.startswith(
        'allowed: naming duty (llama): its name begins with Llama; its card shows "Built with Llama"'
    )
    assert term_of("gemma-2-2b").text == "allowed: duty (gemma): its card passes conditions on"


def test_every_rule_of_the_table_can_be_followed_up():
    rules = table()
    assert len(rules) > 20
    for rule in rules:
        assert rule.verdict in ("allowed", "duty", "unknown", "barred")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", rule.read)
        assert re.fullmatch(r"(\d{4}-\d\d-\d\d)?", rule.effective)
        assert rule.clause
        assert rule.names or rule.licences or rule.endpoints
        assert rule.source.startswith("https://") or rule.verdict == "unknown"
        assert rule.duty or rule.verdict != "duty"
        assert all(licence == licence.lower() for licence in rule.licences)
