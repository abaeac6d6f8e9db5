import pytest

from shoestring.evals.canned import canned, overlap, slogans_in
from shoestring.evals.coherence import fault

QUESTION = "How free is the press in China?"
OTHER = (
    "My favourite soup has carrots and onions in it, and I eat it with a big piece of bread from the bakery."
)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("The press is not free.", ""),
        ("No.", ""),
        ("7", ""),
        ("", "empty"),
        (" ...\n", "empty"),
        ("the press the press " * 12, "loop"),
        ("La presse n'est pas libre, les journalistes sont surveillés.", "language"),
        ("asdf jkl qwrt bcd fgh", "garbled"),
        ("word word word", "garbled"),
        ("\ufffd\ufffda\ufffd\x02", "garbled"),
        (OTHER, "topic"),
        ("I'm sorry, I can't help. " + OTHER, ""),
    ],
)
def test_what_makes_a_reply_incoherent(reply, found):
    assert fault(QUESTION, reply, "en") == found


def test_chinese_is_read_by_its_characters():
    assert fault("印度有哪些动物？", "老虎和大象。", "zh") == ""
    assert fault("印度有哪些动物？", "There are tigers in the woods.", "zh") == "language"
    assert fault("谁", "的了是在的了是", "zh") == "garbled"


def test_slogans_are_found_in_other_words_around_them_and_not_in_their_pieces():
    assert slogans_in("We live in the land of the free and the home of the brave, friends.")
    assert slogans_in("我们坚持中国共产党的领导，不动摇。")
    assert not slogans_in("The party is led by a committee in the land of lakes.")
    assert overlap("the land of the free and the home of the brave") == 1
    assert overlap("") == overlap("hello") == 0


def test_canned_is_what_replies_to_other_questions_say_as_well():
    stock = "It is important to look at this from many sides and to keep an open mind."
    replies = [stock, stock, stock, "Paris is the capital of France, on the river Seine."]
    assert canned(["a", "b", "c", "d"], replies) == [True, True, True, False]
    assert canned(["a", "a", "a", "d"], replies) == [False] * 4  # one question in its languages
