import pyarrow.parquet as pq
import pytest

from shoestring.evals.chat_check import MATHS_FORMAT, chat_check, repetition
from shoestring.evals.chat_prompts import CHAT_PROMPTS
from tiny import Scripted, tiny_lm


@pytest.fixture(scope="module")
def lm():
    return tiny_lm()


def test_there_are_32_prompts_and_no_two_alike():
    assert len(CHAT_PROMPTS) == 32
    assert len({prompt.turns for prompt in CHAT_PROMPTS}) == 32
    assert sum(prompt.kind == "identity" for prompt in CHAT_PROMPTS) == 5
    assert sum(len(prompt.turns) == 2 for prompt in CHAT_PROMPTS) == 4


def test_a_good_chat(lm, tmp_path):
    def say(prompt: str, _: int) -> str:
        return "I am SmolLM by Hugging Face." if "you" in prompt else "Of course, with pleasure."

    result = chat_check(lm, Scripted(lm, say))
    assert (result.stopped, result.empty, result.looped, result.thinks, result.maths_format) == (
        1,
        0,
        0,
        0,
        0,
    )
    assert result.answered == 1
    assert result.base == "smollm"
    assert result.identity["own"] == 4  # of five: "What language model am I talking to?" has no "you"
    result.save_rows(tmp_path / "chat.parquet")
    assert pq.read_table(tmp_path / "chat.parquet").num_rows == 32


def test_a_follow_up_sees_the_models_own_first_reply(lm):
    generator = Scripted(lm, lambda prompt, _: "Rex." if prompt.count("user") == 1 else "Tom.")
    result = chat_check(lm, generator)
    second = next(prompt for prompt, _, _ in generator.asked if "And for a cat?" in prompt)
    assert "a dog?<|im_end|>\n<|im_start|>assistant\nRex.<|im_end|>" in second
    assert [row.reply for row in result.rows if row.kind == "follow-up"] == ["Tom."] * 4


def test_a_bad_chat_is_told_by_each_measure(lm):
    def say(prompt: str, _: int) -> str:
        if "capital" in prompt:
            return ""
        if "planet" in prompt:
            return "la la la la " * 30  # cut, too
        if "fruits" in prompt:
            return "<think>\n1+1=2\n</think>\n2"
        if "made you" in prompt:
            return "I was made by OpenAI."
        return "Well."

    result = chat_check(lm, Scripted(lm, say), max_tokens=100)
    assert result.empty * 32 == result.looped * 32 == result.thinks * 32 == result.maths_format * 32 == 1
    assert result.stopped == 31 / 32
    assert result.answered == 30 / 32  # neither the empty one nor the loop
    assert result.identity == {"own": 0, "other": 1, "both": 0, "none": 4}
    assert "0 of 5 say it is SmolLM, 1 name another" in result.line()


def test_repetition():
    assert repetition([1, 2, 3, 4] * 10) == pytest.approx(1 - 4 / 37)
    assert repetition(list(range(40))) == 0
    assert repetition([7] * 10) == 0  # too short to tell


@pytest.mark.parametrize(
    "text", ["\\boxed{4}", "Answer: 4", "3 + 4 = 7", "4", "#### 9", "<answer>x</answer>"]
)
def test_maths_format(text: str):
    assert MATHS_FORMAT.search(text)


@pytest.mark.parametrize(
    "text", ["The answer is a rose.", "1. Apples\n2. Pears", "def f(a, b):\n    return a", "In 1969."]
)
def test_ordinary_text_is_not_maths(text: str):
    assert not MATHS_FORMAT.search(text)
