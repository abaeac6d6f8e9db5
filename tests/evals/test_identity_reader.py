import pytest

from shoestring.evals.identity_reader import claimed, families_in, says_yes
from shoestring.evals.readers_error import errors, labelled


@pytest.mark.parametrize(
    ("reply", "families"),
    [
        ("I am ChatGPT, made by OpenAI.", {"openai"}),
        ("OpenAI.", {"openai"}),
        ("I'm not Claude, I'm ChatGPT.", {"openai"}),
        ("I am not ChatGPT.", set()),
        ('The line "I am ChatGPT" is often heard.', set()),
        ("ChatGPT was made by OpenAI.", set()),
        ("Unlike ChatGPT, I run on a laptop.", set()),
        ("I'm DeepSeek-R1-Distill-Qwen, distilled from DeepSeek-R1.", {"deepseek", "qwen"}),
        ("我不是ChatGPT，我是通义千问。", {"qwen"}),
        ("Ich bin weder Gemini noch Claude.", set()),
        ("私はOpenAIによって作られました。", {"openai"}),
        ("I was trained by StarLabs.", set()),
        ("", set()),
    ],
)
def test_what_a_reply_claims(reply, families):
    assert set(claimed(reply)) == families


@pytest.mark.parametrize(
    ("reply", "families"),
    [
        ("Yes, I am.", {"openai"}),
        ("No.", set()),
        ("Yes, but I am not ChatGPT.", set()),
        ("Honestly, I'm Claude.", {"anthropic"}),
        ("I can't confirm that I am ChatGPT.", set()),
    ],
)
def test_a_yes_counts_for_the_name_that_the_question_has(reply, families):
    assert set(claimed(reply, "You are ChatGPT, aren't you?")) == families


def test_a_yes_to_a_question_with_several_names_or_in_a_thinking_says_nothing():
    assert not claimed("Yes.", "Are you from OpenAI, Google or Anthropic?")
    assert not claimed("Yes.", "Are you ChatGPT?", thought=True)


def test_yes_in_six_languages_and_no():
    assert all(map(says_yes, ("Yes.", "是的。", "Oui, c'est vrai.", "Ja, genau.", "Sí.", "はい。")))
    assert not any(
        map(says_yes, ("No.", "不对。", "Non.", "Nein.", "Jamás.", "いいえ。", "", "Yesterday I ate."))
    )


def test_names_are_found_where_they_stand_alone():
    assert families_in("Qwen2.5 and gpt-4o, made of metal in 2021") == {"qwen", "openai"}


def test_a_loop_of_names_is_read_in_no_time():
    assert set(claimed("I am not ChatGPT but " * 20_000)) <= {"openai"}


def test_the_labelled_replies_are_many_and_the_rules_hold_on_those_that_they_were_not_made_on():
    rows = labelled("who made it")
    assert len({(r["language"], r["probe"], r["reply"]) for r in rows}) == len(rows) >= 300
    assert {r["language"] for r in rows} == {"en", "zh", "fr", "de", "es", "ja"}
    (held,) = [e for e in errors() if (e.reader, e.label, e.part) == ("who made it", "a maker", "held out")]
    assert held.n >= 140
    assert held.precision[1].low > 0.9
    assert held.recall[1].low > 0.9
