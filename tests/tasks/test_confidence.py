"""A stated confidence is read from the words around it, in English and Chinese, and from nothing else."""

import pytest

from shoestring.tasks.confidence import stated_confidence

STATED = [
    ("I am 80 % sure", 0.8),
    ("The answer is 12. I'm 80% certain that it is 12.", 0.8),
    ("Confidence: 0.85", 0.85),
    ("**Confidence:** 85%", 0.85),
    ("Confidence (0-100): 95", 0.95),
    ("Confidence: 95/100", 0.95),
    ("Confidence: 9/10", 0.9),
    ("Confidence level: 9 out of 10", 0.9),
    ("My confidence is about 70-80 %.", 0.75),
    ("My confidence in this answer is 90%", 0.9),
    ("I am confident, at around 90 percent.", 0.9),
    ("There is a 75 percent chance that I am right.", 0.75),
    ("At first I was 50 % sure, now I am 95 % sure.", 0.95),
    ("I'm 100% confident.", 1.0),
    ("I am 0% sure", 0.0),
    ("probability = .6", 0.6),
    ("confidence: 87.5%", 0.875),
    ("置信度80%", 0.8),
    ("置信度：0.8", 0.8),
    ("置信度为 95", 0.95),
    ("我有90%的把握", 0.9),
    ("我有90％的把握认为答案是12。", 0.9),
    ("八成把握", 0.8),
    ("九成五的把握", 0.95),
    ("把握：约七成", 0.7),
    ("我有百分之八十五的把握", 0.85),
    ("置信度是百分之百", 1.0),
    ("信心大约百分之60", 0.6),
]
UNSTATED = [
    "",
    "The sum of 12 + 30 is 42.",
    "I am sure that the answer is 12.",
    "There are 12 certain cases.",
    "I am not sure.",
    "sure, 12 apples",
    "A discount of 20 % leaves 80 %.",
    "I am 150 % sure",
    "Confidence: 1",  # of 1 or of 100?
    "我确定答案是12。",
    "打八成新",
]


@pytest.mark.parametrize(("text", "value"), STATED)
@pytest.mark.parametrize("asked", [False, True])
def test_stated(text: str, value: float, asked: bool) -> None:
    assert stated_confidence(text, asked) == pytest.approx(value)


@pytest.mark.parametrize("text", UNSTATED)
def test_unstated(text: str) -> None:
    assert stated_confidence(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("85", 0.85), (" 85. ", 0.85), ("**90**", 0.9), ("0.9", 0.9), ("85%", 0.85), ("0", 0.0)),
        *(("I'd say 95%.", 0.95), ("八成", 0.8), ("百分之九十", 0.9), ("70-90%", 0.8)),
        *(("1", None), ("120", None), ("The answer is 12", None), ("between 60% and, well, 90%", None)),
        ("12 + 30 = 42", None),
    ],
)
def test_a_number_alone_counts_where_it_was_asked_for(text: str, value: float | None) -> None:
    found = stated_confidence(text, asked=True)
    assert found == (None if value is None else pytest.approx(value))
    if value is not None:
        assert stated_confidence(text) is None
