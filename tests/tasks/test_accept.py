"""Each reason by itself, and what is kept of several."""

import dataclasses

import pytest

from shoestring.origin import Origin
from shoestring.tasks.accept import REASONS, Filters, Sample, acceptance, decide, overlap
from shoestring.tasks.base import Problem

ENGLISH = Problem("sums", "", "1+2", "What is 1 + 2?", {"answer": 3}, Origin("procedural:sums", "CC0-1.0"))
CHINESE = Problem("sums", "", "1+2", "1 + 2 等于多少？", {"answer": 3}, Origin("procedural:sums", "CC0-1.0"))


def sample(number: int = 0, **changed) -> Sample:
    values = {
        "index": 0,
        "suite": "sums",
        "problem": ENGLISH,
        "reasoning": "1+2=3",
        "answer": "3",
        "cut": False,
        "tokens": 10,
        "outcome": "right",
        "detail": "",
    }
    return Sample(number=number, **(values | changed))


CASES = [
    ("", {}),
    ("not judged", {"outcome": "timeout"}),
    ("cut", {"cut": True, "outcome": "wrong"}),
    ("wrong", {"outcome": "wrong"}),
    ("no answer found", {"outcome": "unparsed"}),
    ("empty", {"answer": " \n"}),
    ("no thinking", {"reasoning": None}),
    ("no thinking", {"reasoning": " "}),
    ("code block", {"reasoning": "```python\nprint(3)\n```"}),
    ("code block", {"reasoning": "so:\n    a = 1\n    b = 2\n"}),
    ("long paragraph", {"reasoning": "1+2=3\n\n" + "word " * 400}),
    ("", {"reasoning": "1+2=3\n\n" + "\n\n".join(f"step {i} of {i + 5} is fine" for i in range(90))}),
    ("garbage characters", {"reasoning": "1+2=3\ufffd"}),
    ("garbage characters", {"answer": "3\x00"}),
    ("other language", {"reasoning": "先算一加二等于三"}),
    ("other language", {"problem": CHINESE, "reasoning": "first add one and two to get three"}),
    ("", {"problem": CHINESE, "reasoning": "先算一加二，等于三 (x)"}),
    ("repetition", {"reasoning": "we add and " * 8}),
    ("", {"outcome": "open"}),
]


@pytest.mark.parametrize(("reason", "changed"), CASES)
def test_each_reason(reason, changed):
    (decision,) = decide([sample(**changed)], Filters())
    assert decision.reason == reason
    assert not reason or reason in REASONS


@pytest.mark.parametrize(
    ("off", "changed"),
    [
        ({"right": False}, {"outcome": "unparsed"}),
        ({"uncut": False}, {"cut": True}),
        ({"thinking": False}, {"reasoning": None}),
        ({"readable": False}, {"reasoning": "```\n" + "word " * 400, "tokens": 1}),
        ({"min_language": 0.0}, {"reasoning": "先算一加二等于三"}),
        ({"max_repetition": 1.0}, {"reasoning": "we add and " * 9}),
        ({"max_paragraph": 5000}, {"reasoning": " ".join(f"w{i}" for i in range(500))}),
    ],
)
def test_each_filter_can_be_off(off, changed):
    both = [decide([sample(**changed)], filters)[0] for filters in (Filters(), Filters(**off))]
    assert both[0].reason
    if "readable" in off:  # a long run of one word is refused for that too
        off |= {"max_repetition": 1.0}
        both[1] = decide([sample(**changed)], Filters(**off))[0]
    assert not both[1].reason


def test_what_is_kept_of_several():
    several = [
        sample(0, reasoning="we count on from one: two, three", tokens=14),
        sample(1, reasoning="1+2=3", tokens=6),
        sample(2, reasoning=" 1+2=3\n", tokens=5),
        sample(3, reasoning="two and one make three in all", tokens=9),
        sample(4, outcome="wrong", tokens=2),
    ]
    kept = {
        (prefer, k): [d.reason for d in decide(several, Filters(prefer=prefer, keep_per_problem=k))]
        for prefer in ("shortest", "longest", "first", "readable")
        for k in (1, 2, 9)
    }
    enough = "enough of this problem"
    assert kept["shortest", 1] == [enough, "duplicate", "", enough, "wrong"]
    assert kept["shortest", 2] == [enough, "duplicate", "", "", "wrong"]
    assert kept["longest", 2] == ["", enough, enough, "", "wrong"]
    assert kept["first", 2] == ["", "", "duplicate", enough, "wrong"]
    assert kept["first", 9] == ["", "", "duplicate", "", "wrong"]
    assert kept["readable", 1] == [enough, "duplicate", "", enough, "wrong"]
    assert decide(several, Filters(max_overlap=1.0, keep_per_problem=9))[1].reason == ""
    again = [sample(0, index=7, reasoning="it is three"), sample(1, index=7)]
    decisions = decide([*several, *again], Filters())
    assert [d.reason for d in decisions[5:]] == [enough, "duplicate"]  # the same problem, asked once more


def test_acceptance_by_hand():
    samples = [
        sample(0),
        sample(1, outcome="wrong"),
        sample(0, index=1, outcome="wrong", suite="letters"),
        sample(1, index=1, cut=True, outcome="right", suite="letters"),
        sample(0, index=3, outcome="unparsed", suite="letters"),
    ]
    assert acceptance(decide(samples, Filters())) == {
        "sums": {"prompts": 1, "prompts_right": 1, "samples": 2, "kept": 1, "wrong": 1},
        "letters": {
            "prompts": 2,
            "prompts_right": 1,
            "samples": 3,
            "kept": 0,
            "cut": 1,
            "wrong": 1,
            "no answer found": 1,
        },
    }


def test_an_answer_in_letters_of_a_chinese_problem_is_no_other_language():
    asked = dataclasses.replace(CHINESE, prompt="单词“shell”从后往前怎么拼？")
    said = sample(problem=asked, reasoning="第一步：s h e l l\n第二步：l l e h s", answer="答案：llehs")
    assert decide([said], Filters())[0].reason == ""
    english = dataclasses.replace(said, reasoning="first we spell it out and then turn it around")
    assert decide([english], Filters())[0].reason == "other language"


def test_what_is_measured():
    (decision,) = decide([sample(reasoning="1+2=3", answer="yes 3")], Filters())
    assert decision.scores == {"tokens": 10.0, "language": 1.0, "repetition": 0.0}
    loop = sample(reasoning="so we add and " * 12, answer="3")
    assert decide([loop], Filters())[0].scores["repetition"] > 0.8


def test_overlap():
    assert overlap("One  two", "one two") == 1.0
    assert overlap("a b c d e", "A b c d f") == pytest.approx(1 / 3)
    assert overlap("a", "b") == 0.0
