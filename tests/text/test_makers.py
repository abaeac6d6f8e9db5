import pytest

from shoestring.text.makers import FAMILIES, names_but


def found(text: str, *own: str) -> list[tuple[str | None, str]]:
    return [(match.lastgroup, match[0]) for match in names_but(*own).pattern.finditer(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ChatGPT by OpenAI", [("model", "ChatGPT"), ("maker", "OpenAI")]),
        ("chatgpt and CHATGPT", [("model", "chatgpt"), ("model", "CHATGPT")]),
        ("GPT-3.5 and GPT-4o", [("model", "GPT-3.5"), ("model", "GPT-4o")]),
        ("Claude 3.5 Sonnet.", [("model", "Claude 3.5 Sonnet")]),
        ("DeepSeek-R1, Qwen2.5-Coder", [("model", "DeepSeek-R1"), ("model", "Qwen2.5-Coder")]),
        ("Google DeepMind", [("maker", "Google DeepMind")]),
        ("通义千问和阿里云", [("model", "通义千问"), ("maker", "阿里云")]),
        ("metal, bards, llamas, a llama, apple pie, grok it", []),  # words, not names
        ("Geminis", []),
    ],
)
def test_names_in_their_spellings(text: str, expected: list):
    assert found(text) == expected
    names = names_but()
    assert names.maybe_in(text, text.lower()) or not expected


def test_ones_own_family_is_left_out():
    text = "SmolLM, Hugging Face, OpenAI"
    assert len(found(text)) == 3
    assert found(text, "SmolLM2-135M") == found(text, "Nib", "hugging face") == [("maker", "OpenAI")]
    assert len(found(text, "Nib", "")) == 3


def test_no_key_stands_inside_a_common_word():
    words = "pipeline coherent nvidia perplexity inflection training metal amazonian checkpoint"
    keys = [key for key in FAMILIES if key in words]
    assert keys == ["amazon"]  # "amazonian" alone
