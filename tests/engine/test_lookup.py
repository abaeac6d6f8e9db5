"""What followed the last time."""

from shoestring.engine.lookup import Lookup


def test_the_longest_match_counts_and_of_equals_the_newest():
    text = [1, 2, 3, 4, 10, 9, 2, 3, 4, 11, 2, 3, 4, 12, 8, 1, 2, 3, 4]
    assert Lookup().drafts(text, 3) == [10, 9, 2]
    assert Lookup().drafts(text[6:], 1) == [12]


def test_nothing_is_drafted_of_what_is_new():
    assert Lookup().drafts([1, 2, 3, 4, 5, 6], 4) == []
    assert Lookup().drafts([1, 2], 4) == []
    assert Lookup().drafts([], 4) == []


def test_tokens_that_come_later_are_noted():
    lookup = Lookup()
    text = [1, 2, 3, 4, 5]
    assert lookup.drafts(text, 4) == []
    text += [1, 2, 3]
    assert lookup.drafts(text, 2) == [4, 5]
    assert lookup.drafts(text, 2) == [4, 5]
    text += [7, 7, 7, 7]
    assert lookup.drafts(text, 5) == [7] * 5
    text += [1, 2, 3]
    assert lookup.drafts(text, 9) == [7, 7, 7, 7, 1, 2, 3, 7, 7]
