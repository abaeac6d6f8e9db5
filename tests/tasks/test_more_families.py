"""The families with a language and those that came later: what is told is true, and read strictly."""

import random
import re
from itertools import pairwise

import pytest

from shoestring.errors import BadInput
from shoestring.tasks import FAMILIES, compare
from shoestring.tasks.base import Outcome, Problem
from shoestring.tasks.chat import CHAT
from shoestring.tasks.documents import RIGHT, WRONG, Slips, WorkedDocuments
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.expression import parse_expression
from shoestring.tasks.slips import habitual, spoiled
from shoestring.tasks.spoken import bare, language_of, told
from shoestring.tasks.suite import parse_suite
from shoestring.text.message import Reply

LATER = {
    "products": ["", "max_digits=3,second_digits=2", "max_digits=1", "min_digits=4,max_digits=5"],
    "remainder": ["", "min_digits=1,max_digits=5,max_divisor=60"],
    "bases": ["", "min_base=3,max_base=9,max_digits=4", "question=to"],
    "compare": ["", "wanted=smallest,max_numbers=5,max_decimals=3", "max_whole=0"],
    "clock": ["", "question=before,max_minutes=300", "question=between,step=5"],
    "sorting": ["", "items=words,order=any", "order=down,max_items=8,max_value=999"],
    "sequences": ["", "rule=multiply", "rule=alternate,max_step=20"],
    "change": ["", "max_kinds=1,max_count=20", "min_kinds=2"],
}  # fmt: skip
SUITES = [f"{name}:{level}" for name, levels in LATER.items() for level in levels]
NINES = Problem(
    "compare",
    "",
    "largest:9.11,9.8",
    "Which number is the largest: 9.11 or 9.8?",
    {"answer": "9.8", "wanted": "largest", "numbers": ("9.11", "9.8")},
    compare.ORIGIN,
)
EARLIER = ["sums:subtract=true", "equations:max_form=4,negative=true", "countdown", "letters"]


def spoken(text: str, language: str) -> str:
    name, _, level = text.partition(":")
    return f"{name}:{','.join(filter(None, [level, f'language={language}']))}"


def draws(text: str, n: int, seed: int = 0) -> list[Problem]:
    suite = parse_suite(text)
    return [suite.family.draw(suite.level, random.Random(f"{seed}:{i}")) for i in range(n)]


def outcome(problem: Problem, answer: str) -> Outcome:
    return FAMILIES[problem.family].score(problem, Reply(None, answer)).outcome


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("text", [*SUITES, *EARLIER])
def test_worked_solutions_are_right_and_their_slips_are_not(text: str, language: str) -> None:
    family = parse_suite(text).family
    for i, problem in enumerate(draws(spoken(text, language), 60)):
        worked = family.worked(problem, random.Random(i))
        assert worked.reasoning
        for chain in re.findall(r"(?<![-+*/()\dx])[-+*/()\d]+(?:=[-+*/()\d]+)+", worked.reasoning):
            assert len({parse_expression(side).value for side in chain.split("=")}) == 1, worked
        assert family.score(problem, worked).outcome is Outcome.RIGHT, (problem, worked)
        assert family.score_lenient(problem, worked).outcome is Outcome.RIGHT
        alone = bare(problem, worked)
        assert told(problem, alone) == worked
        said = "The answer is {}." if language == "en" else "所以，答案是{}。"
        for answer in (said.format(alone.answer), f"{problem.prompt}\n\n{worked.answer}"):
            assert outcome(problem, answer) is Outcome.RIGHT, (problem, answer)
        for answer in ("", "qqqq7", problem.prompt, problem.prompt * 2):
            assert outcome(problem, answer) is not Outcome.RIGHT, (problem, answer)
        wrong = spoiled(problem, worked, random.Random(i))
        assert outcome(problem, wrong.answer) is not Outcome.RIGHT
        assert len((wrong.reasoning or "").split("\n")) == len(worked.reasoning.split("\n"))


@pytest.mark.parametrize("text", SUITES)
def test_habits_are_often_wrong_and_sometimes_not(text: str) -> None:
    rights = [outcome(p, habitual(p).answer) is Outcome.RIGHT for p in draws(text, 60)]
    assert not all(rights)
    assert habitual(draws(text, 1)[0]).reasoning


@pytest.mark.parametrize(
    "text",
    [
        "products:max_digits=1,second_digits=1",
        "products:min_digits=1,max_digits=1,second_digits=2",
        "remainder:min_digits=1,max_digits=1,max_divisor=4",
        "bases:max_base=3,max_digits=4",
        "compare:max_whole=0,max_decimals=1,max_numbers=2",
        "compare:min_numbers=3,max_whole=0,max_decimals=1,wanted=largest",
        "clock:min_minutes=690,max_minutes=700,step=30",
        "sorting:max_value=9,max_items=3,order=any",
        "sequences:max_start=2,max_step=3",
        "change:max_kinds=2,max_count=3,max_price=3,max_change=3",
    ],
)
def test_count_is_what_drawing_finds(text: str) -> None:
    count = parse_suite(text).count
    assert count is not None
    assert len({p.key for p in draws(text, 50 * count)}) == count
    assert parse_suite(spoken(text, "both")).count == count


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != CHAT])  # its prompts are of their own
def test_a_language_changes_the_words_and_not_the_problem(name: str) -> None:
    english, chinese = ({p.key: p for p in draws(f"{name}:language={lang}", 150)} for lang in ("en", "zh"))
    shared = english.keys() & chinese.keys()
    assert len(shared) == len(english)  # the same numbers are drawn
    for key in shared:
        one, other = english[key], chinese[key]
        assert (one.id, one.held_out) == (other.id, other.held_out)
        assert one.prompt.isascii()
        assert re.search("[\u4e00-\u9fff]", other.prompt)
        assert one.hidden.get("answer") == other.hidden.get("answer")
    assert len({re.sub(r"[\da-z]+", "", p.prompt) for p in chinese.values()}) > 1
    both = [language_of(p) for p in draws(f"{name}:language=both", 200)]
    assert 60 < both.count("zh") < 140
    keys = [p.key for p in draw_problems(parse_suite(f"{name}:language=both"), "test", 30, seed=0)]
    assert len(set(keys)) == 30


def find(text: str, key: str) -> Problem:
    suite = parse_suite(text)
    rngs = (random.Random(f"find:{i}") for i in range(200_000))
    return next(p for p in (suite.family.draw(suite.level, rng) for rng in rngs) if p.key == key)


def check(problem: Problem, **answers: tuple[str, ...]) -> None:
    for wanted, texts in answers.items():
        for text in texts:
            assert outcome(problem, text).value == wanted, (text, wanted)


def test_chinese_statements_of_a_number() -> None:
    check(
        find("sums:max_terms=2,max_digits=1,language=zh", "4+8"),
        right=(
            "12",
            "答案是12。",
            "答案是 12",
            "答案：１２。",
            "答：12。",
            "8 加 4 等于12。",
            "先算8+4=12，所以结果是12",
            "所以，答案应该是12个。因为8+4=12。",
            "<answer>１２</answer>",
            "一共有12个苹果。",
            "<answer>答案是12</answer>",
        ),
        wrong=(
            "答案是13。",
            "答案是12，或者13。",
            "答案是12。答案是13。",
            "12或13",
            "答：-12。",
            "结果为−12。",
        ),
        unparsed=("", "我不知道。", "答案是十二吗？", "4 + 8", "答案是12吗？"),
    )
    x = find("equations:max_form=1,max_solution=5,max_constant=5,language=zh", "x+3=5")
    check(x, right=("x=2", "所以x=2。", "移项得x=5-3=2", "x等于2。"), wrong=("x=5", "x=2或x=3"))
    tree = find("countdown:language=zh", "3,5,8>19")
    check(tree, right=("答案是8*3-5。", "（8×3）－5＝19", "算式：8*3-5"), wrong=("8*3-5或8+5+3",))
    word = find("letters:question=reverse,language=zh,max_length=3", "reverse:cat")
    check(word, right=("答案是tac。", "“cat”倒过来是“tac”。"), wrong=("答案是cat。",), unparsed=("不知道",))


def test_english_is_read_as_before() -> None:
    """Characters of Chinese text alone are rewritten."""
    assert outcome(find("sums:max_terms=2,max_digits=1", "4+8"), "The sum is 12。") is Outcome.RIGHT
    assert outcome(find("sums:max_terms=2,max_digits=1", "4+8"), "It has 2 terms: 8, 4") is Outcome.WRONG


def test_times() -> None:
    later = find("clock:question=after,max_minutes=20,step=5", "after:09:50+15")
    check(
        later,
        right=(
            "10:05",
            "It is 10:05.",
            "The answer is 10:05 am.",
            "15 minutes after 09:50 is 10:05.",
            "10点05分",
            "答案是10点5分。",
            "09:50 + 15 minutes = 10:05 (15 minutes later)",
            "<answer>10:05</answer>",
        ),
        wrong=("10:15", "10:05 or 10:06", "10:05 pm", "It is 10:05. Or it is 11:05."),
        unparsed=("", "ten past", "10.05", "1005", "65", "34:05"),
    )
    hour = find("clock:question=after,max_minutes=20,step=5", "after:13:50+10")
    check(hour, right=("14:00", "2:00 pm", "14点整", "14点", "14点钟。"), wrong=("2:00", "2点"))


def test_decimals() -> None:
    check(
        NINES,
        right=(
            "9.8",
            "9.80",
            "The largest is 9.8.",
            "9.8 is larger than 9.11.",
            "9.11 is smaller than 9.8.",
            "9.8比9.11大。",
        ),
        wrong=(
            "9.11",
            "9.11 is larger than 9.8.",
            "9.8 is smaller than 9.11.",
            "9.11 is large but 9.8 is the largest.",
            "9.8, 9.11",
            "9.08",
            "98",
        ),
        unparsed=("", "the second"),
    )  # fmt: skip


def test_lists() -> None:
    check(
        find("sorting:max_value=9,max_items=3", "up:3,5,8"),
        right=(
            "3, 5, 8",
            "3,5,8",
            "3 5 8",
            "3 < 5 < 8",
            "The sorted list is 3, 5 and 8.",
            "答案是3、5和8。",
            "排好是：3，5，8。",
            "\\boxed{3, 5, 8}",
            "Sorted: 3, 5, 8\nThat is all!",
        ),
        wrong=("8, 5, 3", "3, 5", "3, 5, 8, 9", "3, 5, 8.5", "Answer: 3, 5, 8. Answer: 3, 8, 5."),
        unparsed=("", "sorted", "3"),
    )  # fmt: skip
    words = next(p for p in draws("sorting:items=words,min_items=3,max_items=3", 1))
    first, second, third = words.hidden["answer"].split(", ")
    check(
        words,
        right=(
            f"{first}, {second}, {third}",
            f"They are {first}, {second} and {third}.",
            f"{first} {second} {third}",
        ),
        wrong=(f"{second}, {first}, {third}", f"{first}, {third}"),
        unparsed=("", "I can't sort them."),
    )  # fmt: skip


def test_habits_by_hand() -> None:
    cases = {
        ("products:max_digits=2", "7*46"): "40*7=280\n6*7=2\n280+2=282",
        ("remainder:max_digits=2,max_divisor=6", "47%6"): "4-6*0=4\n7-6*1=1",
        ("bases:max_base=2,max_digits=4", "from2:1011"): "1*2+1=3\n3*2+0=6\n6*2+1=13",
        ("clock:question=after,max_minutes=20,step=5", "after:09:50+15"): "50+15=65\n65-60=5",
        ("sequences:rule=growing,max_start=3,max_step=3", "1,3,6,10"): "3-1=2 6-3=3 10-6=4\n10+2=12",
        ("change:max_kinds=1,max_count=4,max_price=4", "3*4<20"): "20-4=16",
    }
    for (suite, key), thinking in cases.items():
        assert habitual(find(suite, key)).reasoning == thinking
    assert habitual(NINES).answer == "9.11"
    by_text = habitual(find("sorting:max_value=20,max_items=3", "up:3,5,12"))
    assert by_text.answer == "12, 3, 5"


def test_sequences_follow_their_rule() -> None:
    for problem in draws("sequences", 400):
        terms = [*problem.hidden["terms"], problem.hidden["answer"]]
        steps = [after - before for before, after in pairwise(terms)]
        assert min(terms) >= 0
        assert {
            "add": len(set(steps)) == 1 and steps[0] > 0,
            "take": len(set(steps)) == 1 and steps[0] < 0,
            "alternate": steps[0] == steps[2] and steps[1] == steps[3] and steps[0] * steps[1] < 0,
            "growing": len({b - a for a, b in pairwise(steps)}) == 1 and steps[1] > steps[0],
            "multiply": len({b / a for a, b in pairwise(terms)}) == 1,
        }[problem.hidden["rule"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("products:min_digits=3,max_digits=2", "min_digits 3 is above max_digits 2"),
        ("remainder:max_divisor=1", "max_divisor"),
        ("bases:max_base=10", "max_base"),
        ("compare:min_numbers=4", "min_numbers 4 is above max_numbers 3"),
        ("clock:min_minutes=7,max_minutes=9,step=5", "no multiple of step 5"),
        ("sorting:items=letters", "items"),
        ("sequences:rule=prime", "rule"),
        ("change:min_kinds=2,max_kinds=1", "min_kinds 2 is above max_kinds 1"),
        ("sums:language=fr", "language"),
        ("sums:languages=zh", "did you mean 'language'?"),
        ("clocks", "did you mean 'clock'?"),
    ],
)
def test_bad_levels_get_one_clear_line(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)) as caught:
        parse_suite(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("slips", ["any", "habit"])
def test_as_documents_to_pretrain_on(slips: Slips) -> None:
    source = WorkedDocuments([f"{name}:language=both" for name in LATER], 0, share_right=0.5, slips=slips)
    documents = [source.next() for _ in range(160)]
    assert {document.source for document in documents} == {RIGHT, WRONG}
    assert len(source.origins) == len(LATER)
