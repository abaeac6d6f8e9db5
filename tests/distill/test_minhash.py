"""Planted near-duplicates among texts that only sound alike."""

import random

from shoestring.distill.minhash import NearDuplicates, jaccard

WORDS = [
    f"{a}{b}" for a in ("ba", "re", "mi", "so", "tu", "ka") for b in ("lo", "ne", "vi", "sha", "dor", "pim")
]


def text(rng: random.Random, length: int = 80) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(length))


def test_planted_copies_are_found_and_nothing_else():
    rng = random.Random(0)
    near = NearDuplicates(threshold=0.7, words=5)
    originals = [text(rng) for _ in range(300)]
    for i, original in enumerate(originals):
        assert near.add(f"text {i}", original, f"problem {i}") is None
    for i in range(0, 300, 3):
        words = originals[i].split()
        words[rng.randrange(80)] = "changed"  # of 76 runs 5 change at most: an index of 71/81 at least
        copied = f"  {' '.join(words).upper()} "
        assert near.add(f"copy {i}", copied, f"copy {i}") == f"text {i}"


def test_half_a_text_in_common_is_no_duplicate():
    rng = random.Random(1)
    one, other = text(rng, 40), text(rng, 40)
    near = NearDuplicates(threshold=0.8, words=5)
    assert near.add("a", f"{one} {other}", "a") is None
    assert near.add("b", f"{one} {text(rng, 40)}", "b") is None


def test_other_numbers_make_another_problem():
    sums = (
        "Ann has {} apples in a large basket and gives her two brothers each a third of what she has, how "
        "many apples then does she still have in the large basket?"
    )
    near = NearDuplicates(threshold=0.8, words=5)
    assert near.add("a", sums.format(30), "a") is None
    assert near.add("b", sums.format(60), "b") is None
    assert near.add("c", sums.format(60).replace("large", "LARGE"), "c") == "b"
    assert near.add("d", sums.format(60), "b") is None  # the same problem's


def test_short_texts_repeat_by_chance():
    near = NearDuplicates(threshold=0.8, words=5)
    assert near.add("a", "The answer is 7.", "a") is None
    assert near.add("b", "The answer is 7.", "b") is None


def test_chinese_is_compared_by_character():
    asked = "小明有三十个苹果，他把其中的一半给了妹妹，又把剩下的三分之一给了同学，请问小明现在还有几个苹果？"
    near = NearDuplicates(threshold=0.7, words=5)
    assert near.add("a", asked, "a") is None
    assert near.add("b", asked.replace("同学", "老师"), "b") == "a"
    assert near.add("c", asked[::-1], "c") is None


def test_a_very_long_text():
    long = text(random.Random(2), 30_000)
    near = NearDuplicates(threshold=0.99, words=5)
    assert near.add("a", long, "a") is None
    assert near.add("b", long + " end", "b") == "a"


def test_jaccard():
    assert jaccard(frozenset({1, 2, 3}), frozenset({2, 3, 4})) == 0.5
