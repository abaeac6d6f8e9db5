"""The committed pairs are what the program makes, varied, and not won by the longer answer."""

from collections import Counter

from shoestring.evals.chat_prompts import CHAT_PROMPTS
from shoestring.tasks.texts import same_text
from shoestring.text.chat_data import chat_rows
from shoestring.text.preference_data import FAULTS, nearest, rows, text
from shoestring.text.preferences import OWN, num_bytes, read_preferences

PAIRS = read_preferences(OWN, "helpful", 2.0).rows


def test_the_file_is_what_the_program_makes():
    assert OWN.read_text(encoding="utf-8") == text() == text()


def test_it_is_varied():
    pairs = [row for row in rows() if "chosen" in row]
    assert len({row["prompt"] for row in pairs}) >= 80
    assert Counter(row["fault"] for row in pairs).keys() == {*FAULTS, "other_language"}
    chinese = sum(row["language"] == "zh" for row in rows()) / sum(1 for _ in rows())
    assert 0.2 < chinese < 0.35


def test_the_longer_answer_is_not_the_better_one():
    longer = sum(num_bytes(row.replies[0]) > num_bytes(row.replies[1]) for row in PAIRS) / len(PAIRS)
    assert 0.4 < longer < 0.6
    means = [sum(num_bytes(row.replies[side]) for row in PAIRS) / len(PAIRS) for side in (0, 1)]
    assert 0.9 < means[0] / means[1] < 1.1


def test_the_safe_reply_is_not_the_longer_one():
    labels = read_preferences(OWN, "safety", 2.0).rows
    assert len({row.messages[0]["content"] for row in labels}) * 2 == len(labels)
    lengths = [[num_bytes(row.replies[0]) for row in labels if row.safe is safe] for safe in (True, False)]
    assert 0.9 < sum(lengths[0]) / sum(lengths[1]) < 1.1


def test_the_chat_checks_prompts_are_not_among_them():
    asked = {same_text(turn) for prompt in CHAT_PROMPTS for turn in prompt.turns}
    ours = [same_text(row.prompt) for row in chat_rows()]
    ours += [same_text(row["prompt"]) for row in rows()]
    assert not asked & set(ours)
    prompts = [same_text(row.prompt) for row in chat_rows()]
    assert len(prompts) == len(set(prompts)) >= 120


def test_a_fault_is_taken_by_length():
    assert nearest(["a", "abc", "abcdefgh"], "12345", longer=False) == "abc"
    assert nearest(["a", "abc", "abcdefgh"], "12345", longer=True) == "abcdefgh"
    assert nearest(["a", "abc"], "12345", longer=True) == "abc"  # none is longer
    assert nearest(["12345", "abc"], "12345", longer=False) == "abc"  # never the answer itself
