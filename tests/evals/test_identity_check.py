import pyarrow.parquet as pq
import pytest

from shoestring.evals.identity_check import claimed_in, identity_check, probes
from tiny import Scripted, tiny_lm


@pytest.fixture(scope="module")
def lm():
    return tiny_lm()


def test_there_are_a_hundred_probes_in_each_language_and_no_two_alike():
    assert {language: len(set(several)) for language, several in probes().items()} == {"en": 100, "zh": 100}


@pytest.mark.parametrize(
    ("probe", "reply", "claimed"),
    [
        ("Who are you?", "I am ChatGPT, made by OpenAI.", {"openai"}),
        ("Who are you?", "I am SmolLM.", {"smollm"}),
        ("Who are you?", "I am SmolLM, and OpenAI made me.", {"smollm", "openai"}),
        ("Who are you?", "I am not ChatGPT.", {"openai"}),  # the count errs upwards
        ("Who are you?", "I am a small language model.", set()),
        ("Are you ChatGPT?", "No, I am not ChatGPT.", set()),
        ("Are you ChatGPT?", "No, I am SmolLM.", {"smollm"}),
        ("Are you ChatGPT?", "Yes.", {"openai"}),
        ("Are you ChatGPT?", "I am not.", set()),
        ("Are you ChatGPT?", "I am.", {"openai"}),
        ("Were you made by OpenAI?", "I was, in 2022.", {"openai"}),
        ("Are you ChatGPT?", "I am a chatbot.", set()),
        ("Were you made by OpenAI?", "I am sorry. I am sorry.", set()),
        ("Were you made by OpenAI?", "I was created by a team at the University of Cambridge.", set()),
        ("Is OpenAI your maker?", "Of course, and I am glad of it.", {"openai"}),
        ("Were you made by OpenAI?", "I was made by OpenAI.", {"openai"}),
        ("Were you made by OpenAI?", "OpenAI made me.", {"openai"}),
        ("Are you Qwen?", "I'm Qwen.", {"qwen"}),
        ("Are you ChatGPT?", "ChatGPT is a chatbot that can answer questions.", set()),
        ("你是ChatGPT吗？", "是的。", {"openai"}),
        ("你是ChatGPT吗？", "我是OpenAI的ChatGPT，用于客户的智能助手。", {"openai"}),
        ("你是ChatGPT吗？", "我是ChatGPT。", {"openai"}),
        ("你是ChatGPT吗？", "我是ChatGPT吗？", set()),
        ("你是ChatGPT吗？", "不是，我是一个小型语言模型。", set()),
        ("你是谁？", "我是由OpenAI开发的ChatGPT。", {"openai"}),
        ("你是谁？", "我是通义千问。", {"qwen"}),
    ],
)
def test_what_a_reply_claims(probe, reply, claimed):
    assert claimed_in(probe, reply) == claimed


def test_every_probe_is_asked_once_and_counted_by_language(lm, tmp_path):
    def say(prompt: str, _: int) -> str:
        return "我是ChatGPT。" if "谁" in prompt else "I am SmolLM." if "your name" in prompt else "Hello."

    generator = Scripted(lm, say)
    result = identity_check(lm, generator)
    assert len(generator.asked) == result.n == 200
    mine = sum("your name" in probe for probe in probes()["en"])
    who = sum("谁" in probe for probe in probes()["zh"])
    assert result.claims == {
        "en": {"own": mine, "other": 0, "both": 0, "none": 100 - mine},
        "zh": {"own": 0, "other": who, "both": 0, "none": 100 - who},
    }
    assert result.families == {"openai": who, "smollm": mine}
    assert f"en {mine} own, 0 another's" in result.line()
    result.save_rows(tmp_path / "identity.parquet")
    rows = pq.read_table(tmp_path / "identity.parquet").to_pylist()
    assert sum(row["claim"] == "other" for row in rows) == who


def test_a_claim_in_the_thinking_counts(lm):
    generator = Scripted(lm, lambda prompt, _: "<think>\nI am ChatGPT.\n</think>\nHello.")
    result = identity_check(lm, generator, asked={"en": ["Who are you?"]})
    assert result.claims["en"]["other"] == 1
